"""The worker's end of recording: `SpoolRecorder`, the `spi.Recorder` of the data path.

A record is kept by a copy into the worker's spool. Everything that is out of the ordinary (the
recorder is gone, stopped or behind, the disk is full, a segment has no room, the recorder sleeps)
keeps one number, that of `BOUND_CELL`, below where the record would end; so the ordinary way tests
that number and nothing else. Who refuses does so before anything is written.

What is put off has happened already, so it is written even while new operations are refused. It is
put off only where the ordinary way is closed: a copy costs less than a timer, and what waits does
not survive the worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.ipc import Body, Peer
from hoopgw.recording.connection import Connect
from hoopgw.recording.framing import RECORD_LIMIT
from hoopgw.recording.records import Record, encode
from hoopgw.recording.spool import (
    BOUND_CELL,
    RECORDS_CELL,
    WAITING_CELL,
    SpoolWriteError,
    SpoolWriter,
)

log = Logger()

FLUSH_AFTER: Final = 0.05
"""Seconds that a record may be put off."""
PUT_OFF_LIMIT: Final = 2**20
"""Bytes that may be put off; a record that finds more waiting is refused."""
LAG_LIMIT: Final = 64 * 2**20
"""Bytes that the recorder may be behind before operations are refused."""
_ROOM: Final = PUT_OFF_LIMIT
"""Bytes for which there must be room in a segment if it shall be used on behind a fault."""
_HARD_LIMIT: Final = 2 * LAG_LIMIT
"""Bytes behind which not even what has happened already is written."""
SYNC_TIMEOUT: Final = 5.0
"""Seconds that the recorder may take to sync; what waited for it is refused then."""
STALL_LIMIT: Final = 2.0
"""Seconds without progress, while there is something to do, after which operations are refused."""
_LENGTH: Final = 4
_WATCH_EVERY: Final = 0.5
_RECONNECT_FIRST: Final = 0.1
_RECONNECT_LAST: Final = 1.0


@frozen(kw_only=True)
class RecorderStatus:
    """How recording stands, for metrics and ``/readyz``."""

    ready: bool
    reason: str
    """Why not, if not."""
    records: int
    """Records that were kept since the start."""
    lag: int
    """Bytes that the recorder has yet to take and sync."""
    waiting: int
    """Bytes that are put off."""
    refused: int
    """Records that were refused."""


@define(eq=False)
class SpoolRecorder:
    """Keeps records of one worker. Call `start` before anything, and `stop` at the end.

    Args:
        directory: the spool folder.
        name: the worker's name; no two live workers share one.
        clock: for flushing, deadlines and reconnection.
        connect: connects to the recorder process: `hoopgw.recording.connection.over_unix`.

    """

    _directory: Path
    _name: str
    _clock: IReactorTime
    _connect: Connect
    _writer: SpoolWriter = field(init=False)
    _waiting: bytearray = field(factory=bytearray, init=False, repr=False)
    _cells: memoryview[int] = field(init=False, repr=False)
    """The writer's; beyond the bound, `_prepare` has something to do before a write."""
    _reason: str = field(default="recording has not started", init=False)
    """Why operations are refused; empty if they are not."""
    _fault: str = field(default="", init=False)
    """What is wrong with the spool."""
    _objection: str = field(default="the recorder has not said hello", init=False)
    """Why the recorder does not accept, in its own words."""
    _stalled: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)
    _asleep: bool = field(default=True, init=False)
    """Whether the recorder wants to be woken by the next write."""
    _peer: Peer | None = field(default=None, init=False)
    _bases: dict[bytes, int] = field(factory=dict, init=False)
    """Segment to the bytes in all segments before it."""
    _taken: int = field(default=0, init=False)
    """Bytes that the recorder has synced, over all segments."""
    _moved: int = field(default=0, init=False)
    """How far the recorder was when it was last seen to move."""
    _still: int = field(default=0, init=False)
    """Looks since then that found it where it was. A worker that was itself too busy to look, or to
    read what the recorder said, must not take that for the recorder's standstill."""
    _flush_call: IDelayedCall | None = field(default=None, init=False)
    _watch_call: IDelayedCall | None = field(default=None, init=False)
    _reconnect_call: IDelayedCall | None = field(default=None, init=False)
    _patience: float = field(default=_RECONNECT_FIRST, init=False)
    _refused: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = SpoolWriter(self._directory, self._name)
        self._cells = self._writer.cells

    def start(self) -> None:
        """Open the spool and connect to the recorder.

        Raises:
            RecorderError: the spool folder cannot be written.

        """
        self._roll()
        self._watch_call = self._clock.callLater(_WATCH_EVERY, self._watch)
        self._assess()
        self._dial()

    def stop(self) -> None:
        """Write what was put off, and end. Every later record is refused."""
        if self._waiting and not self._fault:
            try:
                self._make_room(len(self._waiting))
                self._put()
            except RecorderError as error:
                log.error("records that were put off are lost: {error}", error=error)
        self._stopped = True
        self._cells[WAITING_CELL] = -1
        self._assess()
        for call in (self._flush_call, self._watch_call, self._reconnect_call):
            if call is not None and call.active():
                call.cancel()
        self._writer.seal()
        if self._peer is not None:
            self._peer.close()

    @property
    def ready(self) -> bool:
        """Whether a record would be taken now."""
        return not self._reason and self._lag() < LAG_LIMIT

    def status(self) -> RecorderStatus:
        """Return how recording stands."""
        return RecorderStatus(
            ready=self.ready,
            reason=self._reason or ("" if self.ready else "the recorder is behind"),
            records=self._cells[RECORDS_CELL],
            lag=self._lag(),
            waiting=len(self._waiting),
            refused=self._refused,
        )

    def write(self, record: Record) -> None:
        """Keep a record so that it survives this process, with all that was put off before it.

        Raises:
            RecorderError: it could not be kept, so what it describes must not happen; its sequence
                number is still free.

        """
        self.write_allowed(encode(record))

    def write_allowed(self, record: bytes) -> None:
        """Keep an encoded record, as `write`.

        Raises:
            RecorderError: as of `write`.

        """
        if len(record) > RECORD_LIMIT:
            raise RecorderError("the operation is too long to be recorded")
        waiting = self._waiting
        before = len(waiting)
        size = before + _LENGTH + len(record)
        if self._writer.offset + size > self._cells[BOUND_CELL]:
            self._prepare(size)
        waiting += len(record).to_bytes(_LENGTH, "big") + record
        try:
            self._writer.append(waiting)
        except SpoolWriteError as error:
            del waiting[before:]  # without this record; the others stay until they can be written
            self._failed(error)
            raise
        waiting.clear()
        self._cells[RECORDS_CELL] += 1

    def put_off(self, record: Record) -> None:
        """Keep a record now, with the next `write`, or within 50 ms: for what has happened already.

        Raises:
            RecorderError: too much waits already, or recording has ended.

        """
        self.put_off_encoded(encode(record))

    def put_off_encoded(self, record: bytes) -> None:
        """Keep an encoded record, as `put_off`.

        Raises:
            RecorderError: as of `put_off`.

        """
        if len(self._waiting) > PUT_OFF_LIMIT and not self._stopped:
            self._write_waiting()  # many results at once are no fault
        if len(self._waiting) > PUT_OFF_LIMIT or self._stopped:
            self._refused += 1
            raise RecorderError("too many records wait for the spool")
        if len(record) > RECORD_LIMIT:
            raise RecorderError("the result is too long to be recorded")
        frame = len(record).to_bytes(_LENGTH, "big") + record
        self._cells[RECORDS_CELL] += 1
        if not self._waiting and self._writer.offset + len(frame) <= self._cells[BOUND_CELL]:
            self._writer.append(frame)
            return
        self._waiting += frame
        if self._flush_call is None:
            self._flush_call = self._clock.callLater(FLUSH_AFTER, self._flush)
            self._cells[WAITING_CELL] = PUT_OFF_LIMIT

    def sync(self) -> Deferred[None]:
        """Fire when all that was written so far, and put off, survives a power loss.

        Fails with `RecorderError` if the recorder does not say so in time.
        """
        try:
            if self._waiting:
                self._prepare(len(self._waiting))
                self._put()
        except RecorderError as error:
            return fail(error)
        if self._lag() == 0:
            return succeed(None)
        if self._peer is None:
            return fail(RecorderError("the recorder is not connected"))
        total = self._total()
        where = {"spool": self._writer.identity, "offset": self._writer.offset}
        call = self._peer.call("sync", SYNC_TIMEOUT, **where)
        return call.addCallbacks(lambda _answer: self._synced(total), _not_synced)

    # The way to the spool

    def _put(self) -> None:
        """Write what was put off.

        Raises:
            SpoolWriteError: there is no room; it waits on.

        """
        try:
            self._writer.append(self._waiting)
        except SpoolWriteError as error:
            self._failed(error)
            raise
        self._waiting.clear()

    def _failed(self, error: SpoolWriteError) -> None:
        """Refuse records from now on: the spool is out of order."""
        self._refused += 1
        self._fault = str(error)
        self._assess()
        log.error("recording stops: {error}", error=error)

    def _prepare(self, size: int) -> None:
        """Do what stands before the next write, of so many bytes.

        Raises:
            RecorderError: it is refused.

        """
        reason = self._reason
        if not reason and self._lag() >= LAG_LIMIT:
            reason = "the recorder is behind"
        if reason:
            self._refused += 1
            raise RecorderError(f"nothing can be recorded now: {reason}")
        self._make_room(size)
        self._wake()

    def _make_room(self, size: int) -> None:
        """Go on in a new segment if there is no room for so many bytes.

        Raises:
            SpoolWriteError: it could not be made.

        """
        if not self._writer.has_room(size):
            try:
                self._roll(size)
            except SpoolWriteError as error:
                self._failed(error)
                raise

    def _roll(self, size: int = 0) -> None:
        """Go on in a new segment.

        Raises:
            SpoolWriteError: it could not be made.

        """
        before = self._total()
        self._writer.open_next(size)
        self._bases[self._writer.identity] = before
        self._rebound()

    def _flush(self) -> None:
        self._flush_call, self._cells[WAITING_CELL] = None, -1
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Write what was put off, whether or not operations are refused."""
        if not self._waiting or self._fault or self._lag() >= _HARD_LIMIT:
            return  # the watch tries again
        try:
            self._make_room(len(self._waiting))
            self._put()
        except RecorderError:
            return  # it was logged, and the watch tries again
        self._wake()

    def _wake(self) -> None:
        if self._asleep and self._peer is not None:
            self._asleep = False
            self._rebound()
            # It goes out with the reactor's next turn, so after the write that it announces.
            self._peer.tell("wake")

    def _total(self) -> int:
        return self._bases.get(self._writer.identity, 0) + self._writer.offset

    def _lag(self) -> int:
        return max(self._total() - self._taken, 0)

    def _rebound(self) -> None:
        """Set the number that `write` tests."""
        if self._reason or self._asleep:
            self._cells[BOUND_CELL] = -1
        else:
            base = self._bases[self._writer.identity]
            self._cells[BOUND_CELL] = min(self._writer.limit, LAG_LIMIT + self._taken - base)

    def _assess(self) -> None:
        """Find out whether operations are refused."""
        if self._stopped:
            reason = "recording has ended"
        elif self._fault:
            reason = self._fault
        elif self._peer is None:
            reason = "the recorder is not connected"
        elif self._objection:
            reason = self._objection
        else:
            reason = "the recorder makes no progress" if self._stalled else ""
        if bool(reason) != bool(self._reason):
            log.info("recording: {state}", state=reason or "ready")
        self._reason = reason
        self._rebound()

    def _watch(self) -> None:
        """Look whether the recorder makes progress, and whether a full disk has space again."""
        self._watch_call = self._clock.callLater(_WATCH_EVERY, self._watch)
        self._still += 1
        self._see_progress()
        self._stalled = self._still * _WATCH_EVERY >= STALL_LIMIT
        if self._fault:
            self._mend()
        self._assess()
        if self._waiting and self._flush_call is None:
            self._flush()

    def _see_progress(self) -> bool:
        """Say whether the recorder has moved since the last look, or has nothing to do."""
        moves = self._lag() == 0 or self._taken != self._moved
        if moves:
            self._moved, self._still = self._taken, 0
        return moves

    def _mend(self) -> None:
        """Go on where there is room again, or in a new segment."""
        try:
            if not self._writer.has_room(_ROOM):
                self._roll()
        except SpoolWriteError:
            return  # still full; the fault stands
        self._fault = ""

    # The connection

    def _dial(self) -> None:
        self._reconnect_call = None
        handlers = {"progress": self._progress}
        peer = Peer(handlers, self._clock, self._connected, self._lost)
        self._connect(peer).addErrback(self._not_connected)

    def _not_connected(self, failure: Failure) -> None:
        log.debug("no recorder: {reason}", reason=failure.getErrorMessage())
        self._redial()

    def _redial(self) -> None:
        if not self._stopped and self._reconnect_call is None:
            self._reconnect_call = self._clock.callLater(self._patience, self._dial)
            self._patience = min(2 * self._patience, _RECONNECT_LAST)

    def _connected(self, peer: Peer) -> None:
        if self._stopped:
            peer.close()
            return
        self._peer, self._patience, self._asleep = peer, _RECONNECT_FIRST, True
        self._objection = "the recorder has not said hello"
        hello = peer.call("hello", worker=self._name)
        hello.addCallbacks(lambda _answer: None, lambda _failure: peer.close())
        self._assess()

    def _lost(self, peer: Peer) -> None:
        if peer is self._peer:
            self._peer = None
            self._assess()
            self._redial()

    def _progress(self, body: Body) -> Body:
        """Take the recorder's word on how far it is."""
        base = self._bases.get(body["spool"])
        if base is not None:
            self._took(base + int(body["offset"]))
            # Segments come in order, so those before this one are done.
            self._bases = {key: value for key, value in self._bases.items() if value >= base}
        self._objection = str(body["objection"])
        self._asleep = bool(body["idle"])
        if self._see_progress():
            self._stalled = False
        self._assess()
        if self._asleep and self._lag():
            self._wake()  # it fell asleep while we wrote
        return {}

    def _synced(self, total: int) -> None:
        self._took(total)
        self._rebound()

    def _took(self, total: int) -> None:
        """Know that the recorder has synced so many bytes, and use their place anew."""
        self._taken = max(self._taken, total)
        self._writer.free(self._taken - self._bases.get(self._writer.identity, 0))


def _not_synced(failure: Failure) -> None:
    failure.trap(UnavailableError, defer.TimeoutError)
    raise RecorderError(f"the recorder did not sync: {failure.getErrorMessage()}")
