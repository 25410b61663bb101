"""What HTTP costs without a network: reading and writing messages, and an exchange through.

``python -m benchmarks http``: no server, no sockets. The messages are a request of the Azure CLI
and an answer of Azure Resource Manager, with 1 KB of body.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, cast

from rich.progress import Progress
from twisted.internet.interfaces import IDelayedCall

from benchmarks.figures import Figure, Section, Target, at_most
from benchmarks.mask_rows import nanoseconds
from hoopgw.http.exchange import Exchange
from hoopgw.http.forwarding import forward
from hoopgw.http.messages import Limits, RequestHead, ResponseHead
from hoopgw.http.path import locate
from hoopgw.http.pool import Key, Pool
from hoopgw.http.server import ServerConnection
from hoopgw.http.timing import Timeouts
from hoopgw.http.wire import RequestReader, ResponseReader, encode_request, encode_response
from hoopgw.transport import DataTransport

_ID: Final = b"2b1a3c00-5f10-11ee-8c99-0242ac120002"
_TARGET: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg1"
    "/providers/Microsoft.Storage/storageAccounts?api-version=2023-01-01"
)
_REQUEST: Final = memoryview(
    encode_request(
        "GET",
        _TARGET,
        (
            (b"Host", b"arm.gw.test:9443"),
            (b"User-Agent", b"python/3.11.7 (Linux) AZURECLI/2.91.0"),
            (b"Accept-Encoding", b"gzip, deflate"),
            (b"Accept", b"*/*"),
            (b"Connection", b"keep-alive"),
            (b"x-ms-client-request-id", _ID),
            (b"CommandName", b"storage account list"),
            (b"ParameterSetName", b"--resource-group"),
            (b"Authorization", b"Bearer " + b"x" * 900),
            (b"x-ms-return-client-request-id", b"true"),
        ),
    )
)
_ANSWER: Final = memoryview(
    encode_response(
        200,
        (
            (b"Cache-Control", b"no-cache"),
            (b"Pragma", b"no-cache"),
            (b"Content-Length", b"1024"),
            (b"Content-Type", b"application/json; charset=utf-8"),
            (b"Expires", b"-1"),
            (b"x-ms-request-id", _ID),
            (b"x-ms-correlation-request-id", _ID),
            (b"x-ms-routing-request-id", b"EASTUS:20240101T000000Z:" + _ID),
            (b"Strict-Transport-Security", b"max-age=31536000; includeSubDomains"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Date", b"Mon, 01 Jan 2024 00:00:00 GMT"),
        ),
    )
    + b"a" * 1024
)
_KEY: Final = Key("arm", "reader", "session")


class _Call:
    """A timer that never fires."""

    def __init__(self, at: float) -> None:
        self._at = at

    def getTime(self) -> float:
        return self._at

    def reset(self, seconds: float) -> None:
        """Do nothing."""

    def active(self) -> bool:
        return False


class _Clock:
    """Tells the time, as the reactor does; nothing is called."""

    def seconds(self) -> float:
        return time.monotonic()

    def callLater(self, delay: float, *_what: Any) -> IDelayedCall:
        return cast("IDelayedCall", _Call(time.monotonic() + delay))


class _Wire:
    """A transport that takes everything."""

    connected = True
    queued = 0
    protocol: Any = None

    def write(self, data: Any) -> None:
        """Drop it."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Never pause it."""

    def resumeProducing(self) -> None:
        """Do nothing."""

    pauseProducing = resumeProducing


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`."""
    reads, answers = RequestReader(), ResponseReader()
    asked, told = _read(reads), _read_answer(answers)

    def write() -> None:
        encode_request(asked.method, asked.target, asked.headers.end_to_end().pairs)

    def write_answer() -> None:
        encode_response(told.status, told.headers.end_to_end().pairs)

    def both() -> None:
        _read(reads)
        write()
        _read_answer(answers)
        write_answer()

    measured: tuple[tuple[str, float | None, Callable[[], object]], ...] = (
        ("read a request", None, lambda: _read(reads)),
        ("write a request", None, write),
        ("read an answer", None, lambda: _read_answer(answers)),
        ("write an answer", None, write_answer),
        ("all four: a pair, passed on", 40.0, both),
        ("read a target", None, lambda: locate(_TARGET)),
        ("a pair through server, pool and client", 120.0, _through()),
    )
    task = progress.add_task("http", total=len(measured))
    figures = []
    for name, bound, once in measured:
        samples = tuple(each / 1e3 for each in nanoseconds(once, 1, rounds, min(seconds, 1.0)))
        target: Target | None = None if bound is None else at_most(bound)
        figures.append(Figure(name=name, samples=samples, unit="µs", target=target))
        progress.advance(task)
    return [
        Section(
            name="HTTP without a network",
            method="least time of each round; an exchange of 1 KB with 10 and 11 header fields",
            figures=figures,
        )
    ]


def _read(reader: RequestReader) -> RequestHead:
    reader.receive(_REQUEST)
    head = cast("RequestHead", reader.next_event())
    reader.next_event()
    reader.keep()
    reader.proceed()
    return head


def _read_answer(reader: ResponseReader) -> ResponseHead:
    reader.expect("GET")
    reader.receive(_ANSWER)
    head = cast("ResponseHead", reader.next_event())
    reader.next_event()
    reader.next_event()
    reader.keep()
    return head


def _through() -> Callable[[], None]:
    """Return what carries one exchange through the engine, over transports that do nothing."""
    clock: Any = _Clock()
    pool, upstream = Pool(clock=clock), _Wire()

    async def open_transport() -> DataTransport:
        return cast("DataTransport", upstream)

    async def handle(exchange: Exchange) -> None:
        connection = await pool.take(_KEY, open_transport)
        await forward(exchange, connection, exchange.head)

    server = ServerConnection(handle, clock, Limits(), Timeouts())
    cast("Any", server).makeConnection(_Wire())

    def once() -> None:
        server.dataReceived(_REQUEST)
        upstream.protocol.dataReceived(_ANSWER)

    once()
    return once
