"""Addresses in a configuration: those of `hoopgw.transport`, with paths relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hoopgw.transport import Address

SOCKET_PATH_LIMIT: Final = 107
"""Bytes that Linux takes in ``sun_path``, without the zero at the end (unix(7))."""
_HOST_LIMIT: Final = 253


def read_address(text: str, base: Path) -> Address:
    """Read an address; a relative socket path is relative to ``base``.

    Raises:
        ValueError: the text is no address; it says what is expected.

    """
    if text.startswith("unix:"):
        name = text.removeprefix("unix:")
        if not name:
            raise ValueError('expected a path after "unix:"')
        path = base / name
        if problem := socket_path_problem(path):
            raise ValueError(problem)
        return Address(path=str(path))
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise ValueError('expected "host:port", "[v6]:port" or "unix:/path"') from error
    if not address.port or len(address.host) > _HOST_LIMIT or not address.host.isascii():
        raise ValueError("expected an ASCII host, and a port from 1 to 65535")
    return address


def socket_path_problem(path: Path) -> str | None:
    """Say why a unix socket cannot have this path, or None."""
    size = len(str(path).encode("utf-8", "surrogateescape"))
    if size > SOCKET_PATH_LIMIT:
        return f"expected a socket path of at most {SOCKET_PATH_LIMIT} bytes, not {size}: {path}"
    return None
