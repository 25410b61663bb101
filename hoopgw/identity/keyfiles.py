"""The state folder's keys: made once, by `hoopgw init`, and read with distrust.

A private key that others can read or replace is not used: the error says which command mends it.
Each process reads only the keys that its work needs. Nothing here is ever overwritten, except a
listener's certificate that is renewed; how keys are replaced is in `hoopgw.identity.keybook`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import ConfigError
from hoopgw.identity import certificates
from hoopgw.identity.key_kinds import KINDS, KeyKind
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.private_files import (
    check_owner,
    key_pem,
    load_certificate,
    load_private_key,
    load_secret,
    load_signing_key,
    replace_private,
    write_private,
)
from hoopgw.link import certificates as link_certificates

__all__ = [
    "LogKeyFiles",
    "create_state",
    "load_certificate",
    "load_log_key",
    "load_private_key",
    "load_secret",
    "load_signing_key",
    "renew_gateway_certificate",
    "renew_link_certificate",
]


def create_state(
    paths: GatewayPaths, names: Sequence[str], now: datetime, intercepted: Sequence[str] = ()
) -> None:
    """Make the state folder with all keys and certificates.

    Args:
        paths: where.
        names: host names and addresses of the gateway's certificate.
        now: when the certificates begin.
        intercepted: names of others that the interception CA is for; without any none is made.

    Raises:
        ConfigError: keys are there already, a name is wrong, or the folder cannot be written.

    """
    for folder in (paths.keys, paths.tls):
        if folder.exists() or folder.is_symlink():
            raise ConfigError(f"{folder}: is there already, and keys are never overwritten")
    try:
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(paths.state, paths.state.stat(), 0o700)
        for folder in (paths.run, paths.spool, paths.log):
            folder.mkdir(mode=0o700, exist_ok=True)
        # Made beside and renamed, so that there is never half a set.
        draft = paths.state / f".new-{secrets.token_hex(4)}"
        draft.mkdir(mode=0o700)
        try:
            _fill(KeyBook(GatewayPaths(draft), names, intercepted), now)
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


def load_log_key(path: Path) -> Ed25519PrivateKey:
    """Return the key that signs checkpoints. Raises `ConfigError`."""
    key = load_signing_key(path).private_key
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK")
    return key


@frozen
class LogKeyFiles:
    """The log's key and the next one, which only the recorder reads and makes."""

    _book: KeyBook

    @property
    def _kind(self) -> KeyKind:
        return KINDS["log"]

    def prepare(self) -> Ed25519PrivateKey:
        """Make the next key, and keep it beside the present one. Raises `ConfigError`."""
        self._book.announce(self._kind, datetime.now().astimezone())
        return load_log_key(self._book.path(self._kind, ahead=True))

    def promote(self) -> None:
        """Put the next key in place of the present one. Raises `ConfigError`."""
        self._book.promote(self._kind)

    def successor(self) -> Ed25519PrivateKey | None:
        """Return the next key, if there is one. Raises `ConfigError`."""
        path = self._book.path(self._kind, ahead=True)
        return load_log_key(path) if path.exists() else None

    def withdraw(self) -> None:
        """Forget the next key: it was never given the log."""
        self._book.withdraw(self._kind)


def _replace(
    key_path: Path,
    key: ec.EllipticCurvePrivateKey,
    certificate_path: Path,
    certificate: x509.Certificate,
) -> None:
    """Put a pair in place of another, the certificate last: until then it counts as not renewed."""
    replace_private(key_path, key_pem(key))
    replace_private(certificate_path, certificate.public_bytes(Encoding.PEM))


def _fill(book: KeyBook, now: datetime) -> None:
    """Write all keys and certificates into a fresh folder."""
    paths, names = book.paths, book.names
    paths.keys.mkdir(mode=0o700)
    paths.tls.mkdir(mode=0o700)
    for kind in book.kinds.values():
        book.make(kind, now)
    listeners, link = book.authority(KINDS["listeners"]), book.authority(KINDS["link"])
    key, link_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issued = certificates.issue_server(
        listeners.certificate, listeners.key, key.public_key(), names, now
    )
    link_issued = link_certificates.issue_listener(
        link.certificate, link.key, link_key.public_key(), now
    )
    for path, pem in (
        (paths.gateway_key, key_pem(key)),
        (paths.gateway_certificate, issued.public_bytes(Encoding.PEM)),
        (paths.link_key, key_pem(link_key)),
        (paths.link_certificate, link_issued.public_bytes(Encoding.PEM)),
    ):
        write_private(path, pem)
