"""What policy was asked, as records: kept once, named by a digest, and read back exactly.

The same statements are asked again and again by many chains, so the question (accesses, resources,
context) is a record of its own, `DecisionInput`, and each intent only names it. Who asked stands in
the session's `SessionStarted`. Both together, with the time of the decision, are all that goes into
a verdict, so a recorded one can be judged again: `hoopgw.policy.recorded` does.

A worker writes an input before the first record that names it, and again after `AGAIN`, so that
whoever reads a part of a log needs to begin no more than that earlier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from attrs import define, field, frozen

from hoopgw.errors import HoopgwError
from hoopgw.events import Access, Cap, ContextValue, Hop, HopKind, Node, Principal, Resource
from hoopgw.grants.held import HeldGrant, held_from_dict
from hoopgw.recording.records import (
    AccessRecord,
    CapRecord,
    DecisionInput,
    GrantRecord,
    GrantsHeld,
    HopRecord,
    ResourceRecord,
)
from hoopgw.wire_values import attributes_from_dict, attributes_to_dict

ID_SIZE: Final = 16
"""Bytes of a digest that name an input."""
AGAIN: Final = 3600 * 10**9
"""Nanoseconds after which a worker writes an input again."""
INPUTS_LIMIT: Final = 50_000
"""Inputs that a worker knows to be in the log; beyond that it writes some again."""
RESOURCES_LIMIT: Final = 20_000
"""Resources in one input that is read."""
LEVELS_LIMIT: Final = 64
"""Levels of resources in one input that is read; protocols make four or five."""
_DOMAIN: Final = b"hoopgw/input/v1\0"
_KINDS: Final[Mapping[str, HopKind]] = {
    "person": "person",
    "workload": "workload",
    "agent": "agent",
}


class BadInputError(HoopgwError):
    """A record does not hold a question as it was asked; the text says what is wrong with it."""


@frozen
class NotedInput:
    """A question in the form of a record."""

    id: bytes
    accesses: list[AccessRecord] = field(repr=False)
    resources: list[ResourceRecord] = field(repr=False)
    context: dict[str, str | bool | int | list[str]] = field(repr=False)

    @classmethod
    def of(
        cls, accesses: Sequence[Access], context: Mapping[str, ContextValue]
    ) -> NotedInput | None:
        """Return a question's form; None if it has none, and then policy refused it as well."""
        resources: dict[Resource, int] = {}
        rows: list[ResourceRecord] = []
        wanted = [
            AccessRecord(access.action, _place(access.resource, resources, rows))
            for access in accesses
        ]
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in context.items()
        }
        try:
            return cls(_digest(wanted, rows, values), wanted, rows, values)
        except (TypeError, ValueError, OverflowError):
            return None

    def record(self, session: str, sequence: int, at: int) -> DecisionInput:
        """Return the record."""
        return DecisionInput(
            session, sequence, at, self.id, self.accesses, self.resources, self.context
        )


@frozen
class NotedGrants:
    """What somebody held, in the form of a record."""

    id: bytes
    grants: list[GrantRecord] = field(repr=False)

    @classmethod
    def of(cls, held: Sequence[HeldGrant]) -> NotedGrants:
        """Return the form of some grants."""
        rows = [
            GrantRecord(
                grant.id,
                grant.template,
                grant.terms,
                grant.target,
                [list(hop) for hop in grant.chain],
                list(grant.nodes),
                grant.scope,
                grant.session,
                grant.digest,
                grant.breakglass,
                grant.until,
            )
            for grant in held
        ]
        return cls(_digest_of(rows), rows)

    def record(self, session: str, sequence: int, at: int) -> GrantsHeld:
        """Return the record."""
        return GrantsHeld(session, sequence, at, self.id, self.grants)


@define(eq=False)
class InputBook:
    """Knows which inputs a worker has written lately."""

    until: int = 0
    """Nanoseconds since the epoch: when it forgets them all."""
    _written: set[bytes] = field(factory=set, init=False, repr=False)

    def is_written(self, input_id: bytes, now: int) -> bool:
        """Whether an input needs not be written now (nanoseconds since the epoch)."""
        # A clock that was set back must not make it remember for longer.
        if not self.until - AGAIN <= now < self.until:
            self._written.clear()
            self.until = now + AGAIN
        return input_id in self._written

    def wrote(self, input_id: bytes) -> None:
        """Take note that an input is on its way into the log."""
        if len(self._written) >= INPUTS_LIMIT:
            self._written.clear()
        self._written.add(input_id)


