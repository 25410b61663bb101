"""Fakes that the tests of several rooms share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from hoopgw.errors import RecorderError
from hoopgw.recording.contents import ContentAbout, SessionNotes
from hoopgw.recording.records import Record, decode


class FakeRecorder:
    """Keeps records in memory, until it is full."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False
        self.syncs: list[Deferred[None]] = []
        self.hold_syncs = False

    def start(self) -> None:
        """Do nothing: it is ready."""

    def stop(self) -> None:
        """Do nothing."""

    def write(self, record: Record) -> None:
        if self.full:
            raise RecorderError("the disk is full")
        self.records.append(record)

    def put_off(self, record: Record) -> None:
        self.records.append(record)

    def write_allowed(self, record: bytes) -> None:
        self.write(decode(record))

    def put_off_encoded(self, record: bytes) -> None:
        self.put_off(decode(record))

    def sync(self) -> Deferred[None]:
        if not self.hold_syncs:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self.syncs.append(waiting)
        return waiting

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the records of one type."""
        return [record for record in self.records if isinstance(record, kind)]


class FakeNotes:
    """A session's journal on a fake recorder. Implements `SessionNotes`."""

    def __init__(self, recorder: FakeRecorder, session: str = "s-1") -> None:
        self.recorder = recorder
        self.session = session
        self.sequence = 0

    def note(self, make: Callable[[int, int], Record]) -> int:
        if self.recorder.full:
            raise RecorderError("the disk is full")
        self.recorder.put_off(make(self.sequence, 1_700_000_000_000_000_000 + self.sequence))
        self.sequence += 1
        return self.sequence - 1


class FakeContent:
    """Keeps frames in memory. Implements `Content`."""

    def __init__(self, number: int, about: ContentAbout) -> None:
        self.number, self.about = number, about
        self.frames: list[tuple[int, bytes]] = []
        self.counted: Counter[int] = Counter()
        self.is_full = False
        self.fault = ""
        self.outcome: str | None = None
        self.waiting: list[Deferred[None]] = []

    def write(self, kind: int, data: bytes) -> None:
        if self.fault or self.outcome is not None:
            raise RecorderError(self.fault or "it has ended")
        self.frames.append((kind, data))
        self.counted[kind] += len(data)

    def passed(self, kind: int, size: int) -> None:
        self.counted[kind] += size

    def room(self) -> Deferred[None]:
        if not self.is_full:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def drain(self) -> None:
        """Let those go on who wait."""
        self.is_full = False
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    def end(self, outcome: str) -> None:
        if self.outcome is None:
            self.outcome = outcome

    def of(self, kind: int) -> bytes:
        """Return what all frames of one kind hold."""
        return b"".join(data for each, data in self.frames if each == kind)


class FakeContents:
    """Keeps contents in memory, until it is full. Implements `Contents`."""

    def __init__(self) -> None:
        self.opened: list[FakeContent] = []
        self.full = False

    def open(self, notes: SessionNotes, about: ContentAbout) -> FakeContent:
        if self.full:
            raise RecorderError("the disk has no room for more recordings")
        self.opened.append(FakeContent(len(self.opened), about))
        return self.opened[-1]

    def sync(self) -> Deferred[None]:
        return succeed(None)
