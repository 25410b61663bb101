"""The worker's end of contents: `ContentStore`, which writes content files.

A frame is one ``writev`` into the page cache, on the reactor: it survives the worker, says at once
when the disk is full, and what it holds goes on to the client only behind it. Hashing is done on
the way. Syncing is not: a thread does that, for all files that have news, every 50 ms, or sooner if
much waits. What waits for the disk is bounded: beyond `UNSYNCED_LIMIT` who writes much is told to
wait (`Content.is_full`), so that a slow disk stops the target and not the reactor, which the
kernel would otherwise stop in the middle of a write (``vm.dirty_ratio``).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import RecorderError
from hoopgw.recording.content_files import ContentFolder, ContentLimits, content_name
from hoopgw.recording.content_frames import ContentHead, side
from hoopgw.recording.content_writing import ContentFile, SessionUse
from hoopgw.recording.contents import ContentAbout, SessionNotes
from hoopgw.recording.records import ContentOpened
from hoopgw.recording.spool import this_boot

log = Logger()

TICK: Final = 0.05
"""Seconds from the first byte that waits for the disk to its sync."""
UNSYNCED_LIMIT: Final = 64 * 2**20
"""Bytes of all contents that may wait for the disk."""
SOON: Final = 8 * 2**20
"""Bytes behind which a sync begins at once."""
CONTENTS_LIMIT: Final = 100_000
"""Contents of one session."""
_COUNT_EVERY: Final = 60.0
"""Seconds between two counts of what all contents are: others write too, and remove."""
_TITLE: Final = 1024
_TERM: Final = 128


@frozen
class _Job:
    """What a thread does for one file."""

    content: ContentFile
    size: int
    """How far it had been written when this began."""
    ends: bool


@define(eq=False)
class ContentStore:
    """Writes contents of one worker. Call `start` first, and `stop` at the end.

    Implements `hoopgw.recording.contents.Contents`.

    Args:
        folder: where to.
        limits: how much.
        clock: counts the time of frames, and calls.
        in_thread: runs something in a thread.

    """

    _folder: ContentFolder
    _limits: ContentLimits
    clock: IReactorTime
    _in_thread: Callable[[Callable[[], Any]], Deferred[Any]]
    _live: dict[str, ContentFile] = field(factory=dict, init=False)
    """All whose files are open, those included that have ended and wait for the disk."""
    _fresh: dict[ContentFile, None] = field(factory=dict, init=False)
    """Those that have something for the next tick."""
    _uses: WeakKeyDictionary[SessionNotes, SessionUse] = field(
        factory=WeakKeyDictionary, init=False
    )
    _used: int = field(default=0, init=False)
    """Bytes of all contents, as far as this worker knows."""
    _unsynced: int = field(default=0, init=False)
    _fault: str = field(default="no contents are kept yet", init=False)
    """Why nothing can be written."""
    _is_broken: bool = field(default=False, init=False)
    """Whether it stays so."""
    _looked: float = field(default=0.0, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _busy: bool = field(default=False, init=False)
    """Whether the thread is at work."""
    _wishes: list[Deferred[None]] = field(factory=list, init=False)

    def start(self) -> None:
        """Make the folders, and see what there is.

        Raises:
            OSError: they cannot be made or read.

        """
        self._folder.make()
        self._used, self._looked = self._folder.used(), self.clock.seconds()
        self._see(self._free())

    def stop(self) -> None:
        """End what is open, and write it to the disk."""
        for content in list(self._live.values()):
            content.end("the gateway stops")
        self._fault, self._is_broken = "the gateway stops", True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if not self._busy:  # else the thread has these files, and the recorder moves what is left
            jobs = self._jobs()
            try:
                self._done_with(jobs, _work(self._folder, jobs))
            except OSError as error:
                log.error("contents are left to the recorder: {error}", error=error)
        wishes, self._wishes = self._wishes, []
        _fire(wishes, self._fault)

    def open(self, notes: SessionNotes, about: ContentAbout) -> ContentFile:
        """Begin one. Raises `RecorderError`."""
        try:
            self._see(self._free())
        except OSError as error:
            raise RecorderError(f"recordings cannot be kept: {error.strerror}") from error
        use = self._uses.setdefault(notes, SessionUse())
        if self._fault or use.contents >= CONTENTS_LIMIT:
            raise RecorderError(self._fault or "this session has recorded too much")
        number, now = use.contents, self.clock.seconds()
        head = _head(notes.session, number, now, about)
        name = content_name(notes.session, number)
        content = ContentFile(self, notes, use, name, number, self._create(name), now)
        try:
            notes.note(lambda seq, at: _opened(head, about, seq, at))
        except RecorderError:
            os.close(content.fd)
            (self._folder.open / name).unlink(missing_ok=True)
            raise
        use.contents += 1
        self._live[name] = content
        try:
            content.begin(head.encode())
        except RecorderError:
            content.end("it could not be begun")
            raise
        return content

    def sync(self) -> Deferred[None]:
        """Fire when all that was written so far survives a power loss."""
        if self._fault:
            return fail(RecorderError(self._fault))
        wish: Deferred[None] = Deferred()
        self._wishes.append(wish)
        self._soon(0.0)
        return wish

    # What the files tell

    @property
    def is_full(self) -> bool:
        """Whether too much waits for the disk."""
        return self._unsynced > UNSYNCED_LIMIT

    def charge(self, use: SessionUse, size: int) -> None:
        """Count bytes that are about to be written.

        Raises:
            RecorderError: they are too many.

        """
        if self._fault:
            raise RecorderError(self._fault)
        if use.size + size > self._limits.session:
            raise RecorderError("this session has recorded as much as one may")
        if self._used + size > self._limits.all:
            raise RecorderError("the gateway keeps as many recordings as it may")
        use.size += size
        self._used += size

    def wrote(self, content: ContentFile, size: int) -> None:
        """Take note of bytes that wait for the disk."""
        before = self._unsynced
        self._unsynced = before + size
        self._fresh[content] = None
        if before <= SOON < self._unsynced:
            self._soon(0.0)
        elif self._call is None:
            self._soon(TICK)

    def ended(self, content: ContentFile) -> None:
        """Take note that a content has ended: its file is moved, once it is on the disk."""
        self._fresh[content] = None
        if self._call is None:
            self._soon(TICK)

    # Ticks, and the thread

    def _soon(self, delay: float) -> None:
        if self._busy or self._is_broken:
            return  # the next one follows when the thread is done
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = self.clock.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._call = None
        now = self.clock.seconds()
        for content in list(self._fresh):
            content.look(now)
        jobs, wishes = self._jobs(), self._wishes
        if not jobs and not wishes:
            self._next()
            return
        self._wishes = []
        self._busy = True
        count = not 0 <= now - self._looked < _COUNT_EVERY
        if count:
            self._looked = now
        folder, before = self._folder, self._used

        def work() -> tuple[list[str], int, int | None]:
            return _work(folder, jobs), self._free(), folder.used() if count else None

        done = self._in_thread(work)
        done.addCallback(lambda found: self._finished(jobs, before, *found))
        done.addErrback(self._failed)
        done.addCallback(lambda _: _fire(wishes, self._fault))

    def _jobs(self) -> list[_Job]:
        return [
            _Job(content, content.size, content.is_over)
            for content in self._fresh
            if content.unsynced or content.is_over
        ]

    def _finished(
        self, jobs: Sequence[_Job], before: int, faults: list[str], free: int, used: int | None
    ) -> None:
        self._busy = False
        if used is not None:
            self._used += used - before
        self._see(free)
        self._done_with(jobs, faults)
        self._next()

    def _next(self) -> None:
        """See to it that what is left has its turn."""
        for content in [each for each in self._fresh if not each.has_news]:
            del self._fresh[content]
        if self._wishes or self._unsynced > SOON:
            self._soon(0.0)
        elif self._fresh:
            self._soon(TICK)

    def _done_with(self, jobs: Sequence[_Job], faults: Sequence[str]) -> None:
        for job, fault in zip(jobs, faults, strict=True):
            content = job.content
            self._unsynced -= job.size - content.synced
            content.synced = job.size
            if fault:
                content.fault = content.fault or f"the recording cannot be written: {fault}"
                log.error("content {name}: {fault}", name=content.name, fault=fault)
            if job.ends:
                self._live.pop(content.name, None)
                self._fresh.pop(content, None)
        for content in list(self._live.values()):
            content.tell()

    def _failed(self, failure: Failure) -> None:
        """Stop: what a bug or a disk left undone must not go on unrecorded."""
        log.failure("contents cannot be kept any more", failure)
        self._fault, self._is_broken = "the recordings cannot be written", True
        self._busy = False
        for content in list(self._live.values()):
            content.fault = content.fault or self._fault
            content.tell()

    def _create(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self._folder.open / name, flags, 0o600)
        except OSError as error:
            raise RecorderError(f"the recording cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # who looks for what was left has it for a moment
        except OSError as error:
            os.close(fd)
            raise RecorderError(f"the recording cannot be locked: {error.strerror}") from error
        return fd

    def _free(self) -> int:
        """Return the bytes that are free on the disk."""
        status = os.statvfs(self._folder.path)
        return status.f_bavail * status.f_frsize

    def _see(self, free: int) -> None:
        if self._is_broken:
            return
        fault = "the disk has no room for more recordings" if free < self._limits.free else ""
        if fault != self._fault:
            log.info("contents: {state}", state=fault or "ready")
        self._fault = fault


def _work(folder: ContentFolder, jobs: Sequence[_Job]) -> list[str]:
    """Sync files, and move those away that have ended; return what is wrong with each."""
    faults = []
    for job in jobs:
        try:
            os.fdatasync(job.content.fd)
            fault = ""
        except OSError as error:
            fault = error.strerror or str(error)
        if job.ends:
            fault = _put_away(folder, job.content) or fault
        faults.append(fault)
    if not jobs or any(job.ends or not job.content.synced for job in jobs):
        for path in (folder.open, folder.kept):
            _sync_names(path)
    return faults


def _put_away(folder: ContentFolder, content: ContentFile) -> str:
    """Close a file that has ended, and move it; return what is wrong with that."""
    try:
        if not content.is_unrecorded:
            if os.fstat(content.fd).st_size != content.size:
                os.ftruncate(content.fd, content.size)
            os.rename(folder.open / content.name, folder.kept / content.name)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(content.fd)
    return ""


def _sync_names(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _head(session: str, number: int, now: float, about: ContentAbout) -> ContentHead:
    return ContentHead(
        session=session,
        number=number,
        started=int(now * 1e9),
        kind=about.kind,
        title=about.title[:_TITLE],
        term=about.term[:_TERM],
        columns=side(about.columns),
        rows=side(about.rows),
        boot=this_boot(),
    )


def _opened(head: ContentHead, about: ContentAbout, sequence: int, at: int) -> ContentOpened:
    return ContentOpened(
        head.session,
        sequence,
        at,
        head.number,
        about.intent,
        head.kind,
        head.title,
        head.term,
        head.columns,
        head.rows,
        list(about.holds),
    )


def _fire(wishes: Sequence[Deferred[None]], fault: str) -> None:
    for wish in wishes:
        if fault:
            wish.errback(RecorderError(fault))
        else:
            wish.callback(None)
