"""X.509 certificates for callers: a chain, shown by proving a key in TLS, with no secret sent.

The CA is for this alone: it issues to TLS clients only, and nothing that it issues can be a host,
so it is of no use against whoever checks servers. A certificate holds the chain in an extension of
our own (`CHAIN`), which others may ignore and we require. It lives an hour at most, and never
longer than its log-in. Whether a log-in was revoked meanwhile is looked up by lineage and by serial
number when it is shown (`lineage_of`). Pure functions.

References: RFC 5280; ITU-T X.667 for the OID, which is a UUID under 2.25.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.authority import (
    UNREADABLE,
    Authority,
    check_issued,
    common_name,
    has_purpose,
    issue,
    make_certificate,
    moment,
    no_hosts,
)
from hoopgw.identity.certified import SIZE_LIMIT, Certified, decode, encode

CHAIN: Final = x509.ObjectIdentifier("2.25.147695453176045470099375396555359988289")
"""The extension that holds the chain: an OCTET STRING with the form of `hoopgw.identity.certified`.
As UUID 6f1d1c0e-3b52-4f0a-9c57-0b6c1e8f2a41."""
LIFETIME: Final = timedelta(hours=1)
"""How long a certificate may be shown, at most."""
_NAME_LIMIT: Final = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""
CERTIFICATE: Final = "cert:"
"""Begins what a certificate is called among what can be revoked."""
_OCTETS: Final = 0x04


@frozen(kw_only=True)
class Shown:
    """A certificate that was shown and is good, apart from revocation."""

    certified: Certified
    serial: int

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return self.certified.principal

    @property
    def lineage(self) -> Sequence[str]:
        """What revocation goes by: the chain's lineage, and the certificate itself."""
        return lineage_of(self.principal, self.serial)


def lineage_of(principal: Principal, serial: int) -> Sequence[str]:
    """Return what ends a certificate when it is revoked."""
    return (*principal.lineage, certificate_node(serial))


def certificate_node(serial: int) -> str:
    """Return what a certificate is called among what can be revoked."""
    return f"{CERTIFICATE}{serial:x}"


def make_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return a self-signed CA certificate for callers."""
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return make_certificate(key, "hoopgw callers CA", now, [(no_hosts(), True), (purpose, False)])


def issue_caller(
    authority: Authority,
    certified: Certified,
    key: ec.EllipticCurvePublicKey,
    now: float,
    lifetime: float = LIFETIME.total_seconds(),
) -> x509.Certificate:
    """Return a certificate for whoever has proved to hold a key and to be this principal.

    Args:
        authority: the callers' CA.
        certified: whom for, and where.
        key: the holder's.
        now: seconds since the epoch.
        lifetime: seconds; it is cut to `LIFETIME` and to the principal's end.

    Raises:
        AuthenticationError: nothing is left of its lifetime, or the chain is too long.

    """
    end = min(now + min(lifetime, LIFETIME.total_seconds()), certified.principal.expires)
    if end - now < 1:
        raise AuthenticationError("nothing is left of the log-in's lifetime")
    form = encode(certified)
    # With a space, so that nobody takes it for a host name.
    name = f"hoopgw: {certified.principal.path}"[:_NAME_LIMIT]
    return issue(
        authority,
        common_name("".join(c if c.isprintable() else "?" for c in name)),
        key,
        moment(now),
        moment(end) - moment(now),
        ExtendedKeyUsageOID.CLIENT_AUTH,
        [(x509.UnrecognizedExtension(CHAIN, _octets(form)), False)],
    )


def verify_caller(
    der: bytes, authorities: Iterable[x509.Certificate], issuer: str, now: float
) -> Shown:
    """Return whom a certificate stands for. That its holder has the key, TLS has proved.

    Args:
        der: as TLS gives it.
        authorities: the callers' CAs.
        issuer: this gateway's URL.
        now: seconds since the epoch; there is no leeway, the clock that set the end is ours.

    Raises:
        AuthenticationError: it is not good. The text may be shown: it is only about what a CA of
            ours has signed, or says that none has.

    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        check_issued(certificate, authorities, moment(now), "the callers'")
        if not has_purpose(certificate, ExtendedKeyUsageOID.CLIENT_AUTH):
            raise AuthenticationError("the certificate is not a caller's")
        form = _chain(certificate)
    except UNREADABLE as error:
        raise AuthenticationError("the certificate is malformed") from error
    certified = decode(form, issuer)
    if certified.principal.expires <= now:
        raise AuthenticationError("the log-in of the certificate is over")
    return Shown(certified=certified, serial=certificate.serial_number)


def _chain(certificate: x509.Certificate) -> bytes:
    """Return the form in the extension, which must be there once."""
    try:
        found = certificate.extensions.get_extension_for_oid(CHAIN)
    except x509.ExtensionNotFound as error:
        raise AuthenticationError("the certificate holds no chain") from error
    except x509.DuplicateExtension as error:
        raise AuthenticationError("the certificate holds an extension twice") from error
    if not isinstance(found.value, x509.UnrecognizedExtension):
        raise AuthenticationError("the certificate's chain is malformed")
    data = found.value.value
    if len(data) > SIZE_LIMIT + 4:
        raise AuthenticationError("the certificate's chain is too long")
    form = _content(data)
    if _octets(form) != data:
        raise AuthenticationError("the certificate's chain is malformed")
    return form


def _octets(content: bytes) -> bytes:
    """Encode an OCTET STRING in DER (X.690, 8.1.3 and 10.1)."""
    size = len(content)
    if size < 0x80:
        return bytes([_OCTETS, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([_OCTETS, 0x80 | len(length)]) + length + content


def _content(data: bytes) -> bytes:
    """Return what may be the content; whoever asks encodes it again and compares."""
    if len(data) < 2 or data[0] != _OCTETS:
        raise AuthenticationError("the certificate's chain is malformed")
    return data[2:] if data[1] < 0x80 else data[2 + (data[1] & 0x7F) :]
