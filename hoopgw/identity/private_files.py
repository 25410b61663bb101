"""Files that only we can have written and read: private keys, and certificates beside them.

A file that others can read or replace is not used: the error says which command mends it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from hoopgw.errors import ConfigError

_FILE_LIMIT: Final = 64 * 1024
SECRET_SIZE: Final = 32


def load_secret(path: Path) -> bytes:
    """Return the 32 random bytes of a key file. Raises `ConfigError`."""
    data = read_private(path)
    if len(data) != SECRET_SIZE:
        raise ConfigError(f"{path}: has {len(data)} bytes and should have {SECRET_SIZE}")
    return data


def load_signing_key(path: Path) -> OKPKey:
    """Return an Ed25519 key that is kept as JWK. Raises `ConfigError`."""
    try:
        key = OKPKey.import_key(json.loads(read_private(path)))
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK") from error
    if not key.is_private or key.curve_name != "Ed25519":
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK")
    return key


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key that is kept as PEM. Raises `ConfigError`."""
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is no private key as PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: is no key on P-256")
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """Return a PEM certificate. Raises `ConfigError`."""
    try:
        return x509.load_pem_x509_certificate(read_private(path))
    except ValueError as error:
        raise ConfigError(f"{path}: is no certificate as PEM") from error


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_private(path: Path, data: bytes) -> None:
    """Write a file that was not there, for us only, and down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def read_private(path: Path) -> bytes:
    """Read a file that only we can have written and read.

    The folder is checked too: whoever may write to it can put another file in place.
    """
    try:
        check_owner(path.parent, path.parent.stat(), 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path}: is no regular file")
            check_owner(path, found, 0o600)
            data = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: is not there; 'hoopgw init' makes it") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{path}: is longer than {_FILE_LIMIT} bytes")
    return data


def check_owner(path: Path, found: os.stat_result, allowed: int) -> None:
    """Refuse what another user owns, or others may enter, read or write."""
    mine = os.geteuid()
    if found.st_uid != mine:
        raise ConfigError(
            f"{path}: belongs to user {found.st_uid}, and this is user {mine}; "
            f"run as that user, or: chown {mine} {path}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others may use it (mode {mode:04o}); run: chmod {allowed:o} {path}"
        )


def replace_private(path: Path, data: bytes) -> None:
    """Put a file in place of another, so that it has its old or its new content.

    Raises:
        ConfigError: it cannot be written.

    """
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        write_private(draft, data)
        draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
