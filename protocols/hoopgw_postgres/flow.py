"""What is under way in one session: the state that both directions share.

The client leg appends a `Work` for everything that it sends to the target; the target answers in
order, so the oldest `Work` says what an answer belongs to. Statements and portals are kept by name,
as in the server: SQL's PREPARE and the protocol's Parse share one namespace.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw_postgres import wire
from hoopgw_postgres.judge import Judged
from hoopgw_postgres.names import Names
from hoopgw_postgres.statements import Facts

NAME_LIMIT: Final = 63
"""Bytes of a statement's or portal's name; the server's hash reads no more."""
NAMES_LIMIT: Final = 10_000
"""Prepared statements, or portals, in one session."""
WORK_LIMIT: Final = 20_000
"""Messages that may wait for the target's answers; more means a pipeline that never reads."""
OUTPUT_LIMIT: Final = 8192
"""Bytes of an answer that are kept in the recording."""


class Masker(Protocol):
    """Masks the rows of one answer."""

    def mask_some(self, chunk: memoryview) -> tuple[bytes, int, int, int]:
        """Mask the whole row messages at the start of a chunk.

        Returns:
            The messages masked, how many they are, how many values were masked, and how many bytes
            of the chunk they were.

        """
        ...


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


class Step(enum.IntEnum):
    """What the client (or the gateway itself) asked of the target."""

    QUERY = 0
    PARSE = 1
    BIND = 2
    DESCRIBE = 3
    EXECUTE = 4
    CLOSE = 5
    SYNC = 6
    REFUSED = 7
    """A message that the target cannot but refuse stands in for one that we refused."""
    RUN = 8
    """Bind, Describe, Execute and Sync of the unnamed portal in one piece."""


class Running:
    """An operation that was forwarded, until its answer is whole.

    A plain class with defaults in the class: one is made for every operation.
    """

    rows = 0
    masked = 0
    sent = 0
    kept = 0
    outcome = ""
    own = False
    """The gateway asked it for itself: the client sees nothing of it, and nothing is recorded."""
    over = False
    """Its rows are dropped: it has shown as many as it may, or as are paid for."""
    masker: Masker | None = None
    refusal = b""
    """The error of a budget that ended its rows."""
    looked = False
    """Whether a masker was looked for: the target has said what comes."""
    portal: Portal | None = None
    """What it fetches from; its rows count there, too."""
    copies = 0
    """How many COPY FROM STDIN of its text have not ended."""
    received = 0
    """Bytes of COPY data that went to the target for it."""
    copied: Any = None
    """Their SHA-256, so far."""

    def __init__(
        self, judged: Judged, text: bytes, intent: int, started: int, max_rows: int | None
    ) -> None:
        self.judged = judged
        self.text = text
        self.intent = intent
        self.started = started
        """Nanoseconds since the epoch."""
        self.max_rows = max_rows
        self.output: list[bytes] = []

    @property
    def room(self) -> int | None:
        """How many rows policy lets it show yet; None is no limit."""
        if self.max_rows is None:
            return None
        shown = 0 if self.portal is None else self.portal.shown
        return max(0, self.max_rows - shown - self.rows)

    @property
    def plain(self) -> bool:
        """Whether rows pass as they are."""
        return self.masker is None and self.max_rows is None

    def keep(self, data: bytes | memoryview) -> None:
        """Count bytes that went to the client, and keep the first of them."""
        self.sent += len(data)
        room = OUTPUT_LIMIT - self.kept
        if room > 0:
            piece = bytes(data[:room])
            self.output.append(piece)
            self.kept += len(piece)


@define(eq=False)
class Prepared:
    """A prepared statement, or the statement of a cursor."""

    text: bytes
    judged: Judged
    types: bytes = b""
    number: int | None = None
    """Of its `TextDefined` record."""
    by_sql: bool = False
    """Made by PREPARE or DECLARE, not by Parse."""


@define(eq=False)
class Portal:
    """A bound statement, or a cursor of SQL."""

    prepared: Prepared
    frame: bytes
    """The Bind, to send again; empty for a cursor."""
    parameters: bytes
    """What it bound: the Bind's body after the two names."""
    holds: bool = False
    """It outlives its transaction."""
    shown: int = 0
    """Rows that were fetched from it."""


@define(eq=False)
class Asked:
    """Something that would run."""

    step: Step
    text: bytes
    parameters: bytes
    """What goes with the text: types and the Bind's values."""
    portal: Portal | None = None
    """What is run, or fetched from."""
    prepared: Prepared | None = None


class Work:
    """One message that the target has yet to answer. Plain, as `Running`."""

    prepared: Prepared | None = None
    portal: Portal | None = None
    name = b""
    describes: Running | None = None
    """What runs next; its rows are masked by what the target answers to this."""
    own = False
    """The gateway sent it; the client sees nothing of the answer."""
    silent = False
    """It is own, and not even an error is the client's."""
    of_portal = False
    """It closes a portal, not a statement."""
    refusal = b""
    """The error that the client gets instead of the target's."""
    piece = b""
    """What was sent, if it was all in one: it may be asked what was bound."""

    def __init__(self, step: Step, running: Running | None = None) -> None:
        self.step = step
        self.running = running

    @classmethod
    def naming(
        cls,
        step: Step,
        name: bytes,
        *,
        prepared: Prepared | None = None,
        portal: Portal | None = None,
        own: bool = False,
    ) -> Work:
        """Make one that is about a statement or portal."""
        work = cls(step)
        work.name, work.prepared, work.portal, work.own = name, prepared, portal, own
        return work

    @classmethod
    def refused(cls, step: Step, error: bytes) -> Work:
        """Make one for a message that fails in place of another."""
        work = cls(step)
        work.refusal = error
        return work


