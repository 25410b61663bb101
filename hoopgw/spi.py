"""What a protocol gives to hoopgw, and what hoopgw gives to a protocol.

A protocol package announces one `ProtocolSpec` under the entry-point group ``hoopgw.protocols``.
Its client leg runs in the data worker with a `GatewayContext`; its target leg runs in the agent
with an `AgentContext`. Neither reaches for anything global.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from attrs import field, frozen
from attrs.validators import and_, ge, le, matches_re
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IPushProducer, IReactorTime

from hoopgw.events import Operation, Principal, Resource
from hoopgw.identity.shown import DeviceLogins, Logins, NoDeviceLogins, NoTokens, Tokens, no_host
from hoopgw.identity.ssh_certificates import SshHost
from hoopgw.policy.decision import Review, Sights, Use, Verdict
from hoopgw.recording.contents import Contents, NoContents
from hoopgw.recording.records import AnyRecord, Record
from hoopgw.sessions.elsewhere import Elsewhere, NothingElsewhere
from hoopgw.sessions.living import Sessions
from hoopgw.sessions.purses import Budgets

API: Final = 1
"""Raised by one with each incompatible change of this module."""


class Policy(Protocol):
    """The policy core, as a client leg sees it. Compiled; calls never wait."""

    @property
    def version(self) -> str:
        """Changes with each reload; for the recording. What is kept is kept by `epoch`."""
        ...

    @property
    def epoch(self) -> str:
        """Changes whenever an answer may: with reloads, grants, and time if a policy reads it."""
        ...

    def decide(self, principal: Principal, operation: Operation, session: str = "") -> Verdict:
        """Judge an operation. ``session``: the gateway's, for what is granted for one."""
        ...

    def sights(self, principal: Principal, fields: Sequence[Resource], session: str = "") -> Sights:
        """Say how each labelled field is shown; a field that is not permitted is `Hidden`."""
        ...


class Recorder(Protocol):
    """Where records go. See `hoopgw.recording`."""

    def write(self, record: Record) -> None:
        """Keep a record so that it survives this process, with all that was put off before it.

        Raises:
            RecorderError: it could not be kept, so what it describes must not happen.

        """
        ...

    def put_off(self, record: Record) -> None:
        """Keep a record now, with the next `write`, or within 50 ms: for what has happened already.

        Raises:
            RecorderError: too much waits already.

        """
        ...

    def write_allowed(self, record: bytes) -> None:
        """Keep an encoded `Intent` that is allowed, as `write` does."""
        ...

    def put_off_encoded(self, record: bytes) -> None:
        """Keep an encoded record that is no `SessionRefused`, as `put_off` does."""
        ...

    def sync(self) -> Deferred[None]:
        """Fire when all that was written so far survives a power loss."""
        ...


@frozen(kw_only=True)
class ReviewOutcome:
    """How a review ended."""

    approved: bool
    request: str
    """The request's id."""
    outcome: str
    """``approved``, ``denied``, ``expired`` or ``withdrawn``."""
    voters: tuple[str, ...] = ()
    reason: str = ""
    """For the principal."""


class PendingReview(Protocol):
    """A request for approval that has been filed."""

    @property
    def request(self) -> str:
        """The request's id, to show to people."""
        ...

    @property
    def settled(self) -> Deferred[ReviewOutcome]:
        """Fires once. An approval that it carries has been consumed: it covers this one use.

        Not so if it was asked for ``later``: then `use` consumes it.
        """
        ...

    def use(self) -> Deferred[bool]:
        """Use an approval that was asked for ``later``: true once, for one of all who wait for it.

        Fails with `UnavailableError` if that cannot be said.
        """
        ...

    def withdraw(self) -> None:
        """Say that nobody waits any more."""
        ...


class Reviews(Protocol):
    """Where people are asked."""

    def ask(
        self,
        principal: Principal,
        session: str,
        operation: Operation,
        review: Review,
        *,
        later: bool = False,
    ) -> Deferred[PendingReview]:
        """File a request, or join the one for the same operation of the same chain.

        Args:
            principal: who asks.
            session: the gateway session's id.
            operation: what is held.
            review: whom to ask.
            later: who asks may go and come again, to any worker: an approval waits unused until
                `PendingReview.use`, and what was approved before is joined, too.

        The Deferred fails with `UnavailableError` if that is not possible.

        """
        ...


@frozen(kw_only=True)
class OpenTarget:
    """What the link gives for a ticket: a logged-in stream, and what the agent learned."""

    leg: Any
    """A `hoopgw.transport` transport, paused, with no protocol yet."""
    agent: str
    facts: Mapping[str, Any]
    """Protocol-specific: for PostgreSQL ``parameters``, a map of ParameterStatus values."""
    cancel: Callable[[], None]
    """Ask the agent to cancel what the target is doing for this session."""


