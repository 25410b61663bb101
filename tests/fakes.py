"""Fakes that the tests of several rooms share."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from hoopgw.errors import RecorderError
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
