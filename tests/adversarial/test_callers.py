"""Callers that are not who they say: every type of issuer against tokens that are nearly good.

Each issuer has a key of its own, and signatures are real. Where an attack rests on a setting that
this house does not allow, the test shows first that it succeeds without that.
"""

from __future__ import annotations

import json
from typing import Final

import pytest
from attrs import evolve
from joserfc.jwk import RSAKey
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import encode_part
from hoopgw.identity.oidc import TokenUse
from tests.adversarial.callers_world import GOOD, Claims, Keys, World
from tests.identity import forge
from tests.identity.callers.shapes import (
    CLI,
    CLUSTER,
    DOMAIN,
    OTHER_TENANT,
    OURS,
    TENANT,
    V1,
    V2,
    entra_person,
    github,
    kubernetes,
    pipeline,
    settings_of,
    spiffe,
)
from tests.identity.forge import NOW, hmac_token, raw, rsa_key, run, token


@pytest.fixture
def world() -> World:
    """Return issuers of each type."""
    return World()


BROKEN: Final[list[Claims]] = [
    {"aud": "other"},
    {"aud": None},
    {"aud": []},
    {"aud": ["other"]},
    {"aud": {"hoopgw": 1}},
    {"exp": None},
    {"exp": str(NOW + 60)},
    {"exp": 1e18},
    {"exp": True},
    {"exp": NOW - 31},
    {"exp": NOW + 30 * 86_400},
    {"iat": NOW + 3600, "exp": NOW + 3700},
    {"iat": str(NOW)},
    {"iat": True},
    {"nbf": NOW + 60},
    {"nbf": "0"},
    {"sub": None},
    {"sub": ""},
    {"sub": 5},
    {"sub": ["a"]},
    {"sub": "a" * 513},
    {"sub": "a\n"},
    {"sub": "a\u202eb"},
    {"iss": "https://evil.example"},
    {"iss": [V2]},
    {"iss": 5},
    {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    {"cnf": "x"},
]


@pytest.mark.parametrize("whose", GOOD)
@pytest.mark.parametrize("changes", BROKEN, ids=lambda changes: json.dumps(changes)[:40])
def test_the_checklist_holds_for_every_type(world: World, whose: str, changes: Claims) -> None:
    """What no token may say, whoever signs it."""
    world.let_in(world.sign(GOOD[whose](), whose))
    if whose == "spiffe" and changes == {"iss": "https://evil.example"}:
        return  # a JWT-SVID has the issuer that it likes: its trust domain counts
    world.refuse(world.sign(GOOD[whose](**changes), whose))


@pytest.mark.parametrize("whose", GOOD)
def test_signatures_and_headers_for_every_type(world: World, whose: str) -> None:
    """Algorithms, keys, critical extensions and types of another kind of token."""
    good = GOOD[whose]()
    body = json.dumps(good).encode()
    head, claims, signature = world.sign(good, whose).split(".")
    other = encode_part(json.dumps(good | {"jti": "x"}).encode()).decode()
    doubled = body[:-1] + b',"sub":"mallory"}'
    public = rsa_key("tenant" if whose in ("azure", "entra") else whose).as_pem(private=False)
    for wrong in (
        raw(b'{"alg":"none","typ":"JWT","kid":"one"}', body, b""),
        raw(b'{"alg":"none","typ":"JWT","kid":"one"}', body),
        hmac_token(good, public),
        token(good, key=rsa_key("mallory")),
        world.sign(good, whose, kid="two"),
        world.sign(good, whose, kid=None),
        world.sign(good, whose, kid=1),
        world.sign(good, whose, kid="k" * 257),
        world.sign(good, whose, crit=["exp"]),
        world.sign(good, whose, b64=False),
        world.sign(good, whose, typ="logout+jwt"),
        world.sign(good, whose, typ="dpop+jwt"),
        world.sign(good, whose, typ="hoopgw-hop+jwt"),
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}.{signature}.{signature}",
        f"{head}.{claims}.{signature}=",
        raw(b'{"alg":"RS256","typ":"JWT","kid":"one"}', doubled),
        raw(b'{"alg":"RS256","typ":"JWT","kid":"one"}', body.replace(b"{", b'{"x":NaN,', 1)),
        "a" * 20_000,
        "a" * 1_000_000,
    ):
        world.refuse(wrong)


@pytest.mark.parametrize("whose", GOOD)
@pytest.mark.parametrize("signer", GOOD)
def test_no_issuer_speaks_for_another(world: World, whose: str, signer: str) -> None:
    """Each issuer's claims, signed with each other's key."""
    same = whose == signer or {whose, signer} == {"azure", "entra"}
    text = world.sign(GOOD[whose](), signer)
    if same:
        world.let_in(text)
    else:
        world.refuse(text, "signature|algorithm|key")


