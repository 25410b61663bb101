"""Callers that say more of themselves than their issuer may: groups, names, being a person.

Each issuer has a key of its own, and signatures are real. Where an attack rests on a setting that
this house does not allow, the test shows first that it succeeds without that.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.oidc import TokenUse
from tests.adversarial.callers_world import GOOD, Claims, Keys, World
from tests.identity import forge
from tests.identity.callers.shapes import (
    AGENT_APP,
    ALICE,
    APP,
    CLI,
    V2,
    entra_agent,
    entra_app,
    entra_person,
    settings_of,
)
from tests.identity.forge import NOW, rsa_key, run, token


@pytest.fixture
def world() -> World:
    """Return issuers of each type."""
    return World()


@pytest.mark.parametrize("whose", ["github", "kubernetes", "spiffe", "azure"])
def test_groups_of_workloads(world: World, whose: str) -> None:
    """A job may have any claim that its issuer lets it have; none of them is a group here."""
    claims = GOOD[whose](groups=["admins"], **{"cognito:groups": ["admins"], "roles": ["admins"]})
    assert world.let_in(world.sign(claims, whose)).hop.groups == frozenset()
    settings = evolve(world.settings[whose], groups_claim="groups")
    with pytest.raises(ConfigError, match="groups_claim"):
        Issuers.of([Issuer(settings, Keys("x"))], lambda: NOW)


def test_groups_of_an_application_of_the_tenant(world: World) -> None:
    """Whoever can register one could put its service principal into groups."""
    app = entra_app(azp="stranger", groups=["admins"], roles=["Migrate"])
    assert world.let_in(world.sign(app, "entra")).hop.groups == frozenset()


@pytest.mark.parametrize(
    "groups",
    [
        ["g"] * 1001,
        [str(number) for number in range(1001)],
        ["g" * 513],
        [1, 2],
        ["1", 2],
        [["admins"]],
        "admins",
        {"admins": True},
        [None],
        [""],
    ],
    ids=lambda groups: f"{type(groups).__name__} of {len(groups)}",
)
def test_lists_of_groups_that_are_none(world: World, groups: object) -> None:
    """Too many, too long, of numbers, or no list at all."""
    for whose in ("entra", "plain"):
        world.refuse(world.sign(GOOD[whose](groups=groups), whose), "groups|characters")


@pytest.mark.parametrize("whose", ["entra", "plain"])
def test_groups_of_another_issuer(whose: str) -> None:
    """Each issuer has a `dba`; with a prefix or names of our own, only one is ours."""
    partner = settings_of("entra", alias="corp", groups_prefix="partner:", roles=["Migrate"])
    issuers = Issuers.of([Issuer(partner, Keys("tenant"))], lambda: NOW)
    signed = token(entra_person(groups=["dba", "admins"]), key=rsa_key("tenant"))
    found = run(issuers.authenticate(signed, TokenUse.ACCESS))
    assert found.hop.groups == {"partner:dba", "partner:admins"}
    named = evolve(partner, group_names={"dba": "readers"})
    issuers = Issuers.of([Issuer(named, Keys("tenant"))], lambda: NOW)
    assert run(issuers.authenticate(signed, TokenUse.ACCESS)).hop.groups == {"partner:readers"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Alice Example", "Alice Example"),
        ("  Alice   Example ", "Alice Example"),
        ("José Łukasz Weiß", "José Łukasz Weiß"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}lice", "Alice"),
        ("\N{CYRILLIC CAPITAL LETTER A}lice", "\N{CYRILLIC CAPITAL LETTER A}lice <alice-1>"),
        ("\N{GREEK CAPITAL LETTER ALPHA}lice", "\N{GREEK CAPITAL LETTER ALPHA}lice <alice-1>"),
        ("Al\u0131ce", "Al\u0131ce <alice-1>"),
        ("Alice\u0338", "Alice\u0338 <alice-1>"),
        ("Алиса", "Алиса <alice-1>"),
        ("愛麗絲", "愛麗絲 <alice-1>"),
        ("Alice\u200b", "alice-1"),
        ("Alice\u202egnp.exe", "alice-1"),
        ("Alice\x1b[2J", "alice-1"),
        ("Alice\u2028root", "alice-1"),
        ("\u3000", "alice-1"),
        ("A" * 513, "alice-1"),
        (["Alice"], "alice-1"),
    ],
)
def test_names_that_look_like_others(world: World, name: object, shown: str) -> None:
    """A name is for reading, and what could be read as another's has its id beside it."""
    found = world.let_in(world.sign(forge.claims(name=name), "plain"))
    assert found.hop.name == shown
    assert found.hop.id == "idp|alice-1"


