"""A gated shell: the gateway draws the prompt, and each line is a command that is decided.

The target runs no shell for it and sees no keystroke. A client within the gateway (`InnerClient`)
asks for each line on a channel of its own, as `ssh target 'line'` would, so the same judge decides,
holds, masks and records it. A line has no terminal and no input; what is carried from one to the
next stands in its text (`hoopgw.shell.carried`).

What is typed while a line runs waits for its end. Ctrl-C interrupts a line that runs, or withdraws
one that waits for people, and drops what was typed ahead; a second one leaves the line alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred, execute
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError
from hoopgw.sessions.journal import Answered
from hoopgw.shell.carried import Carried, Step, plan
from hoopgw.shell.grammar import Script, UnknownCommandError, UnparsedCommandError, parse
from hoopgw.shell.lines import TEXT_LIMIT, LineEditor, PlainLines, Typed
from hoopgw.terminal import printable
from hoopgw_ssh.answers import fail
from hoopgw_ssh.channels import STDERR, Channel, Opening, Request
from hoopgw_ssh.connection import Connection, ConnectionTaker
from hoopgw_ssh.inspecting import outcome_of
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.operations import Terminal
from hoopgw_ssh.visit import Visit
from hoopgw_ssh.wire import Bytes, Reader, string

if TYPE_CHECKING:
    from hoopgw_ssh.relay import Pair

log = Logger()

AT_ONCE: Final = 512
"""Bytes of a line that is taken apart where it is."""
LINES_LIMIT: Final = 100
"""Lines of one text that is typed line by line."""
SAID_LIMIT: Final = 16_384
"""Bytes that a change of the folder may put out."""
INTERRUPT: Final = b"\x03"
INTERRUPTED: Final = 130
"""The status of what Ctrl-C has ended, as shells have it."""
UNUSABLE: Final = 2
"""The status of what is no command, as shells have it."""
NO_STATUS: Final = 255
_GREETING: Final = (
    "hoopgw: a gated shell: each line is decided, and runs by itself, without a terminal or input."
)
_NOT_WHOLE: Final = "this is not whole yet: go on, or drop it with Ctrl-C"

Phase: TypeAlias = Literal["waiting", "typing", "reading", "running", "over"]


class _Nobody:
    """Whom the relay asks nothing. Implements `ConnectionTaker`."""

    def opening(self, _opening: Opening, channel: Channel) -> Any:
        """Refuse: nothing leads here."""
        raise ProtocolViolationError(f"channel {channel.id} leads to no client")

    def request(self, request: Request) -> None:
        """Refuse."""
        fail(request.slot)


@define(eq=False)
class InnerClient:
    """A client in the gateway itself, joined in memory with the side of a relay that takes clients.

    Messages are carried one after the other, never within each other.
    """

    _side: ConnectionTaker
    connection: Connection = field(init=False)
    """The client's end."""
    _other: Connection = field(init=False)
    _messages: deque[tuple[Connection, int, bytes]] = field(factory=deque, init=False, repr=False)
    _carrying: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = Connection(self._to_relay, _Nobody())
        self._other = Connection(self._from_relay, self._side)

    def lost(self) -> None:
        """End all channels."""
        self._messages.clear()
        self.connection.lost()
        self._other.lost()

    def _to_relay(self, number: int, payload: bytes, more: Bytes = b"", /) -> None:
        self._carry(self._other, number, payload + bytes(more))

    def _from_relay(self, number: int, payload: bytes, more: Bytes = b"", /) -> None:
        self._carry(self.connection, number, payload + bytes(more))

    def _carry(self, to: Connection, number: int, payload: bytes) -> None:
        self._messages.append((to, number, payload))
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._messages:
                to, number, payload = self._messages.popleft()
                to.received(number, payload)
        finally:
            self._carrying = False


@define(eq=False)
class _Line:
    """A line that runs. Implements `hoopgw_ssh.channels.ChannelTaker`."""

    shell: GatedShell = field(repr=False)
    step: Step
    channel: Channel = field(init=False, repr=False)
    started: bool = field(default=False, init=False)
    """Whether the target runs it."""
    interrupted: bool = field(default=False, init=False)
    status: int = field(default=NO_STATUS, init=False)
    said: bytearray = field(factory=bytearray, init=False, repr=False)
    """What it has put out, if that is not for the client."""

    def confirmed(self, extra: bytes) -> None:
        """Ask for the command."""
        del extra
        text = self.step.text.encode("utf-8", "surrogateescape")
        self.channel.request(b"exec", string(text), self._answered)
        self.channel.eof()

    def _answered(self, succeeded: bool) -> None:
        self.started = succeeded
        if not succeeded:
            self.channel.close()

    def refused(self, code: int, text: bytes) -> None:
        """Say that the target opens no channel."""
        del code
        self.shell.say(text[:200].decode(errors="backslashreplace"))
        self.shell.ran(self)

    def data(self, data: Bytes, code: int | None) -> None:
        """Show it, or keep it."""
        if self.step.moves and code is None:
            self.said += bytes(data)[: SAID_LIMIT - len(self.said)]
            self.channel.credit(len(data))
        else:
            self.shell.show(bytes(data), code, self.channel.credit)

    def request(self, request: Request) -> None:
        """Note how it ended."""
        fail(request.slot)
        if request.name == b"exit-status" and len(request.data) == 4:
            self.status = int.from_bytes(request.data, "big")
        elif request.name == b"exit-signal":
            self.shell.say(f"ended by {outcome_of(request)[0]}")

    def eof(self) -> None:
        """Do nothing: the status comes still."""

    def closed(self) -> None:
        """Close, too: it is over."""
        self.channel.close()
        self.shell.ran(self)


