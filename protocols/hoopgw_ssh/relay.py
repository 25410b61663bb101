"""Joins a client's connection with a target's: channel by channel, request by request.

Nothing that does something goes on before a `Judge` has said so; what is undecided holds its own
channel, and no other. What a judge allows is passed on as it came. What neither side needs to tell
the other is answered here: keep-alives, and the target's host keys, which a client would take for
the gateway's.

A refused command is no failed request, which clients tell by a bare status: it is taken, says why
on standard error, and ends with the status 77 (EX_NOPERM).

Reference: RFC 4254 sections 4, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.answers import REQUESTS_LIMIT, answer_to, fail, passed_on
from hoopgw_ssh.channels import (
    EXTRA_LIMIT,
    PROHIBITED,
    SHORTAGE,
    STDERR,
    Channel,
    Opening,
    Request,
    Send,
)
from hoopgw_ssh.connection import Connection
from hoopgw_ssh.inspector import NOT_OPENED, Attentive, Inspector, said
from hoopgw_ssh.pair_ends import PairEnd
from hoopgw_ssh.rulings import Judge, Ruling, ruled
from hoopgw_ssh.wire import Bytes

REFUSED_STATUS: Final = 77
"""Exit status of what was refused: EX_NOPERM of sysexits.h; no shell gives it by itself."""
COMMANDS: Final = frozenset({b"exec", b"shell", b"subsystem"})
"""Requests that start something; one of them in the life of a channel."""
_KEEP_ALIVES: Final = frozenset({b"keepalive@openssh.com", b"keepalive@golang.org"})
_HOST_KEYS: Final = frozenset({b"hostkeys-00@openssh.com", b"hostkeys-prove-00@openssh.com"})
_FROM_TARGET: Final = frozenset(
    {b"exit-status", b"exit-signal", b"eow@openssh.com", b"xon-xoff", *_KEEP_ALIVES}
)
"""What a target may ask of a client's channel."""


