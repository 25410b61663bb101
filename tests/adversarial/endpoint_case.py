"""A token endpoint over HTTPS to be attacked: what asks it, with good things and bad ones."""

from __future__ import annotations

import json
import time
from typing import Any

import requests
from attrs import field, frozen
from joserfc.jwk import OKPKey
from twisted.internet.threads import deferToThread

from hoopgw.events import Cap
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.jose import parse
from hoopgw.identity.tokens import target_audience
from hoopgw.identity.urns import (
    ACCESS_TOKEN,
    GRANT,
    REFRESH_GRANT,
)
from tests.adversarial.test_issuer import IssuerCase, Provider
from tests.identity import forge

ORDERS, SHOP = target_audience("orders"), target_audience("shop")


EXCHANGE = {"grant_type": GRANT, "subject_token_type": ACCESS_TOKEN}


CAP = Cap(target="orders", actions=frozenset({"Postgres::read"}))


ALL = json.dumps([{"target": "*", "actions": ["*"]}])


MORE = """
[[identity.issuers]]
alias = "machines"
issuer = "{url}"
audiences = ["hoopgw"]
groups_claim = "roles"
kind = "workload"
allow_http = true
[[targets]]
name = "shop"
protocol = "postgres"
agent = "local"
"""


def new_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", private=True)


def cnf(key: OKPKey) -> str:
    return json.dumps({"jwk": public_jwk(key)})


@frozen
class Answer:
    """What the endpoint said."""

    status: int
    body: dict[str, Any]
    headers: Any = field(repr=False)


class EndpointCase(IssuerCase):
    """Alice, logged in with a key, and a second issuer whose tokens are workloads'."""

    def setUp(self) -> None:
        self.machines = Provider()
        self.addCleanup(self.machines.stop)
        super().setUp()
        self.key = new_key()

    def more(self) -> str:
        """Configure the second issuer and a second target."""
        return MORE.format(url=self.machines.url)

    def ask(
        self,
        form: dict[str, str],
        key: OKPKey | None = None,
        path: str = "/sts/token",
        proof: str | None = None,
    ) -> Answer:
        """Post a form; blocks."""
        headers = {}
        if key is not None:
            proof = make_proof(key, "POST", self.url + path, time.time())
        if proof is not None:
            headers["DPoP"] = proof
        answer = requests.post(
            self.url + path,
            data=form,
            headers=headers,
            verify=str(self.config.paths.ca_certificate),
            timeout=60,
        )
        return Answer(answer.status_code, answer.json(), answer.headers)

    async def post(self, form: dict[str, str], key: OKPKey | None = None, **how: Any) -> Answer:
        answer: Answer = await deferToThread(self.ask, form, key, **how)
        return answer

    async def given(self, form: dict[str, str], key: OKPKey | None = None) -> dict[str, Any]:
        answer = await self.post(form, key)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.body

    async def refused(self, form: dict[str, str], key: OKPKey | None = None, **how: Any) -> Answer:
        """Ask, and see that it is refused, and not by a fault of ours."""
        answer = await self.post(form, key, **how)
        self.assertIn(answer.status, (400, 403), (form.keys(), answer.body))
        self.assertNotIn("access_token", answer.body)
        return answer

    async def begin(self, **claims: Any) -> dict[str, Any]:
        """Log Alice in."""
        return await self.given(self.form(self.made(**claims)), self.key)

    def form(self, subject: str, **more: str) -> dict[str, str]:
        return EXCHANGE | {"subject_token": subject} | more

    def refresh(self, token: str) -> dict[str, str]:
        return {"grant_type": REFRESH_GRANT, "refresh_token": token}

    def machine(self, **changes: Any) -> str:
        """Make a workload's token as the second issuer does."""
        now = int(time.time())
        values = {"iss": self.machines.url, "sub": "build-7", "azp": None, "groups": None}
        given = forge.claims(**(values | {"iat": now - 5, "exp": now + 300} | changes))
        return forge.token(given, key=forge.rsa_key("one"))

    def is_over(self, given: dict[str, Any]) -> bool:
        """Whether the log-in of a token was revoked."""
        login = parse(given["access_token"]).claims["sid"]
        return self.store.is_revoked([login])
