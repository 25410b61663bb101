"""What a protocol on HTTPS tells the gateway leg: how requests are read, and answers shown.

`hoopgw.http.gateway` knows who asks, decides, holds, records and carries bytes. A model knows what
a request means in its target's own terms: which operations it is, what of its answer is secret,
what a refusal looks like to the client. A model is pure: it has no clock, connection or log, and
works on values of `hoopgw.http.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import field, frozen

from hoopgw.events import Operation, Resource
from hoopgw.http.intake import Buffer
from hoopgw.http.messages import RequestHead, Response, ResponseHead
from hoopgw.policy.decision import Sights

if TYPE_CHECKING:
    from hoopgw.http.standing import Onward, Poll, Standing
from hoopgw.sessions.purses import Listing
from hoopgw.sessions.refusals import Refusal, RefusalKind, RefusedError

STATUSES: Final[Mapping[RefusalKind, int]] = {
    "unauthenticated": 401,
    "denied": 403,
    "held": 403,
    "malformed": 400,
    "too_large": 413,
    "unavailable": 503,
    "withheld": 502,
}
"""What a refusal is to HTTP, where nothing says it better."""


def status_of(refusal: Refusal) -> int:
    """Return the status that a refusal is answered with."""
    return refusal.status or STATUSES[refusal.kind]


class ExceededError(RefusedError):
    """An answer holds more than may be shown."""

    def __init__(self, text: str, hint: str = "", detail: Mapping[str, Any] | None = None) -> None:
        hint = hint or "Ask for less at a time: a narrower scope or filter, a smaller page, a part."
        super().__init__(Refusal(kind="denied", text=text, hint=hint, detail=detail or {}))


ITEMS: Final = "items"
"""What `Transform.counts` calls the items of lists."""


class Transform(Protocol):
    """Changes a body as it streams. One for each answer."""

    @property
    def masked(self) -> int:
        """Values that were masked so far."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """How much of what is limited is in what was given so far: `ITEMS`."""
        ...

    def receive_data(self, data: bytes) -> None:
        """Take a piece of the body."""
        ...

    def receive_end(self) -> None:
        """Take note that the body is whole."""
        ...

    def next_piece(self) -> bytes | None:
        """Give what can be shown by now, or None; a call takes at most some 10 ms.

        Raises:
            RefusedError: the body cannot be shown; what was shown before is cut short.

        """
        ...


class Lookout(Protocol):
    """Looks at a body for what a transform might change. One for each answer."""

    def is_clear(self, data: Buffer) -> bool:
        """Take the next piece; say whether nothing up to its end needs the transform.

        Once it says no, it is not asked again.
        """
        ...

    def undecided(self, data: Buffer) -> int:
        """Return how many of the last bytes may need the transform with what follows them.

        Args:
            data: what came last, and was not passed on.

        """
        ...


@frozen
class Shown:
    """How an answer is shown."""

    head: ResponseHead
    """For the client: links rewritten, and without what is not the client's."""
    transform: Transform | None = None
    """None: the body is passed as it is."""
    listing: Listing | None = None
    """The list that the answer is a page of, if so much of it may be shown and no more."""
    lookout: Lookout | None = None
    """What tells whether the transform is needed, which is then given all from the beginning; None:
    it always is."""
    untouched: ResponseHead | None = None
    """Instead of ``head``, where all of the body is known, and the transform changes nothing."""


@frozen(kw_only=True)
class Plan:
    """What a request is."""

    operation: Operation
    """Its digest is over all that is sent, so a body that is a part of it was collected."""
    send: RequestHead
    """To the target, without credentials, host and framing: the agent and the codec add them."""
    body: bytes | None = field(default=None, repr=False)
    """To send instead of the one that came; None: the one that came."""
    kept: bytes = field(default=b"", repr=False)
    """What the recording keeps of the body: without secrets."""
    fields: tuple[Resource, ...] = ()
    """What of the answer policy is asked about: see `Model.show`."""
    model: Any = None
    """The model's own, for `Model.show`."""
    follows: bool = False
    """Whether the answer goes on for as long as the client wants, with any pause: a watch."""

    @property
    def shown(self) -> Operation:
        """The operation, as people are shown it who are asked about it."""
        return self.operation


class Model(Protocol):
    """Reads the requests to one target. One for each target of a worker."""

    @property
    def unread(self) -> frozenset[bytes]:
        """Names of fields, in lower case, that `plan` does not look at and the target never gets.

        Two requests that differ in these alone have the same plan, and verdict.
        """
        ...

    def collects(self, head: RequestHead) -> int:
        """Return how many bytes of body must be there before a request can be read; 0: none.

        Raises:
            RefusedError: it cannot be taken, whatever its body is.

        """
        ...

    def plan(self, head: RequestHead, body: bytes | None, caller: Caller) -> Plan:
        """Read a request.

        Args:
            head: as it came.
            body: the whole of it, where `collects` asked for that or the request is to be held;
                else None, and it will be streamed.
            caller: on whose behalf.

        Raises:
            RefusedError: it cannot be taken.

        """
        ...

    def show(
        self,
        plan: Plan,
        head: ResponseHead,
        sights: Sights,
        caller: Caller,
        max_items: int | None = None,
        *,
        counted: bool = False,
    ) -> Shown:
        """Say how an answer is shown.

        What is masked follows from the request, never from what the answer says of itself.

        Args:
            plan: of the request.
            head: of the answer.
            sights: how policy shows each of ``plan.fields``.
            caller: on whose behalf.
            max_items: how many items of a list policy allows; None: any number.
            counted: whether a budget pays for items: then they are counted where that can be.

        Raises:
            RefusedError: it may not be shown.
            ExceededError: because it is too much.

        """
        ...

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal in the target's own terms; no head: the request was not read."""
        ...

    def lasts(self, plan: Plan) -> bool:
        """Whether a request's clients take an answer that names where to ask how it stands."""
        ...

    def begun(self, plan: Plan, standing: Standing, worker: str, caller: Caller) -> Response:
        """Return the answer to such a request while it waits for people.

        Args:
            plan: of the request.
            standing: how it stands.
            worker: that keeps it.
            caller: on whose behalf.

        """
        ...

    def follow(self, head: RequestHead, caller: Caller) -> Poll | None:
        """Return what a request asks after, if it does; see `begun`.

        Raises:
            RefusedError: the address is not this caller's.

        """
        ...

    def stands(
        self, poll: Poll, standing: Standing, head: RequestHead, caller: Caller
    ) -> Response | Onward:
        """Say how a request stands, or where the target itself says it."""
        ...


@frozen(kw_only=True)
class Caller:
    """What a model may know of who asks."""

    account: str
    """On the target."""
    chain: tuple[str, ...]
    """Ids of the hops, root first: a part of every digest."""
    session: str
    authority: str
    """Name and port by which the client reached us, for links: ``arm.gw.example:9443``."""
    seal: bytes = field(repr=False)
    """32 bytes, the same for all of a principal's requests to a target: for what the model gives to
    the client and must know again, as a link to an operation's state."""
