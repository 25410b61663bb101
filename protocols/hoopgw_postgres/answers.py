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
from typing import Final, Protocol

from hoopgw.errors import ProtocolViolationError
from hoopgw_postgres import wire
from hoopgw_postgres.flow import Flow, Masker, Running, Step, Work
from hoopgw_postgres.funding import rows_exceeded
from hoopgw_postgres.parameters import PINNED, SHOWN_PARAMETERS
from hoopgw_postgres.statements import Facts
from hoopgw_postgres.withheld import withhold

WHOLE_LIMIT: Final = 16 * 2**20
"""Bytes of a message that must be seen whole: a row to mask, an error, a description."""

_TO_READY: Final = (Step.QUERY, Step.SYNC, Step.RUN)
"""What ends with ReadyForQuery, also after an error."""
_ROWS: Final = (0x44, 0x64)
"""DataRow and CopyData."""
_HEAD: Final = struct.Struct(">BI").unpack_from


class Masks(Protocol):
    """Says how the answers of one session are masked. Only sessions that need it have one."""

    def for_rows(self, description: bytes, formats: tuple[int, ...] | None) -> Masker | None:
        """Return what masks the rows of a RowDescription (its body); None if nothing is masked.

        ``formats`` are those of the Bind, or None for those in the description.
        """
        ...

    def for_copy(self, facts: Facts) -> Masker | None:
        """Return what masks the rows of a COPY TO STDOUT."""
        ...


class Answers:
    """One session's stream from the target to the client.

    Args:
        flow: shared with the client's side.
        send: writes to the client.
        masks: None if nothing is masked for this principal here.
        finished: called with each operation whose answer is whole.
        exceeded: called when an operation has shown as many rows as it may.

    """

    def __init__(
        self,
        flow: Flow,
        send: Callable[[bytes | memoryview], None],
        masks: Masks | None,
        finished: Callable[[Running], None],
        exceeded: Callable[[], None],
    ) -> None:
        self._flow = flow
        self._send = send
        self._masks = masks
        self._finished = finished
        self._exceeded = exceeded
        self.tail = bytearray()
        """What has come of a message that is not whole yet."""
        self._need = 0  # bytes that the tail must have before it is worth a look
        self._skip = 0  # bytes left of a row that streams through
        self._injected: list[bytes] = []
        self._mark = 0  # bytes of this chunk that an operation has been credited with
        self.told_fatal = False
        """Whether the target itself said why it ends the connection."""

    def inject(self, message: bytes) -> None:
        """Send a message of our own, as soon as no other is in its middle."""
        if self._skip:
            self._injected.append(message)
        else:
            self._send(message)

    def received(self, data: memoryview) -> None:
        """Take what the target sent.

        Raises:
            ProtocolViolationError: the target broke the protocol, or cannot be masked.

        """
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
                if running.plain:
                    at = self._plain_rows(data, at, running)
                    if at > size:
                        self._skip, at = at - size, size
                    continue
                if end > size:
                    break
                if start < at:
                    self._send(data[start:at])
                at = start = self._special_rows(data, at, running)
                continue
            if end > size:
                break
            instead = _CONTROL.get(kind, Answers._unknown)(self, data, at, end)
            if instead is not None:
                if start < at:
                    self._send(data[start:at])
                if instead:
                    self._send(instead)
                start = end
            at = end
        if at < size:
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

    # Rows

    def _row_owner(self) -> Running:
        running = self._running()
        if running is None:
            raise ProtocolViolationError("the target sent rows that nobody asked for")
        head = self._flow.pending[0]
        if self._masks is not None and not running.looked and head.step is Step.EXECUTE:
            raise ProtocolViolationError("rows came without their description")
        return running

    def _plain_rows(self, data: memoryview, at: int, running: Running) -> int:
        """Walk over rows that pass as they are; may end past the data."""
        wanted, last, rows = data[at], len(data) - 5, 0
        while at <= last:
            kind, length = _HEAD(data, at)
            if kind != wanted:
                break
            if length < 4:
                raise ProtocolViolationError("the target sent an impossible length")
            at += 1 + length
            rows += 1
        running.rows += rows
        return at

    def _special_rows(self, data: memoryview, at: int, running: Running) -> int:
        """Mask, count or drop the whole rows from ``at`` on; return where they end."""
        self._credit(data, at)
        if running.masker is not None and running.room is None:
            return self._masked_rows(data, at, running, running.masker)
        first, kind, size, rows = at, data[at], len(data), 0
        room = running.room
        stop = at
        while size - at >= 5 and data[at] == kind:
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if end > size or end < at + 5:
                break
            at = end
            rows += 1
            if room is None or rows <= room:
                stop = at
        shown = rows if room is None else min(rows, room)
        if not running.over and stop > first:
            chunk = data[first:stop]
            if running.masker is not None:
                masked, _, values, taken = running.masker.mask_some(chunk)
                if taken != len(chunk):
                    raise ProtocolViolationError("the target sent rows that cannot be masked")
                running.masked += values
                chunk = memoryview(masked)
            running.keep(chunk)
            self._send(chunk)
        running.rows += shown
        if shown < rows and not running.over:
            running.over = True
            self._exceeded()
        self._mark = at
        return at

    def _masked_rows(self, data: memoryview, at: int, running: Running, masker: Masker) -> int:
        """Mask the whole rows from ``at`` on; return where they end."""
        masked, rows, values, taken = masker.mask_some(data[at:])
        if not taken:
            raise ProtocolViolationError("the target sent rows that cannot be masked")
        running.rows += rows
        running.masked += values
        chunk = memoryview(masked)
        running.keep(chunk)
        self._send(chunk)
        self._mark = at + taken
        return at + taken

    def _running(self) -> Running | None:
        pending = self._flow.pending
        return pending[0].running if pending else None

    def _credit(self, data: memoryview, end: int) -> None:
        """Credit what passes to the operation that it answers."""
        if self._mark < end:
            running = self._running()
            if running is not None:
                running.keep(data[self._mark : end])
            self._mark = end

    def _replace(self, data: memoryview, at: int, end: int, instead: bytes | None) -> None:
        """Credit a message, or what the client gets in its place: no other bytes are recorded."""
        if instead is None:
            self._credit(data, end)
            return
        self._credit(data, at)
        running = self._running()
        if running is not None:
            running.keep(instead)
        self._mark = end

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
        if running.over:
            instead = rows_exceeded(running)
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
                self._flow.succeeded(running.judged, running.text)
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
            if running.over:
                instead = rows_exceeded(running)
            else:
                running.outcome = f"ERROR {fields.get('C', '')}"
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
        if running is not None:
            if running.judged.names:
                if running.outcome.startswith("ERROR"):
                    flow.failed_text(running.judged)
                else:
                    flow.succeeded(running.judged, running.text)
            self._finish(running)
        flow.ready(bytes(data[at + 5 : end]))
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
        self._replace(data, at, end, instead)
        return instead

    def _notification(self, data: memoryview, at: int, end: int) -> bytes | None:
        if self._masks is None:
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
