"""Twisted's addresses of sockets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress


def address_of(sock: socket.socket, name: Any) -> Any:
    """Return one of a socket's addresses: ``name`` is its ``getpeername`` or ``getsockname``."""
    try:
        address = name()
    except OSError:
        return UNIXAddress(None)  # it is gone, so nobody can be named
    if sock.family == socket.AF_INET:
        return IPv4Address("TCP", *address[:2])
    if sock.family == socket.AF_INET6:
        return IPv6Address("TCP", *address[:2])
    return UNIXAddress(address or None)
