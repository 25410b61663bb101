"""The keys in the state folder: made once, by `hoopgw init`, and read with distrust.

A private key that others can read or replace is not used: the error says which command mends it.
Each process reads only the keys that its work needs. Nothing here is ever overwritten, except a
listener's certificate that is renewed.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from datetime import datetime
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

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError
from hoopgw.identity import certificates
from hoopgw.link import certificates as link_certificates

_FILE_LIMIT: Final = 64 * 1024
_SECRET: Final = 32


def create_state(paths: GatewayPaths, names: Sequence[str], now: datetime) -> None:
    """Make the state folder with all keys and certificates.

    Args:
        paths: where.
        names: host names and addresses of the gateway's certificate.
        now: when the certificates begin.

    Raises:
        ConfigError: keys are there already, a name is wrong, or the folder cannot be written.

    """
    for folder in (paths.keys, paths.tls):
        if folder.exists() or folder.is_symlink():
            raise ConfigError(f"{folder}: is there already, and keys are never overwritten")
    try:
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(paths.state, paths.state.stat(), 0o700)
        for folder in (paths.run, paths.spool, paths.log):
            folder.mkdir(mode=0o700, exist_ok=True)
        # Made beside and renamed, so that there is never half a set.
        draft = paths.state / f".new-{secrets.token_hex(4)}"
        draft.mkdir(mode=0o700)
        try:
            _fill(GatewayPaths(draft), names, now)
            (draft / paths.tls.name).rename(paths.tls)
            (draft / paths.keys.name).rename(paths.keys)
        finally:
            shutil.rmtree(draft)
    except OSError as error:
        raise ConfigError(f"{paths.state}: cannot be made: {error}") from error


def renew_gateway_certificate(paths: GatewayPaths, names: Sequence[str], now: datetime) -> None:
    """Issue a new key and certificate for the listeners, in place of those in the state folder.

    The two files are replaced one after the other: whoever reads them checks that they fit, as
    ``SSLContext.load_cert_chain`` does.

    Raises:
        ConfigError: the CA cannot be read or may not issue for a name, or nothing can be written.

    """
    ca = load_certificate(paths.ca_certificate)
    ca_key = load_private_key(paths.ca_key)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = certificates.issue_server(ca, ca_key, key.public_key(), names, now)
    _replace(paths.gateway_key, key, paths.gateway_certificate, issued)


def renew_link_certificate(paths: GatewayPaths, now: datetime) -> None:
    """Issue a new key and certificate for the link's listener; as `renew_gateway_certificate`."""
    ca = load_certificate(paths.link_ca_certificate)
    ca_key = load_private_key(paths.link_ca_key)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = link_certificates.issue_listener(ca, ca_key, key.public_key(), now)
    _replace(paths.link_key, key, paths.link_certificate, issued)


def _replace(
    key_path: Path,
    key: ec.EllipticCurvePrivateKey,
    certificate_path: Path,
    certificate: x509.Certificate,
) -> None:
    """Put a pair in place of another, the certificate last: until then it counts as not renewed."""
    try:
        for path, data in (
            (key_path, _key_pem(key)),
            (certificate_path, certificate.public_bytes(Encoding.PEM)),
        ):
            draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
            _write(draft, data)
            draft.rename(path)
    except OSError as error:
        raise ConfigError(f"{key_path.parent}: cannot be written: {error}") from error


def load_secret(path: Path) -> bytes:
    """Return the 32 random bytes of a key file. Raises `ConfigError`."""
    data = _read_private(path)
    if len(data) != _SECRET:
        raise ConfigError(f"{path}: has {len(data)} bytes and should have {_SECRET}")
    return data


def load_signing_key(path: Path) -> OKPKey:
    """Return an Ed25519 key that is kept as JWK. Raises `ConfigError`."""
    try:
        key = OKPKey.import_key(json.loads(_read_private(path)))
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK") from error
    if not key.is_private or key.curve_name != "Ed25519":
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK")
    return key


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key that is kept as PEM. Raises `ConfigError`."""
    try:
        key = load_pem_private_key(_read_private(path), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: is no private key as PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: is no key on P-256")
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """Return a PEM certificate. Raises `ConfigError`."""
    try:
        return x509.load_pem_x509_certificate(_read_private(path))
    except ValueError as error:
        raise ConfigError(f"{path}: is no certificate as PEM") from error


def _fill(paths: GatewayPaths, names: Sequence[str], now: datetime) -> None:
    """Write all keys and certificates into a fresh folder."""
    paths.keys.mkdir(mode=0o700)
    paths.tls.mkdir(mode=0o700)
    ca_key, key, link_ca_key, link_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
    ca = certificates.make_ca(ca_key, names, now)
    link_ca = link_certificates.make_ca(link_ca_key, now)
    issued = certificates.issue_server(ca, ca_key, key.public_key(), names, now)
    link = link_certificates.issue_listener(link_ca, link_ca_key, link_key.public_key(), now)
    for path, pem in (
        (paths.ca_key, ca_key),
        (paths.gateway_key, key),
        (paths.link_ca_key, link_ca_key),
        (paths.link_key, link_key),
    ):
        _write(path, _key_pem(pem))
    for path, certificate in (
        (paths.ca_certificate, ca),
        (paths.gateway_certificate, issued),
        (paths.link_ca_certificate, link_ca),
        (paths.link_certificate, link),
    ):
        _write(path, certificate.public_bytes(Encoding.PEM))
    for path in (paths.token_key, paths.ticket_key, paths.log_key):
        jwk = OKPKey.generate_key("Ed25519", private=True)
        _write(path, json.dumps(jwk.as_dict(private=True)).encode())
    for path in (paths.mask_key, paths.store_key):
        _write(path, secrets.token_bytes(_SECRET))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    """Write a file that was not there, for us only, and down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read_private(path: Path) -> bytes:
    """Read a file that only we can have written and read.

    The folder is checked too: whoever may write to it can put another file in place.
    """
    try:
        _check_owner(path.parent, path.parent.stat(), 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{path}: is no regular file")
            _check_owner(path, found, 0o600)
            data = file.read(_FILE_LIMIT + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: is not there; 'hoopgw init' makes it") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{path}: is longer than {_FILE_LIMIT} bytes")
    return data


def _check_owner(path: Path, found: os.stat_result, allowed: int) -> None:
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