@pytest.mark.parametrize("whose", ["kubernetes", "plain"])
def test_subjects_that_look_like_children(world: World, whose: str) -> None:
    """`~` stands between a parent and its child."""
    claims = GOOD[whose](sub="alice-1~planner")
    world.refuse(world.sign(claims, whose))


def test_subjects_stay_with_their_issuer(world: World) -> None:
    """Whatever a subject has in it, it is never another issuer's principal."""
    for sub in ("corp|alice", "|alice", "idp|alice-1", "gha|74"):
        found = world.let_in(world.sign(forge.claims(sub=sub), "plain"))
        assert found.hop.id == f"idp|{sub}"
        assert found.hop.id.partition("|")[0] == "idp"


@pytest.mark.parametrize(
    "changes",
    [
        {"xms_act_fct": "11"},
        {"xms_sub_fct": "13"},
        {"xms_act_fct": "3 9 11", "idtyp": "user"},
        {"xms_par_app_azp": "30cf4c22-9985-4ef7-8756-91cc888176bd"},
    ],
)
def test_an_agent_is_no_person(world: World, changes: Claims) -> None:
    """A token for an agent never stands for a person, so it can neither vote nor administer."""
    found = world.let_in(world.sign(entra_person(**changes), "entra"))
    assert found.hop.kind == "agent"


@pytest.mark.parametrize(
    "changes",
    [
        {"scp": None},
        {"scp": "/"},
        {"scp": ""},
        {"idtyp": "app"},
        {"sub": ALICE},
        {"scp": None, "sub": "x"},
    ],
)
def test_an_application_is_no_person(world: World, changes: Claims) -> None:
    """Nor one of `hoopgw login`'s own client, which has no secret."""
    world.refuse(world.sign(entra_person(**changes), "entra"), "not allowed, and has no role")


def test_an_application_as_a_person_that_logs_in(world: World) -> None:
    """An app-only token has the wrong audience for an ID token, and is none."""
    for claims in (
        entra_app(),
        entra_app(aud=CLI),
        entra_agent(iss=V2, ver="2.0", appid=AGENT_APP),
    ):
        world.refuse(world.sign(claims, "entra"), None, TokenUse.ID)


@pytest.mark.parametrize("whose", ["github", "kubernetes", "spiffe", "azure"])
def test_workloads_have_no_id_tokens(world: World, whose: str) -> None:
    """An ID token says that a person logged in; jobs have no client to log in with."""
    for aud in (None, "", CLI, GOOD[whose]()["aud"]):
        world.refuse(world.sign(GOOD[whose](aud=aud), whose), None, TokenUse.ID)


def test_a_job_of_the_tenant_among_the_people(world: World) -> None:
    """Two tables share an issuer: the application chooses, and cannot choose better."""
    person = entra_person(azp=APP)  # a delegated token that names the pipeline's application
    world.refuse(world.sign(person, "entra"), "not a token of an application")
    app = entra_app(azp=CLI)  # the other way round
    world.refuse(world.sign(app, "entra"), "not allowed")
    both = entra_app(appid=CLI)
    world.refuse(world.sign(both, "entra"), "client is all of")
    with pytest.raises(ConfigError, match="clients"):
        Issuers.of(
            [
                Issuer(settings_of("entra", clients=[APP]), Keys("x")),
                Issuer(settings_of("azure-devops"), Keys("x")),
            ],
            lambda: NOW,
        )


@pytest.mark.parametrize("name", ["azp", "appid", "client_id", "iss", "sub", "aud", "tid", "ver"])
@pytest.mark.parametrize("whose", GOOD)
def test_claims_of_other_kinds(world: World, whose: str, name: str) -> None:
    """What chooses between issuers is read before anything is verified: it may be anything."""
    values: list[Any] = [[], {}, [[]], 1, True, 1.5, {"a": []}, "", "\x00"]
    for value in values:
        try:
            world.let_in(world.sign(GOOD[whose](**{name: value}), whose))
        except AuthenticationError:
            continue
        assert name not in ("iss", "sub", "aud") or (whose, name) == ("spiffe", "iss")
