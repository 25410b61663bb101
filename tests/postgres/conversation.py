"""A session between two ends that the test plays: real grammar, a policy of three lines."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from hoopgw.errors import UnavailableError
from hoopgw.events import Hop, Operation, Principal, Resource
from hoopgw.policy.decision import Allow, Deny, Remedy, Review, Sight, Sights, Verdict
from hoopgw.recording.inputs import InputBook
from hoopgw.sessions.purses import Purse
from hoopgw.spi import OpenTarget, ReviewOutcome, TargetSettings
from hoopgw_postgres import wire
from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.journal import Journal, Opening
from hoopgw_postgres.judge import FactsCache, Judge
from hoopgw_postgres.masked import ClassifiedSet
from hoopgw_postgres.masks import SessionMasks
from hoopgw_postgres.operations import Place
from hoopgw_postgres.session import Session
from hoopgw_postgres.statements import Facts
from hoopgw_postgres.watch import Watch
from tests.fakes import FakeRecorder

ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person", groups=frozenset({"dev"})),),
    session="login-1",
    expires=4e9,
)
ANALYSER = Analyser()
SYNC = wire.message(b"S")
LABELS = {"public.t.b": ("pii",)}
QUESTIONS = tuple(b"SELECT %d" % number for number in range(7))
"""As many as the catalogue is asked."""


@define(eq=False)
class FakeLeg:
    """A transport that keeps what is written to it."""

    written: bytearray = field(factory=bytearray)
    paused: bool = False
    closed: bool = False
    protocol: Any = None
    producer: Any = None

    def write(self, data: bytes | memoryview) -> None:
        if not self.closed:
            self.written += data

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.closed = True

    def take(self) -> list[tuple[str, bytes]]:
        """Take the messages that were written: type and body."""
        messages, at = [], 0
        data = bytes(self.written)
        while at < len(data):
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            messages.append((chr(data[at]), data[at + 5 : end]))
            at = end
        self.written.clear()
        return messages


class FakePolicy:
    """Refuses DDL, holds deletes, allows the rest."""

    version = "v1"
    epoch = "v1"

    def __init__(self) -> None:
        self.asked: list[Operation] = []
        self.max_rows: int | None = None
        self.refuses: set[str] = set()

    def decide(self, principal: Principal, operation: Operation, session: str = "") -> Verdict:
        self.asked.append(operation)
        actions = {access.action for access in operation.accesses}
        if actions & self.refuses:
            return self._verdict(Deny(reason="not now"), "not-now")
        if "Postgres::ddl" in actions:
            return self._verdict(Deny(reason="no DDL here"), "no-ddl")
        if "Postgres::delete" in actions:
            remedy = Remedy(rule="approve-deletes", groups=frozenset({"dba"}))
            return self._verdict(Review(remedies=(remedy,)), "approve-deletes")
        return self._verdict(Allow(max_rows=self.max_rows), "all")

    def sights(self, principal: Principal, fields: Sequence[Resource], session: str = "") -> Sights:
        return {each.id: Sight(mask="last4") for each in fields}

    def _verdict(self, decision: Any, rule: str) -> Verdict:
        return Verdict(decision=decision, because=(rule,), policy=self.version)


@define(eq=False)
class FakeReview:
    """One request."""

    request: str
    operation: Operation
    settled: Deferred[ReviewOutcome] = field(factory=Deferred)
    withdrawn: bool = False

    def withdraw(self) -> None:
        self.withdrawn = True

    def settle(self, outcome: str) -> None:
        """Answer it."""
        approved = outcome == "approved"
        self.settled.callback(
            ReviewOutcome(
                approved=approved, request=self.request, outcome=outcome, voters=("corp|bob",)
            )
        )


class FakeReviews:
    """Keeps what is asked."""

    def __init__(self) -> None:
        self.asked: list[FakeReview] = []
        self.closed = False

    def ask(
        self, principal: Principal, session: str, operation: Operation, review: Review
    ) -> Deferred[Any]:
        if self.closed:
            return fail(UnavailableError("control is away"))
        pending = FakeReview(f"r{len(self.asked) + 1}", operation)
        self.asked.append(pending)
        return succeed(pending)


class Conversation:
    """A session, and both of its ends."""

    def __init__(
        self,
        *,
        strict: bool = False,
        classify: Any = None,
        classified: ClassifiedSet | None = None,
        policy: Any = None,
        principal: Principal = ALICE,
        inputs: InputBook | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.client, self.target = FakeLeg(), FakeLeg()
        self.policy = FakePolicy() if policy is None else policy
        self.recorder, self.reviews = FakeRecorder(), FakeReviews()
        self.cancels: list[str] = []
        self.over: list[str] = []
        opening = Opening(
            session="s1",
            target="orders",
            database="shop",
            account="app",
            principal=principal,
            method="token",
            address="192.0.2.1",
            agent="local",
        )
        self.journal = Journal(self.recorder, opening, strict, {}, inputs or InputBook())
        labels = {} if classified is None else LABELS
        target = TargetSettings(
            name="orders", protocol="postgres", agent="local", labels=labels, environment="prod"
        )
        place = Place(target, "shop", "app")
        self.clock = Clock()
        self.masks = watch = None
        if classified is not None:
            self.masks = SessionMasks(
                self.policy, principal, place, classified, bytes(32), QUESTIONS
            )
            watch = Watch(self.clock, self.masks)
        self.facts = FactsCache(classify or _classify)
        self.session = Session(
            self.client,  # type: ignore[arg-type]  # what the session uses of a transport
            OpenTarget(
                leg=self.target, agent="local", facts={}, cancel=lambda: self.cancels.append("c")
            ),
            Judge(principal, place, self.policy, self.facts, self.masks),
            self.journal,
            self.reviews,
            watch,
            self.over.append,
            purse,
        )
        self.session.start(b"")

    def say(self, *messages: bytes) -> list[tuple[str, bytes]]:
        """Send from the client; return what goes to the target."""
        self.session.from_client(memoryview(b"".join(messages)))
        return self.target.take()

    def answer(self, *messages: bytes) -> list[tuple[str, bytes]]:
        """Send from the target; return what goes to the client."""
        self.target.protocol.dataReceived(memoryview(b"".join(messages)))
        return self.client.take()


async def _classify(text: bytes) -> Facts:
    return ANALYSER.facts(text)


def row_description(*names: str, table: int = 0) -> bytes:
    """Encode a RowDescription of text columns."""
    body = struct.pack(">H", len(names))
    for number, name in enumerate(names, 1):
        body += name.encode() + b"\0" + struct.pack(">IHIhih", table, number, 25, -1, -1, 0)
    return wire.message(b"T", body)


def row(*values: bytes | None) -> bytes:
    """Encode a DataRow."""
    body = struct.pack(">H", len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return wire.message(b"D", body)


def complete(tag: str) -> bytes:
    """Encode a CommandComplete."""
    return wire.message(b"C", tag.encode() + b"\0")


def error(code: str, text: str = "no") -> bytes:
    """Encode an ErrorResponse."""
    return wire.report(b"E", "ERROR", code, text)


def fields(body: bytes) -> Mapping[str, str]:
    """Return the fields of a report."""
    return wire.parse_report(body)
