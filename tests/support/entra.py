"""Entra's token endpoint, as far as on-behalf-of goes: it looks at all that Entra looks at."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import RSAKey

from hoopgw.errors import AuthenticationError
from hoopgw.identity.jose import PublicKey, parse, verify
from tests.support.certificates import Authority, _builder
from tests.support.lookalike import Asked, LookAlike, Told

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def client_certificate(folder: Path) -> tuple[Path, x509.Certificate]:
    """Write what an application proves itself with: a certificate and its key, in one PEM file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hoopgw agent")])
    certificate = _builder(name, name, key).sign(key, hashes.SHA256())  # type: ignore[arg-type]  # an RSA key will do
    path = folder / "client.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path, certificate


@define(eq=False, kw_only=True)
class Entra:
    """One tenant, with one application that may act on behalf of people.

    A refusal is an answer with a reason in ``refused``; what was asked is in ``asked``.
    """

    tenant: str
    client: str
    certificate: x509.Certificate
    server: LookAlike = field(init=False)
    asked: list[Mapping[str, str]] = field(factory=list, init=False)
    refused: list[str] = field(factory=list, init=False)
    refresh: dict[str, str] = field(factory=dict, init=False)
    """Refresh tokens, and whose each is."""
    lifetime: int = 3600
    error: str = ""
    """What every request is answered with."""
    _given: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def start(self, folder: Path, authority: Authority) -> None:
        """Listen."""
        self.server = LookAlike(self.answer, authority.issue(folder, "entra"))

    @property
    def url(self) -> str:
        """The authority."""
        return self.server.url

    def answer(self, asked: Asked) -> Told:
        """Answer one request; many threads ask at once."""
        base = f"{self.url}/{self.tenant}"
        if asked.path.partition("?")[0] == f"/{self.tenant}/v2.0/.well-known/openid-configuration":
            found = {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            }
            return Told(200, found)
        if asked.method != "POST" or asked.path != f"/{self.tenant}/oauth2/v2.0/token":
            return Told(404, {"error": "not_found"})
        form = dict(parse_qsl(asked.body.decode(), strict_parsing=True))
        with self._lock:
            self.asked.append(form)
            return self._token(form, f"{base}/oauth2/v2.0/token")

    def _token(self, form: Mapping[str, str], url: str) -> Told:
        if self.error:
            return Told(400, {"error": self.error, "error_description": "AADSTS00000: no"})
        if problem := self._client(form, url):
            return self._refuse("invalid_client", problem)
        if form.get("grant_type") == "refresh_token":
            who = self.refresh.get(form.get("refresh_token", ""))
            return self._give(who) if who else self._refuse("invalid_grant", "refresh token")
        if form.get("grant_type") != GRANT or form.get("requested_token_use") != "on_behalf_of":
            return self._refuse("unsupported_grant_type", str(sorted(form)))
        claims: Mapping[str, Any] = parse(form.get("assertion", "")).claims
        if claims.get("aud") != self.client:
            return self._refuse("invalid_grant", "the assertion is for another application")
        if claims["exp"] <= time.time():
            return self._refuse("invalid_grant", "the assertion is over")
        if "https://management.azure.com/.default" not in form.get("scope", "").split(" "):
            return self._refuse("invalid_scope", form.get("scope", ""))
        return self._give(str(claims["oid"]))

    def _client(self, form: Mapping[str, str], url: str) -> str:
        """Return what is wrong with how the application proves itself."""
        if form.get("client_id") != self.client or form.get("client_assertion_type") != ASSERTION:
            return "not the application"
        pem = self.certificate.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        token = parse(form["client_assertion"])
        try:
            verify(token, PublicKey(RSAKey.import_key(pem)), ("PS256",))
        except AuthenticationError as error:
            return str(error)
        der = self.certificate.public_bytes(Encoding.DER)
        print_ = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
        claims: Mapping[str, Any] = token.claims
        good = (
            str(token.header.get("x5t#S256")).rstrip("=") == print_
            and claims["aud"] == url
            and claims["iss"] == claims["sub"] == self.client
            and claims["exp"] > time.time()
        )
        return "" if good else f"the client assertion: {token.header}, {claims}"

    def _give(self, who: str) -> Told:
        self._given += 1
        refresh = f"refresh-{who}-{self._given}"
        self.refresh[refresh] = who
        info = {"uid": who, "utid": self.tenant}
        id_token: list[Mapping[str, Any]] = [
            {"alg": "none"},
            {
                "iss": f"{self.url}/{self.tenant}/v2.0",
                "aud": self.client,
                "sub": who,
                "oid": who,
                "tid": self.tenant,
                "preferred_username": f"{who}@example.com",
                "iat": int(time.time()),
                "exp": int(time.time()) + 3600,
            },
        ]
        return Told(
            200,
            {
                "token_type": "Bearer",
                "scope": "https://management.azure.com/user_impersonation",
                "expires_in": self.lifetime,
                "access_token": f"azure-token-{who}-{self._given}",
                "refresh_token": refresh,
                "id_token": ".".join([*map(_encoded, id_token), ""]),
                "client_info": _encoded(info),
            },
        )

    def _refuse(self, code: str, why: str) -> Told:
        self.refused.append(why)
        return Told(400, {"error": code, "error_description": "AADSTS00000: no"})


def _encoded(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