@define(eq=False)
class GatedShell:
    """Takes what is typed, and lets it run. Implements `Inspector` and `Attentive`.

    Args:
        clock: takes what is next when what is now has returned.
        read: takes a line apart; fails with `UnknownCommandError`.
        name: for the prompt.
        terminal: that the client has, if it has one.
        finished: told once how it ended.

    """

    _clock: Any = field(repr=False)
    _read: Callable[[bytes], Deferred[Script]] = field(repr=False)
    _name: str
    _terminal: Terminal | None
    _finished: Callable[[Answered], None] = field(repr=False)
    _editor: LineEditor = field(factory=LineEditor, init=False, repr=False)
    _plain: PlainLines = field(factory=PlainLines, init=False, repr=False)
    _passage: Passage = field(init=False, repr=False)
    _leave: Callable[[int], None] = field(init=False, repr=False)
    _inner: InnerClient | None = field(default=None, init=False, repr=False)
    _phase: Phase = field(default="waiting", init=False)
    _line: _Line | None = field(default=None, init=False)
    _partial: str = field(default="", init=False)
    """Lines of a text that is not whole yet."""
    _carried: Carried = field(factory=Carried, init=False)
    _status: int = field(default=0, init=False)
    _holds: bool = field(default=False, init=False)
    _scheduled: bool = field(default=False, init=False)
    _told: bool = field(default=False, init=False)
    """Whether it was said that too much was typed."""
    _at_margin: bool = field(default=True, init=False)
    """Whether the terminal's cursor is at the beginning of a row."""

    def begin(self, pair: Pair) -> None:
        """Begin, on a channel of which this is the inspector."""
        self._leave = pair.leave
        self._inner = InnerClient(pair.relay.client.taker)
        if self._terminal is not None:
            self._editor.columns = self._terminal.columns or 80
            self._show_text(f"{_GREETING}\r\n")
        self._prompt()

    # What the channel brings

    def attach(self, passage: Passage) -> None:
        """Take the way back into the channel."""
        self._passage = passage

    def to_target(self, data: bytes) -> bytes:
        """Take what is typed; nothing of it goes to the target."""
        if self._phase == "over":
            return b""
        if self._terminal is None:
            self._plain.feed(data)
            if self._plain.is_full and not self._holds:
                self._holds = True
                self._passage.hold()
        else:
            if self._phase != "typing" and INTERRUPT in data:
                data = data.rpartition(INTERRUPT)[2]
                self._editor.forget()
                self._interrupt()
            self._editor.feed(data)
        self._soon()
        return b""

    def input_ended(self) -> None:
        """Leave after what waits."""
        self._plain.has_ended = True
        if self._terminal is not None:
            self._editor.feed(b"\x03\x04")
        self._soon()

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Show nothing that comes of the channel itself: nothing runs there."""
        del data, code
        return b""

    def rest(self, code: int | None) -> bytes:
        """Return nothing."""
        del code
        return b""

    def requested(self, request: Request) -> None:
        """Note the terminal's new size."""
        if request.name == b"window-change":
            self._editor.columns = Reader(request.data).uint32() or 80

    def abandoned(self) -> None:
        """End what runs: nobody looks on."""
        self._end()

    def ended(self, status: Request | None) -> None:
        """Say how it ended."""
        self._end()
        self._finished(Answered(outcome=outcome_of(status)[0]))

    def _end(self) -> None:
        self._phase, self._line = "over", None
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.lost()

    # Line after line

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._next)

    def _prompt(self) -> None:
        self._phase = "typing"
        if self._terminal is not None:
            if not self._at_margin:
                self._show_text("\r\n")
            failed = f"[{self._status}] " if self._status else ""
            prompt = f"{failed}{self._name}:{self._carried.folder or '~'}> "
            self._show_text(self._editor.begin("> " if self._partial else prompt).decode())
        self._soon()

    def _next(self) -> None:
        self._scheduled = False
        if self._phase != "typing":
            return
        typed = self._typed()
        if typed is None:
            return
        match typed.kind:
            case "line":
                self._submit(typed.text)
            case "interrupt":
                self._partial = ""
                self._prompt()
            case "end" if self._partial:
                self._unusable("the input has ended within a command")
            case "end":
                self._go(self._status)
            case "flood":
                self.say(f"a line is longer than {TEXT_LIMIT} bytes")
                self._go(UNUSABLE)

    def _typed(self) -> Typed | None:
        if self._terminal is not None:
            drawn, typed = self._editor.step()
            if drawn:
                self._show_text(drawn.decode())
            was_told, self._told = self._told, self._editor.is_spoiled
            if self._told and not was_told:
                self.say("this is too long: nothing of it runs; go on with Ctrl-C")
            return typed
        typed = self._plain.step()
        if self._holds and not self._plain.is_full:
            self._holds = False
            self._passage.release()
        return typed

    def _submit(self, text: str) -> None:
        whole = _joined(self._partial, text)
        if not whole.strip():
            self._prompt()
            return
        self._phase = "reading"
        self._editor.remember(whole)
        if len(whole) > TEXT_LIMIT or whole.count("\n") > LINES_LIMIT:
            self._unusable("the command is too long to be typed")
            return
        read = self._read(whole.encode("utf-8", "surrogateescape"))
        read.addCallbacks(self._parsed, self._not_parsed, (whole,), errbackArgs=(whole,))
        read.addErrback(self._broken)

    def _not_parsed(self, failure: Failure, whole: str) -> None:
        failure.trap(UnknownCommandError)
        if self._phase != "reading":
            return
        if failure.check(UnparsedCommandError) is None:
            self._unusable(failure.getErrorMessage())
            return
        if self._terminal is not None and not self._partial:
            self.say(_NOT_WHOLE)
        self._partial = whole
        self._prompt()

    def _unusable(self, why: str) -> None:
        """Refuse what is no command, and what was typed behind it."""
        self._partial, self._status = "", UNUSABLE
        self._editor.forget()
        self.say(f"{why}; nothing was run")
        if self._terminal is None:
            self._go(UNUSABLE)
        else:
            self._prompt()

    def _parsed(self, script: Script, whole: str) -> None:
        if self._phase != "reading":
            return
        self._partial = ""
        step = plan(whole, script, self._carried)
        if step.note:
            self.say(step.note)
        if step.leaves:
            self._go(self._status if step.status is None else step.status)
        elif step.text:
            self._run(step)
        else:
            self._status = UNUSABLE if step.note else self._status
            self._prompt()

    def _run(self, step: Step) -> None:
        assert self._inner is not None
        line = _Line(self, step)
        self._phase, self._line = "running", line
        try:
            line.channel = self._inner.connection.open(b"session", b"", line)
        except ProtocolViolationError as error:
            self.say(str(error))
            self.ran(line)

    def ran(self, line: _Line) -> None:
        """Go on after a line."""
        if line is not self._line or self._phase != "running":
            return
        self._line, self._status = None, line.status
        if line.status == 0 and line.step.moves:
            moved = self._carried.moved(bytes(line.said))
            if moved is None:
                self.say("the target does not say which folder that is: it is not changed")
            self._carried = moved or self._carried
        elif line.status == 0 and line.step.then is not None:
            self._carried = line.step.then
        self._prompt()

    def _interrupt(self) -> None:
        """Interrupt the line that runs, or leave it alone."""
        line = self._line
        if line is None:
            return
        if line.started and not line.interrupted:
            line.interrupted = True
            self._show_text("^C (once more leaves it alone)\r\n")
            line.channel.request(b"signal", string(b"INT"))
            return
        self._show_text("^C\r\n")
        if line.started:
            self.say("left alone: it may go on running on the target")
        self._line, self._status = None, INTERRUPTED
        line.channel.close()
        self._prompt()

    def _broken(self, failure: Failure) -> None:
        log.failure("a gated shell failed", failure)
        self._passage.end("hoopgw: the gated shell failed, so it was ended.")

    def _go(self, status: int) -> None:
        self._phase = "over"
        self._leave(status)

    # What is shown

    def say(self, text: str) -> None:
        """Tell the client something."""
        self.show(f"hoopgw: {text}\n".encode(), STDERR)

    def show(
        self, data: bytes, code: int | None, left: Callable[[int], None] | None = None
    ) -> None:
        """Show what a line puts out: as it came, or as a terminal wants its lines."""
        owed = len(data)
        if self._terminal is not None:
            code, data = None, data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            self._at_margin = data.endswith(b"\n")
        self._passage.to_client(data, code, left, owed)

    def _show_text(self, text: str) -> None:
        self._at_margin = text.endswith("\n")
        self._passage.to_client(text.encode())


def gated_shell(
    visit: Visit, terminal: Terminal | None, finished: Callable[[Answered], None]
) -> GatedShell:
    """Return a gated shell for a connection; see `GatedShell`."""
    reactor = visit.context.reactor

    def read(text: bytes) -> Deferred[Script]:
        if len(text) <= AT_ONCE:
            return execute(parse, text)
        return deferToThreadPool(reactor, reactor.getThreadPool(), parse, text)

    name = printable(f"{visit.account}@{visit.target.name}")
    return GatedShell(visit.context.clock, read, name, terminal, finished)


def _joined(partial: str, text: str) -> str:
    """Return lines put together; one that ends with a backslash goes on without a line end."""
    if not partial:
        return text
    backslashes = len(partial) - len(partial.rstrip("\\"))
    if backslashes % 2:
        return partial[:-1] + text
    return f"{partial}\n{text}"
