"""One request and the way to answer it, as a handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from attrs import define, field

from hoopgw.http.messages import Request, RequestHead, Response, ResponseHead
from hoopgw.http.streams import Incoming, Outgoing, Source, Tunnel
from hoopgw.transport import DataTransport


class Connection(Source, Protocol):
    """The part of a connection that its exchanges use."""

    @property
    def data_transport(self) -> DataTransport:
        """The transport."""
        ...

    def answer(self, exchange: Exchange, response: Response) -> None:
        """Write a whole answer."""

    def begin(self, exchange: Exchange, head: ResponseHead, length: int | None) -> Outgoing:
        """Begin an answer; its head waits in what is returned."""
        ...

    def change(self, exchange: Exchange, head: ResponseHead) -> Tunnel:
        """Write the answer after which there is no HTTP any more."""
        ...


@define(eq=False)
class Exchange:
    """One request. Its handler answers once: `respond`, or `start`, or `upgrade`."""

    connection: Connection
    """The same for all exchanges of one connection."""
    head: RequestHead
    body: Incoming = field(init=False)
    """The request's; after `upgrade`, what comes through the tunnel."""
    outgoing: Outgoing | None = field(default=None, init=False)
    """The answer's body, once that was begun."""

    def __attrs_post_init__(self) -> None:
        self.body = Incoming(self.connection)

    @property
    def transport(self) -> DataTransport:
        """The client's connection: its addresses, and what TLS knows of the client."""
        return self.connection.data_transport

    @property
    def started(self) -> bool:
        """Whether any of an answer was sent. What only waits to be sent gives way to another."""
        return self.outgoing is not None and not self.outgoing.unsent

    @property
    def done(self) -> bool:
        """Whether an answer is whole."""
        return self.outgoing is not None and self.outgoing.done

    async def collect(self, limit: int) -> Request:
        """Return the request with its whole body.

        Raises:
            MessageError: it is longer than ``limit``, or did not come whole.

        """
        body = await self.body.collect(limit)
        return Request(self.head, body, self.body.trailers)

    def respond(self, response: Response) -> None:
        """Answer with a whole response; its length is added here.

        Raises:
            ValueError: a header field has more than one line.

        """
        self.connection.answer(self, response)

    def start(
        self, head: ResponseHead, length: int | None = None, *, later: bool = False
    ) -> Outgoing:
        """Begin an answer whose body is then written.

        Framing is added here, and what concerns one connection only is left out. An answer that
        can have no body (to HEAD; 204, 304) is whole at once, and keeps the length that it says.

        Args:
            head: of the answer.
            length: of the body; None: it is not known.
            later: let the head wait for the first of the body, which follows soon: `relay` does.

        Raises:
            ValueError: a header field has more than one line.

        """
        outgoing = self.connection.begin(self, head, length)
        if not later:
            outgoing.flush()
        return outgoing

    def upgrade(self, head: ResponseHead) -> Tunnel:
        """Answer that the protocol changes (101, or 2xx to CONNECT); what follows is bytes.

        The handler goes on while the tunnel does (`streams.join`), and the connection ends with it.

        Args:
            head: of the answer, with ``Upgrade`` for 101.

        Raises:
            ValueError: a header field has more than one line.

        """
        return self.connection.change(self, head)

    def abort(self) -> None:
        """Cut the connection, so that the client sees that the answer is not whole."""
        self.transport.abortConnection()


Handle: TypeAlias = Callable[[Exchange], Awaitable[None]]
Refuse: TypeAlias = Callable[[RequestHead | None, int, str], Response]
"""Says a refusal: of a request, if its head was read, with a status, and why."""


def refuse_plainly(_head: RequestHead | None, status: int, text: str) -> Response:
    """Say a refusal where the client's own terms are not known."""
    return Response.of(status, f"{text}\n".encode(), b"text/plain; charset=utf-8")


def answering(answer: Callable[[Request], Awaitable[Response]], limit: int) -> Handle:
    """Make a handler of a function from whole requests to whole responses.

    Args:
        answer: the function.
        limit: bytes that a body may have.

    """

    async def handle(exchange: Exchange) -> None:
        exchange.respond(await answer(await exchange.collect(limit)))

    return handle
