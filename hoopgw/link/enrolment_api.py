"""What an agent and the control process say to each other about enrolment, over HTTPS.

Three requests, JSON both ways, answers of 200 or ``{error, detail}``:

``GET /agents/ca``
    The CA certificate of the control listener, PEM. An agent that has only a join token asks for
    it on a connection that it cannot verify yet, sends no secret there, compares the certificate
    with the token's ``ca_sha256``, and from then on trusts nothing else.

``POST /agents/enrol``
    `EnrolRequest` to `Enrolled`. The secret is looked up by its SHA-256 (`secret_digest`), is good
    once, for one agent's name, for 15 minutes. The certificate's name is the join token's.

``POST /agents/renew``
    `RenewRequest` to `Enrolled`, signed with the key of the certificate that is still good. The
    server calls `verify_renewal`, then asks its store whether that serial is still enrolled. A
    replayed request brings a certificate for a key that only the agent has, so it gains nothing.

The classes are attrs, so that secrets stay out of ``repr``; `read` decodes them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from hoopgw.errors import AuthenticationError
from hoopgw.identity.authority import UNREADABLE
from hoopgw.link.certificates import SKEW, is_agent_name, moment, requested_key, verify_agent

CA_PATH: Final = "/agents/ca"
ENROL_PATH: Final = "/agents/enrol"
RENEW_PATH: Final = "/agents/renew"
BODY_LIMIT: Final = 64 * 1024
"""Bytes that a request or an answer may have."""
_TOKEN_LIMIT: Final = 4_096
_PREFIX: Final = "hgw1."
_RENEWAL: Final = b"hoopgw/agent-renew/v1\0"

T = TypeVar("T")


@frozen(kw_only=True)
class JoinToken:
    """What an operator carries from the gateway to a new agent, once."""

    url: str
    """Of the control process: ``https://gateway:8443``."""
    ca_sha256: str
    """Hex SHA-256 of the DER of the CA certificate that vouches for ``url``."""
    name: str
    """The agent's name, which the token is bound to."""
    secret: str = field(repr=False)
    """At least 256 random bits, base64url."""

    def encode(self) -> str:
        """Return the token as one word, ``hgw1.…``."""
        values = {n: getattr(self, n) for n in ("url", "ca_sha256", "name", "secret")}
        return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> JoinToken:
        """Read a token.

        Raises:
            AuthenticationError: it is not one.

        """
        text = text.strip()
        body = text.removeprefix(_PREFIX)
        if len(text) > _TOKEN_LIMIT or body == text:
            raise AuthenticationError("not a join token: it must start with 'hgw1.'")
        try:
            token = read(base64.b64decode(_padded(body), b"-_", validate=True), cls)
            is_https = urlsplit(token.url).scheme == "https"
        except ValueError as error:
            raise AuthenticationError("the join token is damaged") from error
        if not is_https or not is_agent_name(token.name):
            raise AuthenticationError("the join token is damaged")
        if len(token.ca_sha256) != 64 or len(token.secret) < 43:
            raise AuthenticationError("the join token is damaged")
        return token


@frozen(kw_only=True)
class EnrolRequest:
    """A new agent asks for its first certificate."""

    name: str
    secret: str = field(repr=False)
    """The join token's."""
    csr: str
    """PEM, from `hoopgw.link.certificates.request_certificate`."""


@frozen(kw_only=True)
class RenewRequest:
    """An enrolled agent asks for its next certificate, for a new key."""

    certificate: str
    """PEM; the present one."""
    csr: str
    """PEM, of the new key."""
    time: int
    """Seconds since the epoch, by the agent's clock."""
    signature: str
    """Base64url ECDSA-SHA256 by the present key over `renewal_payload`."""


@frozen(kw_only=True)
class Enrolled:
    """The answer to both: what the agent keeps in its state folder."""

    certificate: str
    """PEM; its end is when the agent is out, its half life is when it renews."""
    link_ca: str
    """PEM of the link's CA: the agent trusts the link's listener by it; two while it is rotated."""
    ticket_keys: dict[str, Any]
    """JWK set (public) of the keys that sign tickets; two while they are rotated."""
    log_key: str = ""
    """Public key of the gateway's log, ``name+id+key``: an agent pins it when it joins."""
    gateway_ca: str = ""
    """PEM of the CAs that vouch for the control listener; empty if they are an operator's own."""
    trust: str = ""
    """Names all that is here to be trusted: an agent says it when it connects, so that the gateway
    knows when every agent has new keys."""


def read(data: bytes, kind: type[T]) -> T:
    """Decode the JSON body of a request or an answer.

    Raises:
        AuthenticationError: it is too long, or not of that kind.

    """
    if len(data) > BODY_LIMIT:
        raise AuthenticationError("the message is too long")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AuthenticationError(f"not a valid {kind.__name__}") from error


def secret_digest(secret: str) -> bytes:
    """Return what the store keeps of a join token's secret. It has 256 bits, so no salt."""
    return hashlib.sha256(b"hoopgw/join/v1\0" + secret.encode()).digest()


def renewal_payload(name: str, time: int, csr: str) -> bytes:
    """Return what a renewal's signature is over: no other message of ours looks like it."""
    digest = hashlib.sha256(csr.encode()).digest()
    return (
        _RENEWAL + len(name).to_bytes(2, "big") + name.encode() + time.to_bytes(8, "big") + digest
    )


def sign_renewal(
    key: ec.EllipticCurvePrivateKey, certificate: str, name: str, csr: str, now: float
) -> RenewRequest:
    """Return a renewal request, signed with the present key."""
    signature = key.sign(renewal_payload(name, int(now), csr), ec.ECDSA(hashes.SHA256()))
    encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    return RenewRequest(certificate=certificate, csr=csr, time=int(now), signature=encoded)


@frozen
class Renewal:
    """A renewal request whose signature is good."""

    name: str
    serial: int
    """Of the present certificate: the caller asks its store whether that is still enrolled."""
    key: ec.EllipticCurvePublicKey
    """What the next certificate is for."""


def verify_renewal(
    request: RenewRequest, authorities: Iterable[x509.Certificate], now: float
) -> Renewal:
    """Check a renewal request against the link's CAs.

    Raises:
        AuthenticationError: the certificate, the time, the request or the signature is not good.

    """
    try:
        certificate = x509.load_pem_x509_certificate(request.certificate.encode())
        signature = base64.b64decode(_padded(request.signature), b"-_", validate=True)
        name = verify_agent(certificate, authorities, moment(now))
        if abs(now - request.time) > SKEW.total_seconds():
            raise AuthenticationError("the agent's clock is too far from the gateway's")
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise AuthenticationError("not an agent's key")
        payload = renewal_payload(name, request.time, request.csr)
        key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise AuthenticationError("the renewal is not signed by the certificate's key") from error
    except UNREADABLE as error:
        raise AuthenticationError("the renewal is malformed") from error
    return Renewal(name, certificate.serial_number, requested_key(request.csr))


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
