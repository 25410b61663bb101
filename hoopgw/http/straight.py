"""The straight way of a request that is like an earlier one, and is plainly allowed.

Programs ask the same of a target again and again. What such a request is (`Model.plan`), and what
policy said of it, was worked out before: where nothing that this followed from has changed, the
request is recorded and sent at once, without a coroutine, and if its answer comes in one piece,
that goes on in one piece, too. Whatever is not so simple is left to the usual way (`gateway`):
before anything was done, or with the call as it stands.

What a request's plan and verdict follow from, and where each is looked at for every request:

- its target and fields, but for those that no model looks at (`Model.unread`), the session, and
  with that the principal, the account and the target's settings: they are the key;
- the proof: the connection has shown the same one before, it has not ended, and the session lives
  (so it was not cut by a revocation or an end). Else it is verified anew;
- policy, what is granted, and the time if policy reads it: `Policy.epoch`;
- the key of masks and seals, that may be renewed;
- budgets, and targets whose intents must be on disk first: they never go this way.

Nothing is kept for longer than `KEPT_FOR`, and no verdict but one that allows, by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen
from twisted.logger import Logger

from hoopgw.errors import DocumentError, RecorderError
from hoopgw.http.answering import kept_head, outcome_of
from hoopgw.http.asking import bodyless
from hoopgw.http.client import Call
from hoopgw.http.exchange import Exchange
from hoopgw.http.looking import WHOLE, at_once
from hoopgw.http.messages import Pair, RequestHead
from hoopgw.http.model import Caller, Plan
from hoopgw.http.pool import Pool
from hoopgw.http.server import ServerConnection
from hoopgw.http.sessions import Client, HttpSession, Running
from hoopgw.policy.cache import Recent
from hoopgw.policy.decision import Allow, Verdict
from hoopgw.sessions.deciding import Permission
from hoopgw.sessions.journal import OUTPUT_LIMIT, IntentForm
from hoopgw.sessions.refusals import RefusedError
from hoopgw.spi import GatewayContext

log = Logger()

KEPT_FOR: Final = 30.0
"""Seconds after which what was worked out is worked out anew."""
KEPT: Final = 16 * 2**20
"""Bytes of what is kept for requests of all sessions together, roughly."""
SEEN: Final = 10_000
"""Requests that are known to have been asked, so that the like of them is kept."""
HEAD_LIMIT: Final = 8_192
"""Bytes of a head that is worth keeping."""
_OVERHEAD: Final = 2_048
"""Bytes of the objects around what is kept."""

_Key: TypeAlias = tuple[str, str, tuple[Pair, ...]]


@frozen
class Proved:
    """What a connection has shown last, and whose session that is."""

    hosts: tuple[bytes, ...]
    proofs: tuple[bytes, ...] = field(repr=False)
    until: float
    """When it must be verified anew; by the worker's clock."""
    session: HttpSession


@frozen(kw_only=True)
class Like:
    """What is known of all requests that are alike."""

    plan: Plan
    verdict: Verdict
    caller: Caller
    seals: bytes = field(repr=False)
    """The key that the caller's seal was made with."""
    epoch: str
    until: float
    sent: bytes = field(repr=False)
    """What goes to the target."""
    form: IntentForm
    max_items: int | None

    @property
    def weight(self) -> int:
        """Bytes, roughly."""
        return _OVERHEAD + 3 * len(self.sent) + len(self.plan.operation.text) + len(self.form.tail)


@define(eq=False)
class Straight:
    """One request on the straight way."""

    _connection: ServerConnection
    _session: HttpSession
    _exchange: Exchange
    _like: Like
    _call: Call
    _intent: int
    _usually: Callable[[Straight], Coroutine[Any, Any, None]]
    """Goes on in the usual way."""
    started: int = field(factory=time.time_ns)
    """Nanoseconds since the epoch."""
    _over: bool = field(default=False, init=False)

    @property
    def session(self) -> HttpSession:
        """Whose request it is."""
        return self._session

    @property
    def exchange(self) -> Exchange:
        """The client's request."""
        return self._exchange

    @property
    def plan(self) -> Plan:
        """What the request is."""
        return self._like.plan

    @property
    def caller(self) -> Caller:
        """On whose behalf."""
        return self._like.caller

    @property
    def call(self) -> Call:
        """The request to the target."""
        return self._call

    @property
    def permission(self) -> Permission:
        """What allows it."""
        return Permission(verdict=self._like.verdict, intent=self._intent)

    def cancel(self) -> None:
        """Give it up: the client is gone."""
        if not self._over:
            self._end("LOST: the client left")
            self._call.close()

    def answered(self) -> None:
        """Show the answer, or leave that to the usual way."""
        try:
            if not self._answer():
                self._over = True
                self._call.on_answer = None
                self._connection.go_on(self._exchange, self._usually(self))
        except RecorderError:  # what came out cannot be noted: the client sees that it ended
            self._connection.data_transport.abortConnection()
        except Exception:  # a mistake of ours: nobody may wait for ever by it
            log.failure("a request could not go on")
            self._connection.data_transport.abortConnection()

    def _answer(self) -> bool:
        """Show an answer that is here; false, and nothing is done, if that is not so simple."""
        call, head = self._call, self._call.head
        if head is None or call.error is not None or call.tunnel is not None:
            return False
        like, session = self._like, self._session
        try:
            shown = session.site.model.show(like.plan, head, {}, like.caller, like.max_items)
        except RefusedError:
            return False
        body = call.whole_body(WHOLE)
        if body is None or shown.listing is not None:
            return False
        if shown.transform is not None and b"content-encoding" in head.headers:
            return False  # what is small may become large: the usual way takes turns
        try:
            answer, body = at_once(shown, body)
        except (RefusedError, DocumentError):
            return False
        masked = 0 if shown.transform is None else shown.transform.masked
        call.end()
        self._connection.answer_whole(self._exchange, answer, body)
        output = kept_head(answer) + body
        self._end(outcome_of(head.status), masked, len(body), output[:OUTPUT_LIMIT])
        self._connection.finished(self._exchange)
        return True

    def _end(self, outcome: str, masked: int = 0, sent: int = 0, output: bytes = b"") -> None:
        self._over = True
        self._call.on_answer = None
        self._session.running.pop(self._intent, None)
        journal = self._session.journal
        journal.came_out(self._intent, self.started, outcome, masked, sent, output)


