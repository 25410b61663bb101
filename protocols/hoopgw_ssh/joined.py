"""The connection protocol's place on both transports of the gateway: the client's, and the link.

Whatever is full stops what feeds it: a client's socket, a key exchange with it, or the link stop
data for that side (`Connection.pause`), which then waits in its channels up to their windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.conch.ssh.service import SSHService
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hoopgw.errors import ProtocolViolationError
from hoopgw.transport import DataTransport
from hoopgw_ssh import wire
from hoopgw_ssh.connection import Connection
from hoopgw_ssh.framing import FrameReader, frame_head
from hoopgw_ssh.pace import FIRST, next_read
from hoopgw_ssh.relay import Relay
from hoopgw_ssh.rulings import Judge
from hoopgw_ssh.transport import UNREAD_LIMIT
from hoopgw_ssh.wire import Bytes

log = Logger()

LEFT: Final = "the client has closed the connection"
TARGET_LEFT: Final = "the target, or the agent before it, has closed the connection"
FULL: Final = "full"
EXCHANGING: Final = "exchanging"
FROZEN: Final = "frozen"


@implementer(IPushProducer)
@define(eq=False)
class _Valve:
    """Stops what is sent to one side while anything says that it takes no more."""

    connection: Connection
    transport: Any = field(repr=False)
    """The client's; its batches take what is sent on in one piece."""
    reasons: set[str] = field(factory=set)

    def close(self, why: str) -> None:
        """Stop."""
        self.reasons.add(why)
        self.connection.pause()

    def open(self, why: str) -> None:
        """Go on, if nothing else stops it."""
        self.reasons.discard(why)
        if not self.reasons:
            with self.transport.batch():
                self.connection.resume()

    def pauseProducing(self) -> None:
        """Stop: the transport's queue is full."""
        self.close(FULL)

    def resumeProducing(self) -> None:
        """Go on: it has drained."""
        self.open(FULL)

    def stopProducing(self) -> None:
        """Do nothing: the transport's protocol is told."""


