"""Let another protocol receive for a transport that is open already."""

from __future__ import annotations

from typing import Any

from hoopgw.transport import DataTransport


def attach(transport: DataTransport, protocol: Any) -> None:
    """Give the transport to a Twisted protocol, as if the connection had just been made.

    ``protocol`` is an `IProtocol`; it is ``Any`` because `Protocol.makeConnection` has no types.
    """
    transport.protocol = protocol
    protocol.makeConnection(transport)
