"""A certificate that listeners show, in files that may be replaced while the process lives.

What replaces them is the control process, for certificates of our own CAs, or the operator's own
tool. `ServedCertificate.look` notices it and gives the new pair to every context that serves it:
the next handshakes show it, and connections that stand are not touched. A pair that does not fit,
as while one file is replaced and the other not yet, is never given to a context.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import Final

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.link.tls import load_chain

_FILE_LIMIT: Final = 256 * 1024


@define(eq=False)
class ServedCertificate:
    """A chain and its key.

    Raises (when made):
        ConfigError: they cannot be read, or others may use the key.
        UnavailableError: they do not fit each other; soon they may, if they are being replaced.

    """

    certificate_file: Path
    """PEM: the certificate, then those that lead to its CA."""
    key_file: Path
    pem: bytes = field(init=False, repr=False)
    """Key and chain, as last read and found good."""
    der: bytes = field(init=False, repr=False)
    """The certificate itself: channel bindings are over it."""
    _contexts: list[ssl.SSLContext] = field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.pem, self.der = self._read()

    def serve(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Show it in this context's handshakes, now and when it is replaced."""
        load_chain(context, self.pem)
        self._contexts.append(context)
        return context

    def look(self) -> bool:
        """Take what is in the files, if it is another pair; say whether it was.

        Raises:
            ConfigError, UnavailableError: what is there cannot be used: the earlier pair is served
                on.

        """
        pem, der = self._read()
        if pem == self.pem:
            return False
        for context in self._contexts:
            load_chain(context, pem)
        self.pem, self.der = pem, der
        return True

    def _read(self) -> tuple[bytes, bytes]:
        key, chain = read_key(self.key_file), _read(self.certificate_file)
        pem = key.rstrip() + b"\n" + chain
        try:
            load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pem)  # does it fit?
            first = x509.load_pem_x509_certificates(chain)[0]
        except (ssl.SSLError, ValueError) as error:
            raise UnavailableError(
                f"{self.certificate_file}, {self.key_file}: cannot be used for TLS: {error}"
            ) from error
        return pem, first.public_bytes(Encoding.DER)


def read_key(path: Path) -> bytes:
    """Return a private key's file.

    An operator's key may belong to root and be readable by a group, as `certbot` and Debian's
    ``ssl-cert`` have it. For everybody to read or to write it may not be.

    Raises:
        ConfigError: it cannot be read, everybody may, or it is another user's.

    """
    return _read(path, forbidden=stat.S_IRWXO | stat.S_IWGRP, private=True)


def _read(path: Path, *, forbidden: int = stat.S_IWOTH, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if private and found.st_uid not in (0, os.geteuid()):
                raise ConfigError(f"{path}: belongs to user {found.st_uid}, who knows the key")
            mode = stat.S_IMODE(found.st_mode)
            if mode & forbidden:
                raise ConfigError(
                    f"{path}: others may use it (mode {mode:04o}); run: chmod 0600 {path}"
                )
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{path}: is longer than {_FILE_LIMIT} bytes")
    return data
