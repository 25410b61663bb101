"""Azure sees the person: the on-behalf-of flow through a running gateway, with real `msal`.

Alice logs in with an access token of Entra's, as `az login --federated-token` shows it. Her token
goes from control to the agent, which gets one of hers for Azure; the stand-in of Entra looks at all
that Entra looks at.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from attrs import frozen

from tests.identity import forge
from tests.identity.callers.shapes import ALICE, CLI, OURS, TENANT, entra_app, entra_person
from tests.support import azure
from tests.support.azure import DOMAIN, AzureRig, Named
from tests.support.certificates import Authority
from tests.support.entra import Entra, client_certificate
from tests.support.gateway import AGENT
from tests.support.lookalike import Asked, LookAlike, Told

BOB: Final = "bbbbbbbb-0000-1111-2222-bbbbbbbbbbbb"
POLICY: Final = """
@id("everybody")
permit (principal, action, resource);
"""


@frozen
class World:
    """The gateway, Entra, and a Resource Manager that says who asked."""

    azure: AzureRig
    entra: Entra
    manager: LookAlike

    def token(self, who: str = ALICE, **changes: Any) -> str:
        """Return an access token of Entra's for the gateway."""
        shift = int(time.time()) - forge.NOW
        claims = entra_person(oid=who, sub=f"sub-{who}", **changes)
        return forge.token(
            claims | {name: claims[name] + shift for name in ("iat", "nbf", "exp")},
        )

    def log_in(self, proof: str, account: str = "self") -> requests.Response:
        """Log in as the SDKs do."""
        return self._send(
            f"login.{DOMAIN}",
            "POST",
            "/tenant/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": account,
                "client_assertion_type": ("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                "client_assertion": proof,
                "scope": f"https://mine.{DOMAIN}:{self.azure.port}/.default",
            },
        )

    def ask(self, proof: str, account: str = "self") -> requests.Response:
        """Log in, and list the subscriptions."""
        given = self.log_in(proof, account)
        assert given.status_code == 200, given.text
        return self._send(
            f"mine.{DOMAIN}",
            "GET",
            "/subscriptions?api-version=2021-04-01",
            headers={"Authorization": f"Bearer {given.json()['access_token']}"},
        )

    def _send(self, host: str, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Host": f"{host}:{self.azure.port}", **more.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            session.mount("https://", Named(host))
            return session.request(
                method,
                f"https://127.0.0.1:{self.azure.port}{path}",
                headers=headers,
                verify=str(self.azure.rig.ca),
                timeout=60,
                **more,
            )


def _manager(asked: Asked) -> Told:
    """Say which token it was asked with, without saying the token."""
    shown = hashlib.sha256(asked.headers["authorization"].encode()).hexdigest()
    return Told(body={"value": [{"subscriptionId": shown}]})


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Start it all."""
    with tempfile.TemporaryDirectory() as name:
        folder, authority = Path(name), Authority.make("entra CA")
        ca = authority.write(folder / "ca.crt")
        keys = folder / "keys.json"
        keys.write_bytes(forge.key_set(forge.public_jwk(forge.rsa_key(), "one")))
        pem, certificate = client_certificate(folder)
        entra = Entra(tenant=TENANT, client=OURS, certificate=certificate)
        entra.start(folder, authority)
        manager = LookAlike(_manager, authority.issue(folder, "manager", ("management.azure.com",)))
        try:
            rig = azure.start(
                policy=POLICY,
                extra=_gateway_toml(keys),
                agent_extra=_agent_toml(entra, pem, ca, manager),
            )
            try:
                yield World(rig, entra, manager)
            finally:
                rig.stop()
        finally:
            manager.stop()
            entra.server.stop()


def _gateway_toml(keys: Path) -> str:
    return f"""
[[identity.issuers]]
type = "entra"
alias = "corp"
tenant = "{TENANT}"
client_id = "{CLI}"
audiences = ["{OURS}"]
clients = ["11112222-bbbb-3333-cccc-4444dddd5555"]
jwks_file = "{keys}"
on_behalf_of = ["{AGENT}"]
[[identity.issuers]]
type = "entra"
alias = "guests"
tenant = "99999999-0000-0ff1-ce00-000000000000"
client_id = "{CLI}"
audiences = ["{OURS}"]
jwks_file = "{keys}"
[[targets]]
name = "mine"
protocol = "azure"
agent = "{AGENT}"
service = "arm"
"""


def _agent_toml(entra: Entra, pem: Path, ca: Path, manager: LookAlike) -> str:
    return f"""
[identities.people]
kind = "on-behalf-of"
tenant = "{TENANT}"
client = "{OURS}"
certificate = "{pem}"
authority = "{entra.url}"
authority_ca = "{ca}"
[[targets]]
name = "mine"
protocol = "azure"
address = "127.0.0.1:{manager.server.server_address[1]}"
host = "management.azure.com"
ca = "{ca}"
service = "arm"
[targets.accounts.self]
source = "entra:people"
[[floor]]
targets = ["mine"]
accounts = ["self"]
mode = "any"
"""


def asked_as(world: World, answer: requests.Response) -> str:
    """Return with which token Resource Manager was asked for an answer."""
    assert answer.status_code == 200, answer.text
    shown = answer.json()["value"][0]["subscriptionId"]
    tokens = (each.headers["authorization"] for each in world.manager.asked)
    return next(each for each in tokens if hashlib.sha256(each.encode()).hexdigest() == shown)


def test_each_asks_as_who_they_are(world: World) -> None:
    """Entra is asked once for a log-in, as it wants to be asked."""
    alice, bob = world.token(), world.token(BOB, name="Bob")
    assert asked_as(world, world.ask(alice)).startswith(f"Bearer azure-token-{ALICE}-")
    assert asked_as(world, world.ask(bob)).startswith(f"Bearer azure-token-{BOB}-")
    before = len(world.entra.asked)
    assert asked_as(world, world.ask(alice)).startswith(f"Bearer azure-token-{ALICE}-")
    assert len(world.entra.asked) == before
    assert world.entra.refused == []
    assert {form["assertion"] for form in world.entra.asked} >= {alice, bob}


def test_their_tokens_are_in_no_file(world: World) -> None:
    """Neither what they logged in with nor what the agent got for it, nor in any log."""
    alice = world.token()
    got = asked_as(world, world.ask(alice)).removeprefix("Bearer ")
    signature = alice.rpartition(".")[2]
    rig = world.azure.rig
    assert rig.agent is not None
    for needle in (signature, got, "refresh-"):
        for path in rig.folder.rglob("*"):
            if path.is_file():
                assert needle.encode() not in path.read_bytes(), (path, needle)
        assert needle not in rig.gateway.output
        assert needle not in rig.agent.output


def test_who_logged_in_otherwise_is_told_so(world: World) -> None:
    """A log-in of ours without Entra's token behind it, an application, another tenant."""
    session = world.azure.rig.token("mine", name="vera")
    headers = {"Authorization": f"Bearer {session}", "X-Hoopgw-Account": "self"}
    path = "/subscriptions?api-version=2021-04-01"
    refused = world._send(f"mine.{DOMAIN}", "GET", path, headers=headers)
    assert refused.status_code == 503
    assert "log in again" in refused.json()["error"]["message"]
    shift = int(time.time()) - forge.NOW
    claims = entra_app()
    app = forge.token(claims | {name: claims[name] + shift for name in ("iat", "nbf", "exp")})
    assert "log in again" in world.ask(app).json()["error"]["message"]
    tenant = "99999999-0000-0ff1-ce00-000000000000"
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    guest = world.ask(world.token(tid=tenant, iss=issuer))
    assert "may not act on behalf of" in guest.json()["error"]["message"]


def test_what_entra_wants_of_the_person_is_said(world: World) -> None:
    """As with a policy of conditional access."""
    world.entra.error = "interaction_required"
    try:
        refused = world.ask(world.token(uti="another"))
    finally:
        world.entra.error = ""
    assert refused.status_code == 503
    assert "log in again, or to consent (interaction_required)" in json.dumps(refused.json())
    assert "AADSTS" not in refused.text


def test_nobody_else_gets_what_they_logged_in_with(world: World) -> None:
    """Not without a ticket that the gateway signed for this agent."""
    world.ask(world.token())
    url = world.azure.rig.settings.control.url + "/sts/on-behalf-of"
    for form in ({}, {"ticket": "a.b.c"}, {"ticket": "x", "client_assertion": "a.b.c"}):
        answer = requests.post(
            url,
            data={"client_assertion_type": "x", **form},
            verify=str(world.azure.rig.ca),
            timeout=60,
        )
        assert answer.status_code == 401, answer.text
        assert answer.json()["error"] == "invalid_client"
