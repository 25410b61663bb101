"""People who log in at Entra ID in a browser, with the real msal: code and PKCE."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import webbrowser
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msal  # type: ignore[import-untyped]  # msal has no type information
import requests
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.identity import entra
from hoopgw.identity.entra import is_entra, log_in_at_entra
from hoopgw.identity.jose import parse
from hoopgw.identity.login import LoginError, LoginIssuer
from hoopgw.identity.oidc import TokenUse
from hoopgw.identity.urns import ID_TOKEN
from tests.identity.callers.shapes import ALICE, CLI, V2, entra_person, issuers_of, settings_of
from tests.identity.forge import NOW, run, token
from tests.identity.test_login import Microsoft, MicrosoftAnswer

ENTRA = LoginIssuer(alias="corp", type="entra", issuer=V2, client_id=CLI)


class Browser(Microsoft):
    """A person's browser, and Entra ID behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, str] = {}
        self.sent: dict[str, Any] = {}
        self.answer: Mapping[str, str] = {"code": "the-code"}
        self.claims: Mapping[str, Any] = {}

    def open(self, url: str, *_: object) -> bool:
        """Log in, and come back."""
        self.shown = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        given = {"state": self.shown["state"], **self.answer}
        self.back = threading.Thread(target=self.go_back, args=(given,))
        self.back.start()
        return True

    def go_back(self, given: Mapping[str, str]) -> None:
        """Bring the answer, in the form that msal asks for."""
        requests.post(self.shown["redirect_uri"], data=given, timeout=60)

    def post(self, url: str, data: Mapping[str, Any], **_: Any) -> MicrosoftAnswer:
        """Redeem the code."""
        self.sent = dict(data)
        now = int(time.time())
        moments = {"iat": now, "nbf": now, "exp": now + 3600}
        nonce = {"nonce": self.shown["nonce"]}
        claims = entra_person(**{"aud": CLI, "azp": None, "scp": None} | moments | nonce)
        answer = {"token_type": "Bearer", "expires_in": 3600, "access_token": "for Graph"}
        return MicrosoftAnswer(200, answer | {"id_token": token(claims | dict(self.claims))})


class BrowserTests(SynchronousTestCase):
    """Tests of `log_in_at_entra` without a device code."""

    def setUp(self) -> None:
        self.browser = Browser()
        self.patch(webbrowser, "open", self.browser.open)
        self.patch(entra, "PATIENCE", 5.0)
        self.app = msal.PublicClientApplication(
            CLI,
            authority=V2.removesuffix("/v2.0"),
            exclude_scopes=["offline_access"],
            http_client=self.browser,
            instance_discovery=False,
        )

    def test_log_in(self) -> None:
        """The code is bound to who asked for it, and the gateway takes what comes out."""
        found = log_in_at_entra(self.app, ENTRA)
        self.assertEqual(found.kind, ID_TOKEN)
        challenge = hashlib.sha256(str(self.browser.sent["code_verifier"]).encode()).digest()
        wanted = base64.urlsafe_b64encode(challenge).rstrip(b"=").decode()
        self.assertEqual(self.browser.shown["code_challenge"], wanted)
        self.assertEqual(self.browser.shown["code_challenge_method"], "S256")
        self.assertEqual(self.browser.shown["response_mode"], "form_post")
        self.assertTrue(self.browser.shown["redirect_uri"].startswith("http://localhost:"))
        self.assertNotIn("offline_access", self.browser.shown["scope"])
        claims = dict(parse(found.token).claims) | {"iat": NOW, "nbf": NOW, "exp": NOW + 60}
        issuers = issuers_of(settings_of("entra"))
        who = run(issuers.authenticate(token(claims), TokenUse.ID))
        self.assertEqual((who.hop.id, who.hop.kind), (f"corp|{ALICE}", "person"))

    def test_a_token_of_another_log_in(self) -> None:
        """Whoever put another's token in is found out by its nonce."""
        self.browser.claims = {"nonce": "another"}
        self.assertRaises(LoginError, log_in_at_entra, self.app, ENTRA)

    def test_refused(self) -> None:
        """What Entra ID says is told."""
        description = "AADSTS65004: declined"
        self.browser.answer = {"error": "access_denied", "error_description": description}
        with self.assertRaisesRegex(LoginError, "AADSTS65004"):
            log_in_at_entra(self.app, ENTRA)

    def test_which(self) -> None:
        """The gateway says so; clouds of other names are Entra ID too."""
        self.assertTrue(is_entra(ENTRA))
        other = LoginIssuer(alias="x", issuer="https://login.partner.example/t/v2.0", client_id="c")
        self.assertFalse(is_entra(other))
        described = {"issuers": [{"alias": "x", "type": "entra", "issuer": "i", "client_id": "c"}]}
        self.assertTrue(is_entra(LoginIssuer.choose(described)))
