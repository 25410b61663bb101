"""Tests for `hoopgw.identity.login`, `browser` and `entra`: what needs no provider."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msal  # type: ignore[import-untyped]  # msal has no type information
import requests
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity.browser import log_in_with_browser
from hoopgw.identity.entra import is_entra, log_in_at_entra
from hoopgw.identity.login import (
    DeviceCode,
    LoginError,
    LoginIssuer,
    Provider,
    ambient_token,
    exchange_form,
    log_in_with_device,
)
from hoopgw.identity.urns import ACCESS_TOKEN, ID_TOKEN, JWT
from tests.identity.forge import CLIENT, ISSUER, claims, token

CORP = LoginIssuer(alias="corp", issuer=ISSUER, client_id=CLIENT)


def description(*issuers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gateway's description."""
    return {"gateway": "https://gw.example", "issuers": list(issuers)}


class ChooseTests(SynchronousTestCase):
    """Tests for `LoginIssuer.choose`."""

    corp: Mapping[str, Any] = {"alias": "corp", "issuer": ISSUER, "client_id": CLIENT}
    other: Mapping[str, Any] = {"alias": "o", "issuer": "https://o.example", "client_id": "x"}
    workload: Mapping[str, Any] = {"alias": "ci", "issuer": "https://ci.example", "client_id": ""}

    def test_the_only_one(self) -> None:
        """Issuers that nobody can log in with do not count."""
        self.assertEqual(LoginIssuer.choose(description(self.corp, self.workload)), CORP)

    def test_several(self) -> None:
        """One must be named, and the error says which there are."""
        both = description(self.corp, self.other)
        with self.assertRaisesRegex(LoginError, "corp, o"):
            LoginIssuer.choose(both)
        self.assertEqual(LoginIssuer.choose(both, "corp"), CORP)

    def test_none(self) -> None:
        """Neither an unknown one, nor one without a client."""
        for given, alias in (
            (description(), None),
            (description(self.workload), None),
            (description(self.corp), "other"),
            (description(self.workload), "ci"),
        ):
            self.assertRaises(LoginError, LoginIssuer.choose, given, alias)

    def test_garbage(self) -> None:
        """A description that is none is told as such."""
        wrong: list[Any] = [{}, {"issuers": 5}, {"issuers": [5]}, {"issuers": [{}]}, []]
        for given in wrong:
            self.assertRaises(LoginError, LoginIssuer.choose, given)


class AmbientTests(SynchronousTestCase):
    """Tests for `ambient_token`."""

    def test_file(self) -> None:
        """The file's token, whatever line end it has."""
        path = Path(self.mktemp())
        path.write_text(token() + "\r\n")
        found = ambient_token(path, None, {})
        self.assertEqual((found.token, found.kind), (token(), JWT))
        self.assertNotIn(token(), repr(found))

    def test_environment(self) -> None:
        """The variable that is named, or the usual one."""
        self.assertEqual(ambient_token(None, "MY", {"MY": token()}).token, token())
        self.assertEqual(ambient_token(None, None, {"HOOPGW_ID_TOKEN": token()}).token, token())

    def test_none(self) -> None:
        """No file, an empty one, one that holds something else: told without what it holds."""
        path = Path(self.mktemp())
        self.assertRaises(LoginError, ambient_token, path, None, {})
        for content in ("", "secret", "a.b.c", "s" * 100_000):
            path.write_text(content)
            with self.assertRaises(LoginError) as caught:
                ambient_token(path, None, {})
            self.assertNotIn("secret", str(caught.exception).replace(str(path), ""))
        self.assertRaises(LoginError, ambient_token, None, "MY", {})


