"""What the store keeps, as values, and the seam behind which a backend keeps it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol, TypeAlias

from attrs import field, frozen

from hoopgw.events import ContextValue, HopKind, Node, Principal
from hoopgw.policy.decision import Remedy
from hoopgw.store.certificate_rows import CertificateStore
from hoopgw.store.grant_rows import GrantStore

LOGIN_LIMIT: Final = 7 * 86_400.0
"""Seconds that a log-in lasts at most, whatever is configured."""
LINEAGE_KEPT: Final = LOGIN_LIMIT + 86_400.0
"""Seconds that is remembered what was ended or spent of a log-in and all that descends from it:
longer than any of it can live. It goes by what may be configured, not by what is: a log-in that
began before the configuration was changed lives on, and a delegation is minted anew under the same
id for as long as its log-in lasts."""

State: TypeAlias = Literal["requested", "approved", "denied", "expired", "withdrawn", "consumed"]

WAITING: Final[tuple[State, ...]] = ("requested",)
OPEN_STATES: Final[tuple[State, ...]] = ("requested", "approved")
"""The states that time still moves on."""


@frozen(kw_only=True)
class Request:
    """A request for approval of one operation."""

    id: str
    join_key: bytes = field(repr=bytes.hex)
    """The same for the same operation asked again; unique among those that wait."""
    principal: Principal
    session: str
    """The gateway session whose operation is held."""
    protocol: str
    target: str
    action: str
    text: bytes = field(repr=False)
    """The exact bytes, for the approver to read."""
    digest: bytes = field(repr=bytes.hex)
    """What the approval is bound to."""
    context: Mapping[str, ContextValue]
    remedies: tuple[Remedy, ...]
    reason: str = ""
    """Why the requester wants it, in the requester's words."""
    state: State = "requested"
    created: float
    """Seconds since the epoch, as all times here."""
    expires: float
    """End of the wait for people."""
    settled: float | None = None
    usable_until: float | None = None
    """End of an approval that was not used."""
    note: str = ""
    """How it ended, for the requester."""


@frozen(kw_only=True)
class Vote:
    """What one person said to one request."""

    request: str
    person: str
    """The voter's `hoopgw.events.Hop.id`."""
    name: str
    groups: frozenset[str]
    """The voter's groups when voting."""
    approve: bool
    comment: str = ""
    at: float


@frozen(kw_only=True)
class PasswordRow:
    """A SCRAM-SHA-256 verifier (RFC 5803), and whom it logs in to what."""

    handle: str
    target: str
    account: str
    principal: Principal
    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    expires: float


@frozen(kw_only=True)
class AgentRow:
    """An agent that was enrolled."""

    name: str
    serial: str
    """Of its link certificate: lower-case hexadecimal, no leading zeros."""
    previous: str = ""
    """Serial that it renewed with: good too, because the answer may have been lost, until the new
    one has been seen in use."""
    enrolled: float
    expires: float
    """End of the certificate."""
    revoked: float | None = None

    def accepts(self, serial: str) -> bool:
        """Whether a certificate with this serial number is this agent's."""
        return self.revoked is None and serial != "" and serial in (self.serial, self.previous)


@frozen(kw_only=True)
class NodeRow:
    """A delegation that was seen in use."""

    id: str
    parent: str
    """Id of the node above; of a root it is the log-in's."""
    login: str
    root: str
    """The root's `hoopgw.events.Hop.id`."""
    hop: str
    """Its own: who acts with it."""
    name: str
    kind: HopKind
    attested: bool
    purpose: str
    """The parent's word."""
    first_seen: float
    expires: float
    """When it may be forgotten."""


@frozen(kw_only=True)
class Taken:
    """What was charged to all budgets of a lineage, by names of `hoopgw.events.AMOUNTS`."""

    given: Mapping[str, int]
    left: Mapping[str, int]
    """What the tightest budget has left."""
    short: Mapping[str, str]
    """The delegation whose budget that is."""


