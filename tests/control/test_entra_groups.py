"""People of Entra ID with many groups, against look-alikes of Entra ID and Graph with real TLS."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from joserfc.jwk import OKPKey
from twisted.internet.defer import Deferred

from hoopgw.identity import graph
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.jose import parse
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, REFRESH_GRANT
from tests.control.gateway_case import TOML, GatewayCase
from tests.identity import forge
from tests.identity.callers.shapes import ALICE, CLI, OURS, TENANT, entra_person
from tests.support.certificates import Authority
from tests.support.lookalike import Asked, LookAlike, Told

SECRET = "graph~client~secret"
DBA, DEVS = "fee2c45b-915a-4a64-b130-f4eb9e75525e", "4fe90ae7-065a-478b-9400-e0a0e1cbd540"
OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://evil.example/v1.0/users/x/getMemberObjects"}},
}


class Microsoft:
    """What Entra ID and Graph know, and how they feel today."""

    def __init__(self) -> None:
        self.groups = [DBA, DEVS, "9f4bbe4a-1111-2222-3333-444444444444"]
        self.enabled = True
        self.trouble: Told | None = None
        self.speaks = threading.Event()
        self.speaks.set()

    def answer(self, asked: Asked) -> Told:
        """Answer as documented."""
        path = asked.path.partition("?")[0]
        if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            base = f"https://{asked.headers['host']}/{TENANT}"
            return Told(
                body={
                    "issuer": f"{base}/v2.0",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                }
            )
        if path == f"/{TENANT}/oauth2/v2.0/token":
            form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
            scope = f"https://{asked.headers['host']}/.default"
            if (form["client_secret"], form["scope"].split()[0]) != (SECRET, scope):
                return Told(401, {"error": "invalid_client", "error_description": SECRET})
            return Told(body={"access_token": "graph", "expires_in": 3599, "token_type": "Bearer"})
        if asked.headers.get("authorization") != "Bearer graph":
            return Told(401, {"error": {"code": "InvalidAuthenticationToken"}})
        return self.graph(asked, path)

    def graph(self, asked: Asked, path: str) -> Told:
        """Answer as Graph."""
        self.speaks.wait()
        if self.trouble is not None:
            return self.trouble
        if path == f"/v1.0/users/{ALICE}":
            return Told(body={"accountEnabled": self.enabled})
        if path != f"/v1.0/users/{ALICE}/getMemberObjects":
            return Told(404, {"error": {"code": "Request_ResourceNotFound"}})
        half = len(self.groups) // 2
        if asked.method == "POST":
            following = f"https://{asked.headers['host']}{path}?$skiptoken=2"
            return Told(body={"value": self.groups[:half], "@odata.nextLink": following})
        return Told(body={"value": self.groups[half:]})


class EntraCase(GatewayCase):
    """A gateway that takes tokens of a tenant, and may ask its Graph."""

    def setUp(self) -> None:
        self.microsoft = Microsoft()
        self.away = Path(tempfile.mkdtemp(prefix="hg-entra-"))
        self.addCleanup(shutil.rmtree, self.away)
        authority = Authority.make()
        ca = authority.write(self.away / "ca.pem")
        self.server = LookAlike(self.microsoft.answer, authority.issue(self.away, "ms"))
        self.addCleanup(self.server.stop)
        secret = self.away / "secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET + "\n")
        keys = self.away / "keys.json"
        keys.write_bytes(forge.key_set(forge.public_jwk(forge.rsa_key(), "one")))
        self.toml = (
            TOML
            + f"""
