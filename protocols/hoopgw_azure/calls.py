"""What one request is, in Azure's own words: the values that the readers of all planes give."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from hoopgw.events import ContextValue, Resource
from hoopgw_azure.kinds import opens_cluster

Query: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values, decoded once, in order."""

Verb: TypeAlias = Literal[
    "connect",
    "read",
    "write",
    "delete",
    "action",
    "plan",
    "grant",
    "mint",
    "execute",
    "poll",
    "unknown",
    "listData",
    "readData",
    "writeData",
    "deleteData",
    "getSecret",
    "useKey",
]
"""An action of the Cedar schema, without its namespace."""


@frozen(kw_only=True)
class Secrets:
    """Where secrets are in an answer. All of them must be masked, or the answer refused."""

    everything: bool = False
    """Every string in it."""
    paths: tuple[str, ...] = ()
    """As in `hoopgw.documents.paths`, from the root of a resource. A list of resources holds them
    under ``value[*]``."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.everything or bool(self.paths)

    def __or__(self, other: Secrets) -> Secrets:
        """Return both."""
        return Secrets(
            everything=self.everything or other.everything,
            paths=tuple(dict.fromkeys((*self.paths, *other.paths))),
        )


NO_SECRETS: Final = Secrets()


@frozen(kw_only=True)
class Touch:
    """One thing that is done to one resource; a call does one or more."""

    verb: Verb
    resource: Resource
    operation: str
    """The RBAC operation, in lower case; ``unknown`` if there is none."""


@frozen(kw_only=True)
class Call:
    """One request, classified."""

    operation: str
    """For people: the main operation as Azure spells it, or as the rule makes it if unknown."""
    touches: tuple[Touch, ...]
    """Each must be allowed."""
    type: str = ""
    """What the answer describes: a resource type in lower case, or a rule's name."""
    api_version: str = ""
    poll: bool = False
    """It has the form of a question after an asynchronous operation. Where the gateway knows the
    operation that it asks after, that one's verdict, identity and masks hold instead."""
    secrets: Secrets = NO_SECRETS
    mints: bool = False
    executes: bool = False
    grants: bool = False
    extra: tuple[tuple[str, ContextValue], ...] = ()
    """More of the context, by name."""
    body: bytes | None = field(default=None, repr=False)
    """What to send instead of the body that came, where that was not plain JSON."""
    listing: str = ""
    """The list that it asks for, without what says which page; empty: all of its path."""
    notes: tuple[str, ...] = ()
    """What a reviewer has to know: what could not be seen, and what is inside."""

    @property
    def opens_cluster(self) -> bool:
        """Whether the answer is the way into a Kubernetes cluster, past the gateway."""
        return any(opens_cluster(touch.operation) for touch in self.touches)
