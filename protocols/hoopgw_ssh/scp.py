"""scp's own protocol between client and target: files decided by their names, and recorded.

One side sends, the other answers each line before the next is sent; so a line is kept back while it
is decided on, and a refused file is answered by us: the sending side goes on with the next. Whether
a content follows a file's line is for that answer to say, so what is sent before it is there waits:
who could have the one side read as lines what we take for a content would move what nobody has
decided on.

Names come with the files. Those that a client sends are looked at, and so are those of a target: it
may send what was asked for, and nothing else (the class of CVE-2019-6111).

Where links lead is not known here: the protocol has no way to ask. Use SFTP where that matters.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError, RecorderError
from hoopgw_ssh.channels import STDERR, Request
from hoopgw_ssh.file_commands import FileCommand
from hoopgw_ssh.file_meter import FileMeter
from hoopgw_ssh.files import (
    HOME,
    FileAction,
    FileJudge,
    FileOperation,
    FileResult,
    FileRuling,
    PathUse,
)
from hoopgw_ssh.inspector import Passage, said
from hoopgw_ssh.kept_files import FileKeeping, not_kept
from hoopgw_ssh.paths import UnclearPathError, shown, text_of
from hoopgw_ssh.scp_wire import Entry, Other, Piece, Said, ScpReader, refusal

log = Logger()

DEPTH_LIMIT: Final = 256
"""Folders inside each other."""
ANSWER_LIMIT: Final = 2_000
"""Bytes of an answer: scp takes longer ones for several."""
EARLY_LIMIT: Final = 4_096
"""Bytes of answers that nobody waits for yet."""
COULD_NOT: Final = "hoopgw could not decide on this; it was not done."
_NOT_ASKED: Final = "The target sends a file that was not asked for; it is not passed on."


@define(eq=False)
class _Moving:
    """A file that is on its way."""

    intent: int
    path: str
    meter: FileMeter
    size: int
    is_sent: bool = False
    """Whether all of it came, as its sender says."""


@define(eq=False)
class ScpInspector:
    """Stands in one channel of ``scp -t`` or ``scp -f``. Implements `Inspector`.

    Args:
        files: decides, and records.
        command: what was started.
        keeping: keeps what files hold, if that is wanted.

    """

    _files: FileJudge = field(repr=False)
    _command: FileCommand
    _keeping: FileKeeping | None = field(default=None, repr=False)
    _passage: Passage = field(init=False, repr=False)
    _sending: ScpReader = field(factory=ScpReader, init=False, repr=False)
    _answering: ScpReader = field(factory=ScpReader, init=False, repr=False)
    _folders: list[tuple[str, ...]] = field(factory=list, init=False, repr=False)
    """For each folder that is open, the paths that it may have: which of them, its target knows."""
    _moving: _Moving | None = field(default=None, init=False, repr=False)
    _told: _Moving | None = field(default=None, init=False, repr=False)
    """A file that was sent, whose target has not said yet that it has it."""
    _asked: _Moving | tuple[str, ...] | None = field(default=None, init=False, repr=False)
    """A file whose content is not wanted yet, or a folder that is not entered yet."""
    _awaits: bool = field(default=True, init=False)
    """Whether the sending side has to wait for an answer; there is one before all else."""
    _is_holding: bool = field(default=False, init=False)
    _task: Deferred[None] | None = field(default=None, init=False, repr=False)
    """A decision that is waited for."""
    _out: list[bytes | memoryview] = field(factory=list, init=False, repr=False)
    _answers: list[bytes] = field(factory=list, init=False, repr=False)
    """What is on its way to the sending side; ``_out`` is what is on its way from there."""
    _is_over: bool = field(default=False, init=False)
    _input_ended: bool = field(default=False, init=False)

    # What the channel tells

    def attach(self, passage: Passage) -> None:
        """Begin."""
        self._passage = passage
        if self._keeping is not None:
            self._keeping.attach(passage)

    def to_target(self, data: bytes) -> bytes:
        """Look at what the client sends, or answers."""
        return self._sent(data) if self._command.is_upload else self._answered(data)

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Look at what the target sends, or answers."""
        if code is not None:
            return data
        return self._answered(data) if self._command.is_upload else self._sent(data)

    def input_ended(self) -> bytes | None:
        """Put the end off while something of the input waits."""
        self._input_ended = self._has_input
        return None if self._input_ended else b""

    def rest(self, code: int | None) -> bytes:
        """Keep nothing back: a line that is not whole is none."""
        del code
        return b""

    def abandoned(self) -> None:
        """Let nothing more go on."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def ended(self, status: Request | None) -> None:
        """Tell what became of what is still on its way."""
        del status
        self.abandoned()
        for moving in (self._moving, self._asked):
            if isinstance(moving, _Moving):
                self._tell(moving, "not all of it came")
        if self._told is not None:
            self._tell(self._told, "not answered")
        self._moving = self._asked = self._told = None

    # The side that sends

    def _sent(self, data: bytes) -> bytes:
        if self._is_over:
            return b""
        self._sending.receive(data)
        self._advance()
        answers, passed = self._taken()
        self._give_answers(answers)
        self._end_input()
        self._hold_or_release()
        return passed

    def _taken(self) -> tuple[bytes, bytes]:
        """Return the answers, and what of the sending side's goes on."""
        answers, passed = b"".join(self._answers), b"".join(self._out)
        self._answers.clear()
        self._out.clear()
        return answers, passed

    def _give_answers(self, answers: bytes) -> None:
        up = self._command.is_upload
        if answers:
            self._passage.to_client(answers) if up else self._passage.to_target(answers)

    @property
    def _must_hold(self) -> bool:
        """Whether something of the sending side's waits."""
        waits = self._task is not None or (self._awaits and self._sending.kept > 0)
        return waits and not self._is_over

    def _hold_or_release(self) -> None:
        if self._must_hold == self._is_holding or self._is_over:
            return
        self._is_holding = not self._is_holding
        passage = self._passage
        if self._command.is_upload:
            passage.hold() if self._is_holding else passage.release()
        else:
            passage.hold_output() if self._is_holding else passage.release_output()

    def _advance(self) -> None:
        """Take what is there of both sides, until one has to wait for the other or a decision."""
        try:
            self._look()
            while (answer := self._next_answer()) is not None:
                self._answers.append(answer.line)
                self._take_answer(answer)
                self._look()
        except ProtocolViolationError as error:
            self._end(f"This is not scp as it is spoken: {error}")
        except RecorderError as error:
            self._end(not_kept(error))

    def _look(self) -> None:
        while self._task is None and not self._awaits and not self._is_over:
            piece = self._sending.next_piece()
            if piece is None:
                return
            self._take(piece)

    def _take(self, piece: Piece) -> None:
        if isinstance(piece, memoryview):
            assert self._moving is not None
            self._moving.meter.feed(self._moving.meter.end, piece)
            self._out.append(piece)
        elif isinstance(piece, Entry):
            if self._moving is not None:
                raise ProtocolViolationError("a file in a file")
            self._entry(piece)
        elif isinstance(piece, Said):
            self._came(piece)
            self._out.append(piece.line)
        else:
            self._other(piece)

    def _other(self, piece: Other) -> None:
        if self._moving is not None or (piece.is_end and not self._folders):
            raise ProtocolViolationError("the end of nothing")
        if piece.is_end:
            self._folders.pop()
        self._awaits = True
        self._out.append(piece.line)

    def _came(self, said: Said) -> None:
        """Take note of what follows a content; elsewhere, it is a message for people."""
        moving, self._moving = self._moving, None
        if moving is None:
            if said.is_fine:
                raise ProtocolViolationError("an answer where none is wanted")
            return
        if moving.meter.end != moving.size:
            raise ProtocolViolationError("a content that is shorter than was said")
        moving.is_sent = said.is_fine
        self._awaits = True
        moving.meter.ended_at(moving.size)
        if not said.is_fine:
            moving.meter.spoil()
        if self._command.is_upload:
            self._told = moving
        else:
            self._tell(moving, "OK" if said.is_fine else "FAILURE")

    def _entry(self, entry: Entry) -> None:
        """Decide on a file or folder."""
        try:
            paths = self._paths(entry)
        except UnclearPathError as error:
            self._refuse(str(error))
            return
        operation = self._operation(entry, paths)
        task = Deferred.fromCoroutine(self._decide(entry, operation))
        if task.called:
            task.addErrback(self._failed)
            return
        self._task = task
        task.addErrback(self._failed)
        task.addCallback(self._go_on)

    def _paths(self, entry: Entry) -> tuple[str, ...]:
        """Return the paths that an entry may have.

        Raises:
            UnclearPathError: none that was asked for.

        """
        name = text_of(entry.name)
        if name in ("", ".", "..") or "/" in name:
            raise UnclearPathError("A name that leads elsewhere is not passed on.")
        if entry.is_folder and (not self._command.is_deep or len(self._folders) >= DEPTH_LIMIT):
            raise UnclearPathError("No folder was asked for, or not so many inside each other.")
        if self._folders:
            return tuple(f"{folder.rstrip('/')}/{name}" for folder in self._folders[-1])
        given = self._command.paths
        if self._command.is_upload:
            inside = f"{given[0].rstrip('/')}/{name}"
            # Whether the path is a folder, only the target knows.
            return (inside,) if self._command.is_folder else (given[0], inside)
        asked = tuple(path for path in given if path.rpartition("/")[2] in (name, HOME))
        if not asked:
            raise UnclearPathError(_NOT_ASKED)
        return asked

    def _operation(self, entry: Entry, paths: tuple[str, ...]) -> FileOperation:
        command = self._command
        action: FileAction = "list" if entry.is_folder else "read"
        if command.is_upload:
            action = "mkdir" if entry.is_folder else "write"
        actions = [action]
        if command.is_upload and (command.keeps_times or entry.mode & 0o7000):
            actions.append("setattr")
        size = "" if entry.is_folder else f" size={entry.size}"
        where = " or ".join(map(shown, paths))
        return FileOperation(
            action=action,
            uses=tuple(PathUse(each, path, path) for path in paths for each in actions),
            text=f"{' and '.join(actions)} {where} mode={entry.mode:04o}{size}",
            sent=entry.line,
            protocol="scp",
        )

    async def _decide(self, entry: Entry, operation: FileOperation) -> None:
        try:
            ruling = await self._files.file(operation, self._say, self._end)
        except CancelledError:
            raise
        except Exception:
            log.failure("deciding on a file failed")
            ruling = FileRuling(allowed=False, reason=COULD_NOT)
        if self._is_over:
            return
        if not ruling.allowed:
            self._refuse(ruling.reason)
            return
        paths = tuple(dict.fromkeys(use.path for use in operation.uses))
        if entry.is_folder:
            self._asked = paths
            self._files.finished(ruling.intent, FileResult(outcome="OK"))
        else:
            up = self._command.is_upload
            path, keeping = " or ".join(paths), self._keeping
            kept = None if keeping is None else keeping.file(path, ruling.intent, is_upload=up)
            meter = FileMeter(0, is_upload=up, is_new=True, kept=kept)
            self._asked = _Moving(ruling.intent, path, meter, entry.size)
        self._awaits = True
        self._out.append(entry.line)

    def _refuse(self, reason: str) -> None:
        """Answer the sending side, which goes on with the next; tell who waits for the file."""
        if self._command.is_upload:
            self._answers.append(refusal(f"hoopgw: {reason}"))
        else:
            self._answers.append(refusal("hoopgw: refused"))
            self._out.append(refusal(f"hoopgw: {reason}"))

    def _go_on(self, _result: object) -> None:
        """Take what came meanwhile: the decision is there."""
        self._task = None
        self._resume()

    def _resume(self) -> None:
        """Take what waits, and send it on."""
        if self._is_over:
            return
        self._advance()
        answers, passed = self._taken()
        self._give_answers(answers)
        is_upload = self._command.is_upload
        if passed:
            self._passage.to_target(passed) if is_upload else self._passage.to_client(passed)
        self._end_input()
        self._hold_or_release()

    def _end_input(self) -> None:
        if self._input_ended and not self._has_input and not self._is_over:
            self._input_ended = False
            self._passage.end_input()

    @property
    def _has_input(self) -> bool:
        """Whether something of the client's waits."""
        if self._command.is_upload:
            return self._must_hold
        return self._answering.kept > 0 and not self._is_over

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("deciding on files broke off", failure)
            self._end(COULD_NOT)

    def _say(self, text: str) -> None:
        """Tell the client something: scp prints what is on standard error."""
        self._passage.to_client(said(text), STDERR)

    # The side that answers

    def _answered(self, data: bytes) -> bytes:
        """Pass answers on: each when it is due, then what has waited for it may go on."""
        if self._is_over:
            return b""
        self._answering.receive(data)
        self._resume()
        return b""

    def _next_answer(self) -> Said | None:
        """Return the answer that somebody waits for, if it is there."""
        if not self._awaits or self._task is not None or self._is_over:
            if self._answering.kept > EARLY_LIMIT:
                raise ProtocolViolationError("too many answers")
            return None
        answer = self._answering.next_piece()
        if answer is None and self._answering.kept <= ANSWER_LIMIT:
            return None
        if isinstance(answer, Said) and len(answer.line) <= ANSWER_LIMIT:
            return answer
        raise ProtocolViolationError("an answer that is none")

    def _take_answer(self, answer: Said) -> None:
        """Take what the receiving side says of the last line, or content."""
        asked, self._asked, self._awaits = self._asked, None, False
        told, self._told = self._told, None
        if told is not None:
            self._tell(told, "OK" if answer.is_fine else "FAILURE")
        if isinstance(asked, _Moving):
            if answer.is_fine:
                self._moving = asked
                self._sending.expect(asked.size)
            else:
                self._tell(asked, "FAILURE")
        elif asked is not None and answer.is_fine:
            self._folders.append(asked)

    def _tell(self, moving: _Moving, outcome: str) -> None:
        if outcome != "OK":
            moving.meter.spoil()
        transfers = (moving.meter.transfer(moving.path),)
        self._files.finished(moving.intent, FileResult(outcome=outcome, transfers=transfers))

    def _end(self, why: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._passage.end(why)