@define(eq=False)
class Flow:
    """The shared state of one session."""

    pending: deque[Work] = field(factory=deque)
    status: bytes = b"I"
    """Of the last ReadyForQuery: I idle, T in a transaction, E in a failed one."""
    skipping: bool = False
    """What the client sends is left out until its Sync, as the target does after an error."""
    over: bool = False
    """The session has ended."""
    touched: bool = False
    """Something ran since the last Sync: an implicit transaction is open."""
    in_segment: bool = False
    """Something was forwarded since the last Sync."""
    copying_in: bool = False
    """The target has said that it takes COPY data, and the client has not ended them."""
    copy_broken: bool = False
    """The client broke a COPY FROM STDIN off with a message that does not belong there."""
    failed: bool = False
    """The target met an error, and skips whatever comes until a Sync that is not sent yet."""
    tainted: bool = False
    """The transaction touched masked columns: texts of errors are withheld until it ends."""
    statements: Names[Prepared] = field(factory=Names)
    portals: Names[Portal] = field(factory=Names)
    """With the cursors of SQL: the target has one namespace for both."""
    sync_in_copy: bool = False
    """The client sent a Sync among COPY data: it counts only if the data have failed."""
    _awaited: tuple[Callable[[], bool], Deferred[None]] | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or may be, after what is under way."""
        return self.touched or self.status != b"I"

    @property
    def is_quiet(self) -> bool:
        """Whether the target rests, between two transactions."""
        return not (self.pending or self.in_segment or self.in_transaction)

    def end_segment(self) -> None:
        """Note that a Sync or a simple query was forwarded."""
        self.in_segment = False
        self.statements.end_segment()
        self.portals.end_segment()

    def doubt(self, judged: Judged) -> None:
        """Note which names SQL is about to change."""
        for statement in judged.facts.statements:
            name = statement.name.encode()
            if statement.kind in ("prepare", "deallocate"):
                self.statements.doubt(name) if name else self.statements.doubt_all()
            elif statement.kind in ("declare", "close"):
                self.portals.doubt(name) if name else self.portals.doubt_all()
            elif statement.kind == "discard":
                self.statements.doubt_all()
                self.portals.doubt_all()

    def succeeded(self, judged: Judged, text: bytes, rows: int = 0) -> None:
        """Note what SQL has changed, and how many rows it has shown."""
        for statement in judged.facts.statements:
            name = statement.name.encode()
            if statement.kind == "prepare":
                self.statements.known[name] = Prepared(text, judged, by_sql=True)
            elif statement.kind == "declare":
                cursor = Prepared(text, judged, by_sql=True)
                # All that the text has shown counts: the rows may be of this cursor.
                self.portals.known[name] = Portal(cursor, b"", b"", statement.holds, rows)
            elif statement.kind == "deallocate" and name:
                self.statements.known.pop(name, None)
            elif statement.kind == "close" and name:
                self.portals.known.pop(name, None)
            elif statement.kind == "deallocate" or "DiscardStmt DISCARD_ALL" in statement.nodes:
                # The unnamed statement is not among those that the server drops.
                known = self.statements.known
                self.statements.known = {name: known[name] for name in (b"",) if name in known}
            if statement.kind == "close" and not name:
                self.portals.known.clear()

    def failed_text(self, judged: Judged) -> None:
        """Forget names of which a text that failed in the middle may have changed any."""
        if len(judged.facts.statements) < 2:
            return  # nothing was changed
        for statement in judged.facts.statements:
            name = statement.name.encode()
            self.statements.known.pop(name, None)
            self.portals.known.pop(name, None)
            if statement.kind in ("deallocate", "discard", "close") and not name:
                self.statements.known.clear()
                self.portals.known.clear()

    def ran_at_once(self, piece: bytes, status: bytes) -> None:
        """Note what one piece has left behind: its portal, if it began a transaction."""
        if status == b"I":
            return
        end = 1 + int.from_bytes(piece[1:5], "big")
        begin = 0
        if piece[:1] == b"P":
            begin, end = end, end + 1 + int.from_bytes(piece[end + 1 : end + 5], "big")
        frame = piece[begin:end]
        bound = wire.parse_bind(frame[5:])
        prepared = self.statements.known.get(bound.statement)
        if prepared is not None:
            names = len(bound.portal) + len(bound.statement) + 2
            self.portals.known[bound.portal] = Portal(prepared, frame, frame[5 + names :])

    def ready(self, status: bytes) -> None:
        """Note a ReadyForQuery: its status. What it answers is no longer pending."""
        self.status = status
        self.copying_in = False
        if status == b"I":
            self._transaction_ended()
        if not self.pending:
            self.touched = False

    def _transaction_ended(self) -> None:
        """Forget portals: those of the target are gone, but for cursors that outlive it."""
        self.tainted = False
        known = self.portals.known
        if known:
            self.portals.known = {name: portal for name, portal in known.items() if portal.holds}

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Fire when the target has answered so that a condition holds. One may wait at a time."""
        awaited: Deferred[None] = Deferred()
        self._awaited = (condition, awaited)
        return awaited

    def answered(self) -> None:
        """Note that the target has sent something."""
        if not self.pending:
            self.statements.settle()
            self.portals.settle()
        if self._awaited is not None and self._awaited[0]():
            awaited, self._awaited = self._awaited[1], None
            awaited.callback(None)
