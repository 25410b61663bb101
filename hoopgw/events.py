"""Who asks, and what is asked: the values that every room of the house speaks.

Protocols translate frames into an `Operation`; policy, reviews and the recorder know nothing else
of the protocol. Everything here is frozen and compared by content. Texts that may hold a secret
stay out of ``repr``, so that no log, traceback or assertion shows them. What the cache of policy
verdicts is keyed by keeps its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import min_len

HopKind: TypeAlias = Literal["person", "workload", "agent"]

Scalar: TypeAlias = str | bool | int
ContextValue: TypeAlias = Scalar | tuple[str, ...]

Attributes: TypeAlias = tuple[tuple[str, str | tuple[str, ...]], ...]
"""Names and values, sorted by name, each name once: a mapping that can be hashed."""


@frozen(kw_only=True, cache_hash=True)
class Cap:
    """What a hop was narrowed to by whoever delegated: some actions on one target, or on all."""

    target: str
    """A target's name, or ``*``."""
    actions: frozenset[str] = field(validator=min_len(1))
    """Cedar actions or groups of actions with their namespace, as `Access.action`, or ``*``."""


@frozen(kw_only=True, cache_hash=True)
class Hop:
    """One member of a chain of delegation, as authenticated: all of it that policy may see."""

    id: str
    """Stable and unique over issuers: ``<issuer alias>|<subject>`` of a root, and of a child its
    parent's with its own name: ``corp|alice~planner``."""
    name: str
    """For people to read; not unique, never compared."""
    kind: HopKind
    groups: frozenset[str] = frozenset()
    caps: tuple[Cap, ...] | None = None
    """What it was narrowed to; None is no narrower than its parent."""
    attested: bool = False
    """Of a child: whether it proved an identity of its own; else its name is its parent's word."""
    isolated: bool = False
    """Of a child: whether its parent says that it cannot read the parent's key."""
    attributes: Attributes = ()
    """What the issuer says of a root or an attested child, as ``core.cedarschema`` names it."""


AMOUNTS: Final = ("operations", "rows", "bytes", "reviews")
"""What a `Budget` limits."""


@frozen(kw_only=True, cache_hash=True)
class Budget:
    """How much a hop and all that descends from it may ask for, in all; None is no limit."""

    operations: int | None = None
    rows: int | None = None
    bytes: int | None = None
    """Of answers."""
    reviews: int | None = None
    """Requests put before people."""


@frozen(kw_only=True, cache_hash=True)
class Node:
    """One delegation: what is particular to it. Policy does not see it, so verdicts are shared."""

    id: str
    """Stable: the same parent delegating to the same key again makes the same node. What revocation
    and budgets go by."""
    budget: Budget | None = None
    purpose: str = ""
    """The prompt or job step that it was made for; the parent's word, for the recording."""


@frozen(kw_only=True, cache_hash=True)
class Origin:
    """What stood behind a log-in, as its issuer said. For recording and reviews; not for policy."""

    persons: frozenset[str] = frozenset()
    """Ids of the natural persons behind a root that is none itself: who pushed the button."""
    attributes: tuple[tuple[str, str], ...] = ()
    """The run, the pod, the application: whatever tells this log-in from the next."""


