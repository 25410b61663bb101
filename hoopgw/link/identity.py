"""What an agent keeps in its state folder: who it is, and whom it trusts.

One file, written anew as a whole and readable by the agent's user alone, so that certificate, key
and the gateway's public keys always fit together, whatever stops the agent while it writes.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import asdict, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.jwk import OKPKey

from hoopgw.errors import ConfigError, TicketError
from hoopgw.link.certificates import moment, read_authorities, verify_agent
from hoopgw.link.proof import AgentKey
from hoopgw.link.tickets import read_keys

FILE: Final = "enrolment.json"
_LIMIT: Final = 256 * 1024


@frozen(kw_only=True)
class Enrolment:
    """The file's content."""

    name: str
    url: str
    """Of the gateway's control process."""
    gateway_ca: str
    """PEM: what vouches for ``url``; empty for the CAs of the system."""
    certificate: str
    """PEM."""
    key: str = field(repr=False)
    """PEM."""
    link_ca: str
    """PEM: what vouches for the link's listener; several certificates while it is rotated."""
    ticket_keys: dict[str, Any]
    log_key: str = ""
    """Public key of the gateway's log; see `hoopgw.link.witness`."""
    trust: str = ""
    """What the gateway calls the keys that are trusted here; see `enrolment_api.Enrolled`."""


@frozen
class Identity:
    """An agent's identity, ready for use."""

    enrolment: Enrolment
    key: AgentKey
    ticket_keys: Mapping[str, OKPKey] = field(repr=False)

    @classmethod
    def of(cls, enrolment: Enrolment, now: float) -> Identity:
        """Check that all parts fit together.

        Raises:
            ConfigError: they do not; the text says what to do.

        """
        try:
            certificate = x509.load_pem_x509_certificate(enrolment.certificate.encode())
            authorities = read_authorities(enrolment.link_ca)
            key = load_pem_private_key(enrolment.key.encode(), None)
            keys = read_keys(enrolment.ticket_keys)
            # Whether its time is over is looked at when it is used: the message is another.
            issued = min(moment(now), certificate.not_valid_after_utc)
            name = verify_agent(
                certificate, authorities, max(issued, certificate.not_valid_before_utc)
            )
        except (ValueError, TypeError, TicketError) as error:
            raise ConfigError("the agent's enrolment is damaged: join again") from error
        except Exception as error:
            raise ConfigError(f"the agent's enrolment is not good: {error}") from error
        fits = isinstance(key, ec.EllipticCurvePrivateKey)
        if not fits or key.public_key() != certificate.public_key() or name != enrolment.name:
            raise ConfigError("the agent's enrolment does not fit together: join again")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(enrolment, AgentKey(certificate, key), keys)

    @property
    def chain(self) -> bytes:
        """Key and certificate as PEM, for TLS."""
        return (self.enrolment.key + self.enrolment.certificate).encode()

    @property
    def half_life(self) -> float:
        """When to renew: seconds since the epoch."""
        begin = self.key.certificate.not_valid_before_utc.timestamp()
        return (begin + self.ends) / 2

    @property
    def ends(self) -> float:
        """When the certificate is over: seconds since the epoch."""
        return self.key.certificate.not_valid_after_utc.timestamp()


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def load(folder: Path, now: float) -> Identity:
    """Read an agent's identity.

    Raises:
        ConfigError: there is none, others could have read it, or it is damaged.

    """
    path = folder / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: not enrolled yet; use hoopgw agent join") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            raise ConfigError(f"{path} is open to others: chmod 0600, and better join again")
        if found.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"{path} belongs to another user")
        data = file.read(_LIMIT + 1)
    try:
        enrolment = msgspec.json.decode(data, type=Enrolment)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Not "from error": it may quote the file, which holds the key.
        raise ConfigError(f"{path} is damaged: join again") from None
    return Identity.of(enrolment, now)


def save(folder: Path, enrolment: Enrolment) -> None:
    """Write an agent's identity, in place of the one before.

    Raises:
        ConfigError: the folder is open to others, or cannot be written.

    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077 or folder.stat().st_uid != os.geteuid():
            raise ConfigError(f"{folder} must be this user's own, with mode 0700")
        # Of its own name, so that two who write at once do not mix what they write.
        path, fresh = folder / FILE, folder / f"{FILE}.{secrets.token_hex(4)}"
        try:
            _write(fresh, msgspec.json.encode(asdict(enrolment)))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror})") from error


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