def test_a_repository_of_the_same_name(world: World) -> None:
    """Names are free again once their owner gave them up; a rule by names would let it in."""
    squatted = github(repository_id="999", repository_owner_id="998", actor_id="997")
    by_name = evolve(
        forge.settings(issuer=github()["iss"], client_id="", audiences=["https://gw.example"]),
        required={"repository": ["octo-org/octo-repo"], "ref": ["refs/heads/main"]},
    )
    naive = Issuers.of([Issuer(by_name, Keys("github"))], lambda: NOW)
    signed = world.sign(squatted, "github")
    assert run(naive.authenticate(signed, TokenUse.ACCESS)).hop.groups == frozenset()
    world.refuse(signed, "repository_owner_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"repository_owner_id": "066"},
        {"repository_owner_id": "65 "},
        {"repository_owner_id": "\N{FULLWIDTH DIGIT SIX}5"},
        {"repository_owner_id": 65},
        {"repository_owner_id": 65.0},
        {"repository_owner_id": {"65": 1}},
        {"repository_id": None},
        {"repository_id": "74~planner"},
        {"repository_id": 74},
    ],
)
def test_ids_that_look_like_ours(world: World, changes: Claims) -> None:
    """An id is a text, digit by digit: no number, no other digits, no name of a child."""
    world.refuse(world.sign(github(**changes), "github"))


def test_another_cluster_with_the_same_names(world: World) -> None:
    """Namespaces and accounts exist in each cluster; its key or its issuer tells them apart."""
    world.refuse(token(kubernetes(), key=rsa_key("other-cluster"), typ=None), "signature")
    elsewhere = kubernetes(iss="https://kubernetes.default.svc.cluster.local")
    world.refuse(world.sign(elsewhere, "kubernetes", typ=None), "not configured")
    with pytest.raises(ConfigError, match="again"):
        World(settings_of("kubernetes", alias="k8s-2"))


@pytest.mark.parametrize("sub", ["system:serviceaccount:orders:migrator\u200b", "system:admin"])
def test_an_account_that_looks_like_ours(world: World, sub: str) -> None:
    """The subject is what the claims say, letter by letter."""
    world.refuse(world.sign(kubernetes(sub=sub), "kubernetes", typ=None))


def test_another_trust_domain(world: World) -> None:
    """A federated domain's key signs for that domain only."""
    theirs = settings_of("spiffe", alias="partner", trust_domain="partner.example")
    both = World(theirs)
    ours = f"spiffe://{DOMAIN}/ns/orders/sa/migrator"
    both.refuse(both.sign(spiffe(sub=ours), "partner"), "signature")
    found = both.let_in(both.sign(spiffe(sub="spiffe://partner.example/x"), "partner"))
    assert found.hop.id == "partner|spiffe://partner.example/x"
    world.refuse(world.sign(spiffe(sub="spiffe://partner.example/x"), "spiffe"), "not configured")


def test_a_spiffe_id_by_another_issuer(world: World) -> None:
    """An issuer of people may call them what it likes: they stay its own."""
    named = forge.claims(sub=f"spiffe://{DOMAIN}/ns/orders/sa/migrator")
    found = world.let_in(world.sign(named, "plain"))
    assert found.hop.id.startswith("idp|")
    assert found.hop.kind == "person"
    without = {name: value for name, value in named.items() if name != "iss"}
    world.refuse(world.sign(without, "plain"), "signature")


def test_another_tenant(world: World) -> None:
    """By its own issuer, by ours with its ``tid``, and with a key that is its own."""
    theirs = {"iss": V2.replace(TENANT, OTHER_TENANT), "tid": OTHER_TENANT}
    world.refuse(world.sign(entra_person(**theirs), "entra"), "not configured")
    world.refuse(world.sign(entra_person(tid=OTHER_TENANT), "entra"), "tenant")
    world.refuse(world.sign(entra_person(tid=None), "entra"), "tenant")
    key = Keys("tenant", V2.replace(TENANT, OTHER_TENANT))
    shared = Issuers.of([Issuer(settings_of("entra"), key)], lambda: NOW)
    with pytest.raises(AuthenticationError, match="another tenant"):
        run(shared.authenticate(world.sign(entra_person(), "entra"), TokenUse.ACCESS))