@define(eq=False)
class Joined(SSHService):
    """A client's connection, joined with a target that is open on the link.

    Args:
        link: the leg to the agent, paused; it is ours from now on.
        judge: decides.
        on_over: called once, with why, when nothing is passed on any more.
        why_lost: says why the target is gone, when it is.

    """

    link: DataTransport = field(repr=False)
    judge: Judge = field(repr=False)
    on_over: Callable[[str], None] = field(default=lambda _why: None, repr=False)
    why_lost: Callable[[], str] = field(default=lambda: TARGET_LEFT, repr=False)
    transport: Any = field(default=None, init=False, repr=False)
    relay: Relay = field(init=False, repr=False)
    _to_client: _Valve = field(init=False, repr=False)
    _to_target: _Valve = field(init=False, repr=False)
    _frames: FrameReader = field(init=False, repr=False)
    _outgoing: list[Bytes] = field(factory=list, init=False, repr=False)
    """Pieces of frames for the agent that leave at the end of the transport's batch."""
    _over: bool = field(default=False, init=False)

    name = b"ssh-connection"

    def __attrs_post_init__(self) -> None:
        self.relay = Relay(self._send_to_client, self._send_to_target, self.judge)
        self._frames = FrameReader(self.relay.target.received)

    # What the client's transport calls

    def serviceStarted(self) -> None:
        """Begin: both legs are read from now on."""
        self._to_client = _Valve(self.relay.client, self.transport)
        self._to_target = _Valve(self.relay.target, self.transport)
        if self.relay.frozen:
            self._stop()
        self.transport.afterwards = self._flush
        self.transport.transport.registerProducer(self._to_client, True)
        self.link.protocol = self
        self.link.registerProducer(self._to_target, True)
        self.link.read_limit = FIRST
        self.link.resumeProducing()

    def serviceStopped(self) -> None:
        """End the link's side: the client has gone."""
        self._end(LEFT)
        self._flush()
        self.link.loseConnection()

    def packetReceived(self, messageNum: int, payload: Bytes) -> None:
        """Take a message of the client."""
        self.relay.client.received(messageNum, payload)

    def exchanging(self, *, keys: bool) -> None:
        """Stop while the transport exchanges keys, and go on afterwards."""
        if keys:
            self._to_client.close(EXCHANGING)
        else:
            self._to_client.open(EXCHANGING)

    # What the link calls

    def dataReceived(self, data: Bytes) -> None:
        """Take frames of the agent."""
        clock = self.transport.clock
        begun = clock.seconds()
        try:
            with self.transport.batch():
                self._frames.receive(data)
        except ProtocolViolationError as error:
            log.warn("the target breaks the protocol: {why}", why=str(error))
            self.end("the target broke the protocol")
            return
        limit = next_read(len(data), clock.seconds() - begun, self.link.read_limit)
        if limit != self.link.read_limit:
            self.link.read_limit = limit

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the client's side: the target has gone."""
        del reason
        if not self._over:
            self.end(self.why_lost())

    # Freezing

    def freeze(self, why: str) -> None:
        """Pass nothing on, either way, until `thaw`; the connections live on.

        What is under way waits in the channels, whose room is not given back meanwhile. Who closes
        a channel, or the connection, ends it as ever.

        Args:
            why: what the client is told.

        """
        self.relay.freeze(why)
        if self.transport is not None:
            self._stop()

    def thaw(self, said: str) -> None:
        """Let all go on, in its order; ``said`` is what the client is told."""
        if self._over:
            return
        self.relay.say(said)
        if self.transport is not None:
            self._to_client.open(FROZEN)
            self._to_target.open(FROZEN)
        try:
            self.relay.thaw()
        except ProtocolViolationError as error:
            log.warn("the client breaks the protocol: {why}", why=str(error))
            self.end("what you sent while you were frozen broke the protocol")

    def _stop(self) -> None:
        self._to_client.close(FROZEN)
        self._to_target.close(FROZEN)

    def end(self, why: str, reason: str = "", *, at_once: bool = False) -> None:
        """End both sides.

        Args:
            why: what the client is told.
            reason: what is taken note of, if that is less.
            at_once: what waits in channels does not go to the target any more, and what was
                started there is told that its terminal has gone: sshd itself tells that only what
                has one. (It passes no signals on to commands of root.)

        """
        if self._over:
            return
        if at_once:
            self._outgoing.clear()
            for target, started in [(pair.target, pair.started) for pair in self.relay.pairs]:
                if target is not None and started:
                    target.interrupt(b"signal", wire.string(b"HUP"))
                elif target is not None and self.relay.frozen:
                    target.abort()
            if self.relay.frozen and self.transport is not None:
                self._to_target.open(FROZEN)  # for that; nothing else waits any more
        self._end(reason or why)
        self.transport.sendDisconnect(wire.DISCONNECT_BY_APPLICATION, why)
        self._flush()
        self.link.loseConnection()

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            self.relay.lost()
            self.on_over(why)

    def _send_to_client(self, number: int, payload: bytes, more: Bytes = b"") -> None:
        if not self._over:
            self.transport.sendPacket(number, payload, more)

    def _send_to_target(self, number: int, payload: bytes, more: Bytes = b"") -> None:
        if self._over:
            return
        self._outgoing.append(frame_head(number, len(payload) + len(more)) + payload)
        if more:
            self._outgoing.append(more)
        if not self.transport.is_batching:
            self._flush()

    def _flush(self) -> None:
        """Send what was gathered, while the bytes that it was made of are still valid."""
        if not self._outgoing:
            return
        pieces, self._outgoing = self._outgoing, []
        self.link.writeSequence(pieces)
        if self.link.queued > UNREAD_LIMIT:
            # Data stops long before: these are answers to a target that asks on.
            self.end("the target takes nothing any more")