class Link(Protocol):
    """The way to targets."""

    def open(
        self,
        principal: Principal,
        session: str,
        target: str,
        account: str,
        wishes: Mapping[str, Any],
        digest: bytes | None = None,
    ) -> Deferred[OpenTarget]:
        """Open a target with the credential that its agent holds for ``account``.

        Args:
            principal: for the ticket: who it is for, and when the session ends.
            session: the gateway session's id.
            target: a target's name in the configuration.
            account: the account on the target.
            wishes: protocol-specific, allow-listed by the protocol (PostgreSQL: ``database`` and
                ``settings``).
            digest: of the one operation that a one-shot ticket is for.

        The Deferred fails with `LinkError`.

        """
        ...


class Grants(Protocol):
    """What is granted for a while, as a client leg needs it besides `Policy`."""

    @property
    def url(self) -> str:
        """Where grants are asked for, to show to who was refused."""
        ...

    def use(self, use: Use, session: str, digest: bytes) -> Deferred[bool]:
        """Use a grant for an operation: true if it may run by it. Never fails.

        Args:
            use: of the refusal.
            session: the gateway session's id.
            digest: of all that will be sent.

        """
        ...

    def used(self, grants: Collection[str], session: str) -> None:
        """Say that grants have allowed something in a session; may be said again."""
        ...

    def refused(self, principal: Principal, operation: Operation) -> None:
        """Say what was refused that a grant would cure, so that it can be asked for as one call."""
        ...


class NoGrants:
    """Where nothing is granted. Implements `Grants`."""

    url: Final = ""

    def use(self, use: Use, session: str, digest: bytes) -> Deferred[bool]:
        """Refuse."""
        return succeed(False)

    def used(self, grants: Collection[str], session: str) -> None:
        """Do nothing."""

    def refused(self, principal: Principal, operation: Operation) -> None:
        """Do nothing."""


@frozen(kw_only=True)
class TargetSettings:
    """One ``[[targets]]`` table of the configuration."""

    name: str
    protocol: str
    agent: str
    """The agent's name: only that agent's connections open this target."""
    labels: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Classified fields: ``"public.customers.email"`` to ``("pii.email",)``."""
    durability: str = "grouped"
    """``grouped``, or ``strict``: each intent is synced before its operation runs."""
    environment: str = ""
    """A name that policy can speak of: ``Hoopgw::Environment::"prod"``."""
    options: Mapping[str, Any] = field(factory=dict)
    """What only the protocol understands; the protocol validates it."""


class Leaves(Protocol):
    """Certificates for hosts of others, which a listener may answer for (``[interception]``)."""

    @property
    def authorities(self) -> str:
        """PEM of the CAs that clients of the listener have to trust; empty while not known."""
        ...

    def context(self, host: str) -> Any:
        """Return an ``ssl.SSLContext`` for one host, or None: it is not one of the listener's.

        Its handshakes fail if the client means another host (SNI), or none. Its ``host`` says which
        it is for.
        """
        ...


class NoLeaves:
    """Where nothing is intercepted. Implements `Leaves`."""

    authorities: Final = ""

    def context(self, host: str) -> Any:
        """Return none."""
        return None


@frozen(kw_only=True)
class GatewayContext:
    """What a client leg works with, in the data worker."""

    reactor: Any
    """The reactor: clock, and what opens connections."""
    clock: IReactorTime
    targets: Mapping[str, TargetSettings]
    """The targets of this protocol, by name."""
    listener: Mapping[str, Any]
    """The listener's table of the configuration, for protocol-specific options."""
    names: Collection[str] = ()
    """Names and addresses that clients may know the gateway by."""
    tls: Any
    """An ``ssl.SSLContext`` with the gateway's certificate."""
    certificate: Callable[[], bytes]
    """Gives the certificate, DER, that a handshake which begins now shows: it may be renewed at any
    time, and channel binding is over the one that was shown."""
    counters: Counter[str]
    """What the protocol counts for ``/metrics``, by names of a-z, 0-9 and _ (``…_total``)."""
    policy: Policy
    recorder: Recorder
    reviews: Reviews
    budgets: Budgets
    link: Link
    logins: Logins
    sessions: Sessions
    grants: Grants = field(factory=NoGrants)
    elsewhere: Elsewhere = field(factory=NothingElsewhere)
    tokens: Tokens = field(factory=NoTokens)
    devices: DeviceLogins = field(factory=NoDeviceLogins)
    leaves: Leaves = field(factory=NoLeaves)
    ssh_host: Callable[[], SshHost] = field(default=no_host, repr=False)
    """Gives the gateway's SSH host key and its certificate, which is renewed at times; raises
    `ConfigError` or `UnavailableError`."""
    contents: Contents = field(factory=NoContents)
    """Where bulky contents go that are recorded: what a terminal showed, a command's output."""
    mask_key: Callable[[], bytes] = field(repr=False)
    """Gives 32 bytes, for masks that make joinable tokens: a session's are those of its start."""
    new_session: Callable[[], str]
    """Makes a session id: unique, unguessable, sorts by time."""


