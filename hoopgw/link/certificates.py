"""Certificates of the link: what they look like, how they are issued and read.

Two kinds come from the link's CA, and neither can stand in for the other: an agent's names
``hoopgw:agent:<name>`` as URI and may only be a TLS client; the listener's names the host
`LINK_HOST` and may only be a TLS server. Pure functions; no file is read or written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.errors import AuthenticationError
from hoopgw.identity.authority import (
    SKEW,
    UNREADABLE,
    Authority,
    check_issued,
    common_name,
    has_purpose,
    issue,
    make_certificate,
    moment,
    request,
    requested_key,
)

__all__ = [
    "AGENT_LIFETIME",
    "AGENT_NAME",
    "LINK_HOST",
    "SKEW",
    "agent_name",
    "is_agent_name",
    "issue_agent",
    "issue_listener",
    "make_ca",
    "moment",
    "read_authorities",
    "request_certificate",
    "requested_key",
    "verify_agent",
]

LINK_HOST: Final = "hoopgw-link"
"""The DNS name in the link listener's certificate. Agents ask for it, whatever they dial."""
AGENT_LIFETIME: Final = timedelta(hours=24)
AGENT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LISTENER_LIFETIME: Final = timedelta(days=397)
_URI: Final = "hoopgw:agent:"
_AUTHORITIES_LIMIT: Final = 4


def is_agent_name(name: str) -> bool:
    """Say whether a name is one that agents may have: as a DNS label, in lower case."""
    return AGENT_NAME.fullmatch(name) is not None


def request_certificate(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """Return a PEM certificate request for an agent's key, signed by that key."""
    return request(key, name)


def make_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return a self-signed CA certificate for the link."""
    return make_certificate(key, "hoopgw link CA", now)


def read_authorities(pem: str) -> tuple[x509.Certificate, ...]:
    """Return the link's CAs as an agent keeps them: one, or several while it is rotated.

    Raises:
        ValueError: there is none, or too many.

    """
    found = tuple(x509.load_pem_x509_certificates(pem.encode()))
    if not 0 < len(found) <= _AUTHORITIES_LIMIT:
        raise ValueError(f"{len(found)} CAs of the link")
    return found


def issue_agent(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta = AGENT_LIFETIME,
) -> x509.Certificate:
    """Return a certificate for an agent; its serial number is what enrolment keeps."""
    if not is_agent_name(name):
        raise ValueError(f"not an agent's name: {name!r}")
    return issue(
        Authority(ca, ca_key),
        common_name(name),
        key,
        now,
        lifetime,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_URI + name)]), False)],
    )


def issue_listener(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta = _LISTENER_LIFETIME,
) -> x509.Certificate:
    """Return a certificate for the link's listener (``tls/link.crt``)."""
    return issue(
        Authority(ca, ca_key),
        common_name(LINK_HOST),
        key,
        now,
        lifetime,
        ExtendedKeyUsageOID.SERVER_AUTH,
        [(x509.SubjectAlternativeName([x509.DNSName(LINK_HOST)]), False)],
    )


def agent_name(certificate: x509.Certificate) -> str:
    """Return the agent that a certificate names. Its issuer is not looked at here.

    Raises:
        AuthenticationError: it is not an agent's certificate.

    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNREADABLE as error:
        raise AuthenticationError("not an agent's certificate") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    is_client = has_purpose(certificate, ExtendedKeyUsageOID.CLIENT_AUTH)
    if not is_client or len(uris) != 1 or len(list(names)) != 1:
        raise AuthenticationError("not an agent's certificate")
    name = uris[0].removeprefix(_URI)
    if _URI + name != uris[0] or not is_agent_name(name):
        raise AuthenticationError("not an agent's certificate")
    return name


def verify_agent(
    certificate: x509.Certificate, authorities: Iterable[x509.Certificate], now: datetime
) -> str:
    """Return the agent's name, if one of the link's CAs issued it and it is still good.

    Raises:
        AuthenticationError: another issuer, or not within its time.

    """
    check_issued(certificate, authorities, now, "the link's")
    return agent_name(certificate)
