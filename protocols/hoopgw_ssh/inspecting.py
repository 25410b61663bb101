"""Records what goes over a channel on which something runs: a shell, a command, a subsystem.

`StreamInspector` writes what the client is about to be shown to a content (`recording.contents`)
before it is passed on; a client is shown nothing that was not recorded. Where that fails, the
channel ends, and the client is told why. What masks stands inside of it (`inspector.Stack`), so it
is what was shown that is recorded.

**Input is not recorded unless the target says so** (``record_input``). What is typed at a terminal
holds passwords, which no gateway can tell from the rest: the host switches its echo off, and says
so to nobody. What was echoed is in the output anyway. So of a terminal's input nothing is kept but
its size, not even a hash, which would tell a short password to whoever guesses. Of a command's
standard input the hash is kept, if it is too long to be guessed (`HASHED_FROM`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred

from hoopgw.errors import ConfigError, ProtocolViolationError, RecorderError
from hoopgw.recording.content_frames import FrameKind, resize_data
from hoopgw.recording.contents import Content, ContentAbout
from hoopgw.sessions.journal import Answered
from hoopgw.spi import TargetSettings
from hoopgw.terminal import printable_bytes
from hoopgw_ssh.channels import Request
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.visit import Visit
from hoopgw_ssh.wire import Reader

BEGINNING: Final = 4_096
"""Bytes of output that are kept in the record of the result, too."""
HASHED_FROM: Final = 256
"""Bytes of a command's input from which its hash is kept: of less it might tell what it was."""
NO_STATUS: Final = "ended without a status"
RECORD_INPUT: Final = "record_input"
"""The target's option."""

InputKept: TypeAlias = Literal["never", "commands", "always"]
_CHOICES: Final[tuple[InputKept, ...]] = ("never", "commands", "always")


def input_kept(target: TargetSettings) -> InputKept:
    """Return which input a target's option says that is recorded.

    ``never``: none, which is the default; ``commands``: that of commands without a terminal;
    ``always``: all, with the passwords that are typed.

    Raises:
        ConfigError: it says something else.

    """
    said = target.options.get(RECORD_INPUT, "never")
    for choice in _CHOICES:
        if said == choice:
            return choice
    raise ConfigError(
        f"targets.{target.name}.{RECORD_INPUT}: expected one of {', '.join(_CHOICES)}"
    )


async def recorded(
    visit: Visit,
    about: ContentAbout,
    finished: Callable[[Answered], None],
    *,
    strict: bool = False,
) -> StreamInspector:
    """Begin to record what goes over a channel; return what is to stand in it.

    Args:
        visit: the connection.
        about: what runs on it; what of it is kept follows from the target's options.
        finished: told how it came out, once.
        strict: wait until the beginning survives a power loss.

    Raises:
        RecorderError: it cannot be recorded, so it must not run.

    """
    kept = input_kept(visit.target)
    keeps_input = kept == "always" or (kept == "commands" and not about.term)
    holds = ("input", "output") if keeps_input else ("output",)
    contents = visit.context.contents
    content = contents.open(visit.journal, evolve(about, holds=holds))
    inspector = StreamInspector(
        content, finished, keeps_input=keeps_input, hashes_input=not about.term
    )
    if strict or visit.target.durability == "strict":
        try:
            await contents.sync()
        except RecorderError:
            content.end("it could not be written to the disk")
            raise
        except CancelledError:
            content.end("the client has left before it began")
            raise
    return inspector


