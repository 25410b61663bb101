"""By which keys a target is known: pinned, listed in a known_hosts file, or signed by a CA.

Without any of them a target is not opened: who takes whatever key comes gives its credential to
whoever stands in the way.

References: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; OpenSSH's PROTOCOL.certkeys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from hoopgw.errors import ConfigError, ProtocolViolationError
from hoopgw_ssh.wire import Reader

_KINDS: Final = {
    b"ssh-ed25519": (b"ssh-ed25519",),
    b"ecdsa-sha2-nistp256": (b"ecdsa-sha2-nistp256",),
    b"ecdsa-sha2-nistp384": (b"ecdsa-sha2-nistp384",),
    b"ecdsa-sha2-nistp521": (b"ecdsa-sha2-nistp521",),
    b"ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256"),
}
"""Kinds of keys that are taken, best first, to the algorithms that they sign with."""
_CERTIFICATES: Final = tuple(
    algorithm + b"-cert-v01@openssh.com" for each in _KINDS.values() for algorithm in each
)
_FIELDS: Final = {b"ssh-ed25519": 1, b"ssh-rsa": 2}
"""Strings that a key of a kind is made of; of the elliptic curves two."""
_FILE_LIMIT: Final = 2**20


@frozen
class KnownHost:
    """What is known of one host. Implements `hoopgw_ssh.client.HostKeys`."""

    name: str
    """That a certificate must be for."""
    keys: frozenset[bytes]
    """Blobs."""
    authorities: frozenset[bytes]
    """Blobs of CAs."""
    now: Callable[[], float] = field(repr=False)
    """Gives seconds since the epoch."""
    revoked: frozenset[bytes] = frozenset()
    """Blobs that are never taken, whatever else is known."""

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        """Algorithms by which the host can be known, the most wanted first."""
        kinds = {_kind(blob) for blob in self.keys}
        plain = tuple(name for kind, names in _KINDS.items() if kind in kinds for name in names)
        return (*_CERTIFICATES, *plain) if self.authorities else plain

    def check(self, blob: bytes) -> bytes:
        """Check a key or certificate as the host showed it; return the plain key that signs.

        Raises:
            ProtocolViolationError: it is not the host's.

        """
        if blob in self.keys:
            return blob
        kind = _kind(blob)
        if not kind.endswith(b"-cert-v01@openssh.com"):
            raise ProtocolViolationError("the host's key is not the one that is known")
        try:
            return self._check_certificate(kind, blob)
        except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
            raise ProtocolViolationError("the host's certificate is not good") from error

    def _check_certificate(self, kind: bytes, blob: bytes) -> bytes:
        found = load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
        if not isinstance(found, SSHCertificate):
            raise ProtocolViolationError("the host's certificate is none")
        signer = _blob(found.signature_key())
        if signer not in self.authorities:
            raise ProtocolViolationError("the host's certificate is of another CA")
        if _signature_kind(blob) == b"ssh-rsa":
            raise ProtocolViolationError("the host's certificate is signed by way of SHA-1")
        found.verify_cert_signature()
        if found.type is not SSHCertificateType.HOST:
            raise ProtocolViolationError("the host shows a user's certificate")
        if not self.revoked.isdisjoint((signer, _blob(found.public_key()))):
            raise ProtocolViolationError("the host's certificate is of a revoked key")
        if not found.valid_after <= self.now() < found.valid_before:
            raise ProtocolViolationError("the host's certificate is outside its time")
        if self.name.encode() not in found.valid_principals:
            # An empty list would be for every host, so it is for none.
            raise ProtocolViolationError("the host's certificate is for another host")
        if found.critical_options:
            raise ProtocolViolationError("the host's certificate asks for what is not known here")
        return _blob(found.public_key())


def make_known_host(
    name: str,
    port: int,
    lines: Iterable[str],
    authorities: Iterable[str],
    file: Path | None,
    now: Callable[[], float],
) -> KnownHost:
    """Put together what is known of a host.

    Args:
        name: of the host.
        port: where it listens; known_hosts writes one that is not 22 beside the name.
        lines: pinned keys: ``ssh-ed25519 AAAA...``.
        authorities: keys of CAs, written the same way.
        file: a known_hosts file.
        now: gives seconds since the epoch.

    Raises:
        ConfigError: something of it cannot be read, or nothing is known.

    """
    keys = {_parse(line) for line in lines}
    signers = {_parse(line) for line in authorities}
    revoked = set[bytes]()
    if file is not None:
        host = name if port == 22 else f"[{name}]:{port}"
        listed, listed_signers, revoked = _read_file(file, host)
        keys = (keys | listed) - revoked
        signers = (signers | listed_signers) - revoked
    if not keys and not signers:
        raise ConfigError(f"no host key of {name} is known: give host_keys, host_ca or known_hosts")
    return KnownHost(
        name=name,
        keys=frozenset(keys),
        authorities=frozenset(signers),
        now=now,
        revoked=frozenset(revoked),
    )


def _parse(line: str) -> bytes:
    """Read a key from a line such as ``ssh-ed25519 AAAA... comment``."""
    parts = line.split()
    try:
        blob = base64.b64decode(parts[1], validate=True)
        kind = _kind(blob)
    except (IndexError, binascii.Error, ProtocolViolationError):
        raise ConfigError("a host key is not of the form: ssh-ed25519 AAAA...") from None
    if kind != parts[0].encode() or kind not in _KINDS:
        raise ConfigError(f"a host key of the kind {parts[0][:40]} is not taken")
    return blob


def _read_file(file: Path, host: str) -> tuple[set[bytes], set[bytes], set[bytes]]:
    """Return the keys, and the CAs, that a known_hosts file has for a host; and what it revokes.

    What is revoked for one host is revoked for all: a pattern that we read otherwise than OpenSSH
    must not bring a key back.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_FILE_LIMIT + 1).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    if len(text) > _FILE_LIMIT:
        raise ConfigError(f"{file} is longer than {_FILE_LIMIT} bytes")
    keys, signers, revoked = set[bytes](), set[bytes](), set[bytes]()
    for line in text.splitlines():
        parts = line.split()
        if not parts or line.startswith("#"):
            continue
        mark = parts.pop(0) if parts[0].startswith("@") else ""
        if len(parts) < 3 or parts[1].encode() not in _KINDS:
            continue
        if mark != "@revoked" and not _names(parts[0], host):
            continue
        where = {"": keys, "@cert-authority": signers, "@revoked": revoked}.get(mark)
        if where is not None:
            where.add(_parse(" ".join(parts[1:])))
    return keys, signers, revoked


def _names(patterns: str, host: str) -> bool:
    """Whether a line's first field is for a host; patterns with wildcards are for none."""
    if patterns.startswith("|1|"):
        try:
            salt, digest = (base64.b64decode(part) for part in patterns[3:].split("|"))
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.digest(salt, host.encode(), hashlib.sha1), digest)
    names = patterns.split(",")
    negated = [name[1:] for name in names if name.startswith("!")]
    if host in negated or any(fnmatchcase(host, pattern) for pattern in negated):
        return False
    return host in names


def _kind(blob: bytes) -> bytes:
    return Reader(blob).string()


def _signature_kind(certificate: bytes) -> bytes:
    """Return by which algorithm a certificate is signed, as it says itself."""
    reader = Reader(certificate)
    kind = reader.string().removesuffix(b"-cert-v01@openssh.com")
    for _nonce_and_key in range(1 + _FIELDS.get(kind, 2)):
        reader.string()
    reader.take(8 + 4)  # serial number, type
    for _id_and_principals in range(2):
        reader.string()
    reader.take(8 + 8)  # its time
    for _options_extensions_reserved_signer in range(4):
        reader.string()
    return _kind(reader.string())


def _blob(key: Any) -> bytes:
    """Return a public key as SSH has it."""
    line: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])
