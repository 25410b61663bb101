"""What is kept of SFTP requests until they are answered, and of files while they are open."""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.file_meter import FileMeter
from hoopgw_ssh.files import FileJudge, FileResult, Transfer
from hoopgw_ssh.kept_files import FileKeeping, KeptFile
from hoopgw_ssh.sftp_line import Count
from hoopgw_ssh.sftp_packets import Bulk
from hoopgw_ssh.sftp_wire import Packet

NOT_ANSWERED: Final = "not answered"
NOT_CLOSED: Final = "not closed"
_OK: Final = sftp.OK.to_bytes(4, "big")


@define(eq=False)
class OpenFile:
    """What a handle stands for."""

    path: str
    intent: int
    flags: int
    is_folder: bool = False
    keeping: FileKeeping | None = field(default=None, repr=False)
    """Keeps what it holds, if that is wanted."""
    size: int | None = None
    """As the target said last."""
    down: FileMeter | None = None
    """What was read of it."""
    up: FileMeter | None = None
    """What was written."""
    fault: str = ""
    """What the target said when reading or writing failed."""

    @property
    def may_read(self) -> bool:
        """Whether it was opened for that."""
        flags = self.flags
        return not self.is_folder and (bool(flags & sftp.FOR_READING) or not flags)

    @property
    def may_write(self) -> bool:
        """Whether it was opened for that."""
        return not self.is_folder and bool(self.flags & (sftp.FOR_WRITING | sftp.APPENDING))

    def reads(self, offset: int) -> FileMeter:
        """Return what counts what is read."""
        if self.down is None:
            self.down = FileMeter(offset, is_upload=False, kept=self._kept(is_upload=False))
        return self.down

    def at_end(self, offset: int) -> None:
        """Take note that there is nothing at an offset to read."""
        if self.down is not None and offset == self.down.end:
            self.size = offset

    def append(self, _offset: int, data: memoryview) -> None:
        """Count what is written behind what is there, wherever the client says."""
        meter = self.writes(0)
        meter.feed(meter.end, data)

    def writes(self, offset: int) -> FileMeter:
        """Return what counts what is written."""
        if self.up is None:
            is_new = bool(self.flags & (sftp.TRUNCATING | sftp.EXCLUSIVELY))
            is_new = is_new and not self.flags & sftp.APPENDING
            kept = self._kept(is_upload=True)
            self.up = FileMeter(offset, is_upload=True, is_new=is_new, kept=kept)
        return self.up

    def _kept(self, *, is_upload: bool) -> KeptFile | None:
        if self.keeping is None:
            return None
        return self.keeping.file(self.path, self.intent, is_upload=is_upload)

    def resized(self, size: int) -> None:
        """Take note that the client has set its size."""
        self.size = None
        self.writes(0).cut(size)

    def result(self, outcome: str) -> FileResult:
        """Return how it came out."""
        if self.down is not None and self.size is not None:
            self.down.ended_at(self.size)
        transfers = tuple(
            meter.transfer(self.path) for meter in (self.down, self.up) if meter is not None
        )
        return FileResult(outcome=self.fault or outcome, transfers=transfers or self._none())

    def _none(self) -> tuple[Transfer, ...]:
        """Return the transfer of an empty file that was made."""
        if self.is_folder or not self.may_write:
            return ()
        return (self.writes(0).transfer(self.path),)


@define(eq=False, slots=True)
class Waiting:
    """A request of the client that is not answered. By itself: one whose answer goes on."""


@define(eq=False, slots=True)
class Reading(Waiting):
    """A READ."""

    file: OpenFile
    offset: int
    size: int


@define(eq=False, slots=True)
class Writing(Waiting):
    """A WRITE."""

    file: OpenFile


@define(eq=False, slots=True)
class Opening(Waiting):
    """An OPEN or OPENDIR."""

    file: OpenFile


@define(eq=False, slots=True)
class Closing(Waiting):
    """A CLOSE."""

    file: OpenFile


@define(eq=False, slots=True)
class Asking(Waiting):
    """An FSTAT, whose answer says how large a file is."""

    file: OpenFile