class TargetLeg(Protocol):
    """A protocol's side of the agent."""

    def check(self, target: AgentTarget) -> None:
        """Check the protocol's part of a target when the agent starts; raises `ConfigError`."""
        ...

    async def open(self, target: AgentTarget, account: str, wishes: Mapping[str, Any]) -> Opened:
        """Connect to the target and log in with the account's credential.

        Raises:
            LinkError: the text is shown to the caller: no credential, no internal address.

        """
        ...


@runtime_checkable
class UsualPlace(Protocol):
    """A target leg that knows where inside a target an account's sessions usually are."""

    def usual_place(self, target: AgentTarget, account: str) -> str:
        """Return it, in the protocol's own words: for PostgreSQL the database."""
        ...


@runtime_checkable
class TokenScope(Protocol):
    """A target leg that can use access tokens of Microsoft Entra."""

    def token_scope(self, options: Mapping[str, Any]) -> str:
        """Return what a target's tokens are for, from its options: their OAuth 2 scope.

        Raises:
            ConfigError: the options do not tell.

        """
        ...


@frozen(kw_only=True)
class AgentTarget:
    """One ``[[targets]]`` table of the agent's own configuration."""

    name: str
    protocol: str
    address: str
    """``host:port`` or ``unix:/path``."""
    accounts: Mapping[str, Callable[[], Awaitable[bytes]]]
    """Account to what fetches its credential from its secret source."""
    options: Mapping[str, Any] = field(factory=dict)
    personal: Mapping[str, Callable[[Principal, str], Awaitable[bytes]]] = field(factory=dict)
    """Accounts whose credential is of the person behind each session: what fetches it for a
    principal and the session's ticket. In a target that is being opened ``accounts`` has it."""
    caller: Principal | None = None
    """Whom it is being opened for, as the ticket says; None in the configuration."""


@frozen(kw_only=True)
class Opened:
    """A target that was opened: its transport stands paused, at a message boundary."""

    transport: Any
    """A `hoopgw.transport` transport."""
    rest: bytes
    """Bytes that came already and belong to the caller."""
    facts: Mapping[str, Any]
    cancel: Callable[[], Awaitable[None]]
    outbound: Callable[[Any, Any], Outbound] | None = None
    """Where the agent looks at what goes to the target: called with the link's and the target's
    transport, and gives what takes the bytes in place of the target's."""


Divert: TypeAlias = Callable[[Callable[[bytes | memoryview], None]], None]
"""Lets what comes from the target go to a function, and not straight on to the gateway."""


class Outbound(Protocol):
    """Takes what comes from the gateway, and writes to the target what of it shall go there."""

    def begin(self, divert: Divert) -> None:
        """Begin; answers pass untouched unless they are diverted now."""
        ...

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes; they are valid during the call."""
        ...

    @property
    def gate(self) -> IPushProducer:
        """What the target's transport pauses, in place of the link's."""
        ...


@frozen(kw_only=True)
class AgentContext:
    """What a target leg works with, in the agent."""

    reactor: Any
    clock: IReactorTime


@frozen(kw_only=True)
class ProtocolSpec:
    """One protocol."""

    name: str = field(validator=matches_re(r"[a-z][a-z0-9_]*"))
    default_port: int = field(validator=and_(ge(1), le(65535)))
    make_factory: Callable[[GatewayContext], IProtocolFactory]
    """Client leg; its protocols are connected to `hoopgw.transport` transports."""
    make_target_leg: Callable[[AgentContext], TargetLeg]
    cedar_schema: str
    """In Cedar's human-readable syntax, in the protocol's own namespace."""
    check_target: Callable[[TargetSettings], None]
    """Validate the protocol's part of a target; raises `ConfigError`."""
    replay: Callable[[Iterable[AnyRecord]], Iterable[ReplayLine]]
    """Show a session's records to a person, in order."""
    connecting: Callable[[TargetSettings, str, str], Operation] | None = None
    """The operation that opening a session is, given account and `UsualPlace`, both perhaps empty
    as not known: whom policy refuses it, the target is not shown. None: it is shown to all."""
    intercepts: Callable[[Mapping[str, Any], Sequence[TargetSettings]], frozenset[str]] | None = (
        None
    )
    """The hosts of others that a listener answers for, given its options and the protocol's
    targets: control issues certificates for these and no others. Raises `ConfigError`."""
    check_listener: Callable[[Mapping[str, Any]], None] | None = None
    """Validate the protocol's part of a listener's table; raises `ConfigError`."""
    freezes: bool = False
    """Whether its sessions can be frozen, and go on later."""
    api: int = API


@frozen(kw_only=True)
class ReplayLine:
    """One line of a replay: when, what kind, and text that is safe for a terminal."""

    at: int
    kind: str
    """``input``, ``decision``, ``output``, ``error`` or ``note``."""
    text: str
