"""Lists of certificates that were revoked: X.509's (CRL) and OpenSSH's (KRL). Pure.

Our own verifiers do not read them: they know what was revoked within two seconds, by lineage. The
lists are for others that check our callers' certificates, such as a proxy in front.

References: RFC 5280 section 5; OpenSSH PROTOCOL.krl.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hoopgw.identity.authority import SKEW, Authority, moment

CRL_LIFETIME: Final = timedelta(hours=1)
"""After which whoever has a list must get another."""
_KRL_MAGIC: Final = 0x5353484B524C0A00
_KRL_VERSION: Final = 1
_SECTION_CERTIFICATES: Final = 1
_SERIAL_LIST: Final = 0x20


def make_crl(authority: Authority, serials: Iterable[int], number: int, now: float) -> bytes:
    """Return a signed list in DER.

    Args:
        authority: the CA that issued the certificates.
        serials: of those that were revoked.
        number: greater than that of every list before.
        now: seconds since the epoch.

    """
    begins = moment(now)
    listed = [
        x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begins).build()
        for serial in serials
    ]
    builder = (
        # All at once: adding them one by one copies the list each time.
        x509.CertificateRevocationListBuilder(revoked_certificates=listed)
        .issuer_name(authority.certificate.subject)
        .last_update(begins - SKEW)
        .next_update(begins + CRL_LIFETIME)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)


def make_krl(
    authorities: Iterable[Ed25519PublicKey], serials: Iterable[int], number: int, now: float
) -> bytes:
    """Return a list for ``RevokedKeys`` in sshd_config(5).

    Args:
        authorities: the CAs whose certificates are meant: each serial number is of one of them, and
            none is used twice.
        serials: of those that were revoked.
        number: greater than that of every list before.
        now: seconds since the epoch.

    """
    listed = sorted(serials)
    head = struct.pack(">QIQQQ", _KRL_MAGIC, _KRL_VERSION, number, int(now), 0)
    sections = b""
    for each in authorities if listed else ():
        blob = _string(b"ssh-ed25519") + _string(each.public_bytes(Encoding.Raw, PublicFormat.Raw))
        numbers = b"".join(struct.pack(">Q", serial) for serial in listed)
        body = _string(blob) + _string(b"")
        body += bytes([_SERIAL_LIST]) + _string(numbers)
        sections += bytes([_SECTION_CERTIFICATES]) + _string(body)
    return head + _string(b"") + _string(b"hoopgw") + sections


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
