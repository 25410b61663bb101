"""What comes back from the target: counted, masked, recorded, passed on.

Every byte that a client gets from a target goes through `Answers.received`. It walks over message
headers, forwards untouched runs as one write, and looks into a message only where it must: to mask
rows, to replace the error that stands in for a refusal, to keep statements and settings in step,
and to withhold texts of errors once masked columns are touched. Rows that nothing is done to may be
of any size: they stream through.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres import wire
from hoopgw_postgres.flow import Flow, Masks, Running, Step, Work
from hoopgw_postgres.metering import Meter
from hoopgw_postgres.parameters import PINNED, SHOWN_PARAMETERS
from hoopgw_postgres.rows import Rows, rows_exceeded, walk_over
from hoopgw_postgres.withheld import withhold

WHOLE_LIMIT: Final = 16 * 2**20
"""Bytes of a message that must be seen whole: a row to mask, an error, a description."""

_TO_READY: Final = (Step.QUERY, Step.SYNC, Step.RUN)
"""What ends with ReadyForQuery, also after an error."""
_ROWS: Final = (0x44, 0x64)
"""DataRow and CopyData."""
_SILENT: Final = b"123CEHITcnst"
"""What a client does not expect between an error and ReadyForQuery."""
_HEAD: Final = struct.Struct(">BI").unpack_from


class Answers:
    """One session's stream from the target to the client.

    Args:
        flow: shared with the client's side.
        send: writes to the client.
        masks: None if nothing is masked for this principal here.
        finished: called with each operation whose answer is whole.
        exceeded: called when an operation has shown as many rows as it may.
        meter: what answers are paid from; None if there is no budget of rows or bytes.

    """

    def __init__(
        self,
        flow: Flow,
        send: Callable[[bytes | memoryview], None],
        masks: Masks | None,
        finished: Callable[[Running], None],
        exceeded: Callable[[], None],
        meter: Meter | None = None,
    ) -> None:
        self._flow = flow
        self._send = send
        self._masks = masks
        self._finished = finished
        self._meter = meter
        self._rows = Rows(send, exceeded, meter)
        self.tail = bytearray()
        """What has come of a message that is not whole yet."""
        self._need = 0  # bytes that the tail must have before it is worth a look
        self._skip = 0  # bytes left of a row that streams through
        self._drops = False  # whether that row is dropped
        self._muted = False  # whether the client was told of an error that the target knows not of
        self._injected: list[bytes] = []
        self._mark = 0  # bytes of this chunk that an operation has been credited with
        self.told_fatal = False
        """Whether the target itself said why it ends the connection."""

    def inject(self, message: bytes) -> None:
        """Send a message of our own, as soon as no other is in its middle."""
        if self._skip and not self._drops:
            self._injected.append(message)
        else:
            self._send(message)

    def received(self, data: memoryview) -> None:
        """Take what the target sent.

        Raises:
            ProtocolViolationError: the target broke the protocol, or cannot be masked.

        """
        meter = self._meter
        if meter is not None and (meter.waits or not self._rows.go_on()):
            self._keep(data)
            return
        if self._skip:
            data = self._skipped(data)
        if self.tail:
            self.tail += data
            if len(self.tail) < self._need:
                return
            data, self.tail = memoryview(self.tail), bytearray()
        if len(data):
            self._walk(data)
        self._flow.answered()

    def _skipped(self, data: memoryview) -> memoryview:
        count = min(self._skip, len(data))
        self._skip -= count
        if self._drops:
            return data[count:]
        running = self._running()
        if running is not None:
            running.keep(data[:count])
        self._send(data[:count])
        if not self._skip:
            injected, self._injected = self._injected, []
            for message in injected:
                self._send(message)
        return data[count:]

    def _walk(self, data: memoryview) -> None:  # noqa: C901  # one pass: calls would cost more
        size = len(data)
        start = at = self._mark = 0  # start: first byte that is not sent yet
        while size - at >= 5:
            kind = data[at]
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if end < at + 5:
                raise ProtocolViolationError("the target sent an impossible length")
            if kind in _ROWS:
                running = self._row_owner()
                if self._muted:
                    running.over = True
                elif running.plain and (self._meter is None or running.own):
                    at = walk_over(data, at, running)
                    if at > size:
                        self._skip, at = at - size, size
                    continue
                if end > size and not (self._muted or (self._meter and running.plain)):
                    break
                if start < at:
                    self._send(data[start:at])
                self._credit(data, at)
                at = start = self._special_rows(data, at, end, running)
                if self._meter and self._meter.waits:
                    break
                continue
            if end > size or (self._meter and self._unpaid(end)):
                break
            muted = self._muted
            instead = _CONTROL.get(kind, Answers._unknown)(self, data, at, end)
            if muted and kind in _SILENT and not self.told_fatal:
                instead = b""
            if instead is not None:
                if start < at:
                    self._send(data[start:at])
                if instead:
                    self._send(instead)
                start = end
            at = end
        if self._meter is not None and self._meter.waits:
            self._keep(data[at:])
        elif at < size:
            self._keep_tail(data, at)
        self._credit(data, at)
        if start < at:
            self._send(data[start:at])

    def _keep_tail(self, data: memoryview, at: int) -> None:
        self.tail += data[at:]
        if len(self.tail) >= 5:
            self._need = 1 + int.from_bytes(self.tail[1:5], "big")
            if self._need > WHOLE_LIMIT:
                raise ProtocolViolationError("a row or message is too long to be looked at")
        else:
            self._need = 5

    def _keep(self, data: memoryview) -> None:
        """Keep what came until it is known whether it can be paid for."""
        self.tail += data
        self._need = 0

    def _unpaid(self, end: int) -> bool:
        """Whether it must wait until it is known if what is not a row can be paid for."""
        meter, pending = self._meter, self._flow.pending
        assert meter is not None
        if (pending and pending[0].own) or meter.affords(0, end - self._mark):
            return False
        meter.ask(0, end - self._mark)
        return meter.waits

    # Rows

    def _row_owner(self) -> Running:
        running = self._running()
        if running is None:
            raise ProtocolViolationError("the target sent rows that nobody asked for")
        head = self._flow.pending[0]
        if self._masks is not None and not running.looked and head.step is Step.EXECUTE:
            raise ProtocolViolationError("rows came without their description")
        return running

    def _special_rows(self, data: memoryview, at: int, end: int, running: Running) -> int:
        """Mask, count, pay for or drop the whole rows from ``at`` on; return where they end.

        ``end`` is that of the first; if it is not whole, it is paid for and streams through.
        """
        size = len(data)
        if end <= size:
            end = self._rows.take(data, at, running)
        elif self._rows.begin_long(running, end - at):
            self._drops, self._skip, end = running.over, end - size, size
            if not running.over:
                running.keep(data[at:])
                self._send(data[at:])
        else:
            end = at
        self._mark = end
        return end

    def _running(self) -> Running | None:
        pending = self._flow.pending
        return pending[0].running if pending else None

    def _credit(self, data: memoryview, end: int) -> None:
        """Credit what passes to the operation that it answers."""
        if self._mark < end:
            self._count(data[self._mark : end])
            self._mark = end

    def _replace(self, data: memoryview, at: int, end: int, instead: bytes | None) -> None:
        """Credit a message, or what the client gets in its place: no other bytes are recorded."""
        if instead is None:
            self._credit(data, end)
            return
        self._credit(data, at)
        self._count(instead)
        self._mark = end

    def _count(self, sent: bytes | memoryview) -> None:
        """Count what is no row for the operation that it answers, and pay for it."""
        running = self._running()
        if running is not None:
            running.keep(sent)
        if self._meter is not None and not (running is not None and running.own):
            self._meter.pay(0, len(sent))

    # Other messages: each returns None to pass the message, or what to send instead

    def _unknown(self, data: memoryview, at: int, end: int) -> bytes | None:
        raise ProtocolViolationError(f"the target sent an unexpected message {data[at]:#x}")

    def _head(self, *steps: Step) -> Work:
        pending = self._flow.pending
        if not pending or pending[0].step not in steps:
            raise ProtocolViolationError("the target answered something else than was asked")
        return pending[0]

    def _pass(self, data: memoryview, at: int, end: int) -> bytes | None:
        return None

    def _row_description(self, data: memoryview, at: int, end: int) -> bytes | None:
        head = self._head(Step.QUERY, Step.DESCRIBE, Step.RUN)
        if head.step is Step.RUN:
            return None
        if head.step is Step.QUERY:
            if head.running is not None and self._masks is not None:
                head.running.masker = self._masks.for_rows(bytes(data[at + 5 : end]), None)
            return None
        if head.describes is not None and self._masks is not None:
            head.describes.looked = True
            head.describes.masker = self._masks.for_rows(bytes(data[at + 5 : end]), None)
        self._flow.pending.popleft()
        return b"" if head.own else None

    def _no_data(self, data: memoryview, at: int, end: int) -> bytes | None:
        head = self._head(Step.DESCRIBE, Step.RUN)
        if head.step is Step.RUN:
            return None
        self._flow.pending.popleft()
        return b"" if head.own else None

    def _parameter_description(self, data: memoryview, at: int, end: int) -> bytes | None:
        return b"" if self._head(Step.DESCRIBE).own else None

    def _parse_complete(self, data: memoryview, at: int, end: int) -> bytes | None:
        work = self._head(Step.PARSE, Step.RUN)
        if work.prepared is not None:
            self._flow.statements.known[work.name] = work.prepared
        elif work.step is Step.RUN:
            raise ProtocolViolationError("the target parsed what was not sent")
        if work.step is Step.PARSE:
            self._flow.pending.popleft()
        return b"" if work.own else None

    def _bind_complete(self, data: memoryview, at: int, end: int) -> bytes | None:
        work = self._head(Step.BIND, Step.RUN)
        if work.step is Step.RUN:
            return None
        self._flow.pending.popleft()
        if work.portal is not None:
            self._flow.portals.known[work.name] = work.portal
        return b"" if work.own else None

    def _close_complete(self, data: memoryview, at: int, end: int) -> bytes | None:
        work = self._head(Step.CLOSE)
        self._flow.pending.popleft()
        # Names are closed where they are: a statement's Close carries no portal's name.
        names = self._flow.portals if work.of_portal else self._flow.statements
        names.known.pop(work.name, None)
        return b"" if work.own else None

    def _complete(self, data: memoryview, at: int, end: int) -> bytes | None:
        """CommandComplete, EmptyQueryResponse or PortalSuspended."""
        head = self._head(Step.QUERY, Step.EXECUTE, Step.RUN)
        running = head.running
        if running is None:
            raise ProtocolViolationError("the target ran what was refused")
        tag = bytes(data[at + 5 : end - 1]).decode("utf-8", "replace")
        instead = None
        if running.over and not self._muted:
            instead = rows_exceeded(running)
            self._muted = True  # the target goes on to what comes behind it; the client does not
        else:
            running.outcome = tag or ("SUSPENDED" if data[at] == 0x73 else "EMPTY")
        running.masker = None
        if running.own:
            self._flow.pending.popleft()
            return b""
        if head.step is Step.EXECUTE:
            self._replace(data, at, end, instead)
            self._flow.pending.popleft()
            if running.judged.names:
                self._flow.succeeded(running.judged, running.text, running.rows)
            self._finish(running)
        return instead

    def _finish(self, running: Running) -> None:
        # Only now, and not when it was sent: an earlier transaction may have ended meanwhile.
        self._flow.tainted |= running.judged.touches
        if running.portal is not None:
            running.portal.shown += running.rows
        self._finished(running)

    def _error(self, data: memoryview, at: int, end: int) -> bytes | None:
        flow, pending = self._flow, self._flow.pending
        fields = wire.parse_report(data[at + 5 : end])
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            self.told_fatal = True
        instead = self._withheld(b"E", fields)
        flow.copying_in = False
        if flow.copy_broken:
            flow.copy_broken = False
            if fields.get("C") == "57014":  # of the CopyFail that stood in for what came
                raise ProtocolViolationError("an unexpected message came during COPY from stdin")
        if not pending:
            return instead
        head = pending[0]
        if head.refusal and not self.told_fatal and not _is_aborted(fields, head.refusal):
            instead = head.refusal
        running = head.running or head.describes
        if running is not None:
            running.masker = None
            if running.over and not self._muted:
                instead = rows_exceeded(running)
            else:
                running.outcome = f"ERROR {fields.get('C', '')}"
        if instead is None and self._is_too_long(end) and not self.told_fatal:
            instead = self._rows.instead_of_error(running, fields, end - at)
        if head.silent and not self.told_fatal:
            instead = b""
        self._replace(data, at, end, instead)
        if head.step not in _TO_READY:
            self._drop_until_sync()
            # Who waits behind a Sync of our own has a Sync to send yet, and skips to it as well.
            flow.failed = not pending or (pending[0].own and not pending[0].silent)
        return instead

    def _drop_until_sync(self) -> None:
        """Forget what the target skips after an error, as it does itself."""
        pending = self._flow.pending
        while pending and pending[0].step is not Step.SYNC:
            work = pending.popleft()
            if work.running is not None:
                work.running.outcome = work.running.outcome or "SKIPPED"
                self._finish(work.running)

    def _ready_for_query(self, data: memoryview, at: int, end: int) -> bytes | None:
        head = self._head(Step.QUERY, Step.SYNC, Step.RUN)
        flow = self._flow
        self._credit(data, end)
        flow.pending.popleft()
        running = head.running
        status = bytes(data[at + 5 : end])
        if head.step is Step.RUN:
            flow.ran_at_once(head.piece, status)
        if running is not None:
            if running.judged.names:
                if running.outcome.startswith("ERROR"):
                    flow.failed_text(running.judged)
                else:
                    flow.succeeded(running.judged, running.text, running.rows)
            self._finish(running)
        flow.ready(status)
        self._muted = False
        if self._meter is not None:
            self._meter.reset()
        return b"" if head.own else None

    def _copy_in(self, data: memoryview, at: int, end: int) -> bytes | None:
        self._head(Step.QUERY, Step.EXECUTE)
        flow = self._flow
        flow.copying_in = True
        return None

    def _copy_out(self, data: memoryview, at: int, end: int) -> bytes | None:
        head = self._head(Step.QUERY, Step.EXECUTE, Step.RUN)
        if head.running is not None and self._masks is not None:
            head.running.looked = True
            head.running.masker = self._masks.for_copy(head.running.judged.facts)
        return None

    def _parameter_status(self, data: memoryview, at: int, end: int) -> bytes | None:
        parts = bytes(data[at + 5 : end]).split(b"\0")
        if len(parts) != 3:
            raise ProtocolViolationError("the target sent a malformed ParameterStatus")
        name, value = parts[0].decode("utf-8", "replace"), parts[1].decode("utf-8", "replace")
        if PINNED.get(name, value) != value:
            raise ProtocolViolationError(f"{name} was changed to {value}")
        return None if name in SHOWN_PARAMETERS else b""

    def _notice(self, data: memoryview, at: int, end: int) -> bytes | None:
        instead = self._withheld(b"N", wire.parse_report(data[at + 5 : end]))
        if self._flow.pending and self._flow.pending[0].silent:
            instead = b""
        if instead is None and self._is_too_long(end):
            instead = b""
            if (running := self._running()) is not None:
                self._rows.stop(running)
        self._replace(data, at, end, instead)
        return instead

    def _is_too_long(self, end: int) -> bool:
        """Whether a message that may hold data cannot be paid for."""
        return self._meter is not None and self._meter.refuses(end - self._mark)

    def _notification(self, data: memoryview, at: int, end: int) -> bytes | None:
        if self._masks is None:
            if self._is_too_long(end):
                self._replace(data, at, end, b"")
                return b""
            return None
        # Another session may put anything into the payload.
        channel = data[at + 9 : end].tobytes().split(b"\0")[0]
        instead = wire.message(b"A", bytes(data[at + 5 : at + 9]) + channel + b"\0\0")
        self._replace(data, at, end, instead)
        return instead

    def _withheld(self, kind: bytes, fields: dict[str, str]) -> bytes | None:
        """Withhold texts that may hold a masked value."""
        if self._masks is None or not self._is_tainted():
            return None
        return withhold(kind, fields)

    def _is_tainted(self) -> bool:
        pending = self._flow.pending
        running = (pending[0].running or pending[0].describes) if pending else None
        return self._flow.tainted or (running is not None and running.judged.touches)


def _is_aborted(fields: dict[str, str], refusal: bytes) -> bool:
    """Whether the server would have said this whatever had been asked; but for its grammar."""
    return fields.get("C") == "25P02" and b"\0C42601\0" not in refusal


_CONTROL: Final = {
    ord(letter): call
    for letter, call in {
        "1": Answers._parse_complete,
        "2": Answers._bind_complete,
        "3": Answers._close_complete,
        "A": Answers._notification,
        "C": Answers._complete,
        "E": Answers._error,
        "G": Answers._copy_in,
        "H": Answers._copy_out,
        "I": Answers._complete,
        "N": Answers._notice,
        "S": Answers._parameter_status,
        "T": Answers._row_description,
        "Z": Answers._ready_for_query,
        "c": Answers._pass,
        "n": Answers._no_data,
        "s": Answers._complete,
        "t": Answers._parameter_description,
    }.items()
}
