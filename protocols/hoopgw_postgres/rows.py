"""Rows that do not just pass: they are masked, counted against the policy's limit, or paid for.

In this order: what goes to the client is paid for, and only then sent. What cannot be paid for yet
is held here until it can, or is dropped, and the target cancelled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.flow import Masker, Running
from hoopgw_postgres.metering import Meter, messages_in

_HEAD: Final = 5
_SHORT: Final = 512
"""Bytes of an error about the transaction's state, which passes though nothing is left."""
_READ_HEAD: Final = struct.Struct(">BI").unpack_from


class Rows:
    """One session's rows on their way to the client.

    Args:
        send: writes to the client.
        exceeded: called when an operation has shown as many rows as it may, or is paid for.
        meter: what is paid from; None if there is no budget of rows or bytes.

    """

    def __init__(
        self,
        send: Callable[[bytes | memoryview], None],
        exceeded: Callable[[], None],
        meter: Meter | None,
    ) -> None:
        self._send = send
        self._exceeded = exceeded
        self._meter = meter
        self._held: tuple[Running, bytes] | None = None

    def take(self, data: memoryview, at: int, running: Running) -> int:
        """Take the whole rows from ``at`` on; return where they end."""
        masker, room = running.masker, running.room
        if running.over:
            return _whole(data, at, 0)[1]
        if masker is not None and room is None:
            return at + self._masked(data[at:], running, masker)
        stop, end, shown = _whole(data, at, room)
        if stop > at:
            chunk = data[at:stop]
            if masker is None:
                self._deliver(running, chunk, shown)
            elif self._masked(chunk, running, masker) != len(chunk):
                raise ProtocolViolationError("the target sent rows that cannot be masked")
        if stop < end and not running.over:
            running.over = True
            self._exceeded()
        return end

    def begin_long(self, running: Running, size: int) -> bool:
        """Pay for a row that is not whole yet; if it `running.over`, it is to be dropped.

        Returns:
            False while nobody knows: look again when the meter has resumed.

        """
        meter = self._meter
        if running.over:
            return True
        assert meter is not None
        if not meter.affords(1, size):
            meter.ask(1, size)
            if meter.waits:
                return False
        if meter.affords(1, size):
            running.rows += 1
            meter.pay(1, size)
        else:
            self._stop(running, meter)
        return True

    def stop(self, running: Running) -> None:
        """Stop an operation, as what it sends cannot be paid for."""
        assert self._meter is not None
        self._stop(running, self._meter)

    def instead_of_error(
        self, running: Running | None, fields: Mapping[str, str], size: int
    ) -> bytes | None:
        """Return what stands for an error that cannot be paid for: code can put anything in."""
        if fields.get("C") == "25P02" and size <= _SHORT:
            return None
        assert self._meter is not None
        if running is not None:
            running.refusal = self._meter.refusal
            rows_exceeded(running)
        return self._meter.refusal

    def go_on(self) -> bool:
        """Send what was held, if that is paid for by now. False while it is not known."""
        if self._held is not None:
            (running, rest), self._held = self._held, None
            self._pay(running, memoryview(rest), messages_in(rest))
        return self._held is None

    def _masked(self, chunk: memoryview, running: Running, masker: Masker) -> int:
        """Mask the whole rows at the start of a chunk; return how many bytes they were."""
        masked, rows, values, taken = masker.mask_some(chunk)
        if not taken:
            raise ProtocolViolationError("the target sent rows that cannot be masked")
        running.masked += values
        self._deliver(running, memoryview(masked), rows)
        return taken

    def _deliver(self, running: Running, chunk: memoryview, rows: int) -> None:
        if self._meter is not None and not running.own:
            self._pay(running, chunk, messages_in(chunk) if running.masker else rows)
            return
        running.rows += rows
        running.keep(chunk)
        self._send(chunk)

    def _pay(self, running: Running, chunk: memoryview, count: int) -> None:
        """Send as many rows as can be paid for; hold the rest, or drop it if there is no more."""
        meter = self._meter
        assert meter is not None
        while count:
            whole = meter.affords(count, len(chunk))
            rows, size = (count, len(chunk)) if whole else meter.fitting(chunk)
            if rows:
                running.rows += rows
                running.keep(chunk[:size])
                meter.pay(rows, size)
                self._send(chunk[:size])
                chunk, count = chunk[size:], count - rows
            elif meter.refusal:
                self._stop(running, meter)
                return
            else:
                meter.ask(count, len(chunk))
                if meter.waits:
                    self._held = running, bytes(chunk)
                    return

    def _stop(self, running: Running, meter: Meter) -> None:
        running.refusal = meter.refusal
        if not running.over:
            running.over = True
            self._exceeded()


def rows_exceeded(running: Running) -> bytes:
    """Note that rows were not shown, and return the error: a budget ended them, or the policy."""
    if running.refusal:
        running.outcome = f"ERROR {wire.parse_report(running.refusal[_HEAD:])['C']}"
        return running.refusal
    running.outcome = "ERROR 54000"
    text = f"the policy shows at most {running.max_rows} rows of this statement"
    return refusals.error("54000", text, hint="Add a LIMIT.")


def _whole(data: memoryview, at: int, room: int | None) -> tuple[int, int, int]:
    """Return where the rows of one kind end that may be shown, where all do, and how many may."""
    wanted, size, rows = data[at], len(data), 0
    stop, last = at, size - _HEAD
    while at <= last:
        kind, length = _READ_HEAD(data, at)
        if kind != wanted or length < _HEAD - 1 or at + 1 + length > size:
            break
        at += 1 + length
        rows += 1
        if room is None or rows <= room:
            stop = at
    return stop, at, rows if room is None else min(rows, room)


def walk_over(data: memoryview, at: int, running: Running) -> int:
    """Count rows that pass as they are; return where they end, which may be past the data."""
    wanted, last, rows = data[at], len(data) - _HEAD, 0
    while at <= last:
        kind, length = _READ_HEAD(data, at)
        if kind != wanted:
            break
        if length < _HEAD - 1:
            raise ProtocolViolationError("the target sent an impossible length")
        at += 1 + length
        rows += 1
    running.rows += rows
    return at
