"""The client leg before Azure in memory: clients, targets and people are the test itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, cast

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, Operation, Principal, Resource
from hoopgw.http.gateway import Connection, HttpsFactory
from hoopgw.identity.shown import Bearer
from hoopgw.policy.decision import Allow, Hidden, Sights, Verdict
from hoopgw.sessions.elsewhere import Elsewhere, NothingElsewhere
from hoopgw.sessions.purses import Listing
from hoopgw.spi import GatewayContext, NoLeaves, ReviewOutcome
from hoopgw_azure.sites import make_factory
from tests.azure.world import target
from tests.fakes import FakeRecorder
from tests.http.fakes import FakeTransport

ALICE: Final = Principal(
    chain=(Hop(id="corp|alice", name="alice", kind="person"),), session="login-1", expires=1e9
)
BOB: Final = Principal(
    chain=(Hop(id="corp|bob", name="bob", kind="person"),), session="login-2", expires=1e9
)
ARM_HOST: Final = "arm.gw.example"
VAULT_HOST: Final = "shop-kv.vault.gw.example"
REST_HOST: Final = "rest.gw.example"
ALLOW: Final = Verdict(decision=Allow(), because=("p",), policy="v1")


class Wire(FakeTransport):
    """A client's transport, with TLS up."""

    tls: Any = SimpleNamespace(getpeercert=lambda binary_form: None)

    def startTLS(self, _context: Any, *, server_side: bool) -> None:
        """Do nothing: it is up already."""

    def getPeer(self) -> Any:
        """Return the client's address."""
        return SimpleNamespace(host="192.0.2.1")

    def resumeProducing(self) -> None:
        """Read again."""
        self.reading = True


@define(eq=False)
class Pending:
    """A request for approval that a test settles."""

    request: str
    settled: Deferred[ReviewOutcome] = field(factory=Deferred)
    uses: int = 1
    """How often an approval can still be used."""

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
        self.settled.callback(
            ReviewOutcome(approved=approved, request=self.request, outcome=outcome, reason=outcome)
        )


