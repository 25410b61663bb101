"""Writing to a data transport, compiled where that was built."""

from __future__ import annotations

from collections.abc import Callable

from hoopgw.transport import accelerated
from hoopgw.transport.stream import DataTransport


def plain_write(leg: DataTransport, data: bytes) -> None:
    """Send now what the kernel takes, and queue the rest: `DataTransport.write`."""
    leg.write(data)


write: Callable[[DataTransport, bytes], None] = plain_write
"""`plain_write`, or its compiled twin where that was built (`accelerated`)."""
if accelerated.is_wanted("hoopgw.transport._dispatch"):
    from hoopgw.transport import _dispatch

    write = _dispatch.write
