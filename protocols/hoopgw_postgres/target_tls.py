"""What a PostgreSQL server's certificate binds a log-in to."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes


def end_point(certificate: bytes | None) -> bytes | None:
    """Return the ``tls-server-end-point`` binding of a certificate (DER), if it has one.

    RFC 5929, section 4.1: the certificate's hash by its own signature's algorithm, with SHA-256 in
    place of MD5 and SHA-1. Some signatures (Ed25519) name no hash, and have no such binding.
    """
    if certificate is None:
        return None
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()
