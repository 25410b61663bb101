"""X.509 as all CAs of the gateway do it: how a CA is made, how it issues, how its work is checked.

Each CA is for one purpose and is pinned by whoever checks that purpose: listeners
(`hoopgw.identity.certificates`), the link (`hoopgw.link.certificates`), callers
(`hoopgw.identity.caller_certificates`). What differs between them is in those modules; what must
not differ is here. All keys are ECDSA on P-256, all signatures with SHA-256. Pure functions.

Reference: RFC 5280.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hoopgw.errors import AuthenticationError

CA_LIFETIME: Final = timedelta(days=3650)
SKEW: Final = timedelta(minutes=5)
"""How far behind the clock of whoever checks a certificate may be."""
REQUEST_LIMIT: Final = 8_192
"""Characters of a certificate request."""
UNREADABLE: Final = (
    *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion),
    *(x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
"""What `cryptography` raises where a certificate, or a part of it, cannot be read: it has no word
for all of them, and whoever shows one may send any bytes."""
_EVERYTHING: Final = ("0.0.0.0/0", "::/0")


@frozen
class Authority:
    """A CA that can issue: its certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def make_certificate(
    key: ec.EllipticCurvePrivateKey,
    name: str,
    now: datetime,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Return a self-signed CA certificate; it issues for ends only.

    Args:
        key: the CA's.
        name: its common name.
        now: when it begins, less `SKEW`.
        extensions: more of them, each with whether it is critical.

    """
    subject = common_name(name)
    builder = (
        _builder(subject, subject, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certify=True), critical=True)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256())


def issue(
    authority: Authority,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
    purpose: x509.ObjectIdentifier,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Return a certificate for one end and one purpose, with a random serial number.

    Args:
        authority: who issues.
        subject: whom for.
        key: the holder's, who has proved to have it.
        now: when it begins, less `SKEW`.
        lifetime: until when it may be shown.
        purpose: its only extended key usage.
        extensions: more of them, each with whether it is critical.

    """
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(subject, authority.certificate.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certify=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(issuer, critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority.key, hashes.SHA256())


def check_issued(
    certificate: x509.Certificate,
    authorities: Iterable[x509.Certificate],
    now: datetime,
    whose: str,
) -> None:
    """Check that one of these CAs issued a certificate, that it is an end's, and within its time.

    Args:
        certificate: what was shown.
        authorities: the CAs of one purpose: one, or two while it is rotated.
        now: there is no leeway at the end; what is issued begins `SKEW` early.
        whose: of the CA, for the error: "the link's".

    Raises:
        AuthenticationError: it is not good; the text is for the log.

    """
    if not any(_is_issued_by(certificate, each) for each in authorities):
        raise AuthenticationError(f"the certificate is not from {whose} CA")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise AuthenticationError("the certificate is outside its time")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except UNREADABLE as error:
        raise AuthenticationError("the certificate's extensions are malformed") from error
    if basic.ca:
        raise AuthenticationError("the certificate is a CA's, not an end's")


def has_purpose(certificate: x509.Certificate, purpose: x509.ObjectIdentifier) -> bool:
    """Say whether a certificate is for this purpose and no other."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except UNREADABLE:
        return False
    return list(usage) == [purpose]


def request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """Return a PEM certificate request, which proves that whoever asks has the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(name))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate request, whose holder has proved to have it.

    Nothing else in the request counts: who it is for is known from elsewhere.

    Raises:
        AuthenticationError: it is malformed, not signed by its own key, or not P-256.

    """
    if len(csr) > REQUEST_LIMIT:
        raise AuthenticationError("the certificate request is too long")
    try:
        read = x509.load_pem_x509_csr(csr.encode())
        key, genuine = read.public_key(), read.is_signature_valid
    except (*UNREADABLE, InvalidSignature) as error:
        raise AuthenticationError("the certificate request is malformed") from error
    if not genuine:
        raise AuthenticationError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AuthenticationError("the certificate request's key must be on P-256")
    return key


def no_hosts() -> x509.NameConstraints:
    """Return name constraints under which nothing can be a host: of no use against a server."""
    return x509.NameConstraints(None, [x509.DNSName(""), *no_addresses()])


def no_addresses() -> list[x509.IPAddress]:
    """Return all addresses, to be excluded by name constraints."""
    return [x509.IPAddress(ipaddress.ip_network(network)) for network in _EVERYTHING]


def common_name(name: str) -> x509.Name:
    """Return a name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as the kind of time that certificates use."""
    return datetime.fromtimestamp(seconds, UTC)


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - SKEW)
        .not_valid_after(now.astimezone(UTC) + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certify,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=certify,
        encipher_only=False,
        decipher_only=False,
    )
