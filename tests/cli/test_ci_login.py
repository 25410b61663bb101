"""``hoopgw login --ci`` from each place to a gateway that takes its tokens, whole and real."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey
from twisted.internet.threads import deferToThread

from hoopgw.identity.jose import parse, sign
from tests.cli.support import Run, run
from tests.control.gateway_case import TOML, GatewayCase
from tests.identity import forge
from tests.identity.callers.shapes import (
    APP,
    APP_OID,
    CLUSTER,
    DOMAIN,
    OURS,
    TENANT,
    entra_app,
    github,
    kubernetes,
    pipeline,
    spiffe,
)
from tests.support.certificates import Authority
from tests.support.lookalike import Asked, LookAlike, Told

SPIFFE_KEY = ECKey.generate_key("P-256")


def now(claims: dict[str, Any]) -> dict[str, Any]:
    """Return claims with their moments around now instead of the forge's."""
    shift = int(time.time()) - forge.NOW
    moments = {name: claims[name] + shift for name in ("iat", "nbf", "exp") if name in claims}
    return claims | moments


class CiLoginTests(GatewayCase):
    """A gateway with an issuer of each type of workload."""

    def setUp(self) -> None:
        self.away = Path(tempfile.mkdtemp(prefix="hg-ci-"))
        self.addCleanup(shutil.rmtree, self.away)
        keys, bundle = self.away / "keys.json", self.away / "bundle.json"
        keys.write_bytes(forge.key_set(forge.public_jwk(forge.rsa_key(), "one")))
        x509 = {"use": "x509-svid", "kty": "EC", "kid": "x", "x5c": ["MIIB"]}
        svids = forge.public_jwk(SPIFFE_KEY, "svid", use="jwt-svid")
        bundle.write_text(
            json.dumps({"keys": [x509, svids], "spiffe_sequence": 1, "spiffe_refresh_hint": 300})
        )
        self.toml = (
            TOML
            + f"""
[[identity.issuers]]
type = "github-actions"
alias = "gha"
audiences = ["https://gw.example"]
required = {{{{ repository_owner_id = ["65"] }}}}
jwks_file = "{keys}"
[identity.issuers.persons]
ids = {{{{ "12" = "corp|alice-1" }}}}
[[identity.issuers]]
type = "kubernetes"
alias = "k8s"
issuer = "{CLUSTER}"
audiences = ["hoopgw"]
service_accounts = ["orders/*"]
jwks_file = "{keys}"
[[identity.issuers]]
type = "spiffe"
alias = "mesh"
trust_domain = "{DOMAIN}"
audiences = ["hoopgw"]
jwks_file = "{bundle}"
[[identity.issuers]]
type = "azure-devops"
alias = "ado"
tenant = "{TENANT}"
audiences = ["{OURS}"]
clients = ["{APP}"]
jwks_file = "{keys}"
"""
        )
        super().setUp()
        authority = Authority.make()
        self.ca = authority.write(self.away / "ca.pem")
        self.services = LookAlike(self.answer, authority.issue(self.away, "services"))
        self.addCleanup(self.services.stop)

    def answer(self, asked: Asked) -> Told:
        """Answer as GitHub's runner, Azure DevOps, or Entra ID."""
        if asked.path.startswith("/github"):
            return Told(body={"value": forge.token(now(github()))})
        if asked.path.startswith("/ado"):
            return Told(body={"oidcToken": forge.token(now(pipeline()))})
        return Told(body={"access_token": forge.token(now(entra_app()))})

    async def login(self, environ: Mapping[str, str], *more: str | Path) -> Run:
        """Log in."""
        clean = dict.fromkeys(("HOOPGW_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"), "")
        arguments: list[str | Path] = ["--home", self.folder / "home", "--gateway", self.url]
        arguments += ["--ca", self.config.paths.ca_certificate, "login", "--issuer-ca", self.ca]
        done: Run = await deferToThread(
            run, *arguments, "--ci", "--json", *more, env={**clean, **environ}
        )
        return done

    def claims(self) -> Mapping[str, Any]:
        """Return the claims of the gateway's token that was kept."""
        kept = json.loads((self.folder / "home" / "login.json").read_text())
        return parse(kept["token"]).claims

    async def test_github(self) -> None:
        """The repository is logged in, and the run and its person go with the token."""
        done = await self.login(
            {
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.services.url}/github?v=1",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner",
            }
        )
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertEqual(done.json["chain"][0]["id"], "gha|74")
        claims = self.claims()
        self.assertEqual(claims["origin"]["persons"], ["corp|alice-1"])
        self.assertEqual(claims["origin"]["attributes"]["run_id"], "32291736541")
        self.assertEqual(claims["attributes"]["repositoryId"], "74")

    async def test_azure_devops(self) -> None:
        """The service connection's identity is; the pipeline's own token never comes here."""
        done = await self.login(
            {
                "SYSTEM_OIDCREQUESTURI": f"{self.services.url}/ado",
                "SYSTEM_ACCESSTOKEN": "job",
                "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "c0ffee",
                "AZURESUBSCRIPTION_CLIENT_ID": APP,
                "AZURESUBSCRIPTION_TENANT_ID": TENANT,
                "AZURE_AUTHORITY_HOST": self.services.url,
            }
        )
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertEqual(done.json["chain"][0]["id"], f"ado|{APP_OID}")

    async def test_the_pipelines_own_token(self) -> None:
        """It is refused, without a word of it in the log."""
        raw = forge.token(now(pipeline()))
        done = await self.login({"HOOPGW_ID_TOKEN": raw})
        self.assertEqual(done.status, 1)
        self.assertNotIn(raw.split(".")[1], done.errors)

    async def test_kubernetes(self) -> None:
        """From the projected file."""
        file = self.away / "token"
        file.write_text(forge.token(now(kubernetes()), typ=None))
        done = await self.login({"HOOPGW_ID_TOKEN_FILE": str(file)})
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertEqual(done.json["path"], "orders/migrator")
        self.assertEqual(self.claims()["origin"]["attributes"]["pod.name"], "migrator-x7k2p")

    async def test_spiffe(self) -> None:
        """With a key of the trust domain's bundle, which has keys of other uses too."""
        header = {"alg": "ES256", "kid": "svid", "typ": "JWT"}
        svid = sign(header, now(spiffe()), SPIFFE_KEY)
        done = await self.login({"HOOPGW_ID_TOKEN": svid}, "--from", "token")
        self.assertEqual((done.status, done.errors), (0, ""))
        self.assertEqual(done.json["path"], f"{DOMAIN}/ns/orders/sa/migrator")
