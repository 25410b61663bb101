"""Held requests that go on without their client: kept, sent once they are approved, asked after.

Who starts a long operation asks after it anyway. So while people think, its client is not kept
waiting: it is told where to ask, and the gateway keeps the request. Once that is approved, it is
judged again, recorded and sent as it would be for a client that waits, and its answer is kept for
whoever asks with the address that was given.

A kept request is a client of its session, and ends with it. What is kept is lost with the process:
then its review is withdrawn, and who asks after it is told so. Nothing is sent twice, as an
approval is used up before.

Several log-ins of one person may ask for the very same: people are asked once, and each log-in
keeps its request. The first that uses the approval is sent; how that one stands is how all stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from hoopgw.errors import LinkError, RecorderError, UnavailableError
from hoopgw.http.errors import MessageError
from hoopgw.http.model import Caller, Plan
from hoopgw.http.passing import Passing
from hoopgw.http.sessions import HttpSession
from hoopgw.http.shelf import Shelf
from hoopgw.http.standing import Poll, Standing, State
from hoopgw.policy.decision import Sights
from hoopgw.sessions.held import USED_CODE, Held
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext

log = Logger()

KEPT_LIMIT: Final = 50
"""Requests of one root that are kept, or whose answers are."""
BYTES_LIMIT: Final = 32 * 2**20
"""Bytes of their bodies."""
KEPT_LIMIT_ALL: Final = 1_000
BYTES_LIMIT_ALL: Final = 128 * 2**20
"""And of all roots of a listener."""
ANSWER_LIMIT: Final = 262_144
"""Bytes of an answer that are kept; a longer one is not."""
ANSWER_KEPT: Final = 900.0
"""Seconds for which an answer waits to be asked for."""
_SEEN: Final = "what may be seen of the answer has changed since it was kept"
_GONE: Final = (
    "nobody waits for it any more, as after a restart of the gateway: its request was withdrawn,"
    " and nothing was done"
)
_DONE: Final = (
    "it was approved and sent, and the gateway does not keep how that ended any more: look at what"
    " it was about before you send it again"
)
_APPROVED: Final = "it was approved, but the gateway was restarted before it was sent"
_FIRST: Final[tuple[State, ...]] = ("answered", "running", "waiting", "refused")
"""Of several that wait for one approval, whose standing is that of all: of which something came."""
_AGAIN: Final = "Send the same again."
_LOST: Final = {
    "approved": (_APPROVED, "Send the same again within minutes: the approval still stands."),
    "consumed": (_DONE, ""),
}
"""What is said of a request that nobody keeps any more, by the state of its review."""


@define(eq=False)
class Kept:
    """One request. Implements `hoopgw.http.sessions.Client`."""

    session: HttpSession
    plan: Plan
    caller: Caller
    held: Held
    shelf: Shelf
    body: bytes | None = field(repr=False)
    standing: Standing
    task: Deferred[None] | None = field(default=None, init=False)
    is_clear: bool = field(default=False, init=False)
    """Whether its answer shows what others do not see."""
    sights: Sights = field(factory=dict, init=False)
    """How its answer is shown."""
    _cut: str = field(default="", init=False)

    @property
    def root(self) -> str:
        """Whose it is."""
        return self.session.principal.root.id

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.body or b"")

    def cut(self, reason: str) -> None:
        """End it: its session is over, or it may not go on."""
        self._cut = self._cut or reason
        if self.task is not None:
            self.task.cancel()

    async def run(self, context: GatewayContext) -> None:
        """Wait for people, send it, and keep its answer. Raises nothing."""
        passing = Passing(
            context=context,
            session=self.session,
            exchange=self.shelf.exchange,
            client=self,
            plan=self.plan,
            caller=self.caller,
            body=self.body,
        )
        try:
            permission = await self.session.decider.granted(self.plan, self.held)
            text = "approved; it is being sent"
            self.standing = evolve(self.standing, state="running", text=text, hint="")
            self.sights = self._sights(context, self.session)
            self.is_clear = await passing.run(permission)
            self._answered()
        except RefusedError as error:
            is_used = error.refusal.detail.get("code") == USED_CODE
            self._refused(error.refusal.text, error.refusal.hint, is_used=is_used)
        except CancelledError:
            self._refused(self._cut or "the gateway gave it up")
        except (LinkError, UnavailableError, RecorderError, MessageError) as error:
            self._refused(str(error))
        except Exception:  # a mistake of ours: who asks must be told that it is over
            log.failure("a request that was kept could not go on")
            self._refused("the gateway could not go on")
        finally:
            self.body = None

    def shows(self, context: GatewayContext, session: HttpSession) -> bool:
        """Say whether a session may see now what its answer shows."""
        return not self.is_clear or self._sights(context, session) == self.sights

    def _sights(self, context: GatewayContext, session: HttpSession) -> Sights:
        fields = self.plan.fields
        return context.policy.sights(session.principal, fields, session.id) if fields else {}

    def _answered(self) -> None:
        self.standing = evolve(
            self.standing,
            state="answered",
            text="",
            answer=self.shelf.response,
            is_whole=self.shelf.is_whole,
        )

    def _refused(self, text: str, hint: str = "", *, is_used: bool = False) -> None:
        """Take note why there is no answer."""
        outcome = self.held.outcome
        if is_used:
            how = "failed"  # the same was sent for somebody else who asked for it
        elif self.standing.state == "running":
            # Whether the target has done it, nobody here can say.
            text, how = f"it was approved and sent, and then: {text}", "failed"
        else:
            how = "withdrawn" if outcome is None else outcome.outcome
            how = "denied" if how == "approved" else how  # it was not allowed any more
        self.standing = evolve(self.standing, state="refused", text=text, hint=hint, outcome=how)


@define(eq=False)
class Lasting:
    """The requests that one listener keeps.

    Args:
        context: of the gateway.

    """

    _context: GatewayContext
    _kept: dict[str, list[Kept]] = field(factory=dict, init=False)
    """By the review's id; one of each session that waits for it."""
    _bytes: Counter[str] = field(factory=Counter, init=False)
    """Of bodies, by root."""

    def __attrs_post_init__(self) -> None:
        self._context.elsewhere.serve(self._told)

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    @property
    def worker(self) -> str:
        """That keeps them."""
        return self._context.elsewhere.worker

    def keep(
        self, session: HttpSession, plan: Plan, body: bytes | None, caller: Caller, held: Held
    ) -> Standing | None:
        """Keep a request that waits for people, or join the same one; None: too much is kept.

        Raises:
            RefusedError: the session stores too much at the moment.

        """
        request, size = held.pending.request, len(body or b"")
        for found in self._kept.get(request, ()):
            if found.held is held:
                return found.standing
        if not self._has_room(session.principal.root.id, size):
            return None
        session.store(size)
        standing = Standing(
            request=request,
            state="waiting",
            method=plan.send.method,
            target=plan.send.target,
            text=held.standing,
            hint=f"To approve: hoopgw requests approve {request}.",
        )
        shelf = Shelf(plan.send, session.clock, ANSWER_LIMIT)
        kept = Kept(session, plan, caller, held, shelf, body, standing)
        held.kept = True
        self._kept.setdefault(request, []).append(kept)
        self._bytes[kept.root] += size
        session.join(kept)
        kept.task = Deferred.fromCoroutine(kept.run(self._context))
        kept.task.addBoth(self._over, request, kept, size)
        return standing

    async def find(self, poll: Poll, session: HttpSession) -> Standing:
        """Say how a request stands, which may be kept by another worker.

        Args:
            poll: what is asked.
            session: of who asks.

        Raises:
            RefusedError: nobody can say it just now, or not to this session.

        """
        kept = self._of(poll.request)
        if kept is not None:
            if not kept.shows(self._context, session):
                raise RefusedError(Refusal(kind="withheld", text=_SEEN, request=poll.request))
            return kept.standing
        try:
            told = await self._context.elsewhere.ask(poll.worker, poll.request)
            if "standing" in told:
                return Standing.of(told["standing"])
            return self._lost(poll.request, str(told["state"]), str(told["note"]))
        except (UnavailableError, KeyError, TypeError, ValueError) as error:
            text = f"how the request stands cannot be said now: {error}"
            refusal = Refusal(kind="unavailable", text=text, retry_after=5)
            raise RefusedError(refusal) from error

    def _of(self, request: str) -> Kept | None:
        """Return the one that says how a request stands: that was sent, or still waits."""

        def order(each: Kept) -> tuple[int, bool]:
            standing = each.standing
            return _FIRST.index(standing.state), standing.outcome != "failed"

        return min(self._kept.get(request, ()), key=order, default=None)

    def _all(self) -> Iterator[Kept]:
        for kept in self._kept.values():
            yield from kept

    def _told(self, request: str) -> Mapping[str, Any] | None:
        """Tell another worker how a request stands, if it is kept here."""
        kept = self._of(request)
        if kept is None:
            return None
        if kept.is_clear and kept.standing.answer is not None:  # it stays in this process
            raise UnavailableError("another worker of the gateway keeps the answer; ask again")
        return kept.standing.to_body()

    def _lost(self, request: str, state: str, note: str) -> Standing:
        """Return how a request stands that no worker keeps."""
        text, hint = _LOST.get(state, (_GONE, _AGAIN))
        outcome = "failed" if state == "consumed" else "withdrawn"
        if state in ("denied", "expired"):
            text, hint, outcome = note, "", state
        return Standing(request=request, state="refused", text=text, hint=hint, outcome=outcome)

    def _has_room(self, root: str, size: int) -> bool:
        """Say whether one more can be kept; an answer that was there for a while gives way."""
        mine = [each for each in self._all() if each.root == root]
        if len(mine) >= KEPT_LIMIT:
            done = next((each for each in mine if each.task is None), None)
            if done is None:
                return False
            self._forget(done.standing.request, done)
        return (
            len(self) < KEPT_LIMIT_ALL
            and self._bytes[root] + size <= BYTES_LIMIT
            and self._bytes.total() + size <= BYTES_LIMIT_ALL
        )

    def _over(self, _result: object, request: str, kept: Kept, size: int) -> None:
        """Take note that a request came to its end; its answer waits for a while."""
        kept.task = None
        kept.session.stored -= size
        self._bytes[kept.root] -= size
        if not self._bytes[kept.root]:
            del self._bytes[kept.root]
        kept.session.leave(kept)
        self._context.clock.callLater(ANSWER_KEPT, self._forget, request, kept)

    def _forget(self, request: str, kept: Kept) -> None:
        left = [each for each in self._kept.get(request, ()) if each is not kept]
        if left:
            self._kept[request] = left
        else:
            self._kept.pop(request, None)