class NodeStore(Protocol):
    """Delegations and their budgets. Each call raises `UnavailableError`, as the store's."""

    def keep(self, rows: Sequence[NodeRow]) -> None:
        """Keep delegations. One that is there keeps when it was first seen."""
        ...

    def find(self, node: str) -> NodeRow | None:
        """Return a delegation; None if there is none, or if its seal does not hold."""
        ...

    def list(self, root: str | None, now: float, limit: int) -> Sequence[NodeRow]:
        """Return delegations that have not ended, of one root or of all, newest first."""
        ...

    def count(self, root: str, now: float) -> Mapping[int, int]:
        """Count one root's delegations that have not ended, by themselves or otherwise.

        By generation: the root's children are the first.
        """
        ...

    def count_below(self, node: str, now: float) -> Mapping[int, int]:
        """Count what descends from one and has not ended by itself, likewise."""
        ...

    def take(self, nodes: Sequence[Node], wanted: Mapping[str, int], expires: float) -> Taken:
        """Charge all nodes that have a budget with as much of what is wanted as each has left.

        Args:
            nodes: of one lineage.
            wanted: names of `hoopgw.events.AMOUNTS` to how much.
            expires: until when what they have used is remembered, at least.

        """
        ...

    def give_back(self, nodes: Sequence[Node], amounts: Mapping[str, int]) -> None:
        """Take off what was taken and not used."""
        ...

    def spent(self, node: str) -> Mapping[str, int]:
        """Return what a delegation and all below it have used, or hold on lease."""
        ...


@frozen(kw_only=True)
class SessionHead:
    """A session that lives now."""

    id: str
    worker: str
    principal: Principal
    target: str
    protocol: str
    account: str
    address: str
    opened: float


@frozen(kw_only=True)
class LoginRow:
    """A log-in that may be refreshed."""

    id: str
    """The principal's ``session``."""
    principal: Principal
    """As last given out: one hop, with its groups; it ends when these are too old."""
    thumbprint: str
    """RFC 7638, of the key that it is bound to."""
    refresh: bytes = field(repr=False)
    """SHA-256 of the refresh token that is good now."""
    began: float
    groups_at: float
    """When the issuer said which groups these are."""
    expires: float
    """End of the whole log-in."""


class LoginStore(Protocol):
    """Where log-ins are kept. Each call raises `UnavailableError` if the store cannot be used."""

    def keep(self, row: LoginRow) -> bool:
        """Keep a new log-in; False, and nothing is kept, if its principal has too many."""
        ...

    def find(self, login: str) -> LoginRow | None:
        """Return a log-in; None if there is none, or if its seal does not hold."""
        ...

    def replace(self, old: LoginRow, new: LoginRow) -> bool:
        """Replace a log-in, if it still is what was read; say whether it was."""
        ...

    def forget(self, login: str) -> None:
        """Drop a log-in, as when it was revoked."""
        ...


class Change(Protocol):
    """A transaction on requests and votes: what is read in it is locked until it ends."""

    def request(self, request: str) -> Request | None:
        """Return a request; None if there is none, or if its seal does not hold."""
        ...

    def waiting(self, join_key: bytes) -> Request | None:
        """Return the request that the same operation may join."""
        ...

    def usable(self, join_key: bytes, now: float) -> Request | None:
        """Return the request of the same operation that was approved and not used yet."""
        ...

    def count_waiting(self, root: str | None = None, generation: int = 0) -> int:
        """Count what waits for people: all, or what one root asked, from a generation on."""
        ...

    def votes(self, request: str) -> Sequence[Vote]:
        """Return the votes on a request whose seals hold."""
        ...

    def add_request(self, request: Request) -> None:
        """Keep a new request."""
        ...

    def replace(self, old: Request, new: Request) -> bool:
        """Move a request on, if it still is what was read; say whether it was."""
        ...

    def set_aside(self, request: str) -> None:
        """Close a request whose seal does not hold, leaving the rest as it was found."""
        ...

    def put_vote(self, vote: Vote) -> None:
        """Keep a person's vote, in place of an earlier one by the same person."""
        ...