@define(eq=False)
class StreamInspector:
    """Records one channel. Implements `Inspector` and `Attentive`.

    Args:
        content: where to.
        finished: told how it came out, once.
        keeps_input: whether input is kept.
        hashes_input: whether its hash is.

    """

    _content: Content = field(repr=False)
    _finished: Callable[[Answered], None] = field(repr=False)
    keeps_input: bool = field(kw_only=True)
    hashes_input: bool = field(kw_only=True)
    _passage: Passage = field(init=False, repr=False)
    _hash: Any = field(factory=hashlib.sha256, init=False, repr=False)
    _received: int = field(default=0, init=False)
    _sent: int = field(default=0, init=False)
    _beginning: bytearray = field(factory=bytearray, init=False, repr=False)
    _room: Deferred[None] | None = field(default=None, init=False, repr=False)
    """While the target is given no more room."""
    _fault: str = field(default="", init=False)
    _over: bool = field(default=False, init=False)

    def attach(self, passage: Passage) -> None:
        """Take the way back into the channel."""
        self._passage = passage

    def to_target(self, data: bytes) -> bytes:
        """Keep input, or count it."""
        if self._fault:
            return b""
        self._received += len(data)
        if self.hashes_input:
            self._hash.update(data)
        if not self.keeps_input:
            self._content.passed(FrameKind.INPUT, len(data))
        elif not self._keep(FrameKind.INPUT, data):
            return b""
        return data

    def input_ended(self) -> bytes:
        """Return nothing: it keeps nothing back."""
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Keep output, then pass it on."""
        if self._fault or not self._keep(
            FrameKind.OUTPUT if code is None else FrameKind.STDERR, data
        ):
            return b""
        self._sent += len(data)
        if len(self._beginning) < BEGINNING:
            self._beginning += data[: BEGINNING - len(self._beginning)]
        return data

    def rest(self, code: int | None) -> bytes:
        """Return nothing: it keeps nothing back."""
        del code
        return b""

    def requested(self, request: Request) -> None:
        """Keep what changes how output looks, or what the command was told."""
        if self._fault or request.name not in (b"window-change", b"signal"):
            return
        reader = Reader(request.data)
        try:
            if request.name == b"signal":
                kind, data = FrameKind.MARK, b"signal " + _name(request.data).encode()
            else:
                kind, data = FrameKind.RESIZE, resize_data(reader.uint32(), reader.uint32())
        except ProtocolViolationError:
            return  # the target will not know what to do with it, either
        self._keep(kind, data)

    def abandoned(self) -> None:
        """Do nothing: what the target shows on is shown to nobody, and recorded."""

    def ended(self, status: Request | None) -> None:
        """Keep how it ended."""
        if self._over:
            return
        self._over = True
        outcome, told = outcome_of(status)
        if self._fault:
            outcome = f"ended by hoopgw: {self._fault}"
        else:
            self._keep(FrameKind.EXIT, told.encode(), tell=False)
        self._content.end(outcome)
        if self._room is not None:
            self._room.cancel()
        keeps_hash = self.hashes_input and self._received >= HASHED_FROM
        self._finished(
            Answered(
                outcome=outcome,
                sent=self._sent,
                output=bytes(self._beginning),
                received=self._received,
                received_digest=self._hash.digest() if keeps_hash else b"",
            )
        )

    def _keep(self, kind: FrameKind, data: bytes, *, tell: bool = True) -> bool:
        """Keep a frame; say whether that was done. If not, the channel ends."""
        try:
            self._content.write(kind, data)
        except RecorderError as error:
            self._fault = str(error)
            if tell:
                self._passage.end(f"hoopgw: {error}, so this was ended.")
            return False
        if self._room is None and self._content.is_full:
            self._wait()
        return True

    def _wait(self) -> None:
        """Give the target no more room until the disk has taken what waits for it."""
        self._passage.hold_output()
        self._room = self._content.room()
        self._room.addBoth(self._go_on)

    def _go_on(self, _: object) -> None:
        self._room = None
        self._passage.release_output()


def outcome_of(status: Request | None) -> tuple[str, str]:
    """Return how something ended, for the log, and for the content."""
    try:
        if status is not None and status.name == b"exit-status":
            code = Reader(status.data).uint32()
            return f"exit {code}", str(code)
        if status is not None and status.name == b"exit-signal":
            name = _name(status.data)
            return f"signal {name}", name
    except ProtocolViolationError:
        return NO_STATUS, ""
    return NO_STATUS, ""


def _name(data: bytes) -> str:
    """Return the name that a signal's request begins with; raises `ProtocolViolationError`."""
    return printable_bytes(Reader(data).string()[:32])
