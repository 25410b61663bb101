from collections.abc import Mapping
from select import epoll
from typing import Any

from hoopgw.transport.stream import DataTransport

def ready(
    poller: epoll, wait: float, selectables: Mapping[int, Any]
) -> list[tuple[int, int]] | None: ...
def write(leg: DataTransport, data: bytes) -> None: ...