class Store(Protocol):
    """The store, as the control process uses it. Calls block for a disk write at most.

    Each raises `hoopgw.errors.UnavailableError` if the store cannot be used.
    """

    @property
    def tampered(self) -> int:
        """How often a row was read whose seal did not hold."""
        ...

    @property
    def grants(self) -> GrantStore:
        """Just-in-time grants."""
        ...

    @property
    def nodes(self) -> NodeStore:
        """Delegations."""
        ...

    @property
    def logins(self) -> LoginStore:
        """The log-ins that may be refreshed."""
        ...

    @property
    def certificates(self) -> CertificateStore:
        """Certificates of callers."""
        ...

    def reseal(self, key: bytes) -> None:
        """Seal every genuine row with another key, which seals from then on; all or nothing."""
        ...

    def change(self) -> AbstractContextManager[Change]:
        """Begin a transaction; it commits at the end of the block, and rolls back on an error."""
        ...

    def request(self, request: str) -> Request | None:
        """Return a request; None if there is none, or if its seal does not hold."""
        ...

    def request_ids(self, states: Collection[State] | None, limit: int) -> Sequence[str]:
        """Return ids of the newest requests in these states, newest first.

        Ids, because requests hold texts that may be long: who wants many reads one after the other.
        """
        ...

    def open_below(self, node: str) -> Sequence[str]:
        """Return ids of open requests of a log-in or delegation, and all that descends from it."""
        ...

    def due(self, now: float, limit: int) -> Sequence[str]:
        """Return ids of open requests whose time is over."""
        ...

    def count_states(self) -> Mapping[str, int]:
        """Count requests by state."""
        ...

    def votes(self, request: str) -> Sequence[Vote]:
        """Return the votes on a request whose seals hold."""
        ...

    def keep_password(self, row: PasswordRow) -> None:
        """Keep a session password's verifier."""
        ...

    def count_passwords(self, login: str, generation: int = 0) -> int:
        """Count the session passwords of one log-in, from a generation of its chains on."""
        ...

    def drop_passwords(self, login: str) -> None:
        """Delete the session passwords of one log-in, and of all that descends from it."""
        ...

    def password(self, handle: str) -> PasswordRow | None:
        """Return a session password's verifier. The caller looks at its end."""
        ...

    def revoke(self, node: str, expires: float) -> None:
        """End a log-in or a delegation (one of `Principal.lineage`) for good, with all below it.

        Their passwords go, and it is remembered until ``expires``.
        """
        ...

    def is_revoked(self, lineage: Sequence[str]) -> bool:
        """Whether any of a `Principal.lineage` was ended before its time."""
        ...

    def count_revoked(self) -> int:
        """Count what was ended before its time and is remembered."""
        ...

    def revoked(self) -> Mapping[str, float]:
        """Return what was ended before its time, to when it can be forgotten."""
        ...

    @property
    def problem(self) -> str:
        """Why it is not known what was revoked, which the calls above raise; empty if it is."""
        ...

    @property
    def time(self) -> float:
        """The greatest time that was noted: it is not earlier."""
        ...

    def note_time(self, now: float) -> None:
        """Keep what time it is: after a restart, too, it is not earlier."""
        ...

    def accept(self, now: float) -> None:
        """Take what is there for all that was revoked, and ``now`` for the time, once for all.

        What was revoked may be missing, so no log-in is refreshed any more, and passwords go.
        """
        ...

    def use_once(self, purpose: str, jti: str, expires: float) -> bool:
        """Whether this is the first use of ``jti``. Durable before it says so.

        What ended so long before `time` that it may have been forgotten counts as used.
        """
        ...

    def agent(self, name: str) -> AgentRow | None:
        """Return an agent; None if there is none, or if its seal does not hold."""
        ...

    def agents(self) -> Sequence[AgentRow]:
        """Return all agents, by name."""
        ...

    def put_agent(self, row: AgentRow) -> None:
        """Keep an agent, in place of an earlier row of the same name."""
        ...

    def add_join_token(self, token_hash: bytes, agent: str, expires: float) -> None:
        """Keep a join token by its SHA-256."""
        ...

    def use_join_token(self, token_hash: bytes, agent: str, now: float) -> bool:
        """Use a join token up: true once, if it is for this agent and not too old."""
        ...

    def drop_join_tokens(self, agent: str) -> int:
        """Drop an agent's join tokens; say how many could have been used."""
        ...

    def open_session(self, head: SessionHead) -> None:
        """Keep a live session."""
        ...

    def close_session(self, session: str) -> None:
        """Drop a live session."""
        ...

    def drop_sessions(self, worker: str | None = None) -> None:
        """Drop the live sessions of one worker, or all."""
        ...

    def session(self, session: str) -> SessionHead | None:
        """Return a live session."""
        ...

    def sessions(self) -> Sequence[SessionHead]:
        """Return all live sessions, newest first."""
        ...

    def purge(self, now: float, settled_before: float) -> None:
        """Note the time, and drop what expired a while before, and requests settled before one."""
        ...

    def check_writable(self) -> None:
        """Raise `hoopgw.errors.UnavailableError` if nothing can be written."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...