@define(eq=False)
class Client:
    """One connection of a client."""

    world: Gateway
    connection: Connection
    wire: Wire

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "alice",  # noqa: S107  # names who asks
        host: str = ARM_HOST,
        body: bytes | None = None,
        **fields: str,
    ) -> bytes:
        """Send a request; return what came back at once."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def send(self, data: bytes) -> bytes:
        """Send bytes; return what came back at once."""
        self.connection.dataReceived(memoryview(bytearray(data)))
        self.world.clock.advance(0)
        return self.wire.take()

    def leave(self) -> None:
        """Go away."""
        self.wire.lose()
        self.world.clock.advance(0)


@define(eq=False)
class Target:
    """One connection to a target."""

    world: Gateway
    name: str
    wire: FakeTransport = field(factory=FakeTransport)

    def answer(self, head: str, body: bytes = b"", *, length: int | None = None) -> None:
        """Answer the request that waits."""
        size = len(body) if length is None else length
        data = f"HTTP/1.1 {head}\r\nContent-Length: {size}\r\n\r\n".encode() + body
        self.send(data)

    def answer_json(self, value: Any, head: str = "200 OK") -> None:
        """Answer with JSON."""
        self.answer(f"{head}\r\nContent-Type: application/json", json.dumps(value).encode())

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.wire.protocol.dataReceived(memoryview(bytearray(data)))
        self.world.clock.advance(0)


@define(eq=False)
class Threads:
    """A reactor with a pool of threads: what runs in one is done at once, or when a test says."""

    slow: bool = False
    waiting: list[Callable[[], None]] = field(factory=list)

    def getThreadPool(self) -> Threads:
        """Return the pool."""
        return self

    def callInThreadWithCallback(
        self, result: Callable[[bool, Any], None], work: Callable[[], Any]
    ) -> None:
        """Do something, and say how it came out."""

        def run() -> None:
            try:
                found = work()
            except Exception:  # as the pool does
                result(False, Failure())
            else:
                result(True, found)

        if self.slow:
            self.waiting.append(run)
        else:
            run()

    def callFromThread(self, call: Callable[..., None], *arguments: Any) -> None:
        """Go on in the reactor."""
        call(*arguments)


class NoBudgets:
    """Nobody has a budget, and nothing is counted over pages. Implements `Budgets`."""

    def open(self, _principal: Principal) -> None:
        """Return no purse."""

    def listing(self, _principal: Principal, _listing: Listing) -> Any:
        """Return one that has no limit."""
        nothing = {"room": lambda _name: None, "used": lambda _amounts: None}
        return SimpleNamespace(**nothing, close=lambda: None)


@define(eq=False)
class Judge:
    """A policy that says what the test says."""

    world: Gateway
    asked: int = 0
    changes: int = 0
    """Raised by a test whose verdicts follow from something else by now."""

    @property
    def epoch(self) -> str:
        """Change with what is said, as that of `hoopgw.policy.engine` does."""
        return f"{id(self.world.verdict)} {id(self.world.sights)} {self.changes}"

    def decide(self, _who: Principal, operation: Operation, _session: str) -> Verdict:
        """Judge an operation."""
        self.asked += 1
        return self.world.verdict(operation)

    def sights(self, _who: Principal, fields: tuple[Resource, ...], _session: str) -> Sights:
        """Say how fields are shown."""
        return {each.id: self.world.sights(each) for each in fields}


@define(eq=False)
class Gateway:
    """A listener for Azure among fakes."""

    verdict: Callable[[Operation], Verdict] = lambda _operation: ALLOW
    sights: Callable[[Resource], Any] = lambda _field: Hidden(reason="no")
    clock: Clock = field(factory=Clock)
    recorder: FakeRecorder = field(factory=FakeRecorder)
    targets: list[Target] = field(factory=list)
    asked: list[Pending] = field(factory=list)
    asking: list[Deferred[Pending]] = field(factory=list)
    slow_desk: bool = False
    """Requests for approval are filed when the test says so."""
    slow_link: list[Deferred[Any]] | None = None
    budgets: Any = field(factory=lambda: NoBudgets())
    options: dict[str, Any] = field(factory=dict)
    """Of Resource Manager."""
    rules: list[dict[str, Any]] = field(factory=list)
    """Of a REST service; none: there is none."""
    hosts: list[str] = field(factory=list)
    """Of the REST service."""
    durability: str = "grouped"
    """Of the REST service."""
    tokens: dict[str, Principal] = field(factory=lambda: {"alice": ALICE, "bob": BOB})
    """Who shows what."""
    key: bytes = b"k" * 32
    """For masks and seals."""
    listener: dict[str, Any] = field(factory=lambda: {"domain": "gw.example"})
    leaves: Any = field(factory=NoLeaves)
    used: set[str] = field(factory=set)
    """Chains that were shown: each is good once."""
    closed: list[str] = field(factory=list)
    reconsider: Callable[[], str | None] = lambda: None
    """Look at the last session, as grants have changed."""
    threads: Threads = field(factory=lambda: Threads())
    elsewhere: Elsewhere = field(factory=NothingElsewhere)
    factory: HttpsFactory = field(init=False)
    policy: Judge = field(init=False)
    _sessions: int = 0

    def __attrs_post_init__(self) -> None:
        self.policy = Judge(self)
        settings = {
            "arm": target("arm", hosts=["management.azure.com"], **self.options),
            "keyvault": target("keyvault", name="shop-kv"),
        }
        if self.rules:
            rest = target("rest", operations=self.rules, hosts=self.hosts)
            settings["rest"] = evolve(rest, durability=self.durability)
        context = SimpleNamespace(
            reactor=self.threads,
            clock=self.clock,
            targets=settings,
            listener=self.listener,
            leaves=self.leaves,
            counters=Counter(),
            tls=SimpleNamespace(set_alpn_protocols=lambda _protocols: None),
            policy=self.policy,
            recorder=self.recorder,
            reviews=SimpleNamespace(ask=self._ask),
            budgets=self.budgets,
            link=SimpleNamespace(open=self._open),
            logins=SimpleNamespace(bearer=self._bearer, chain=self._chain),
            sessions=SimpleNamespace(
                opened=self._opened,
                closed=lambda session, *_reason: self.closed.append(session),
            ),
            grants=SimpleNamespace(
                url="https://gw.example",
                use=lambda *_arguments: succeed(True),
                used=lambda *_arguments: None,
                refused=lambda *_arguments: None,
            ),
            elsewhere=self.elsewhere,
            tokens=None,
            mask_key=lambda: self.key,
            new_session=self._new_session,
        )
        self.factory = make_factory(cast("GatewayContext", context))

    def change(self) -> None:
        """Let what policy says follow from something else."""
        self.policy.changes += 1

    def connect(self) -> Client:
        """Connect a client."""
        connection = cast("Connection", self.factory.buildProtocol(None))
        wire = Wire(connection)
        connection.makeConnection(cast("Any", wire))
        return Client(self, connection, wire)

    @property
    def target(self) -> Target:
        """The last connection to a target."""
        return self.targets[-1]

    def sent(self) -> bytes:
        """Return all that reached targets."""
        return b"".join(bytes(each.wire.written) for each in self.targets)

    def _bearer(self, token: str, _target: str) -> Bearer:
        if token not in self.tokens:
            raise AuthenticationError("the token is not good")
        return Bearer(principal=self.tokens[token], account="", expires=1e9)

    def _chain(self, chain: str, _target: str) -> Deferred[Principal]:
        if chain in self.used:
            return fail(AuthenticationError("it was used before"))
        self.used.add(chain)
        return succeed(ALICE)

    def _ask(self, *_arguments: object, later: bool) -> Deferred[Pending]:
        self.asked.append(Pending(f"r-{len(self.asked)}"))
        if not self.slow_desk:
            return succeed(self.asked[-1])
        self.asking.append(Deferred())
        return self.asking[-1]

    def file(self, number: int) -> None:
        """Let a request for approval be filed."""
        self.asking[number].callback(self.asked[number])
        self.clock.advance(0)

    def _open(
        self, _who: Principal, _session: str, name: str, _account: str, _wishes: object
    ) -> Deferred[Any]:
        if self.slow_link is not None:
            self.slow_link.append(Deferred())
            return self.slow_link[-1]
        if name not in ("arm", "keyvault", "rest"):
            return fail(AssertionError(name))
        return succeed(SimpleNamespace(leg=self.opened(name)))

    def opened(self, name: str) -> Any:
        """Return the transport of a new connection to a target."""
        self.targets.append(Target(self, name))
        return self.targets[-1].wire

    def _opened(self, session: str, *more: Any) -> None:
        self.reconsider = more[5]

    def _new_session(self) -> str:
        self._sessions += 1
        return f"s-{self._sessions}"
