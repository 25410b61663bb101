"""A judge among fakes, with policies of Cedar, between a client and a target in memory."""

from __future__ import annotations

from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from hoopgw.errors import UnavailableError
from hoopgw.events import Hop, Operation, Principal
from hoopgw.identity.ssh_certificates import PERMISSIONS, Restrictions
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import Intent, Result, ReviewSettled
from hoopgw.sessions.journal import Opening, SessionJournal
from hoopgw.spi import GatewayContext, ReviewOutcome, TargetSettings
from hoopgw_ssh.channels import STDERR, Channel
from hoopgw_ssh.judge import SessionJudge
from hoopgw_ssh.visit import Visit
from hoopgw_ssh.wire import string
from tests.fakes import FakeContents, FakeRecorder
from tests.ssh.ends import Taker
from tests.ssh.test_relay import RelayCase

SCHEMA = Schema.load(
    {"ssh": resources.files("hoopgw_ssh").joinpath("schema.cedarschema").read_text("utf-8")}
)
"""Loaded once: parsing takes longer than a test."""
ALICE = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person", groups=frozenset({"dev"})),),
    session="login-1",
    expires=1e10,
)
ALL = '@id("all") permit (principal, action, resource);'
"""Allows everything."""


def names(events: list[Any]) -> list[Any]:
    """Return the names of requests, and events without data."""
    return [event[0] if isinstance(event, tuple) else event for event in events]


def direct(host: str, port: int) -> bytes:
    """Return what an opening of ``direct-tcpip``, or of ``forwarded-tcpip``, adds."""
    where = string(host.encode()) + port.to_bytes(4, "big")
    return where + string(b"127.0.0.1") + (40_000).to_bytes(4, "big")


@define(eq=False)
class Pending:
    """A request for approval that a test settles."""

    request: str
    operation: Operation
    settled: Deferred[ReviewOutcome] = field(factory=Deferred)
    uses: int = 1

    def use(self) -> Deferred[bool]:
        """As the desk does."""
        self.uses -= 1
        return succeed(self.uses >= 0)

    def withdraw(self) -> None:
        """As the desk does."""
        if not self.settled.called:
            self.settle("withdrawn")

    def settle(self, outcome: str) -> None:
        """End it."""
        approved = outcome == "approved"
        reason = f"it was {outcome}"
        self.settled.callback(
            ReviewOutcome(approved=approved, request=self.request, outcome=outcome, reason=reason)
        )


