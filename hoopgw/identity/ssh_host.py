"""The gateway's SSH host key and its certificate, in files: made by control, shown by workers.

The key is made once, and stays when its certificate is renewed or the CA of hosts is replaced:
clients that do not know the CA have pinned it. The certificate lives `HOST_LIFETIME` and is renewed
at half of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from joserfc.jwk import OKPKey

from hoopgw.config.gateway import GatewayPaths
from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.identity.private_files import (
    load_signing_key,
    read_private,
    replace_private,
    write_private,
)
from hoopgw.identity.ssh_certificates import HOST_LIFETIME, SshHost, issue_host


@define(eq=False)
class ServedHost:
    """The key and certificate in the files, which may be replaced while the process lives."""

    _paths: GatewayPaths
    _current: SshHost | None = field(default=None, init=False)

    def __call__(self) -> SshHost:
        """Return them.

        Raises:
            ConfigError: they cannot be read, or others may use the key.
            UnavailableError: they do not fit each other.

        """
        if self._current is None:
            self._current = _read(self._paths)
        return self._current

    def look(self) -> bool:
        """Take what is in the files, if it was asked for before; say whether it is new.

        Raises:
            ConfigError, UnavailableError: as above; the earlier ones are shown on.

        """
        if self._current is None:
            return False
        found = _read(self._paths)
        is_new = found.certificate != self._current.certificate
        if is_new:
            self._current = found
        return is_new


def renew_host(paths: GatewayPaths, names: Collection[str], now: float) -> bool:
    """Make the host key if there is none, and its certificate if that is due; say whether it was.

    Due is what has passed half of its time, is of another CA than the present one, or for other
    names.

    Args:
        paths: of the state folder.
        names: that clients reach the gateway by.
        now: seconds since the epoch.

    Raises:
        ConfigError: a key cannot be read, a name is none, or nothing can be written.

    """
    ca = _private(load_signing_key(paths.ssh_hosts_key))
    try:
        if not paths.ssh_host_key.exists():
            key = OKPKey.generate_key("Ed25519", private=True)
            write_private(paths.ssh_host_key, json.dumps(key.as_dict(private=True)).encode())
        if not _is_due(paths, ca.public_key(), names, now):
            return False
        public = _private(load_signing_key(paths.ssh_host_key)).public_key()
        text = issue_host(ca, public, names, now)
        replace_private(paths.ssh_host_certificate, f"{text}\n".encode())
    except AuthenticationError as error:
        raise ConfigError(f"tls.names: {error}") from error
    except OSError as error:
        raise ConfigError(f"{paths.tls}: cannot be written: {error}") from error
    return True


def _is_due(paths: GatewayPaths, ca: Ed25519PublicKey, names: Collection[str], now: float) -> bool:
    if not paths.ssh_host_certificate.exists():
        return True
    try:
        certificate = _certificate(read_private(paths.ssh_host_certificate))
    except ValueError:
        return True
    return (
        certificate.signature_key() != ca
        or not certificate.valid_after <= now < certificate.valid_before - HOST_LIFETIME / 2
        or {name.decode() for name in certificate.valid_principals} != set(names)
    )


def _read(paths: GatewayPaths) -> SshHost:
    key = _private(load_signing_key(paths.ssh_host_key))
    data = read_private(paths.ssh_host_certificate)
    try:
        certificate = _certificate(data)
    except ValueError as error:
        raise UnavailableError(f"{paths.ssh_host_certificate}: {error}") from error
    if certificate.public_key() != key.public_key():
        raise UnavailableError(f"{paths.ssh_host_certificate}: is of another key")
    return SshHost(key=key, certificate=base64.b64decode(data.split()[1]))


def _certificate(data: bytes) -> SSHCertificate:
    """Read a certificate. Raises `ValueError`."""
    found = load_ssh_public_identity(data)
    if not isinstance(found, SSHCertificate):
        raise ValueError("is no certificate")
    return found


def _private(key: OKPKey) -> Ed25519PrivateKey:
    found = key.private_key
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError("the key of SSH hosts is not Ed25519")
    return found
