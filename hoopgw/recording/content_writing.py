"""One content that is being written: `ContentFile`. What it waits for is its owner's business.

A frame is one ``writev``, all of it or nothing; hashing is done on the way.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hoopgw.errors import RecorderError
from hoopgw.recording.content_frames import FRAME_HEAD, FrameKind
from hoopgw.recording.contents import SessionNotes
from hoopgw.recording.records import ContentEnded, ContentPiece

log = Logger()

PIECE: Final = 2**20
"""Bytes behind which a piece is hashed and recorded."""
PIECE_AFTER: Final = 0.95
"""Seconds behind which the same is done, however few they are: at the tick that follows."""
SHARE: Final = 2**20
"""Bytes that each content may have waiting, however many wait in all: a shell goes on."""
_SLICE: Final = 2**18
"""Bytes of one frame that is written."""
_SMALL: Final = 2048
"""Bytes up to which hashing two buffers costs more than joining them."""
_OUTCOME: Final = 300
"""Characters of an outcome that are recorded."""


@define(eq=False)
class SessionUse:
    """What a session has used."""

    contents: int = 0
    size: int = 0


class Owner(Protocol):
    """What a content asks of the store that it is of."""

    @property
    def clock(self) -> IReactorTime:
        """Counts the time of frames."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether too much waits for the disk, of all contents."""
        ...

    def charge(self, use: SessionUse, size: int) -> None:
        """Count bytes that are about to be written. Raises `RecorderError`: they are too many."""
        ...

    def wrote(self, content: ContentFile, size: int) -> None:
        """Take note of bytes that wait for the disk."""
        ...

    def ended(self, content: ContentFile) -> None:
        """Take note of the end."""
        ...


@define(eq=False)
class ContentFile:
    """One content that is being written. Implements `hoopgw.recording.contents.Content`."""

    _store: Owner = field(repr=False)
    _notes: SessionNotes = field(repr=False)
    _use: SessionUse = field(repr=False)
    name: str
    number: int
    fd: int
    _started: float
    size: int = field(default=0, init=False)
    """Bytes of the file."""
    synced: int = field(default=0, init=False)
    fault: str = field(default="", init=False)
    """Why nothing more can be written."""
    is_over: bool = field(default=False, init=False)
    is_unrecorded: bool = field(default=False, init=False)
    """Whether its end could not be recorded."""
    _covered: int = field(default=0, init=False)
    """Bytes up to the last piece."""
    _since: float = field(default=0.0, init=False)
    """When the first byte behind it was written."""
    _hash: Any = field(factory=hashlib.sha256, init=False, repr=False)
    _counts: dict[int, int] = field(factory=dict, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    def write(self, kind: int, data: bytes) -> None:
        """Keep a frame. Raises as `Content.write`."""
        if len(data) > _SLICE:
            for start in range(0, len(data), _SLICE):
                self.write(kind, data[start : start + _SLICE])
            return
        if self.fault or self.is_over:
            raise RecorderError(self.fault or "the recording of this channel has ended")
        now = self._store.clock.seconds()
        head = FRAME_HEAD.pack(kind, max(int((now - self._started) * 1e6), 0), len(data))
        self._append(head, data, now)
        self._counts[kind] = self._counts.get(kind, 0) + len(data)

    def passed(self, kind: int, size: int) -> None:
        """Count bytes that are not kept."""
        self._counts[kind] = self._counts.get(kind, 0) + size

    def begin(self, head: bytes) -> None:
        """Write the header. Raises `RecorderError`."""
        self._append(head, b"", self._started)

    def _append(self, head: bytes, data: bytes, now: float) -> None:
        size = len(head) + len(data)
        try:
            self._store.charge(self._use, size)
            if self.size + size - self._covered > PIECE and self.size > self._covered:
                self._cut()
            self._put(head, data, size)
        except RecorderError as error:
            self.fault = str(error)
            raise
        if len(data) <= _SMALL:
            self._hash.update(head + data)
        else:
            self._hash.update(head)
            self._hash.update(data)
        if self.size == self._covered:
            self._since = now
        self.size += size
        self._store.wrote(self, size)

    def _put(self, head: bytes, data: bytes, size: int) -> None:
        """Write all of it, or nothing."""
        try:
            if os.writev(self.fd, (head, data)) == size:
                return
            os.ftruncate(self.fd, self.size)
            why = "the disk is full"
        except OSError as error:
            why = error.strerror or str(error)
        raise RecorderError(f"the recording cannot be written: {why}")

    def _cut(self) -> None:
        """Record what is not covered yet. Raises `RecorderError`."""
        number, size, digest = self.number, self.size, self._hash.digest()
        session = self._notes.session
        self._notes.note(lambda seq, at: ContentPiece(session, seq, at, number, size, digest))
        self._covered = size

    def look(self, now: float) -> None:
        """Record what has waited for its second."""
        if self.size == self._covered or self.is_over or self.fault:
            return
        # A clock that was set leaves no bytes waiting: whatever is no short while is too long.
        if not 0 <= now - self._since < PIECE_AFTER:
            try:
                self._cut()
            except RecorderError as error:
                self.fault = str(error)

    @property
    def has_news(self) -> bool:
        """Whether something of it waits for a tick: bytes for the disk, or for their piece."""
        if self.is_over or self.unsynced:
            return True
        return self.size > self._covered and not self.fault

    @property
    def unsynced(self) -> int:
        """Bytes that wait for the disk."""
        return self.size - self.synced

    @property
    def is_full(self) -> bool:
        """Whether more waits for the disk than should."""
        return self._store.is_full and self.unsynced > SHARE

    def room(self) -> Deferred[None]:
        """Fire when it is not full any more, or has ended."""
        if not self.is_full or self.is_over or self.fault:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def _forget(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def tell(self) -> None:
        """Let those go on who wait, if they may."""
        if self._waiting and (not self.is_full or self.is_over or self.fault):
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def end(self, outcome: str) -> None:
        """Write the end."""
        if self.is_over:
            return
        self.is_over = True
        number, size, digest = self.number, self.size, self._hash.digest()
        session, counts = self._notes.session, self._counts
        try:
            self._notes.note(
                lambda seq, at: ContentEnded(
                    session,
                    seq,
                    at,
                    number,
                    size,
                    digest,
                    outcome[:_OUTCOME],
                    counts.get(FrameKind.INPUT, 0),
                    counts.get(FrameKind.OUTPUT, 0),
                    counts.get(FrameKind.STDERR, 0),
                )
            )
        except RecorderError as error:
            # It stays where it is: the recorder finds it there, and says how far it goes.
            log.error("content {name} has no end: {error}", name=self.name, error=error)
            self.is_unrecorded = True
        self.tell()
        self._store.ended(self)