def test_a_token_of_the_other_version(world: World) -> None:
    """Version 1.0 at an issuer of 2.0, and one that is of both."""
    v1 = {"iss": V1, "ver": "1.0", "azp": None, "appid": CLI}
    world.refuse(world.sign(entra_person(**v1), "entra"), "not configured")
    world.refuse(world.sign(entra_person(ver="1.0"), "entra"), "ver")
    world.refuse(world.sign(entra_person(appid="other"), "entra"), "client is all of")


@pytest.mark.parametrize(
    "audience",
    [
        "https://management.azure.com",
        "https://management.azure.com/",
        "https://management.core.windows.net/",
        "https://graph.microsoft.com",
        "https://vault.azure.net",
        "api://AzureADTokenExchange",
        "API://azureadtokenexchange",
        "sts.amazonaws.com",
        "https://kubernetes.default.svc",
    ],
)
@pytest.mark.parametrize("whose", GOOD)
def test_credentials_of_other_services(world: World, whose: str, audience: str) -> None:
    """Alone or beside ours: refused before a key is looked for, and no part of it is logged."""
    ours = GOOD[whose]()["aud"]
    several = [*(ours if isinstance(ours, list) else [ours]), audience]
    seen: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        seen.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        for aud in (audience, [audience], several):
            text = world.sign(GOOD[whose](aud=aud, azp=CLI), whose)
            with pytest.raises(AuthenticationError, match="another service") as refused:
                world.let_in(text)
            said = str(refused.value) + "".join(map(eventAsText, seen))
            assert not any(part in said for part in text.split("."))
    finally:
        globalLogPublisher.removeObserver(observe)
    assert [keys.asked for keys in world.keys.values()] == [0] * len(world.keys)
    settings = world.settings[whose]
    with pytest.raises(ConfigError, match="another service"):
        Issuers.of([Issuer(evolve(settings, audiences=[audience]), Keys("x"))], lambda: NOW)


def test_a_pipelines_own_token(world: World) -> None:
    """What an Azure DevOps job has is a credential for Entra ID, whoever vouches for it."""
    issuer = pipeline()["iss"]
    with pytest.raises(ConfigError, match="another service"):
        World(
            forge.settings(
                alias="raw", issuer=issuer, client_id="", audiences=["api://AzureADTokenExchange"]
            )
        )
    world.refuse(token(pipeline()), "another service")


def test_issuers_that_share_their_keys() -> None:
    """As all organisations of Azure DevOps do: then ``iss`` is all that tells them apart."""
    first = forge.settings(alias="one", issuer="https://shared.example/one", client_id="")
    second = evolve(first, alias="two", issuer="https://shared.example/two")
    keys = Keys("shared")
    issuers = Issuers.of([Issuer(first, keys), Issuer(second, keys)], lambda: NOW)
    for settings in (first, second):
        signed = token(forge.claims(iss=settings.issuer, azp=None), key=rsa_key("shared"))
        found = run(issuers.authenticate(signed, TokenUse.ACCESS))
        assert found.hop.id == f"{settings.alias}|alice-1"
    for issuer in ("https://shared.example/three", "https://shared.example/one/"):
        stranger = token(forge.claims(iss=issuer, azp=None), key=rsa_key("shared"))
        with pytest.raises(AuthenticationError, match="not configured"):
            run(issuers.authenticate(stranger, TokenUse.ACCESS))


@pytest.mark.parametrize("whose", GOOD)
def test_clocks_that_are_apart(world: World, whose: str) -> None:
    """Half a minute is borne, on either side, and no more."""
    good = GOOD[whose]
    world.let_in(world.sign(good(iat=NOW - 300, nbf=None, exp=NOW - 29), whose))
    world.refuse(world.sign(good(iat=NOW - 300, nbf=None, exp=NOW - 31), whose), "expired")
    world.let_in(world.sign(good(iat=NOW + 29, nbf=NOW + 29, exp=NOW + 300), whose))
    world.refuse(world.sign(good(iat=NOW + 31, nbf=None, exp=NOW + 300), whose), "future")


def test_nothing_is_fetched_for_strangers(world: World) -> None:
    """Unknown issuers, tenants, clusters and trust domains make nobody ask for keys."""
    for claims in (
        forge.claims(iss="https://evil.example"),
        entra_person(iss=V2.replace(TENANT, OTHER_TENANT)),
        kubernetes(iss=CLUSTER + "/"),
        spiffe(sub="spiffe://evil.example/x"),
        spiffe(sub="spiffe://" + "a" * 10_000 + "/x"),
        {"aud": OURS},
        {},
    ):
        world.refuse(token(claims, key=RSAKey.generate_key(2048, {"kid": "one"})))
    assert sum(keys.asked for keys in world.keys.values()) == 0
