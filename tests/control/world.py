"""A control process and its workers in memory, over a real store, with a clock of the test."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from joserfc.jwk import OKPKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.client import ControlClient
from hoopgw.control.desk import FiledReview, ReviewDesk
from hoopgw.control.live import SessionRegistry
from hoopgw.control.logins import ControlLogins
from hoopgw.control.switchboard import Switchboard
from hoopgw.events import Access, ContextValue, Operation, Principal, Resource
from hoopgw.identity.tokens import TokenSigner
from hoopgw.ipc import Peer
from hoopgw.policy.decision import Remedy, Review
from hoopgw.spi import ReviewOutcome
from tests.control.wires import Endpoint
from tests.fakes import FakeRecorder
from tests.store.values import ALICE, DBA, digest, open_store

URL = "https://gateway.example"


def operation(text: str = "delete from orders", **context: ContextValue) -> Operation:
    """Make an operation that would be held."""
    table = Resource(type="Postgres::Table", id="orders/public.orders")
    return Operation(
        protocol="postgres",
        target="orders",
        action="delete",
        accesses=(Access(action="Postgres::delete", resource=table),),
        text=text,
        context=context,
        digest=digest(text),
    )


@define(eq=False)
class WorkerEnd:
    """A worker's end of the connection, with all that uses it."""

    endpoint: Endpoint
    clock: Clock
    name: str
    steady: Clock
    """Which nobody can set."""
    times: list[float] = field(factory=list, init=False)
    """What control said that the time is."""
    client: ControlClient = field(init=False)
    desk: ReviewDesk = field(init=False)
    sessions: SessionRegistry = field(init=False)
    logins: ControlLogins = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = ControlClient(
            self.endpoint,
            self.clock,
            lambda: 0.5,
            self.name,
            steady=lambda: self.steady.seconds(),
            take_time=self.times.append,
        )
        self.desk = ReviewDesk(self.client, self.clock)
        self.sessions = SessionRegistry(self.client, self.clock, {"orders": "postgres"}, 4, 3)
        self.logins = ControlLogins(self.client, self.clock)
        self.client.start()
        self.desk.start()


class WorldCase(SynchronousTestCase):
    """Control over a store in a file, at second 1000; `worker` adds workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.steady = self.clock
        self.path = Path(self.mktemp())
        self.signer = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        self.workers: list[WorkerEnd] = []
        self.recorder = FakeRecorder()
        self.endpoint = Endpoint(self.make_peer)
        self.begin()

    def begin(self) -> None:
        """Start the control process."""
        self.store = open_store(self.path)
        self.addCleanup(self.store.close)
        self.board = Switchboard(
            self.store, self.signer, self.clock.seconds, self.recorder, lambda: "c-1"
        )
        self.docket = self.board.docket
        self.board.take_up()
        self.endpoint.is_up = True

    def kill(self) -> None:
        """Kill the control process: no part of it learns of it."""
        self.board.close()
        self.endpoint.is_up = False
        self.endpoint.cut()

    def make_peer(self) -> Peer:
        """Make the server's end of a connection, as the service does."""
        board = self.board
        calls = board.make_calls()

        def connected(peer: Peer) -> None:
            calls.peer = peer

        def gone(_peer: Peer) -> None:
            board.gone(calls)

        return Peer(calls.handlers(), self.clock, connected, gone)

    def worker(self, name: str = "w1") -> WorkerEnd:
        """Connect a worker."""
        worker = WorkerEnd(self.endpoint, self.clock, name, self.steady)
        self.addCleanup(worker.client.stop)
        self.addCleanup(worker.desk.stop)
        self.workers.append(worker)
        self.carry()
        return worker

    def carry(self) -> None:
        """Let everything that was sent arrive."""
        self.endpoint.carry()

    def wait(self, seconds: float) -> None:
        """Let time pass, a second at a time, with control's sweeps."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.carry()
            self.board.sweep()
            self.carry()

    def ask(
        self,
        worker: WorkerEnd,
        text: str = "delete from orders",
        by: Principal = ALICE,
        remedy: Remedy = DBA,
        session: str = "s-1",
    ) -> tuple[FiledReview, list[ReviewOutcome]]:
        """Ask through a worker; return the wait, and where its outcome appears."""
        asked = worker.desk.ask(by, session, operation(text), Review(remedies=(remedy,)))
        self.carry()
        review = self.successResultOf(asked)
        assert isinstance(review, FiledReview)
        outcomes: list[ReviewOutcome] = []
        review.settled.addCallbacks(outcomes.append, lambda _failure: None)
        return review, outcomes

    def state(self, request: str) -> str:
        """Return how a request stands in the store."""
        found = self.store.request(request)
        assert found is not None
        return found.state
