"""Certificates of the link: what they look like, how they are issued and read.

Two kinds come from the link's CA, and neither can stand in for the other: an agent's names
``hoopgw:agent:<name>`` as URI and may only be a TLS client; the listener's names the host
`LINK_HOST` and may only be a TLS server. Pure functions; no file is read or written here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hoopgw.errors import AuthenticationError

LINK_HOST: Final = "hoopgw-link"
"""The DNS name in the link listener's certificate. Agents ask for it, whatever they dial."""
AGENT_LIFETIME: Final = timedelta(hours=24)
AGENT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SKEW: Final = timedelta(minutes=5)
"""How far apart the clocks of a gateway and an agent may be."""
_URI: Final = "hoopgw:agent:"
_CSR_LIMIT: Final = 8_192


def is_agent_name(name: str) -> bool:
    """Say whether a name is one that agents may have: as a DNS label, in lower case."""
    return AGENT_NAME.fullmatch(name) is not None


def request_certificate(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """Return a PEM certificate request for an agent's key, signed by that key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate request, whose holder has proved to have it.

    Nothing else in the request counts: the name comes from the join token or the old certificate.

    Raises:
        AuthenticationError: it is malformed, not signed by its own key, or not P-256.

    """
    if len(csr) > _CSR_LIMIT:
        raise AuthenticationError("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key, genuine = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise AuthenticationError("the certificate request is malformed") from error
    if not genuine:
        raise AuthenticationError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AuthenticationError("an agent's key must be on P-256")
    return key


def make_ca(key: ec.EllipticCurvePrivateKey, now: datetime, days: int = 3650) -> x509.Certificate:
    """Return a self-signed CA certificate for the link."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hoopgw link CA")])
    usage = _key_usage(sign=False, certify=True)
    return (
        _builder(name, name, key.public_key(), now, timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


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
    uri = x509.UniformResourceIdentifier(_URI + name)
    return _issue(ca, ca_key, name, key, now, lifetime, uri, ExtendedKeyUsageOID.CLIENT_AUTH)


def issue_listener(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta = timedelta(days=397),
) -> x509.Certificate:
    """Return a certificate for the link's listener (``tls/link.crt``)."""
    host = x509.DNSName(LINK_HOST)
    return _issue(ca, ca_key, LINK_HOST, key, now, lifetime, host, ExtendedKeyUsageOID.SERVER_AUTH)


def agent_name(certificate: x509.Certificate) -> str:
    """Return the agent that a certificate names. Its issuer is not looked at here.

    Raises:
        AuthenticationError: it is not an agent's certificate.

    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise AuthenticationError("not an agent's certificate") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH] or len(uris) != 1 or len(list(names)) != 1:
        raise AuthenticationError("not an agent's certificate")
    name = uris[0].removeprefix(_URI)
    if _URI + name != uris[0] or not is_agent_name(name):
        raise AuthenticationError("not an agent's certificate")
    return name


def verify_agent(certificate: x509.Certificate, ca: x509.Certificate, now: datetime) -> str:
    """Return the agent's name, if the link's CA issued the certificate and it is still good.

    Raises:
        AuthenticationError: another issuer, or not within its time.

    """
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise AuthenticationError("the certificate is not from the link's CA") from error
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise AuthenticationError("the certificate is outside its time")
    return agent_name(certificate)


def moment(seconds: float) -> datetime:
    """Return seconds since the epoch as the kind of time that certificates use."""
    return datetime.fromtimestamp(seconds, UTC)


def _issue(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
    alternative: x509.GeneralName,
    purpose: x509.ObjectIdentifier,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(subject, ca.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign=True, certify=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


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
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=certify,
        encipher_only=False,
        decipher_only=False,
    )
