"""Just-in-time grants as the store keeps them, and the seam behind which it does."""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, Protocol, TypeAlias

from attrs import field, frozen

from hoopgw.events import Principal
from hoopgw.grants.held import HeldGrant, Scope

GrantState: TypeAlias = Literal[
    "requested", "active", "denied", "expired", "withdrawn", "consumed", "revoked"
]
GRANT_STATES: Final[tuple[GrantState, ...]] = typing.get_args(GrantState)
ReviewState: TypeAlias = Literal["none", "open", "closed"]


@frozen(kw_only=True)
class GrantRow:
    """A grant, from the asking to its end and what was said of it afterwards."""

    id: str
    """That of the request that people vote on, too."""
    name: str
    """What was asked for, as its template calls it."""
    template: str
    """The template's ``@id``."""
    terms: str
    """Digest of the template's text."""
    principal: Principal
    """Who asked, with the log-in that it asked from."""
    target: str
    scope: Scope
    digest: bytes = field(default=b"", repr=bytes.hex)
    """Of the one operation, if it is for one call."""
    text: bytes = field(default=b"", repr=False)
    """What that operation is, for those who approve."""
    seconds: float
    """For how long it was asked for."""
    reason: str
    extends: str = ""
    """The grant that it goes on from."""
    approvers: frozenset[str]
    """Groups whose members decide on it; who looks at it afterwards, if glass was broken."""
    breakglass: bool = False
    state: GrantState = "requested"
    session: str = ""
    """The gateway session that it is for, once claimed."""
    created: float
    """Seconds since the epoch, as all times here."""
    began: float | None = None
    ends: float | None = None
    """When it ends by itself."""
    ended: float | None = None
    note: str = ""
    """How it was decided or ended, for the requester."""
    review: ReviewState = "none"
    """Whether it has to be looked at afterwards, and was."""
    reviewer: str = ""
    comment: str = ""
    reviewed: float | None = None

    @property
    def is_personal(self) -> bool:
        """Whether a person asked for itself: then it is good for each of its log-ins."""
        return len(self.principal.chain) == 1 and self.principal.root.kind == "person"

    @property
    def held(self) -> HeldGrant:
        """What workers are told of it while it is active."""
        assert self.ends is not None  # it is active
        return HeldGrant(
            id=self.id,
            template=self.template,
            terms=self.terms,
            target=self.target,
            chain=tuple((hop.kind, hop.id) for hop in self.principal.chain),
            nodes=tuple(node.id for node in self.principal.nodes),
            login=self.principal.login,
            scope=self.scope,
            session=self.session,
            digest=self.digest,
            breakglass=self.breakglass,
            until=self.ends,
        )


class GrantStore(Protocol):
    """Grants. Each call raises `UnavailableError`, as the store's."""

    def change(self) -> AbstractContextManager[None]:
        """Begin a transaction. Not inside one of `Store.change`, which covers grants as well."""
        ...

    def find(self, grant: str) -> GrantRow | None:
        """Return a grant; None if there is none, or if its seal does not hold."""
        ...

    def ids(self, states: Collection[GrantState] | None, limit: int) -> Sequence[str]:
        """Return ids of the newest grants in these states, newest first."""
        ...

    def open_reviews(self, limit: int) -> Sequence[str]:
        """Return ids of those that somebody has yet to look at, oldest first."""
        ...

    def count(self, state: GrantState, root: str | None = None, generation: int = 0) -> int:
        """Count the grants in a state: all, or one root's, from a generation of its chains on."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Count grants by state."""
        ...

    def count_unreviewed(self) -> int:
        """Count those that somebody has yet to look at."""
        ...

    def add(self, row: GrantRow) -> None:
        """Keep a new grant."""
        ...

    def move(self, old: GrantRow, new: GrantRow) -> bool:
        """Replace a grant, if it still is what was read; say whether it was."""
        ...
