"""How an agent proves who it is: a certificate of the link's CA, and a signature with its key.

The signature is over the gateway's nonce, so that it cannot have been made before, and over what
the connection is for. It is asked for on TCP too, where TLS has seen the same certificate: one way
for both kinds of socket, and a TLS stack set up wrongly does not open the link.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.errors import AuthenticationError
from hoopgw.identity.authority import UNREADABLE
from hoopgw.link.certificates import verify_agent
from hoopgw.link.frames import VERSION, Challenge, Hello
from hoopgw.link.tickets import NONCE_SIZE

_DOMAIN: Final = b"hoopgw/link-hello/v1\0"


@frozen
class AgentKey:
    """An agent's certificate and the key to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def hello(self, challenge: Challenge, kind: str, agent: str, nonce: bytes) -> Hello:
        """Answer a challenge."""
        payload = _payload(challenge.nonce, kind, agent, nonce)
        return Hello(
            version=VERSION,
            kind="control" if kind == "control" else "data",
            agent=agent,
            nonce=nonce,
            certificate=self.certificate.public_bytes(Encoding.DER),
            signature=self.key.sign(payload, ec.ECDSA(hashes.SHA256())),
        )


@frozen
class Proved:
    """An agent that proved who it is. Whether it is still enrolled must be asked elsewhere."""

    agent: str
    serial: str
    """Of its certificate, in lower-case hex."""
    ends: datetime
    """When the certificate does."""


def verify_hello(
    hello: Hello, challenge: Challenge, authorities: Iterable[x509.Certificate], now: datetime
) -> Proved:
    """Check an agent's answer to a challenge.

    Raises:
        AuthenticationError: it is not proved; the text is for the log.

    """
    if hello.version != VERSION:
        raise AuthenticationError(f"the agent speaks version {hello.version} of the link")
    if len(hello.nonce) != NONCE_SIZE:
        raise AuthenticationError("the agent's nonce is too short or too long")
    try:
        certificate = x509.load_der_x509_certificate(hello.certificate)
        key = certificate.public_key()
    except UNREADABLE as error:
        raise AuthenticationError("the agent's certificate is malformed") from error
    name = verify_agent(certificate, authorities, now)
    if name != hello.agent:
        raise AuthenticationError(f"the certificate is that of agent {name!r}")
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AuthenticationError("not an agent's key")
    payload = _payload(challenge.nonce, hello.kind, hello.agent, hello.nonce)
    try:
        key.verify(hello.signature, payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise AuthenticationError("the hello is not signed by the certificate's key") from error
    serial = format(certificate.serial_number, "x")
    return Proved(name, serial, certificate.not_valid_after_utc)


def _payload(challenge: bytes, kind: str, agent: str, nonce: bytes) -> bytes:
    parts = (challenge, kind.encode(), agent.encode(), nonce)
    return _DOMAIN + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
