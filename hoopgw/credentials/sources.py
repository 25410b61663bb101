"""Secrets that the machine itself keeps: environment, files, systemd credentials.

Nothing here caches: a changed file is used by the next log-in. Errors name the reference, and never
any part of what was read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import field, frozen

from hoopgw.errors import ConfigError, UnavailableError

SECRET_LIMIT: Final = 64 * 1024
"""Bytes of a secret: a certificate with its key and chain fits, a mistaken path often does not."""
_SYSTEMD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,254}")
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class SecretSource(Protocol):
    """Something that a secret can be fetched from."""

    async def fetch(self) -> bytes:
        """Return the secret.

        Raises:
            UnavailableError: it cannot be had now; the text is for the operator.

        """
        ...


@frozen
class EnvironmentSource:
    """``env:NAME``."""

    name: str
    environment: Mapping[str, str] = field(repr=False)

    async def fetch(self) -> bytes:
        """Return the variable's value as UTF-8."""
        value = self.environment.get(self.name, "")
        return checked(os.fsencode(value), f"env:{self.name}")


@frozen
class FileSource:
    """``file:/path``: one trailing newline is not part of the secret."""

    path: Path
    user: Callable[[], int] = os.geteuid

    async def fetch(self) -> bytes:
        """Read the file, if nobody else could have written or read it."""
        return self.read()

    def read(self) -> bytes:
        """Do what `fetch` does, which needs no waiting."""
        reference = f"file:{self.path}"
        return checked(_read(self.path, reference, self.user(), 0o077), reference)


@frozen
class SystemdSource:
    """``systemd:NAME``: from the directory that systemd prepared for this unit."""

    name: str
    environment: Mapping[str, str] = field(repr=False)
    user: Callable[[], int] = os.geteuid

    def __attrs_post_init__(self) -> None:
        if _SYSTEMD_NAME.fullmatch(self.name) is None:
            raise ConfigError(f"systemd:{self.name[:40]!r} is not the name of a credential")

    async def fetch(self) -> bytes:
        """Read the credential. systemd may give it to us by ACL, which shows as a group bit."""
        reference = f"systemd:{self.name}"
        directory = self.environment.get("CREDENTIALS_DIRECTORY", "")
        if not directory.startswith("/"):
            raise UnavailableError(f"{reference}: systemd gave this process no credentials")
        path = Path(directory) / self.name
        return checked(_read(path, reference, self.user(), 0o027), reference)


def checked(secret: bytes, reference: str) -> bytes:
    """Return the secret without a trailing newline, if something is left of it."""
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if not secret:
        raise UnavailableError(f"{reference} is empty or not set")
    if len(secret) > SECRET_LIMIT:
        raise UnavailableError(f"{reference} is longer than {SECRET_LIMIT} bytes")
    return secret


def _read(path: Path, reference: str, user: int, forbidden: int) -> bytes:
    """Read a file whose attributes are checked on the open descriptor, so they cannot change."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise UnavailableError(f"{reference} cannot be opened ({error.strerror})") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnavailableError(f"{reference} is not a regular file")
        if found.st_uid not in (user, 0):
            raise UnavailableError(f"{reference} belongs to another user")
        if found.st_mode & forbidden:
            raise UnavailableError(f"{reference} is open to others: chmod 0600")
        if found.st_size > SECRET_LIMIT:
            raise UnavailableError(f"{reference} is longer than {SECRET_LIMIT} bytes")
        return os.read(descriptor, SECRET_LIMIT + 2)
    except OSError as error:
        raise UnavailableError(f"{reference} cannot be read ({error.strerror})") from error
    finally:
        os.close(descriptor)