@define(eq=False)
class Ways:
    """What is kept for the requests of one listener."""

    _context: GatewayContext
    _pool: Pool
    _usually: Callable[[Straight], Coroutine[Any, Any, None]]
    _likes: Recent[_Key, Like] = field(factory=lambda: Recent(KEPT), init=False, repr=False)
    _seen: Recent[int, bool] = field(factory=lambda: Recent(SEEN), init=False, repr=False)
    """Hashes of what was asked."""

    def begin(
        self, connection: ServerConnection, client: Client, exchange: Exchange, proved: Proved
    ) -> Straight | None:
        """Send a request that is like an earlier one; None, and nothing is done, if it is not.

        Args:
            connection: the client's.
            client: the same, for the session.
            exchange: the request.
            proved: what the connection has shown.

        """
        head, session = exchange.head, proved.session
        if not exchange.body.ended or head.method != "GET" or session.over:
            return None
        by_name = head.headers.by_name
        if by_name.get(b"authorization") != proved.proofs or by_name.get(b"host") != proved.hosts:
            return None
        like = self._find(session, head, proved.until)
        if like is None:
            return None
        upstream = self._pool.take_free(session.pooled)
        if upstream is None:
            return None
        try:
            intent = session.journal.intent_like(like.form)
        except RecorderError:
            intent = None  # the usual way tells the client
        if intent is None:
            self._pool.give_back(upstream)
            return None
        call = upstream.ask(head.method, like.sent)
        way = Straight(connection, session, exchange, like, call, intent, self._usually)
        session.running[intent] = Running(like.plan, client, {}, once=False)
        call.on_answer = way.answered
        return way

    def learn(
        self,
        session: HttpSession,
        head: RequestHead,
        plan: Plan,
        permission: Permission,
        epoch: str,
    ) -> None:
        """Keep what was worked out for a request, if the like of it may go straight.

        Args:
            session: whose request it is.
            head: as it came; it has no body.
            plan: what it is.
            permission: what allowed it.
            epoch: of policy, before that was asked.

        """
        verdict = permission.verdict
        if not _is_plain(session, head, plan, permission) or self._context.policy.epoch != epoch:
            return
        key = _key(session, head)
        size = len(head.target) + sum(len(name) + len(value) for name, value in key[2])
        if size > HEAD_LIMIT or not self._was_seen(key):
            return
        form = session.journal.form(plan, verdict)
        if form is None:
            return
        seals = self._context.mask_key()
        like = Like(
            plan=plan,
            verdict=verdict,
            caller=session.caller(seals, head.host),
            seals=seals,
            epoch=epoch,
            until=self._context.clock.seconds() + KEPT_FOR,
            sent=bodyless(session.with_host(plan.send)),
            form=form,
            max_items=verdict.decision.max_rows if isinstance(verdict.decision, Allow) else 0,
        )
        self._likes.put(key, like, like.weight)

    def _was_seen(self, key: _Key) -> bool:
        """Say whether the like was asked before: what is asked once is not worth keeping."""
        mark = hash(key)
        if self._seen.get(mark) is not None:
            return True
        self._seen.put(mark, True)
        return False

    def _find(self, session: HttpSession, head: RequestHead, until: float) -> Like | None:
        key = _key(session, head)
        like = self._likes.get(key)
        if like is None:
            return None
        now, context = self._context.clock.seconds(), self._context
        if now >= until:
            return None
        if (
            like.until <= now
            or like.epoch != context.policy.epoch
            or like.seals != context.mask_key()
        ):
            self._likes.drop(key)
            return None
        return like


def _key(session: HttpSession, head: RequestHead) -> _Key:
    return session.id, head.target, head.headers.besides(session.uncompared)


def _is_plain(session: HttpSession, head: RequestHead, plan: Plan, permission: Permission) -> bool:
    """Say whether a request has nothing that must be done for each of its like."""
    verdict = permission.verdict
    return (
        head.method == "GET"
        and head.version == "1.1"
        and isinstance(verdict.decision, Allow)
        and not (permission.once or verdict.held or verdict.grants or verdict.strict)
        and not (plan.fields or plan.body or plan.kept)
        and session.purse is None
        and not session.decider.strict
    )
