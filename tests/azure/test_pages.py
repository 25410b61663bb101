"""Tests for `hoopgw_azure.pages` and `sites`: what the gateway tells clients in its own name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final, cast
from urllib.parse import urlencode

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.http.messages import Headers, Request, RequestHead, Response
from hoopgw.http.sessions import Site
from hoopgw.identity.shown import GivenToken
from hoopgw.sessions.refusals import Refusal
from hoopgw.spi import GatewayContext
from hoopgw_azure.operations import Service
from hoopgw_azure.pages import OwnPlace, Pages
from hoopgw_azure.sites import AzureSites
from tests.azure.world import target

ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PLACE: Final = OwnPlace(domain="gw.example", port="9443")


@define(eq=False)
class Tokens:
    """Gives a token, and keeps who asked."""

    asked: list[tuple[str, list[str], str]] = field(factory=list)
    error: str = ""
    away: bool = False

    def give(
        self, proof: str, targets: Sequence[str], account: str, address: str
    ) -> Deferred[GivenToken]:
        """Give it."""
        if self.away:
            return fail(UnavailableError("control is away"))
        self.asked.append((proof, list(targets), account))
        if self.error:
            return succeed(GivenToken(error=self.error, description="no"))
        return succeed(GivenToken(token="t-1", expires_in=300))  # no secret


class PagesTests(SynchronousTestCase):
    """Pages of one listener."""

    def setUp(self) -> None:
        self.tokens = Tokens()
        services = [
            Service.of(target("arm")),
            Service.of(target("keyvault", name="kv1")),
            Service.of(target("storage", name="data")),
        ]
        self.pages = Pages(self.tokens, PLACE, services, lambda: 1000.0)

    def ask(
        self, method: str, path: str, form: Any = None, **fields: str
    ) -> tuple[Response, dict[str, Any]]:
        """Ask for a page."""
        given = [(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()]
        body = b""
        if form is not None:
            body = form if isinstance(form, bytes) else urlencode(form).encode()
            given.append((b"Content-Type", b"application/x-www-form-urlencoded"))
        request = Request(RequestHead(method, path, Headers.of(given)), body)
        answer = self.successResultOf(
            Deferred.fromCoroutine(cast("Any", self.pages.answer(request, "127.0.0.1")))
        )
        said = json.loads(answer.body)
        return answer, said

    def form(self, **changes: str | None) -> dict[str, str]:
        """Return what `az` posts."""
        given: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_id": "deployer",
            "client_assertion_type": ASSERTION,
            "client_assertion": "a.b.c",
            "scope": "https://arm.gw.example:9443//.default",
            **changes,
        }
        return {name: value for name, value in given.items() if value is not None}

    def test_the_cloud_in_both_shapes(self) -> None:
        _answer, listed = self.ask("GET", "/metadata/endpoints?api-version=2020-06-01")
        _answer, single = self.ask("GET", "/metadata/endpoints?api-version=2022-09-01")
        self.assertEqual(cast("Any", listed), [single])
        self.assertEqual(single["resourceManager"], "https://arm.gw.example:9443")
        self.assertEqual(single["suffixes"]["keyVaultDns"], "vault.gw.example:9443")
        self.assertNotIn("microsoft", json.dumps(single).replace("microsoftGraphResourceId", ""))

    def test_a_token_for_a_federated_one(self) -> None:
        answer, said = self.ask("POST", "/tenant/oauth2/v2.0/token", self.form())
        self.assertEqual((answer.status, said["access_token"]), (200, "t-1"))
        self.assertEqual(self.tokens.asked, [("a.b.c", ["arm"], "deployer")])
        self.assertEqual(answer.headers.get(b"cache-control"), b"no-store")

    def test_the_account(self) -> None:
        """A client's id that is one of Entra's names none of ours."""
        client = "9f2b1a52-7c3e-4a0e-9d43-2b8f0a1c5d6e"
        self.ask("POST", "/t/oauth2/v2.0/token", self.form(client_id=client))
        self.assertEqual(self.tokens.asked[0][2], "")

    def test_for_all_vaults(self) -> None:
        """The client does not say which: it asks for what their names end in."""
        self.pages = Pages(
            self.tokens,
            PLACE,
            [
                Service.of(target("keyvault", name="kv1")),
                Service.of(target("keyvault", name="kv2")),
            ],
        )
        self.ask(
            "POST",
            "/t/oauth2/token",
            self.form(scope=None, resource="https://vault.gw.example:9443"),
        )
        self.assertEqual(len(self.tokens.asked[0][1]), 2)

    def test_for_storage(self) -> None:
        """Its clients name a resource of the public cloud, whatever cloud they are in."""
        for scope in ("https://storage.azure.com/.default", "https://data.blob.gw.example"):
            self.tokens.asked.clear()
            answer, _said = self.ask("POST", "/t/oauth2/token", self.form(scope=scope))
            found = [asked[1] for asked in self.tokens.asked]
            self.assertEqual((answer.status, found), (200, [["storage"]]), scope)
        _answer, cloud = self.ask("GET", "/metadata/endpoints?api-version=2022-09-01")
        named = cloud["hoopgw"]["resources"]["https://storage.azure.com"]
        self.assertEqual(named, ["storage"])

    def test_what_is_for_others_is_not_asked_for(self) -> None:
        for scope in (
            "https://management.azure.com/.default",
            "https://graph.microsoft.com/.default",
            "https://gw.example.evil.example/.default",
            "https://[::1/.default",
            "",
        ):
            with self.subTest(scope=scope):
                _answer, said = self.ask("POST", "/t/oauth2/token", self.form(scope=scope))
                self.assertEqual(said["error"], "invalid_resource")
        self.assertEqual(self.tokens.asked, [])

    def test_refused(self) -> None:
        """Without asking anybody."""
        secret = self.form(client_assertion=None, client_secret="s-e-c")  # refused
        for form, code in (
            (secret, "invalid_client"),
            (self.form(client_secret="s-e-c"), "invalid_client"),  # refused
            (self.form(grant_type="password"), "unsupported_grant_type"),
            (self.form(client_assertion=None), "invalid_client"),
            (self.form(client_assertion_type="x"), "invalid_client"),
            (self.form(client_assertion="x" * 70_000), "invalid_request"),
            (b"grant_type=a&grant_type=b", "invalid_request"),
            (b"\xff", "invalid_request"),
            (urlencode([(f"f{n}", "") for n in range(60)]).encode(), "invalid_request"),
        ):
            with self.subTest(code=code):
                answer, said = self.ask("POST", "/t/oauth2/v2.0/token", form)
                self.assertEqual(said["error"], code)
                self.assertGreaterEqual(answer.status, 400)
                self.assertNotIn("s-e-c", json.dumps(said))
        self.assertEqual(self.tokens.asked, [])

    def test_what_the_token_endpoint_says_is_passed_on(self) -> None:
        for error, status in (("invalid_grant", 401), ("slow_down", 429), ("invalid_target", 400)):
            self.tokens.error = error
            answer, said = self.ask("POST", "/t/oauth2/token", self.form())
            self.assertEqual((answer.status, said["error"]), (status, error))
        self.tokens.away = True
        self.assertEqual(self.ask("POST", "/t/oauth2/token", self.form())[0].status, 503)

    def test_a_managed_identity(self) -> None:
        url = "/msi/token?resource=https%3A%2F%2Farm.gw.example%3A9443%2F&api-version=2019-08-01"
        answer, said = self.ask("GET", url, X_Identity_Header="a.b.c")
        self.assertEqual(answer.status, 200)
        self.assertEqual((said["expires_on"], said["expires_in"]), ("1300", "300"))
        self.assertEqual(self.ask("GET", url)[0].status, 401)
        self.assertEqual(self.ask("GET", url, Metadata="true")[0].status, 401)

    def test_discovery(self) -> None:
        for path in (
            "/tenant/v2.0/.well-known/openid-configuration",
            "/common/discovery/instance?api-version=1.1",
        ):
            text = json.dumps(self.ask("GET", path)[1])
            self.assertIn("https://login.gw.example:9443/", text)
            self.assertNotIn("microsoft", text)

    def test_no_other_page(self) -> None:
        for method, path in (("GET", "/"), ("POST", "/msi/token"), ("GET", "/a%2Fb"), ("GET", "*")):
            with self.subTest(path=path):
                self.assertGreaterEqual(self.ask(method, path)[0].status, 400)


class SitesTests(SynchronousTestCase):
    """Which name is what."""

    def sites(self, **listener: Any) -> AzureSites:
        """Return a listener's."""
        targets = [target("arm"), target("keyvault", name="kv1"), target("rest", operations=[])]
        context = SimpleNamespace(
            listener={"domain": "gw.example", **listener},
            targets={each.name: each for each in targets[:2]},
            tokens=Tokens(),
            mask_key=lambda: b"k" * 32,
        )
        return AzureSites(cast("GatewayContext", context))

    def find(self, host: str, path: str = "/") -> Any:
        """Return what a request is for."""
        head = RequestHead("GET", path, Headers.of([(b"Host", host.encode())]))
        return self.sites().find(head)

    def test_names(self) -> None:
        for host, name in (
            ("arm.gw.example", "arm"),
            ("ARM.gw.example:9443", "arm"),
            ("kv1.vault.gw.example:9443", "keyvault"),
        ):
            found = self.find(host)
            assert isinstance(found, Site)
            self.assertEqual(found.target.name, name)
        for host in ("gw.example", "kv1.gw.example", "arm.vault.gw.example", "127.0.0.1", ""):
            self.assertIsNone(self.find(host))

    def test_pages(self) -> None:
        self.assertTrue(callable(self.find("login.gw.example")))
        self.assertTrue(callable(self.find("arm.gw.example", "/metadata/endpoints?api-version=1")))
        self.assertIsInstance(self.find("arm.gw.example", "/metadata/endpoints/x"), Site)

    def test_a_vault_tells_where_to_log_in(self) -> None:
        site = self.find("kv1.vault.gw.example")
        assert isinstance(site, Site)
        answer = site.model.refuse(None, Refusal(kind="unauthenticated", text="log in"))
        said = answer.headers.get(b"www-authenticate") or b""
        self.assertIn(b'resource="https://vault.gw.example"', said)

    def test_options_that_make_no_sense(self) -> None:
        for domain in ("", "gw", "a b.c", "-a.b", "a.b/c"):
            with self.subTest(domain=domain):
                self.assertRaises(ConfigError, self.sites, domain=domain)
