"""How an agent says who it is over HTTPS: a small token, signed with its link key.

The certificate comes in the header (``x5c``) and must be from the link's CA; it says the agent's
name. Good for one URL, once, for a minute. Whether the agent is still enrolled must be asked of the
store.

Reference: RFC 7523 section 3 (``private_key_jwt``).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey

from hoopgw.errors import AuthenticationError
from hoopgw.identity.authority import UNREADABLE
from hoopgw.identity.jose import PublicKey, parse, sign, verify
from hoopgw.identity.oidc import LEEWAY, moment, text
from hoopgw.link.identity import key_pem
from hoopgw.link.proof import AgentKey

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ON_BEHALF_PATH: Final = "/sts/on-behalf-of"
"""Where an agent asks for what a person logged in with: `hoopgw.control.on_behalf`."""
LIFETIME: Final = 60.0
_TYPE: Final = "hoopgw-agent+jwt"
_ALGORITHM: Final = "ES256"


@frozen(kw_only=True)
class AgentAssertion:
    """An agent that has said who it is. It must not be seen twice until it is over."""

    agent: str
    serial: str
    """Of its certificate, in lower-case hex."""
    id: str
    expires: float


def make_assertion(agent: str, key: AgentKey, url: str, now: float) -> str:
    """Return ``client_assertion`` for one request to one URL."""
    der = key.certificate.public_bytes(Encoding.DER)
    header = {"typ": _TYPE, "alg": _ALGORITHM, "x5c": [base64.b64encode(der).decode()]}
    claims = {
        "iss": agent,
        "sub": agent,
        "aud": url,
        "iat": int(now),
        "exp": int(now + LIFETIME),
        "jti": secrets.token_urlsafe(16),
    }
    return sign(header, claims, ECKey.import_key(key_pem(key.key)))


def read_assertion(
    assertion: str, url: str, now: float, issued: Callable[[x509.Certificate], str]
) -> AgentAssertion:
    """Return which agent says so.

    Args:
        assertion: what `make_assertion` gave.
        url: that it must be for.
        now: seconds since the epoch.
        issued: returns the agent that a certificate is of, if the link's CA issued it and it is
            within its time; raises `AuthenticationError`.

    Raises:
        AuthenticationError: it is not good; the text is for the log.

    """
    parsed = parse(assertion)
    if parsed.header.keys() != {"typ", "alg", "x5c"} or parsed.header["typ"] != _TYPE:
        raise AuthenticationError("the header is not of an agent's assertion")
    certificate = _certificate(parsed.header["x5c"])
    agent, key = issued(certificate), certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AuthenticationError("not an agent's key")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    verify(parsed, PublicKey(ECKey.import_key(pem)), (_ALGORITHM,))
    claims: Any = parsed.claims
    if claims.get("iss") != agent or claims.get("sub") != agent or claims.get("aud") != url:
        raise AuthenticationError("the assertion is another agent's, or for something else")
    begun, expires = moment(claims, "iat"), moment(claims, "exp")
    if not begun - LEEWAY <= now < expires or expires - begun > LIFETIME:
        raise AuthenticationError("the assertion is not of now")
    serial = format(certificate.serial_number, "x")
    used = f"agent|{serial}|{text(claims, 'jti')}"
    return AgentAssertion(agent=agent, serial=serial, id=used, expires=expires)


def _certificate(chain: object) -> x509.Certificate:
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise AuthenticationError("x5c is not exactly one certificate")
    try:
        der = base64.b64decode(chain[0], validate=True)
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise AuthenticationError("x5c is malformed") from error