class FakeProvider(Provider):
    """A provider whose token endpoint answers from a list, and which keeps what it was asked."""

    def endpoint(self, name: str) -> str:
        return f"https://idp.example/{name}"

    def redeem(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.metadata["asked"].append(dict(form))
        answer: tuple[int, dict[str, Any]] = self.metadata["answers"].pop(0)
        return answer


def fake(*answers: tuple[int, dict[str, Any]]) -> FakeProvider:
    """Return a provider with these answers."""
    return FakeProvider(CORP, {"answers": list(answers), "asked": []})


class BrowserTests(SynchronousTestCase):
    """Tests for `log_in_with_browser`, with a browser that does what it likes."""

    def log_in(
        self,
        visit: Callable[[str, dict[str, str]], None],
        provider: FakeProvider,
        patience: float = 20.0,
    ) -> Any:
        threads: list[threading.Thread] = []

        def open_url(url: str) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
            self.asked = asked
            threads.append(threading.Thread(target=visit, args=(asked["redirect_uri"], asked)))
            threads[0].start()

        try:
            return log_in_with_browser(provider, open_url, patience=patience)
        finally:
            for thread in threads:
                thread.join()

    def test_good(self) -> None:
        """The code is redeemed with the verifier of the challenge, and the nonce checked."""
        provider = fake((200, {}))

        def visit(url: str, asked: dict[str, str]) -> None:
            given = claims(aud=CLIENT, nonce=asked["nonce"])
            provider.metadata["answers"][0] = (200, {"id_token": token(given)})
            requests.get(url, params={"code": "c", "state": asked["state"]}, timeout=60)

        found = self.log_in(visit, provider)
        self.assertEqual((found.kind, found.nonce), (ID_TOKEN, self.asked["nonce"]))
        self.assertEqual(exchange_form(found)["nonce"], self.asked["nonce"])
        form = provider.metadata["asked"][0]
        self.assertEqual((form["code"], form["redirect_uri"]), ("c", self.asked["redirect_uri"]))
        self.assertEqual(self.asked["code_challenge_method"], "S256")
        self.assertGreaterEqual(len(form["code_verifier"]), 43)

    def test_what_others_send(self) -> None:
        """Other paths, another state, a doubled parameter and another issuer are ignored."""
        statuses: list[int] = []

        def visit(url: str, asked: dict[str, str]) -> None:
            state = asked["state"]
            wrong = (
                url.replace("/callback", "/favicon.ico"),
                f"{url}?code=evil&state=wrong",
                f"{url}?code=evil",
                f"{url}?code=evil&code=evil&state={state}",
                f"{url}?code=evil&state={state}&iss=https://evil.example",
            )
            statuses.extend(requests.get(one, timeout=60).status_code for one in wrong)
            requests.get(f"{url}?error=access_denied&state={state}", timeout=60)

        with self.assertRaisesRegex(LoginError, "access_denied"):
            self.log_in(visit, fake())
        self.assertEqual(statuses, [404] * 5)

    def test_another_nonce(self) -> None:
        """An ID token of another log-in is refused here already."""

        def visit(url: str, asked: dict[str, str]) -> None:
            requests.get(url, params={"code": "c", "state": asked["state"]}, timeout=60)

        for given in (claims(nonce="other"), claims()):
            with self.assertRaisesRegex(LoginError, "another log-in"):
                self.log_in(visit, fake((200, {"id_token": token(given)})))

    def test_refused_code(self) -> None:
        """What the issuer says is shown, without what repaints a terminal."""

        def visit(url: str, asked: dict[str, str]) -> None:
            requests.get(url, params={"code": "c", "state": asked["state"]}, timeout=60)

        answer = {"error": "invalid_grant", "error_description": "\x1b[2Jbad"}
        with self.assertRaises(LoginError) as caught:
            self.log_in(visit, fake((400, answer)))
        self.assertIn("invalid_grant", str(caught.exception))
        self.assertTrue(str(caught.exception).isprintable())

    def test_nobody(self) -> None:
        """Silence ends."""
        with self.assertRaisesRegex(LoginError, "in time"):
            self.log_in(lambda _url, _asked: None, fake(), patience=0.05)


class ProviderTests(SynchronousTestCase):
    """What `Provider` trusts."""

    def test_plain_http(self) -> None:
        """An issuer that the gateway names must be https, or on this machine."""
        for url in ("http://idp.example", "file:///etc", "https://user@idp.example", ""):
            issuer = LoginIssuer(alias="x", issuer=url, client_id="c")
            with self.assertRaisesRegex(LoginError, "cannot be used"):
                Provider.discover(issuer)

    def test_endpoints(self) -> None:
        """So must its endpoints."""
        for url in (None, 5, "http://idp.example/token", "javascript:x"):
            provider = Provider(CORP, {"token_endpoint": url})
            self.assertRaises(LoginError, provider.endpoint, "token_endpoint")
        provider = Provider(CORP, {})
        with self.assertRaisesRegex(LoginError, "no device authorization endpoint"):
            log_in_with_device(provider, lambda _code: None)


ENTRA = LoginIssuer(
    alias="entra",
    issuer="https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
    client_id="66666666-7777-8888-9999-000000000000",
)


class MicrosoftAnswer:
    """An answer as msal wants it."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status_code = status
        self.text = json.dumps(body)
        self.headers: dict[str, str] = {}

    def raise_for_status(self) -> None:
        """Never raise: msal looks at the status."""


class Microsoft:
    """Plays Entra ID to the real msal."""

    def __init__(self, *answers: tuple[int, Mapping[str, Any]]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def get(self, url: str, **_: Any) -> MicrosoftAnswer:
        base = ENTRA.issuer.removesuffix("/v2.0")
        return MicrosoftAnswer(
            200,
            {
                "issuer": ENTRA.issuer,
                "authorization_endpoint": base + "/oauth2/v2.0/authorize",
                "token_endpoint": base + "/oauth2/v2.0/token",
                "device_authorization_endpoint": base + "/oauth2/v2.0/devicecode",
                "tenant_discovery_endpoint": url,
                "metadata": [],
            },
        )

    def post(self, url: str, data: Mapping[str, Any], **_: Any) -> MicrosoftAnswer:
        self.asked.append((url, dict(data)))
        return MicrosoftAnswer(*self.answers.pop(0))

    def close(self) -> None:
        """Nothing is open."""


class EntraTests(SynchronousTestCase):
    """Tests for `hoopgw.identity.entra`, with the real msal and without Entra ID."""

    flow: Mapping[str, Any] = {
        "user_code": "ABCD1234",
        "device_code": "d",
        "verification_uri": "https://microsoft.com/devicelogin",
        "expires_in": 900,
        "interval": 0,
        "message": "x",
    }

    def application(self, *answers: tuple[int, Mapping[str, Any]]) -> Any:
        self.microsoft = Microsoft(*answers)
        return msal.PublicClientApplication(
            ENTRA.client_id,
            authority=ENTRA.issuer.removesuffix("/v2.0"),
            exclude_scopes=["offline_access"],
            http_client=self.microsoft,
        )

    def given(self) -> dict[str, Any]:
        now = int(time.time())
        identity = claims(
            iss=ENTRA.issuer, aud=ENTRA.client_id, iat=now, exp=now + 600, nbf=now, oid="o-1"
        )
        return {
            "token_type": "Bearer",
            "scope": "openid profile",
            "expires_in": 3600,
            "access_token": "for Graph",
            "id_token": token(identity),
        }

    def test_which(self) -> None:
        """Only Microsoft's own hosts are Entra ID."""
        self.assertTrue(is_entra(ENTRA))
        for url in (ISSUER, "https://login.microsoftonline.com.evil.example/x"):
            self.assertFalse(is_entra(LoginIssuer(alias="x", issuer=url, client_id="c")))

    def test_device(self) -> None:
        """The ID token comes out; no refresh token was asked for."""
        shown: list[DeviceCode] = []
        app = self.application((200, self.flow), (200, self.given()))
        found = log_in_at_entra(app, ENTRA, shown.append)
        self.assertEqual(found.kind, ID_TOKEN)
        self.assertEqual(shown[0].code, "ABCD1234")
        self.assertNotIn("offline_access", str(self.microsoft.asked))

    def test_an_access_token_where_agents_act_for_people(self) -> None:
        """One for the gateway is asked for, and taken; another is not."""
        issuer = evolve(ENTRA, audiences=frozenset({"our-api"}), wants_access=True)
        ours = token(claims(iss=ENTRA.issuer, aud="our-api"))
        for access, kind in ((ours, ACCESS_TOKEN), ("for Graph", ID_TOKEN)):
            given = self.given() | {"access_token": access}
            app = self.application((200, self.flow), (200, given))
            self.assertEqual(log_in_at_entra(app, issuer, lambda _c: None).kind, kind)
            self.assertIn("our-api/.default", str(self.microsoft.asked))

    def test_refused(self) -> None:
        """What Entra ID says is shown."""
        refusal = {"error": "access_denied", "error_description": "AADSTS65004: declined"}
        with self.assertRaisesRegex(LoginError, "AADSTS65004"):
            log_in_at_entra(
                self.application((200, self.flow), (400, refusal)), ENTRA, lambda _c: None
            )
        with self.assertRaisesRegex(LoginError, "no device code"):
            log_in_at_entra(self.application((400, refusal)), ENTRA, lambda _c: None)

    def test_broken(self) -> None:
        """Whatever msal raises is one error, without its text."""

        class Broken:
            def initiate_device_flow(self, scopes: Sequence[str]) -> dict[str, Any]:
                raise ValueError(f"secret {scopes}")

            def acquire_token_by_device_flow(self, flow: dict[str, Any]) -> dict[str, Any]:
                raise NotImplementedError

            def acquire_token_interactive(
                self, scopes: Sequence[str], timeout: float
            ) -> dict[str, Any]:
                return {"error": "x", "error_description": f"{scopes} {timeout}"}

        with self.assertRaises(LoginError) as caught:
            log_in_at_entra(Broken(), ENTRA, lambda _c: None)
        self.assertNotIn("secret", str(caught.exception))
        with self.assertRaisesRegex(LoginError, "Entra ID refused: x"):
            log_in_at_entra(Broken(), ENTRA)