def hop_records(principal: Principal) -> list[HopRecord]:
    """Return a chain as it is recorded, each hop below the root with its node."""
    nodes = (None, *principal.nodes)
    return [hop_record(hop, node) for hop, node in zip(principal.chain, nodes, strict=True)]


def hop_record(hop: Hop, node: Node | None = None) -> HopRecord:
    """Return a hop as it is recorded."""
    caps = hop.caps
    return HopRecord(
        hop.id,
        hop.name,
        hop.kind,
        sorted(hop.groups),
        attributes_to_dict(hop.attributes),
        None if caps is None else [CapRecord(cap.target, sorted(cap.actions)) for cap in caps],
        hop.attested,
        hop.isolated,
        "" if node is None else node.id,
        "" if node is None else node.purpose,
    )


def hop_of(record: HopRecord) -> Hop:
    """Return the hop that a record holds.

    Raises:
        BadInputError: it holds none.

    """
    kind = _KINDS.get(record.kind)
    if kind is None:
        raise BadInputError(f"a hop of a kind that does not exist: {record.kind[:40]!r}")
    try:
        caps = record.caps
        return Hop(
            id=record.id,
            name=record.name,
            kind=kind,
            groups=frozenset(record.groups),
            caps=None
            if caps is None
            else tuple(Cap(target=cap.target, actions=frozenset(cap.actions)) for cap in caps),
            attested=record.attested,
            isolated=record.isolated,
            attributes=attributes_from_dict(record.attributes),
        )
    except ValueError as error:
        raise BadInputError(f"a hop that cannot be: {error}") from error


def question_of(record: DecisionInput) -> tuple[tuple[Access, ...], dict[str, ContextValue]]:
    """Return the accesses and the context that a record holds.

    Raises:
        BadInputError: they are not what its id names, or refer to what is not there.

    """
    try:
        if _digest(record.accesses, record.resources, record.context) != record.id:
            raise BadInputError("the input is not the one that its id names")
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"the input cannot be read: {error}") from error
    if len(record.resources) > RESOURCES_LIMIT:
        raise BadInputError(f"more than {RESOURCES_LIMIT} resources")
    made: list[Resource] = []
    levels: list[int] = []
    for row in record.resources:
        if not all(0 <= parent < len(made) for parent in row.parents):
            raise BadInputError("a resource lies in one that is not there")
        levels.append(1 + max((levels[parent] for parent in row.parents), default=0))
        if levels[-1] > LEVELS_LIMIT:  # what is nested is hashed and compared by recursion
            raise BadInputError(f"more than {LEVELS_LIMIT} levels of resources")
        made.append(
            Resource(
                type=row.type,
                id=row.id,
                parents=tuple(made[parent] for parent in row.parents),
                labels=frozenset(row.labels),
            )
        )
    if not record.accesses or not all(0 <= a.resource < len(made) for a in record.accesses):
        raise BadInputError("an access to a resource that is not there")
    return (
        tuple(Access(action=a.action, resource=made[a.resource]) for a in record.accesses),
        {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.context.items()
        },
    )


def grants_of(record: GrantsHeld) -> tuple[HeldGrant, ...]:
    """Return the grants that a record holds.

    Raises:
        BadInputError: they are not what its id names, or cannot be.

    """
    if _digest_of(record.grants) != record.id:
        raise BadInputError("the grants are not those that their id names")
    try:
        return tuple(held_from_dict(msgspec.structs.asdict(row)) for row in record.grants)
    except ValueError as error:
        raise BadInputError(f"a grant that cannot be: {error}") from error


def _place(resource: Resource, known: dict[Resource, int], rows: list[ResourceRecord]) -> int:
    """Return a resource's place in the rows, which it and all above it are added to."""
    found = known.get(resource)
    if found is None:
        parents = [_place(parent, known, rows) for parent in resource.parents]
        found = known[resource] = len(rows)
        rows.append(ResourceRecord(resource.type, resource.id, parents, sorted(resource.labels)))
    return found


def _digest(
    accesses: Sequence[AccessRecord],
    resources: Sequence[ResourceRecord],
    context: Mapping[str, object],
) -> bytes:
    return _digest_of((accesses, resources, sorted(context.items())))


def _digest_of(value: object) -> bytes:
    encoded = msgspec.msgpack.encode(value)
    return hashlib.sha256(_DOMAIN + encoded).digest()[:ID_SIZE]
