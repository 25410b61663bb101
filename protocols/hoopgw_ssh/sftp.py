"""SFTP between client and target: each request that touches a path is decided, files are recorded.

Requests for paths are decided one after the other, in their order; requests for what is open go on
meanwhile. A refused one is answered with SSH_FX_PERMISSION_DENIED and a reason, which is printed on
standard error, too: OpenSSH's clients show no reason of the server's. What is read and written is
counted and hashed as it passes, and told when the file is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.channels import STDERR
from hoopgw_ssh.channels import Request as ChannelRequest
from hoopgw_ssh.files import FileJudge, FileResult, FileRuling
from hoopgw_ssh.inspector import Passage, said
from hoopgw_ssh.kept_files import FileKeeping
from hoopgw_ssh.paths import UnclearPathError
from hoopgw_ssh.sftp_answers import (
    PLAIN,
    UNDECIDED,
    Asking,
    Closing,
    Decided,
    Expectations,
    OpenFile,
    Opening,
    Reading,
    Waiting,
    Writing,
)
from hoopgw_ssh.sftp_line import Count, Line
from hoopgw_ssh.sftp_operations import CHANGES_NAMES, flags_of, operation_of, with_places
from hoopgw_ssh.sftp_packets import Bulk
from hoopgw_ssh.sftp_resolving import NoSuchPathError, Resolved, Resolver
from hoopgw_ssh.sftp_wire import MalformedError, Packet, Request

log = Logger()

HANDLES_LIMIT: Final = 1_024
"""Files and folders that a channel has open at a time."""
UNDECIDED_LIMIT: Final = 64
"""Requests of a channel that wait for a decision; the client is not read beyond that."""
OUTSTANDING_LIMIT: Final = 16_384
"""Requests of a channel that are not answered; the same."""
SAID_LIMIT: Final = 16_384
"""Bytes that a channel's client is told on standard error, in all: some never read that."""
COULD_NOT: Final = "hoopgw could not decide on this; it was not done."
NOT_DONE: Final = "NOT DONE"
"""How something came out that was allowed, and then not sent."""


