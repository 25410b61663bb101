"""Where something listens or is reached: ``host:port``, ``[v6]:port`` or ``unix:/path``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from attrs import frozen

SOCKET_PATH_LIMIT: Final = 107
"""Bytes that Linux takes in ``sun_path``, without the zero at the end (unix(7))."""

_TCP: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})")


@frozen
class Address:
    """A TCP address, or the path of a unix socket."""

    host: str = ""
    """Empty for a unix socket."""
    port: int = 0
    path: Path | None = None
    """Of a unix socket."""

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> Address:
        """Read an address; a relative socket path is relative to ``base``.

        Raises:
            ValueError: the text is no address, or the socket's path is too long.

        """
        if text.startswith("unix:"):
            return cls._unix(text.removeprefix("unix:"), base)
        match = _TCP.fullmatch(text)
        if match is None:
            raise ValueError('expected "host:port", "[v6]:port" or "unix:/path"')
        port = int(match[3])
        if not 1 <= port <= 65535:
            raise ValueError("expected a port from 1 to 65535")
        return cls(match[1] or match[2], port)

    @classmethod
    def _unix(cls, name: str, base: Path | None) -> Address:
        if not name or "\0" in name:
            raise ValueError('expected a path after "unix:"')
        path = base / name if base is not None else Path(name)
        if not path.is_absolute():
            raise ValueError('expected an absolute path after "unix:"')
        if problem := socket_path_problem(path):
            raise ValueError(problem)
        return cls(path=path)

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.path is not None

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def socket_path_problem(path: Path) -> str | None:
    """Say why a unix socket cannot have this path, or None."""
    size = len(str(path).encode("utf-8", "surrogateescape"))
    if size > SOCKET_PATH_LIMIT:
        return f"expected a socket path of at most {SOCKET_PATH_LIMIT} bytes, not {size}: {path}"
    return None