@define(eq=False, slots=True)
class Decided(Waiting):
    """Something that was decided, and whose answer is its outcome."""

    intent: int
    done: Deferred[None] | None = field(default=None, repr=False)
    """Fires with its answer, if something waits for that."""


PLAIN: Final = Waiting()
"""A request whose answer goes on, whatever it is."""
UNDECIDED: Final = Waiting()
"""One that has not gone on itself."""


@define(eq=False)
class Expectations:
    """What the target owes to one channel, and what it has open for it."""

    _files: FileJudge = field(repr=False)
    waiting: dict[int, Waiting] = field(factory=dict, init=False, repr=False)
    """Requests of the client that are not answered, by their ids."""
    handles: dict[bytes, OpenFile] = field(factory=dict, init=False, repr=False)
    opening: int = field(default=0, init=False)
    """Requests for handles that are not answered."""

    def answered(self, packet: Packet) -> None:
        """Take an answer, which goes on to the client.

        Raises:
            ProtocolViolationError: nobody asked for it.

        """
        number = packet.id
        waiting = None if number is None else self.waiting.pop(number, None)
        if waiting is None or waiting is UNDECIDED:
            raise ProtocolViolationError("an answer that nobody waits for")
        is_handle = packet.kind == sftp.HANDLE
        if is_handle is not isinstance(waiting, Opening) and packet.kind != sftp.STATUS:
            raise ProtocolViolationError("an answer to another question")
        match waiting:
            case Opening(file=file):
                self.opening -= 1
                if is_handle:
                    self._opened(sftp.parse_handle(packet.body), file)
                else:
                    result = FileResult(outcome=outcome_of(packet))
                    self._files.finished(file.intent, result)
            case Closing(file=file):
                self._files.finished(file.intent, file.result(outcome_of(packet)))
            case Decided(intent=intent, done=done):
                self._files.finished(intent, FileResult(outcome=outcome_of(packet)))
                if done is not None:
                    done.callback(None)
            case Reading(file=file, offset=offset):
                _not_read(file, offset, packet)
            case Writing(file=file):
                # Looked at without being parsed, as there is one for each 32 KB.
                if packet.body[4:8] != _OK or packet.kind != sftp.STATUS:
                    file.fault = outcome_of(packet)
                    file.writes(0).spoil()
            case Asking(file=file):
                file.size = _size(packet) if packet.kind == sftp.ATTRS else file.size

    def data(self, bulk: Bulk) -> tuple[Count, int]:
        """Take the head of content; return what counts it, and where it belongs.

        Raises:
            ProtocolViolationError: nobody asked for it, or for so much.

        """
        waiting = self.waiting.pop(bulk.id, None)
        if not isinstance(waiting, Reading) or bulk.size > waiting.size:
            raise ProtocolViolationError("content that nobody asked for")
        return waiting.file.reads(waiting.offset).feed, waiting.offset

    def ended(self) -> None:
        """Tell what became of what was not answered, or is still open."""
        waiting, self.waiting = self.waiting, {}
        for each in waiting.values():
            match each:
                case Closing(file=file) | Opening(file=file):
                    self._files.finished(file.intent, file.result(NOT_ANSWERED))
                case Decided(intent=intent):
                    self._files.finished(intent, FileResult(outcome=NOT_ANSWERED))
        handles, self.handles = self.handles, {}
        for file in handles.values():
            self._files.finished(file.intent, file.result(NOT_CLOSED))

    def _opened(self, handle: bytes, file: OpenFile) -> None:
        if handle in self.handles:
            raise ProtocolViolationError("one handle for two files")
        self.handles[handle] = file


def outcome_of(packet: Packet) -> str:
    """Return how something came out: what is answered by more than a status was done."""
    if packet.kind != sftp.STATUS:
        return "OK"
    code, _ = sftp.parse_status(packet.body)
    return sftp.OUTCOMES.get(code, f"STATUS {code}")


def _not_read(file: OpenFile, offset: int, packet: Packet) -> None:
    """Take note that nothing was read, because the file has ended or for another reason."""
    outcome = outcome_of(packet)
    if outcome == "EOF":
        file.at_end(offset)
    else:
        file.fault = outcome


def _size(packet: Packet) -> int | None:
    """Return the size that an answer to FSTAT tells, if it does."""
    return sftp.parse_attributes(packet.body).size