[[identity.issuers]]
type = "entra"
alias = "corp"
tenant = "{TENANT}"
client_id = "{CLI}"
audiences = ["{OURS}"]
jwks_file = "{keys}"
[identity.issuers.group_names]
"{DBA}" = "dba"
"{DEVS}" = "dev"
[identity.issuers.graph]
url = "{self.server.url}/v1.0"
authority = "{self.server.url}"
client_id = "{CLI}"
credential = "secret-file:{secret}"
ca = "{ca}"
"""
        )
        super().setUp()
        self.key = OKPKey.generate_key("Ed25519")

    async def ask(self, **form: str) -> Any:
        """Ask the token endpoint, with a proof of the key."""
        proof = make_proof(self.key, "POST", f"{self.url}/sts/token", time.time())
        return await self.call("POST", "/sts/token", headers={"DPoP": proof}, data=form)

    async def login(self, **changes: Any) -> Any:
        """Log in with a token that leaves the groups out."""
        now = int(time.time())
        moments = {"iat": now - 5, "nbf": now - 5, "exp": now + 4000}
        token = forge.token(entra_person(**({"groups": None} | moments | OVERAGE | changes)))
        kind = {"subject_token": token, "subject_token_type": ACCESS_TOKEN}
        return await self.ask(grant_type=GRANT, **kind)

    def groups(self, answer: Any) -> list[str]:
        """Return the groups of the token that was given."""
        self.assertEqual(answer.status, 200, answer.body)
        found: list[str] = parse(answer.body["access_token"]).claims["groups"]
        return found

    def questions(self) -> list[str]:
        """Name what Graph was asked."""
        return [f"{a.method} {a.path}" for a in self.server.asked if a.path.startswith("/v1.0/")]


class GroupsTests(EntraCase):
    """Overage, and its end."""

    async def test_overage(self) -> None:
        """Graph is asked, at our URL, and only groups with a name here count."""
        self.assertEqual(self.groups(await self.login()), ["dba", "dev"])
        self.assertEqual(
            self.questions(),
            [
                f"GET /v1.0/users/{ALICE}?$select=accountEnabled",
                f"POST /v1.0/users/{ALICE}/getMemberObjects",
                f"GET /v1.0/users/{ALICE}/getMemberObjects?$skiptoken=2",
            ],
        )
        self.assertEqual(self.groups(await self.login()), ["dba", "dev"])
        self.assertEqual(len(self.questions()), 3)

    async def test_groups_of_the_token(self) -> None:
        """If they are there, nobody is asked."""
        answer = await self.login(groups=[DBA, "other"], _claim_names=None, _claim_sources=None)
        self.assertEqual(self.groups(answer), ["dba"])
        self.assertEqual(self.questions(), [])

    async def test_removal(self) -> None:
        """A refresh asks again: who was taken out of a group has it no more."""
        self.patch(graph, "KEPT", 0.0)
        first = await self.login()
        self.assertEqual(self.groups(first), ["dba", "dev"])
        self.microsoft.groups.remove(DBA)
        refresh = {"grant_type": REFRESH_GRANT, "refresh_token": first.body["refresh_token"]}
        second = await self.ask(**refresh)
        self.assertEqual(self.groups(second), ["dev"])
        self.microsoft.enabled = False
        third = await self.ask(grant_type=REFRESH_GRANT, refresh_token=second.body["refresh_token"])
        self.assertEqual((third.status, third.body["error"]), (400, "invalid_grant"))
        self.microsoft.enabled = True
        refresh["refresh_token"] = second.body["refresh_token"]
        self.assertEqual((await self.ask(**refresh)).status, 400)

    async def test_trouble(self) -> None:
        """Whatever is wrong with Graph: nobody is let in, and it says that it is for now."""
        for trouble in (
            Told(403, {"error": {"code": "Authorization_RequestDenied"}}),
            Told(429, {}, {"Retry-After": "120"}),
            Told(200, b"<html>"),
            Told(302, b"", {"Location": "https://127.0.0.1:1/"}),
        ):
            self.microsoft.trouble = trouble
            answer = await self.login()
            self.assertEqual(
                (answer.status, answer.body["error"]), (503, "temporarily_unavailable")
            )

    async def test_slow(self) -> None:
        """It is not waited for without end, and others are served meanwhile."""
        self.patch(graph, "PATIENCE", 0.3)
        self.microsoft.speaks.clear()
        self.addCleanup(self.microsoft.speaks.set)
        asking = Deferred.fromCoroutine(self.login())
        self.assertEqual((await self.call("GET", "/healthz")).status, 200)
        self.assertEqual((await asking).status, 503)

    async def test_who_is_gone(self) -> None:
        """A token may be older than the account's end."""
        self.microsoft.enabled = False
        answer = await self.login()
        self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_grant"))

    async def test_a_wrong_secret(self) -> None:
        """Entra ID's answer is not repeated to anybody."""
        (self.away / "secret").write_text("wrong")
        answer = await self.login()
        self.assertEqual(answer.status, 503)
        self.assertNotIn(SECRET, str(answer.body))

    async def test_a_secret_that_others_can_read(self) -> None:
        """It is not used."""
        (self.away / "secret").chmod(0o644)
        self.assertEqual((await self.login()).status, 503)
        self.assertEqual(self.server.asked, [])