@define(eq=False)
class SftpInspector:
    """Stands in one channel of the subsystem ``sftp``. Implements `hoopgw_ssh.inspector.Inspector`.

    Args:
        files: decides, and records.
        is_openssh: whether the target's server is OpenSSH's, by its version line.
        keeping: keeps what files hold, if that is wanted.

    """

    _files: FileJudge = field(repr=False)
    _is_openssh: bool = True
    _keeping: FileKeeping | None = field(default=None, repr=False)
    _line: Line = field(init=False, repr=False)
    _resolver: Resolver = field(init=False, repr=False)
    _passage: Passage = field(init=False, repr=False)
    _expected: Expectations = field(init=False, repr=False)
    _queue: deque[Request] = field(factory=deque, init=False, repr=False)
    """Requests for paths that wait for a decision."""
    _is_serving: bool = field(default=False, init=False)
    _changing: int = field(default=0, init=False)
    """Decisions on files that are open: what comes behind may be for the same file."""
    _tasks: set[Deferred[None]] = field(factory=set, init=False, repr=False)
    _has_begun: bool = field(default=False, init=False)
    _wants_version: bool = field(default=False, init=False)
    _input_ended: bool = field(default=False, init=False)
    _is_left: bool = field(default=False, init=False)
    _said: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._line = Line(self)
        self._expected = Expectations(self._files)
        self._resolver = Resolver(self._line.ask, self._is_openssh)

    # What the channel tells

    def attach(self, passage: Passage) -> None:
        """Begin."""
        self._passage = passage
        self._line.attach(passage)
        if self._keeping is not None:
            self._keeping.attach(passage)

    def to_target(self, data: bytes) -> bytes:
        """Look at what the client asks; return what goes on."""
        return self._line.to_target(data)

    def input_ended(self) -> bytes | None:
        """Put the end off while something waits for a decision."""
        if self._tasks and not self._is_left:
            self._input_ended = True
            return None
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Look at what the target answers; return what goes on."""
        return data if code is not None else self._line.to_client(data)

    def rest(self, code: int | None) -> bytes:
        """Keep nothing back: an answer that is not whole is none."""
        del code
        return b""

    def abandoned(self) -> None:
        """Let nothing more go on."""
        self._is_left = True
        self._queue.clear()
        for task in list(self._tasks):
            task.cancel()

    def ended(self, status: ChannelRequest | None) -> None:
        """Tell what became of what is still open."""
        del status
        self.abandoned()
        self._expected.ended()

    # Requests of the client

    @property
    def is_busy(self) -> bool:
        """Whether no more requests can be taken now."""
        return (
            self._changing > 0
            or len(self._expected.waiting) >= OUTSTANDING_LIMIT
            or len(self._queue) >= UNDECIDED_LIMIT
        )

    def request(self, packet: Packet) -> None:
        """Take a request."""
        if packet.kind == sftp.INIT:
            self._begin(packet)
            return
        number = self._new_id(packet.id)
        if packet.kind == sftp.READ and self._read(packet, number):
            return
        try:
            request = sftp.parse_request(packet)
        except MalformedError as error:
            self._line.answer(sftp.status(number, sftp.BAD_MESSAGE, str(error)))
        except KeyError:
            text = "hoopgw does not know this request, so it is not passed on."
            self._line.answer(sftp.status(number, sftp.OP_UNSUPPORTED, text))
        else:
            self._take(request, packet)

    def _take(self, request: Request, packet: Packet) -> None:
        if request.handles:
            self._with_handles(request, packet)
        elif fault := self._cannot_open(request):
            self._line.answer(sftp.status(request.id, sftp.FAILURE, fault))
        elif request.paths:
            self._expected.waiting[request.id] = UNDECIDED
            self._queue.append(request)
            if not self._is_serving:
                self._is_serving = True
                self._start(self._serve())
        else:
            self._pass_on(packet, PLAIN)

    def _cannot_open(self, request: Request) -> str:
        """Return why something is not opened, whatever policy says."""
        if request.kind not in (sftp.OPEN, sftp.OPENDIR):
            return ""
        expected = self._expected
        if len(expected.handles) + expected.opening + len(self._queue) >= HANDLES_LIMIT:
            return f"More than {HANDLES_LIMIT} files are open."
        if flags_of(request) & ~sftp.KNOWN_FLAGS:
            return "This opens a file in a way that hoopgw does not know."
        return ""

    def _begin(self, packet: Packet) -> None:
        """Speak version 3, whatever else the client can."""
        version, _ = sftp.parse_version(packet.body)
        if self._has_begun or version < sftp.PROTOCOL_VERSION:
            raise ProtocolViolationError(f"version {version} is not spoken here")
        self._has_begun = self._wants_version = True
        self._line.forward(sftp.init())

    def _new_id(self, number: int | None) -> int:
        if number is None or not self._has_begun:
            raise ProtocolViolationError("a request without an id, or before the version")
        if number in self._expected.waiting or self._line.is_ours(number):
            raise ProtocolViolationError("two requests with one id")
        return number

    def _pass_on(self, packet: Packet, waiting: Waiting) -> None:
        number = packet.id
        assert number is not None
        self._expected.waiting[number] = waiting
        self._line.forward(packet.encode(), is_same=True)

    # Open files

    def _read(self, packet: Packet, number: int) -> bool:
        """Take a READ that is as it should be, without a detour; most requests are."""
        body = packet.body
        end = 8 + int.from_bytes(body[4:8], "big")
        if len(body) != end + 12:
            return False
        file = self._expected.handles.get(body[8:end])
        if file is None or not file.may_read:
            self._no_handle(number)
            return True
        offset = int.from_bytes(body[end : end + 8], "big")
        file.reads(offset)
        self._pass_on(packet, Reading(file, offset, int.from_bytes(body[end + 8 :], "big")))
        return True

    def write(self, bulk: Bulk) -> Count | None:
        """Take the head of a WRITE."""
        number = self._new_id(bulk.id)
        file = self._expected.handles.get(bulk.handle)
        if file is None or not file.may_write:
            self._no_handle(number)
            return None
        self._expected.waiting[number] = Writing(file)
        if file.flags & sftp.APPENDING:
            return file.append
        return file.writes(bulk.offset).feed

    def _with_handles(self, request: Request, packet: Packet) -> None:
        """Take a request for what is open."""
        files = [self._expected.handles.get(handle) for handle in request.handles]
        first, last = files[0], files[-1]
        if first is None or last is None:
            self._no_handle(request.id)
            return
        waiting: Waiting = PLAIN
        attributes = request.attributes
        if request.kind == sftp.FSETSTAT and attributes.is_only_size and first.may_write:
            first.resized(attributes.size or 0)  # that is a write, which was decided
        elif request.kind == sftp.FSETSTAT:
            self._expected.waiting[request.id] = UNDECIDED
            self._changing += 1
            self._start(self._change(request, packet, first))
            return
        elif request.kind == sftp.CLOSE:
            del self._expected.handles[request.handles[0]]
            waiting = Closing(first)
        elif request.kind == sftp.FSTAT:
            waiting = Asking(first)
        elif request.name == sftp.COPY_DATA:
            if not first.may_read or not last.may_write:
                self._no_handle(request.id)
                return
            # What is copied is not seen here.
            first.reads(0).spoil()
            last.writes(0).spoil()
        self._pass_on(packet, waiting)

    def _no_handle(self, number: int) -> None:
        text = "No file is open under this handle, or not for this."
        self._line.answer(sftp.status(number, sftp.FAILURE, text))

    # Deciding

    def _start(self, work: Coroutine[Deferred[object], object, None]) -> None:
        task = Deferred.fromCoroutine(work)
        self._tasks.add(task)
        task.addBoth(self._worked, task)

    def _worked(self, result: object, task: Deferred[None]) -> None:
        self._tasks.discard(task)
        if isinstance(result, Failure) and result.check(CancelledError) is None:
            if result.check(ProtocolViolationError) is None:
                log.failure("deciding on files broke off", result)
                self._line.end(COULD_NOT)
            else:
                self._line.end(f"The target does not speak SFTP as it should: {result.value}")
        self._line.resume()
        if self._input_ended and not self._tasks and not self._is_left:
            self._passage.end_input()

    async def _serve(self) -> None:
        """Decide on what waits, one after the other."""
        try:
            while self._queue and not self._line.is_over:
                await self._decide(self._queue.popleft())
                self._line.resume()
        finally:
            self._is_serving = False

    async def _decide(self, request: Request) -> None:
        """Decide on a request for paths, and send it on, or answer it."""
        try:
            places = await self._resolver.resolve(request)
        except UnclearPathError as error:
            self._refuse(request.id, str(error))
            return
        except NoSuchPathError as error:
            await self._missing(request, error)
            return
        if request.kind == sftp.REALPATH and request.paths[0] in (b"", b"."):
            self._answer(request.id, sftp.name(request.id, places[0].path.encode()))
            return  # where it begins is no secret: every client asks first of all
        ruling, has_waited = await self._ask(request, places)
        if not ruling.allowed:
            self._refuse(request.id, ruling.reason)
            return
        intent, is_sent = ruling.intent, False
        try:
            if has_waited and await self._leads_elsewhere(request, places):
                self._refuse(request.id, "This path leads elsewhere than when it was asked about.")
            else:
                done = self._send(request, places, intent)
                is_sent = True
        finally:
            if not is_sent:
                self._files.finished(intent, FileResult(outcome=NOT_DONE))
        if is_sent and done is not None:
            await done

    async def _leads_elsewhere(self, request: Request, places: tuple[Resolved, ...]) -> bool:
        """Say whether a path means something else, now that somebody has thought about it."""
        try:
            return await self._resolver.resolve(request) != places
        except (UnclearPathError, NoSuchPathError):
            return True

    async def _ask(self, request: Request, places: tuple[Resolved, ...]) -> tuple[FileRuling, bool]:
        """Return what was decided, and whether that took time."""
        end = self._line.end if request.kind == sftp.OPEN else None
        asked = self._files.file(operation_of(request, places), self._say, end)
        has_waited = not asked.called
        try:
            return await asked, has_waited
        except CancelledError:
            raise
        except Exception:
            log.failure("deciding on a file failed")
            return FileRuling(allowed=False, reason=COULD_NOT), has_waited

    async def _missing(self, request: Request, error: NoSuchPathError) -> None:
        """Tell the client what the target says of a path, if it may know."""
        place = Resolved(error.written, error.written, b"")
        ruling, _ = await self._ask(request, (place,) * len(request.paths))
        if not ruling.allowed:
            self._refuse(request.id, ruling.reason)
            return
        outcome = sftp.OUTCOMES.get(error.code, "FAILURE")
        self._files.finished(ruling.intent, FileResult(outcome=outcome))
        self._answer(request.id, sftp.status(request.id, error.code, error.text))

    def _send(
        self, request: Request, places: tuple[Resolved, ...], intent: int
    ) -> Deferred[None] | None:
        """Send on what was decided; return what is to be waited for before the next."""
        if request.kind == sftp.REALPATH or request.name == sftp.EXPAND_PATH:
            self._files.finished(intent, FileResult(outcome="OK"))
            self._answer(request.id, sftp.name(request.id, places[0].path.encode()))
            return None
        operation = operation_of(request, places)
        done: Deferred[None] | None = None
        if request.kind in (sftp.OPEN, sftp.OPENDIR):
            file = OpenFile(
                places[0].path,
                intent,
                flags=flags_of(request),
                is_folder=request.kind == sftp.OPENDIR,
                keeping=self._keeping,
            )
            self._expected.opening += 1
            self._expected.waiting[request.id] = Opening(file)
        else:
            if operation.action in CHANGES_NAMES:
                done = Deferred()
            self._expected.waiting[request.id] = Decided(intent, done=done)
        self._line.forward(with_places(request, places).encode())
        return done

    async def _change(self, request: Request, packet: Packet, file: OpenFile) -> None:
        """Decide on the attributes of what is open."""
        try:
            place = Resolved(file.path, file.path, b"")
            ruling, _ = await self._ask(request, (place,))
            if not ruling.allowed:
                self._refuse(request.id, ruling.reason)
                return
            size = request.attributes.size
            if size is not None:
                file.resized(size)
            self._expected.waiting[request.id] = Decided(ruling.intent)
            self._line.forward(packet.encode())
        finally:
            self._changing -= 1

    # Answers

    def answer(self, packet: Packet) -> bool:
        """Take an answer of the target; say whether it goes on."""
        if packet.kind != sftp.VERSION:
            self._expected.answered(packet)
            return True
        version, extensions = sftp.parse_version(packet.body)
        if not self._wants_version or version != sftp.PROTOCOL_VERSION:
            raise ProtocolViolationError(f"version {version} is not what was asked for")
        self._wants_version = False
        known = tuple(each for each in extensions if each[0] in sftp.EXTENSIONS)
        self._line.answer(sftp.encode_version(version, known))
        return False

    def data(self, bulk: Bulk) -> tuple[Count, int]:
        """Take the head of content."""
        return self._expected.data(bulk)

    def _answer(self, number: int, encoded: bytes) -> None:
        self._expected.waiting.pop(number, None)
        self._line.answer(encoded)

    def _refuse(self, number: int, reason: str) -> None:
        self._say(f"hoopgw: {reason}")
        self._answer(number, sftp.status(number, sftp.PERMISSION_DENIED, reason))

    def _say(self, text: str) -> None:
        """Tell the client something on standard error, up to a limit."""
        line = said(text)
        self._said += len(line)
        if self._said <= SAID_LIMIT and not self._line.is_over:
            self._passage.to_client(line, STDERR)
