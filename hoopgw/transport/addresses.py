"""Twisted's addresses of sockets."""

from __future__ import annotations

import socket
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

_MAPPED: Final = "::ffff:"
"""How an IPv4 address is written on an IPv6 socket (RFC 4291 section 2.5.5.2)."""


def address_of(sock: socket.socket, name: Any) -> Any:
    """Return one of a socket's addresses: ``name`` is its ``getpeername`` or ``getsockname``."""
    try:
        address = name()
    except OSError:
        return UNIXAddress(None)  # it is gone, so nobody can be named
    if sock.family == socket.AF_INET:
        return IPv4Address("TCP", *address[:2])
    if sock.family == socket.AF_INET6:
        # A listener on [::] gets both kinds: networks that callers are compared with are of one.
        if address[0].startswith(_MAPPED) and "." in address[0]:
            return IPv4Address("TCP", address[0].removeprefix(_MAPPED), address[1])
        return IPv6Address("TCP", *address[:2])
    return UNIXAddress(address or None)