@frozen(kw_only=True, cache_hash=True)
class Principal:
    """Who acts: a chain of delegation with its end, as proved at log-in."""

    chain: tuple[Hop, ...] = field(validator=min_len(1))
    """Root first: ``alice``, then the agent she started, then that one's child."""
    nodes: tuple[Node, ...] = field(default=())
    """The delegations that made the hops below the root, in order."""
    session: str
    """The log-in's stable id (``sid``): survives refresh, names what revocation kills."""
    expires: float
    """Seconds since the epoch; live sessions end then."""
    proved: bool = False
    """Whether the caller proved to hold the key that the log-in is bound to."""
    origin: Origin = Origin()

    @nodes.validator
    def _check_nodes(self, _: object, value: tuple[Node, ...]) -> None:
        if len(value) != len(self.chain) - 1:
            raise ValueError("each hop below the root has its node")

    @property
    def lineage(self) -> tuple[str, ...]:
        """The log-in, then each delegation: where one is revoked, this ends; all are charged."""
        return (self.session, *(node.id for node in self.nodes))

    @property
    def root(self) -> Hop:
        """The true initiator."""
        return self.chain[0]

    @property
    def login(self) -> str:
        """The log-in that tells it from others of the same ids; none where a person is the root.

        A person is the same in each log-in. Two runs of one pipeline are not: what one asks for, or
        was granted, is nothing of the other's.
        """
        return "" if self.root.kind == "person" else self.session

    def includes(self, other: Principal) -> bool:
        """Whether another one is the same, or was started by it.

        An agent's delegation counts, not its name: the next of the same name is another one.
        """
        size = len(self.chain)
        return (
            other.login == self.login
            and [hop.id for hop in other.chain[:size]] == [hop.id for hop in self.chain]
            and [node.id for node in other.nodes[: size - 1]] == [node.id for node in self.nodes]
        )

    @property
    def path(self) -> str:
        """The chain for people to read: ``alice / planner``."""
        return " / ".join(hop.name for hop in self.chain)

    @property
    def trail(self) -> str:
        """The path with the beginning of each node: ``alice/planner#46p-LpCB``, for lists."""
        nodes = ("", *(node.id for node in self.nodes))
        return trail_of(zip((hop.name for hop in self.chain), nodes, strict=True))

    @property
    def purposes(self) -> str:
        """What its hops were made for, as their parents said: not verified."""
        return purposes_of(
            (hop.name, node.purpose) for hop, node in zip(self.chain[1:], self.nodes, strict=True)
        )


def purposes_of(hops: Iterable[tuple[str, str]]) -> str:
    """Return names with what they were made for, where that was said."""
    return "; ".join(f"{name}: {purpose}" for name, purpose in hops if purpose)


_NODE_SHOWN: Final = 8
"""Characters of a node's id that tell it from others, for people."""


def trail_of(hops: Iterable[tuple[str, str]]) -> str:
    """Return names, each with the beginning of its node's id if it has one."""
    return "/".join(f"{name}#{node[:_NODE_SHOWN]}" if node else name for name, node in hops)


@frozen(kw_only=True, cache_hash=True)
class Resource:
    """Something inside a target that policy may speak of."""

    type: str
    """Cedar entity type with its namespace: ``Postgres::Table``."""
    id: str
    """Unique in its type: ``orders/public.customers``."""
    parents: tuple[Resource, ...] = ()
    labels: frozenset[str] = frozenset()
    """Classification by the operator: ``pii.email``; readable as ``resource.labels``."""


@frozen(kw_only=True, cache_hash=True)
class Access:
    """One action on one resource; an operation has one or more."""

    action: str
    """Cedar action with its namespace: ``Postgres::Action::"select"`` is ``Postgres::select``."""
    resource: Resource


@frozen(kw_only=True)
class Operation:
    """One thing a principal asks of a target: the unit that is decided, held and recorded."""

    protocol: str
    target: str
    action: str
    """The main action in the target's own words, for people: ``select``, ``exec``."""
    accesses: tuple[Access, ...] = field(validator=min_len(1))
    """All of them must be allowed."""
    text: str = field(repr=False)
    """The exact statement, command or request line. May hold secrets."""
    context: Mapping[str, ContextValue] = field(factory=dict)
    """Attributes for policy, as the protocol's Cedar schema declares them."""
    digest: bytes = field(repr=bytes.hex)
    """What an approval is bound to: `operation_digest` over all that will be sent."""


DIGEST_DOMAIN: Final = b"hoopgw/operation/v1\0"
"""Begins what is hashed, so that the digest means nothing elsewhere."""


def encode_part(name: str, value: bytes) -> bytes:
    """Encode a named byte string; each half is prefixed by its length (8 bytes, big-endian)."""
    encoded = name.encode()
    return len(encoded).to_bytes(8, "big") + encoded + len(value).to_bytes(8, "big") + value


def operation_digest(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Return SHA-256 over a canonical encoding of named byte strings.

    No two different lists encode alike. Who needs it often keeps the state after the parts that do
    not change, and goes on with `encode_part`.
    """
    state = hashlib.sha256(DIGEST_DOMAIN)
    for name, value in parts:
        state.update(encode_part(name, value))
    return state.digest()
