"""One exchange carried to a target and back, in streams.

`forward` sends a request over a connection that is free, and its answer to the client, with what
is to be changed on the way said by functions. It decides nothing and adds no credential.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from attrs import field, frozen

from hoopgw.http.client import Call, UpstreamConnection
from hoopgw.http.exchange import Exchange
from hoopgw.http.messages import NO_HEADERS, Headers, RequestHead, ResponseHead
from hoopgw.http.streams import Hook, Outgoing, join, relay


@frozen(kw_only=True)
class Passing:
    """How an answer is passed on."""

    head: ResponseHead
    """For the client."""
    change: Hook | None = None
    """Changes each piece of the body, whose length is then not known beforehand."""
    rest: Callable[[], bytes] = field(default=bytes)
    """What ``change`` still has at the end."""
    trailers: bool = False
    """Whether the target's trailers are passed on: not where the body is changed."""


Show: TypeAlias = Callable[[ResponseHead], Passing]


@frozen(kw_only=True)
class Hooks:
    """What sees the bytes of a tunnel, and may change them; what they raise ends it."""

    to_target: Hook | None = None
    to_client: Hook | None = None


@frozen(kw_only=True)
class Carried:
    """What went over the wires."""

    status: int
    sent: int
    """Bytes of the request's body."""
    received: int
    """Bytes of the answer's body, as the target sent it."""


def pass_on(head: ResponseHead) -> Passing:
    """Pass an answer on as it is."""
    return Passing(head=head, trailers=True)


async def forward(
    exchange: Exchange,
    connection: UpstreamConnection,
    head: RequestHead,
    *,
    body: bytes | None = None,
    show: Show = pass_on,
    hooks: Hooks | None = None,
    patience: float | None = None,
    quiet: float | None = None,
) -> Carried:
    """Carry an exchange.

    Args:
        exchange: whose answer is not begun.
        connection: that is free.
        head: to send, with ``Host``.
        body: to send; None: the client's own, streamed.
        show: says how the answer is passed on. What it raises is raised here, before anything of
            the answer is sent.
        hooks: for a tunnel; None: the protocol is not changed, whatever the client asks.
        patience: seconds for the head of the answer, instead of the connection's.
        quiet: seconds without a byte of the answer, instead of the connection's.

    Raises:
        UpstreamError: the target's answer did not come whole. If `Exchange.started`, the client's
            connection must end, which it does if this goes on to the engine.
        MessageError: the client's request did not come whole.

    """
    upgrade = hooks is not None and bool(exchange.head.upgrade)
    length: bytes | int | None = body if body is not None else _length_of(exchange)
    call = connection.begin(head, length, upgrade=upgrade, later=True)
    if quiet is not None:
        call.quiet = quiet
    sent = call.outgoing
    if not sent.done:
        call.send_from(exchange.body)
    try:
        answer = await call.answer(patience)
        if call.tunnel is not None:
            near = exchange.upgrade(show(answer).head)
            wanted = hooks or Hooks()
            await join(near, call.tunnel, wanted.to_target, wanted.to_client)
        else:
            await _answer(exchange, call, show(answer))
        return Carried(status=answer.status, sent=sent.size, received=call.body.size)
    finally:
        call.close()


async def _answer(exchange: Exchange, call: Call, passing: Passing) -> None:
    length = call.length if passing.change is None else None
    out: Outgoing = exchange.start(passing.head, length, later=True)
    if out.done:  # to HEAD, or 204, or 304
        await call.body.pipe(lambda data: None)
        return
    trailers = await relay(call.body, out, passing.change)
    rest = passing.rest()
    if rest:
        out.write(rest)
    out.finish(_clean(trailers) if passing.trailers and trailers else NO_HEADERS)


def _clean(trailers: Headers) -> Headers:
    return trailers.end_to_end()


def _length_of(exchange: Exchange) -> bytes | int | None:
    """Return the body's length: an empty one is whole at once."""
    if exchange.body.ended:
        return b""
    return exchange.head.content_length
