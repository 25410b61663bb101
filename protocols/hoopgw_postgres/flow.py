"""What is under way in one session: the state that both directions share.

The client leg appends a `Work` for everything that it sends to the target; the target answers in
order, so the oldest `Work` says what an answer belongs to. Statements and portals are kept by name,
as in the server: SQL's PREPARE and the protocol's Parse share one namespace.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, Protocol

from attrs import define, field

from hoopgw_postgres.judge import Judged

NAMES_LIMIT: Final = 10_000
"""Prepared statements, or portals, in one session."""
WORK_LIMIT: Final = 20_000
"""Messages that may wait for the target's answers; more means a pipeline that never reads."""
OUTPUT_LIMIT: Final = 8192
"""Bytes of an answer that are kept in the recording."""


class Masker(Protocol):
    """Masks the rows of one answer."""

    def mask_rows(self, chunk: memoryview) -> tuple[bytes, int, int]:
        """Return whole row messages masked, how many they are, and how many values were masked."""
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
    over = False
    """Its rows are dropped: it has shown as many as it may."""
    masker: Masker | None = None
    looked = False
    """Whether a masker was looked for."""

    def __init__(self, judged: Judged, intent: int, started: int, max_rows: int | None) -> None:
        self.judged = judged
        self.intent = intent
        self.started = started
        """Nanoseconds since the epoch."""
        self.max_rows = max_rows
        self.output: list[bytes] = []

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
    """A prepared statement."""

    text: bytes
    judged: Judged
    types: bytes = b""
    number: int | None = None
    """Of its `TextDefined` record."""
    description: bytes | None = None
    """Body of its RowDescription, where masks may apply; empty if it returns no rows."""
    protocol_made: bool = True
    """By Parse; False: by SQL's PREPARE."""


@define(eq=False)
class Portal:
    """A bound statement."""

    prepared: Prepared
    parameters: bytes
    """The Bind's body after the two names."""
    result_formats: tuple[int, ...] = ()


@define(eq=False)
class Asked:
    """Something that would run."""

    step: Step
    text: bytes
    parameters: bytes
    """What goes with the text: types and the Bind's values."""
    portal: Portal | None = None
    prepared: Prepared | None = None


class Work:
    """One message that the target has yet to answer. Plain, as `Running`."""

    prepared: Prepared | None = None
    portal: Portal | None = None
    name = b""
    own = False
    """The gateway sent it; the client sees nothing of the answer."""
    refusal = b""
    """The error that the client gets instead of the target's."""

    def __init__(self, step: Step, running: Running | None = None) -> None:
        self.step = step
        self.running = running

    @classmethod
    def naming(
        cls,
        step: Step,
        name: bytes = b"",
        prepared: Prepared | None = None,
        portal: Portal | None = None,
    ) -> Work:
        """Make one that is about a statement or portal."""
        work = cls(step)
        work.name, work.prepared, work.portal = name, prepared, portal
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
    touched: bool = False
    """Something ran since the last Sync: an implicit transaction is open."""
    copying_in: bool = False
    failed: bool = False
    """The target met an error, and skips whatever comes until a Sync that is not sent yet."""
    tainted: bool = False
    """The transaction touched masked columns: texts of errors are withheld until it ends."""
    statements: dict[bytes, Prepared] = field(factory=dict)
    portals: dict[bytes, Portal] = field(factory=dict)
    parsing: dict[bytes, Prepared] = field(factory=dict)
    """Statements whose Parse has not been answered."""
    binding: dict[bytes, Portal] = field(factory=dict)
    """Portals whose Bind has not been answered."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or may be, after what is under way."""
        return self.touched or self.status != b"I"

    def statement(self, name: bytes) -> Prepared | None:
        """Find a statement."""
        return self.parsing.get(name) or self.statements.get(name)

    def portal(self, name: bytes) -> Portal | None:
        """Find a portal."""
        return self.binding.get(name) or self.portals.get(name)

    def dropped(self, work: Work) -> None:
        """Forget what a message that failed, or was skipped, would have made."""
        if work.prepared is not None and self.parsing.get(work.name) is work.prepared:
            del self.parsing[work.name]
        if work.portal is not None and self.binding.get(work.name) is work.portal:
            del self.binding[work.name]