class JudgeCase(RelayCase):
    """A client, a target, and a judge between them."""

    options: dict[str, Any] = {}  # noqa: RUF012  # a test's own, and never changed
    labels: dict[str, tuple[str, ...]] = {}  # noqa: RUF012  # as above
    restrictions = Restrictions(permissions=PERMISSIONS)
    durability = "grouped"

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1e9)
        self.recorder = FakeRecorder()
        self.contents = FakeContents()
        self.reviews: list[Pending] = []
        self.unanswered = False
        self.policy = SimpleNamespace(version="v1", epoch="v1", decide=None, sights=None)
        self.rules(ALL)
        self.purse: Any = None
        self.ends: list[str] = []
        self.used: list[Any] = []
        self.usable = False
        self.begin()

    def rules(self, text: str) -> None:
        """Put policies in force."""
        policies = PolicySet.from_files([SourceFile(name="a.cedar", text=text)], SCHEMA)
        policy = CedarPolicy(policies, self.clock.seconds)
        self.policy.decide = policy.decide
        self.policy.sights = policy.sights

    def begin(self) -> None:
        """Make the judge."""
        context = SimpleNamespace(
            clock=self.clock,
            reactor=None,
            names={"gw.example"},
            policy=self.policy,
            mask_key=lambda: b"k" * 32,
            contents=self.contents,
            reviews=SimpleNamespace(ask=self.ask),
            grants=SimpleNamespace(
                url="https://gw.example",
                use=self.use,
                used=lambda _grants, _session: None,
                refused=lambda _principal, operation: self.used.append(operation),
            ),
        )
        target = TargetSettings(
            name="web1",
            protocol="ssh",
            agent="local",
            environment="prod",
            durability=self.durability,
            options=self.options,
            labels=self.labels,
        )
        opening = Opening(
            session="s-1",
            protocol="ssh",
            target="web1",
            account="deploy",
            principal=ALICE,
            method="ssh-certificate",
            address="192.0.2.7",
            agent="local",
        )
        self.journal = SessionJournal(self.recorder, opening, InputBook())
        self.journal.started()
        self.visit = Visit(
            context=cast("GatewayContext", context),
            session="s-1",
            principal=ALICE,
            restrictions=self.restrictions,
            target=target,
            account="deploy",
            address="192.0.2.7",
            agent="local",
            server="SSH-2.0-OpenSSH_9.9",
            journal=self.journal,
            purse=self.purse,
            end=self.ends.append,
        )
        self.judge = SessionJudge(self.visit)
        self.relay.judge = self.judge

    def ask(
        self, _principal: object, _session: str, operation: Operation, *_: object, **__: object
    ) -> Any:
        """File a request."""
        if self.unanswered:
            return fail(UnavailableError("control is away"))
        self.reviews.append(Pending(f"r-{len(self.reviews)}", operation))
        return succeed(self.reviews[-1])

    def use(self, use: Any, _session: str, _digest: bytes) -> Deferred[bool]:
        """Use a grant."""
        self.used.append(use)
        return succeed(self.usable)

    # What a client does

    def exec(self, text: bytes, *before: tuple[bytes, bytes]) -> tuple[Channel, Taker]:
        """Ask for a command, after other requests."""
        return self.start(b"exec", string(text), *before)

    def start(
        self, name: bytes, data: bytes, *before: tuple[bytes, bytes]
    ) -> tuple[Channel, Taker]:
        """Ask for something on a new channel."""
        channel, taker = self.session()
        for each in before:
            channel.request(*each, lambda _ok: None)
            self.run_all()
            requests = self.far[1].requests
            if requests and requests[-1].name == each[0] and (slot := requests[-1].slot):
                slot.succeed()
        channel.request(name, data, lambda _ok: None)
        self.run_all()
        return channel, taker

    def pty(self, columns: int = 80, rows: int = 24) -> tuple[bytes, bytes]:
        """Return a request for a terminal."""
        sizes = b"".join(each.to_bytes(4, "big") for each in (columns, rows, 0, 0))
        return b"pty-req", string(b"xterm") + sizes + string(b"\0")

    def env(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Return a request to set a variable."""
        return b"env", string(name) + string(value)

    def opened(self, kind: bytes, extra: bytes) -> Taker:
        """Open a channel of another kind."""
        taker = Taker()
        taker.channel = self.client.connection.open(kind, extra, taker)
        self.run_all()
        return taker

    def asked(self, name: bytes, data: bytes) -> bool | None:
        """Ask for something that is for no channel; return the answer, if there is one."""
        answers: list[bytes | None] = []
        self.client.connection.request(name, data, answers.append)
        self.run_all()
        if not answers and self.target.requests and (slot := self.target.requests[-1].slot):
            slot.succeed(b"")
            self.run_all()
        return (answers[0] is not None) if answers else None

    def asked_of_channel(self, name: bytes, data: bytes) -> bool | None:
        """Ask for something on a new channel; return the answer, if there is one."""
        answers: list[bool] = []
        channel, _ = self.session()
        channel.request(name, data, answers.append)
        self.run_all()
        requests = self.far[1].requests
        if not answers and requests and (slot := requests[-1].slot):
            slot.succeed()
            self.run_all()
        return answers[0] if answers else None

    def from_target(self, kind: bytes, extra: bytes) -> Taker:
        """Let the target open a channel."""
        taker = Taker()
        taker.channel = self.target.connection.open(kind, extra, taker)
        self.run_all()
        return taker

    # What came of it

    @property
    def reached(self) -> list[Any]:
        """What has reached the target on the last channel."""
        return self.far[1].events

    def told(self, taker: Taker) -> str:
        """Return what a client was told on standard error."""
        shown = [event[1] for event in taker.events if event[0] == STDERR and event != "eof"]
        return b"".join(shown).decode()

    def status(self, taker: Taker) -> int | None:
        """Return the exit status that a client was told."""
        for event in taker.events:
            if event[0] == b"exit-status":
                return int.from_bytes(event[1], "big")
        return None

    def intents(self) -> list[Intent]:
        """Return what was decided."""
        found: list[Intent] = self.recorder.of(Intent)
        return found

    def results(self) -> list[Result]:
        """Return how it came out."""
        found: list[Result] = self.recorder.of(Result)
        return found

    def settled(self) -> list[ReviewSettled]:
        """Return how reviews ended."""
        found: list[ReviewSettled] = self.recorder.of(ReviewSettled)
        return found