@define(eq=False)
class Pair:
    """A channel of the client's and one of the target's, joined."""

    relay: Relay = field(repr=False)
    opening: Opening
    by_target: bool
    asker: Channel = field(repr=False)
    """The end of who wanted the channel."""
    other: Channel | None = field(default=None, init=False, repr=False)
    inspector: Inspector | None = field(default=None, init=False, repr=False)
    started: bool = field(default=False, init=False)
    """Whether something was started on it."""
    _status: Request | None = field(default=None, init=False, repr=False)
    _waiting: Deferred[Ruling] | None = field(default=None, init=False, repr=False)
    _is_gone: bool = field(default=False, init=False)
    _output_holds: int = field(default=0, init=False)
    _owed: int = field(default=0, init=False)
    """Bytes of output that have gone on, and whose room the target is not given back yet."""

    @property
    def client(self) -> Channel | None:
        """The client's end."""
        return self.other if self.by_target else self.asker

    @property
    def target(self) -> Channel | None:
        """The target's end."""
        return self.asker if self.by_target else self.other

    # Opening

    def begin(self) -> None:
        """Ask the judge, then the other side; while it is frozen nothing new is opened."""
        if self.relay.frozen:
            self._do_not_open(self.relay.frozen)
            return
        judged = self.relay.judge.opening(self.opening, by_target=self.by_target)
        self._wait(judged, self._open, self._do_not_open)

    def _open(self, ruling: Ruling) -> None:
        if self.relay.frozen:
            self._do_not_open(self.relay.frozen)
            return
        self._inspect(ruling)
        end = self.relay.client if self.by_target else self.relay.target
        try:
            self.other = end.open(self.opening.kind, self.opening.extra, PairEnd(self, asks=False))
        except ProtocolViolationError as error:
            self.asker.refuse(SHORTAGE, str(error))
            self._end()

    def _do_not_open(self, why: str) -> None:
        self.asker.refuse(PROHIBITED, why)
        self._end()

    def confirmed(self, extra: bytes) -> None:
        """Tell who asked that the other side has opened it."""
        self.asker.confirm(extra)

    def refused(self, code: int, text: bytes) -> None:
        """Tell who asked that the other side has not."""
        self._status = Request(NOT_OPENED, text, None)
        self.asker.refuse(code, text)
        self._end()

    # Going on

    def _inspect(self, ruling: Ruling) -> None:
        if ruling.inspector is not None:
            self.inspector = ruling.inspector
            ruling.inspector.attach(self)

    def data(self, source: Channel, data: Bytes, code: int | None) -> None:
        """Pass data on, through the inspector; it is valid during the call."""
        is_output = source is self.target
        sink = self.client if is_output else self.target
        if sink is None or code not in (None, STDERR):
            # No code but one is defined, and what stands in a channel keeps much for each.
            source.credit(len(data))
            return
        passed, credit = data, source.credit
        if self.inspector is not None:
            credit = self._credit_output if is_output else credit
            whole = bytes(data)  # inspectors may keep it
            if is_output:
                passed = self.inspector.to_client(whole, code)
            elif code is None:
                passed = self.inspector.to_target(whole)
            else:
                passed = b""  # no client has a second input: nothing of it would be looked at
        if not passed:
            credit(len(data))
        elif code is None:
            sink.write(passed, credit, len(data))
        else:
            sink.write_extended(code, passed, credit, len(data))

    def _credit_output(self, count: int) -> None:
        if self._output_holds:
            self._owed += count
        elif self.target is not None:
            self.target.credit(count)

    def eof(self, source: Channel) -> None:
        """Pass the end on, after what an inspector has kept back."""
        sink = self.client if source is self.target else self.target
        if sink is None:
            return
        if source is self.target:
            self._flush(sink)
        elif self.inspector is not None:
            rest = self.inspector.input_ended()
            if rest is None:
                return
            sink.write(rest)
        sink.eof()

    def _flush(self, sink: Channel) -> None:
        if self.inspector is None:
            return
        sink.write(self.inspector.rest(None))
        sink.write_extended(STDERR, self.inspector.rest(STDERR))

    # What an inspector may do: `hoopgw_ssh.inspector.Passage`

    def to_client(
        self,
        data: bytes,
        code: int | None = None,
        left: Callable[[int], None] | None = None,
        owed: int | None = None,
    ) -> None:
        """Send output that is not the target's."""
        if self.client is None:
            return
        if code is None:
            self.client.write(data, left, owed)
        else:
            self.client.write_extended(code, data, left, owed)

    def to_target(self, data: bytes) -> None:
        """Send input that was held, or is not the client's."""
        if self.target is not None:
            self.target.write(data)

    def end_input(self) -> None:
        """Pass the end of input on."""
        if self.target is not None:
            self.target.eof()

    def hold(self) -> None:
        """Keep the client's input back."""
        if self.client is not None:
            self.client.hold()

    def release(self) -> None:
        """Let it go on."""
        if self.client is not None:
            self.client.release()

    def hold_output(self) -> None:
        """Give the target no more room."""
        self._output_holds += 1

    def release_output(self) -> None:
        """Give it its room back."""
        self._output_holds -= 1
        if not self._output_holds:
            owed, self._owed = self._owed, 0
            self._credit_output(owed)

    def end(self, why: str) -> None:
        """End the channel as one that was refused."""
        if self.client is not None:
            self._end_refused(self.client, why)

    def closed(self, source: Channel) -> None:
        """Close the other end, too, after what waits there; nobody waits for a decision any more.

        A client's CLOSE is not answered before the target's: an exit status may come between.
        """
        sink = self.other if source is self.asker else self.asker
        if source is self.client and self._waiting is not None:
            self._waiting.cancel()
        if source is self.client and self.inspector is not None:
            self.inspector.abandoned()
        if sink is not None:
            if source is self.target:
                self._flush(sink)
            if source is self.client and self.relay.frozen:
                sink.abort()  # what waits there is kept from the target for good
            else:
                sink.close()
        if sink is None or sink.peer_has_closed or not sink.is_open:
            self._end()

    def _end(self) -> None:
        if self._is_gone:
            return
        self._is_gone = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self.inspector is not None:
            self.inspector.ended(self._status)
        self.relay.pairs.discard(self)

    # Requests

    def asked(self, source: Channel, request: Request) -> None:
        """Pass a request on: a client's when the judge says so."""
        if source is self.target:
            self._asked_by_target(request)
            return
        if self.target is None or (request.name in COMMANDS and self.started):
            fail(request.slot)
            return
        source.hold()
        self._wait(
            self.relay.judge.request(self, request),
            lambda ruling: self._pass_on(request, ruling),
            lambda why: self._refuse(request, why),
            source.release,
        )

    def _pass_on(self, request: Request, ruling: Ruling) -> None:
        self._inspect(ruling)
        if ruling.begins is not None:
            self.started = True
            begin = partial(ruling.begins, self)
            if request.slot is None:
                begin()
            else:
                request.slot.succeed(then=begin)
            return
        if isinstance(self.inspector, Attentive):
            self.inspector.requested(request)
        self.started = self.started or request.name in COMMANDS
        assert self.target is not None
        self.target.request(request.name, request.data, passed_on(request.slot))
        if ruling.ends_input:
            self.target.eof()  # and what the client sends later goes nowhere

    def _refuse(self, request: Request, why: str) -> None:
        client = self.client
        if request.name not in COMMANDS or client is None:
            fail(request.slot)
            return
        self.started = True
        if request.slot is None:
            self._end_refused(client, why)
        else:
            request.slot.succeed(then=lambda: self._end_refused(client, why))

    def _end_refused(self, client: Channel, why: str) -> None:
        if self.opening.kind == b"session":
            self.say(why)
            client.request(b"exit-status", REFUSED_STATUS.to_bytes(4, "big"))
        self._leave(client)

    def leave(self, status: int) -> None:
        """End the channel as one on which something has ended."""
        if (client := self.client) is not None:
            self._status = Request(b"exit-status", status.to_bytes(4, "big"), None)
            client.request(self._status.name, self._status.data)
            self._leave(client)

    def _leave(self, client: Channel) -> None:
        client.eof()
        client.close()
        if self.target is not None:
            self.target.abort()

    def say(self, text: str) -> None:
        """Tell the client something on standard error, as while a person is asked."""
        if self.client is not None and text:
            self.client.write_extended(STDERR, said(text))

    def _asked_by_target(self, request: Request) -> None:
        client = self.client
        kept = self.relay.frozen and request.name in _KEEP_ALIVES  # it asks whether we live
        if client is None or request.name not in _FROM_TARGET or kept:
            fail(request.slot)
            return
        if request.name in (b"exit-status", b"exit-signal"):
            self._status = request
        client.request(request.name, request.data, passed_on(request.slot))

    def _wait(
        self,
        judged: Deferred[Ruling],
        allow: Callable[[Ruling], None],
        refuse: Callable[[str], None],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on when the judge has spoken; a judge that fails has refused."""
        self._waiting = judged

        def settled(result: Ruling | Failure) -> None:
            self._waiting = None
            if self._is_gone or self.asker.peer_has_closed:
                return
            ruling = ruled(result)
            if ruling.allowed:
                allow(ruling)
            else:
                refuse(ruling.reason)
            then()

        judged.addBoth(settled)


@define(eq=False)
class _Side:
    """Takes what comes on one connection. Implements `ConnectionTaker`."""

    relay: Relay = field(repr=False)
    is_target: bool

    def opening(self, opening: Opening, channel: Channel) -> PairEnd:
        """Join it with a channel of the other connection."""
        pair = Pair(self.relay, opening, self.is_target, channel)
        self.relay.pairs.add(pair)
        # The channel knows its taker only when this returns; the judge may answer at once.
        taker = PairEnd(pair, asks=True)
        channel.taker = taker
        pair.begin()
        return taker

    def request(self, request: Request) -> None:
        """Answer what is nobody else's business; ask the judge about the rest."""
        if request.name in _KEEP_ALIVES or request.name in _HOST_KEYS or self.is_target:
            fail(request.slot)
        else:
            self.relay.asked(request)


@define(eq=False)
class Relay:
    """A client's connection and a target's.

    Args:
        to_client: sends a message to the client.
        to_target: sends a message to the target.
        judge: decides.

    """

    to_client: Send = field(repr=False)
    to_target: Send = field(repr=False)
    judge: Judge = field(repr=False)
    client: Connection = field(init=False, repr=False)
    target: Connection = field(init=False, repr=False)
    pairs: set[Pair] = field(factory=set, init=False)
    frozen: str = field(default="", init=False)
    """What the client is told of who has frozen it; empty: nobody has."""
    _held: list[Channel] = field(factory=list, init=False, repr=False)
    """The client's channels whose input is kept back by that."""
    _waiting: set[Deferred[Ruling]] = field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.client = Connection(self.to_client, _Side(self, is_target=False))
        self.target = Connection(self.to_target, _Side(self, is_target=True))

    def asked(self, request: Request) -> None:
        """Pass a request for the connection on, when the judge says so.

        Raises:
            ProtocolViolationError: too many wait for that.

        """
        if len(self._waiting) >= REQUESTS_LIMIT:
            raise ProtocolViolationError("too many requests wait for a decision")
        if len(request.data) > EXTRA_LIMIT or self.frozen:
            fail(request.slot)
            return
        judged = self.judge.for_connection(request)
        self._waiting.add(judged)

        def settled(result: Ruling | Failure) -> None:
            self._waiting.discard(judged)
            if ruled(result).allowed and not self.frozen:
                self.target.request(request.name, request.data, answer_to(request.slot))
            else:
                fail(request.slot)

        judged.addBoth(settled)

    def freeze(self, why: str) -> None:
        """Keep the client's input back, unlooked at, and open nothing new.

        Args:
            why: what the client is told, now and when it asks for more.

        """
        self.frozen = why
        self._held = [pair.client for pair in self.pairs if pair.client is not None]
        for channel in self._held:
            channel.hold()
        self.say(why)

    def thaw(self) -> None:
        """Let it go on.

        Raises:
            ProtocolViolationError: what was kept back breaks the protocol.

        """
        self.frozen = ""
        held, self._held = self._held, []
        for channel in held:
            channel.release()

    def say(self, text: str) -> None:
        """Tell whoever looks at one of the client's sessions something."""
        for pair in self.pairs:
            if pair.opening.kind == b"session" and pair.client is not None:
                pair.say(text)

    def lost(self) -> None:
        """End all: one side is gone."""
        for waiting in list(self._waiting):
            waiting.cancel()
        self.client.lost()
        self.target.lost()
