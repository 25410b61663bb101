"""From the spools into the log: one transaction a turn. Knows files, but no reactor and no socket.

Spools of one worker are read in the order in which it wrote them, so that a session's records are
in order in the log. A spool whose writer is gone is read to its end and removed once the log has
been synced; one that holds something else than records is set aside and kept for people to look
at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from twisted.logger import Logger

from hoopgw.errors import HoopgwError
from hoopgw.recording.framing import DamagedError
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.log import LogWriter
from hoopgw.recording.spool import parse_name
from hoopgw.recording.tail import SpoolTail

log = Logger()

TURN_BYTES: Final = 8 * 2**20
"""Bytes after which a turn ends, although there is more."""
_FINISHED_LIMIT: Final = 1000
_TICK: Final = 10**9
"""Nanoseconds by which a folder's time may be coarse, and more."""


class BrokenLogError(HoopgwError):
    """Nothing may be appended to the log before it is opened anew."""


@frozen
class Turn:
    """What one turn did."""

    read: int
    """Bytes that were read and committed."""
    more: bool
    """Whether the turn ended before the spools did."""


@define(eq=False)
class Intake:
    """Reads spools and appends to the log.

    Args:
        directory: the spool folder.
        log: where records go.
        index: what is told of them afterwards.
        positions: how far the log has each spool already.

    """

    _directory: Path
    _log: LogWriter
    _index: SessionIndex
    _positions: dict[bytes, int]
    _tails: dict[Path, SpoolTail] = field(factory=dict, init=False)
    _looked: int | None = field(default=None, init=False)
    """When the folder last changed, if all that is in it was seen."""
    _served: str = field(default="", init=False)
    """The worker at which the last turn ended early: the next turn begins behind it."""
    _finished: dict[bytes, int] = field(factory=dict, init=False)
    """Spools that were removed, and where they ended; the oldest are forgotten."""
    _ignored: set[str] = field(factory=set, init=False)
    objections: dict[str, str] = field(factory=dict, init=False)
    """Workers that wrote something that is no record, and what; they must start anew."""

    def turn(self, over: Callable[[], bool] = lambda: False) -> Turn:
        """Read what there is, until ``over`` says that it is time, and commit it.

        Raises:
            OSError: the log's disk is full or broken. Nothing was taken; try again later.
            BrokenLogError: nothing was taken, and the log must be opened anew.

        """
        self._look()
        self._log.roll({tail.identity: tail.committed for tail in self._tails.values()})
        try:
            read, more = self._append_all(over)
            self._log.commit()
        except BaseException:
            self._rollback()
            raise
        self._committed()
        return Turn(read, more)

    def position(self, spool: bytes) -> int | None:
        """Return how far the log has a spool for good; None if it is not known."""
        for tail in self._tails.values():
            if tail.identity == spool:
                return tail.committed
        return self._finished.get(spool)

    @property
    def has_ended_spools(self) -> bool:
        """Whether there are spools whose writers are gone, and that are not in the log yet."""
        return any(tail.ended for tail in self._tails.values())

    def progress(self) -> Mapping[str, tuple[bytes, int]]:
        """Return for each worker the newest spool that was begun, and how far the log has it."""
        reached: dict[str, tuple[bytes, int]] = {}
        for tail in self._in_order():
            if tail.worker not in reached or tail.committed > tail.begin:
                reached[tail.worker] = (tail.identity, tail.committed)
        return reached

    def close(self) -> None:
        """Close the spools; they stay."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _look(self) -> None:
        """Open segments that are new in the folder."""
        changed = os.stat(self._directory).st_mtime_ns
        if changed == self._looked:
            return
        # A file that is made within the same tick of the kernel's clock would not show.
        settled = time.time_ns() - changed > _TICK
        self._looked = changed if settled else None
        for entry in os.scandir(self._directory):
            path, name = self._directory / entry.name, parse_name(entry.name)
            # A folder that is read while files are made in it may show the later one of two only.
            while name is not None and self._open(path, *name):
                name = name[0], name[1] - 1
                path = self._directory / f"{name[0]}-{name[1]}.spool"

    def _open(self, path: Path, worker: str, number: int) -> bool:
        """Open a segment; say whether it is there, and new."""
        if path in self._tails or path.name in self._ignored or not path.is_file():
            return False
        try:
            tail = SpoolTail.open(path, worker, number)
        except DamagedError as error:
            self._ignored.add(path.name)
            log.error("ignoring the spool {name}: {error}", name=path.name, error=error)
            return False
        tail.start(self._positions.pop(tail.identity, 0))
        self._tails[path] = tail
        return True

    def _in_order(self) -> list[SpoolTail]:
        return sorted(self._tails.values(), key=lambda tail: (tail.worker, tail.number))

    def _in_turn(self) -> list[SpoolTail]:
        """Return the spools in order, beginning with the workers that had to wait."""
        ordered = self._in_order()
        return [tail for tail in ordered if tail.worker > self._served] + [
            tail for tail in ordered if tail.worker <= self._served
        ]

    def _append_all(self, over: Callable[[], bool]) -> tuple[int, bool]:
        """Append what the spools hold to the log. Gives its size, and if there is more."""
        read, blocked = 0, ""
        for tail in self._in_turn():
            while tail.worker != blocked:
                offset = tail.offset
                batch = tail.read()
                if batch.count:
                    self._log.append(tail.identity, offset, batch)
                    self._index.note(batch)
                    read += batch.taken
                    if read >= TURN_BYTES or over():
                        self._served = tail.worker
                        return read, True
                elif batch.fault is not None:
                    tail.fault = batch.fault
                    break
                elif tail.ended:
                    break  # it was read once more after its writer was gone
                elif not tail.look_for_end():
                    blocked = tail.worker  # what it wrote later is in later segments, if anywhere
        return read, False

    def _rollback(self) -> None:
        self._index.rollback()
        for tail in self._tails.values():
            tail.rollback()
        try:
            self._log.rollback()
        except OSError as error:
            raise BrokenLogError(f"the log cannot be rolled back: {error.strerror}") from error

    def _committed(self) -> None:
        self._index.commit()
        for tail in self._tails.values():
            tail.commit()  # all, before a file that cannot be moved away stops this
        for path, tail in list(self._tails.items()):
            if tail.fault is not None:
                del self._tails[path]
                self._set_aside(tail, tail.fault)
            elif tail.ended and tail.exhausted:
                del self._tails[path]
                self._remove(tail)

    def _remove(self, tail: SpoolTail) -> None:
        rest = tail.rest()
        if rest:
            log.warn(
                "dropped the last {rest} bytes of {name}: the write of a record that never ended",
                rest=rest,
                name=tail.path.name,
            )
        tail.remove()
        self._finished[tail.identity] = tail.committed
        while len(self._finished) > _FINISHED_LIMIT:
            del self._finished[next(iter(self._finished))]

    def _set_aside(self, tail: SpoolTail, fault: str) -> None:
        aside = tail.set_aside()
        if not tail.ended:
            self.objections[tail.worker] = "the recorder found this worker's spool damaged"
        log.error(
            "the spool {name} cannot be read from byte {offset} on: {fault}; it is kept as {aside}",
            name=tail.path.name,
            offset=tail.committed,
            fault=fault,
            aside=aside.name,
        )
