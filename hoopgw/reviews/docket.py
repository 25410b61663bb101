"""The docket: requests for approval, and every way they move.

Each move is one transaction of the store, and one guarded change in it, so racing callers (in one
process or several) cannot both win. An approval is for one digest and one use, and for minutes.
What time does to a request is done by `expire`, but nothing relies on that being called: `vote`
and `consume` look at the clock themselves.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, evolve, field, frozen

from hoopgw.errors import HoopgwError, UnavailableError
from hoopgw.events import ContextValue, Principal
from hoopgw.identity.shares import SharedRate, generation_of, has_already, shares
from hoopgw.policy.decision import Remedy
from hoopgw.reviews.rules import groups_asked, is_enough, is_own, objection
from hoopgw.store.coding import compact, remedies_to_list
from hoopgw.store.rows import OPEN_STATES, Change, Request, State, Store, Vote

USABLE: Final = 300.0
"""Seconds that an approval waits to be used."""
TEXT_LIMIT: Final = 256 * 1024
"""Bytes of an operation that can be put before people."""
WORDS_LIMIT: Final = 2_000
"""Characters of a reason or a comment."""
WAITING_LIMIT: Final = 5_000
"""Requests that may wait for people at one time, in all."""
WAITING_LIMIT_ROOT: Final = 50
"""And for one root: an agent that asks and asks must not bury the approvers, nor keep out who it
descends from (`hoopgw.identity.shares`)."""
_FILED_BURST: Final = 500.0
_FILED_PER_SECOND: Final = 1.0
"""New requests of one root: nor must it fill the store by asking and withdrawing."""
DUE_LIMIT: Final = 200
"""Requests that one call of `expire` moves."""


class VoteRefusedError(HoopgwError):
    """Someone may not do this to a request, or no longer. The text says why, to the person."""


class NoRequestError(VoteRefusedError):
    """There is no such request."""


class TooLateError(VoteRefusedError):
    """The request is not waiting any more, or has what was to be given."""


@frozen(kw_only=True)
class Ask:
    """What a data worker asks people about."""

    principal: Principal
    session: str
    protocol: str
    target: str
    action: str
    text: bytes = field(repr=False)
    digest: bytes = field(repr=bytes.hex)
    context: Mapping[str, ContextValue] = field(factory=dict)
    remedies: tuple[Remedy, ...]
    reason: str = ""
    again: bool = False
    """Whether who asks may have been told to come again: then what was approved meanwhile, and not
    used, is joined too."""
    prefix: str = "r"
    """Begins the request's id: ``r`` for an operation that is held, ``g`` for a grant."""


Settled = Callable[[Request, tuple[Vote, ...]], None]
"""Told of each request that people, time or its waiter brought out of ``requested``."""


@define(eq=False)
class Docket:
    """All requests."""

    _store: Store
    _now: Callable[[], float]
    """Seconds since the epoch."""
    _on_settled: Settled = lambda _request, _votes: None
    _rate: SharedRate = field(
        factory=lambda: SharedRate(_FILED_BURST, _FILED_PER_SECOND), init=False
    )
    _used: dict[str, float] = field(factory=dict, init=False)
    """Approvals that were seen used, to when they would have ended: a store that was put back to
    an earlier state cannot bring them back while this process lives."""

    def file(self, ask: Ask, also: Callable[[Request], None] = lambda _filed: None) -> Request:
        """File a request, or join the one for the very same operation.

        That one waits for people; or it was approved, is not used, and who asks came again.

        Args:
            ask: what is asked.
            also: done in the same transaction with a new request, not with one that was joined.

        Raises:
            UnavailableError: it cannot be put before people.

        """
        now = self._now()
        if len(ask.text) > TEXT_LIMIT:
            raise UnavailableError(
                f"an operation of more than {TEXT_LIMIT} bytes cannot be reviewed"
            )
        if not ask.remedies or len(ask.digest) != hashlib.sha256().digest_size:
            raise UnavailableError("a review needs a remedy and a digest")
        key = join_key(ask)
        with self._store.change() as change:
            found = change.waiting(key)
            if found is not None and found.expires > now:
                return found
            if found is not None:
                self._time_out(change, found, now)
            if ask.again and (approved := change.usable(key, now)) is not None:
                return approved
            request = self._new(ask, key, now)
            self._check_room(change, ask.principal)
            change.add_request(request)
            also(request)
        if found is not None:
            self._tell(found.id)
        return request

    def vote(self, request: str, voter: Principal, *, approve: bool, comment: str = "") -> Request:
        """Take a person's vote, and return the request as it then stands.

        Raises:
            VoteRefusedError: the person may not vote so, or it is too late.

        """
        now = self._now()
        with self._store.change() as change:
            old = _existing(change, request)
            if refused := objection(old, voter, approve=approve):
                raise VoteRefusedError(refused)
            if late := self._too_late(old, now):
                raise TooLateError(late)
            earlier = {vote.person: vote for vote in change.votes(request)}.get(voter.root.id)
            if approve and earlier is not None:
                raise TooLateError("this person has voted on it already")
            change.put_vote(
                Vote(
                    request=request,
                    person=voter.root.id,
                    name=voter.root.name,
                    groups=voter.root.groups,
                    approve=approve,
                    comment=words(comment),
                    at=now,
                )
            )
            moved = self._after_vote(change, old, voter, words(comment), approve=approve, now=now)
        if moved.state != "requested":
            self._tell(request)
        return moved

    def give_reason(self, request: str, principal: Principal, reason: str) -> Request:
        """Add the requester's reason, once, before anybody has voted.

        Raises:
            VoteRefusedError: it is not for this principal to give, or too late.

        """
        now = self._now()
        with self._store.change() as change:
            old = _existing(change, request)
            if not is_own(old, principal):
                raise VoteRefusedError("only who asked can say why")
            if late := self._too_late(old, now):
                raise TooLateError(late)
            if old.reason or change.votes(request):
                raise TooLateError("there is a reason, or a vote, already")
            new = evolve(old, reason=words(reason))
            return self._moved(change, old, new)

    def withdraw(self, request: str, note: str) -> bool:
        """End a request because nobody waits for it; say whether it was waiting."""
        with self._store.change() as change:
            old = change.request(request)
            if old is None or old.state != "requested":
                return False
            self._settle(change, old, "withdrawn", note)
        self._tell(request)
        return True

    def withdraw_lineage(self, node: str, note: str) -> int:
        """End all that a log-in or a delegation asked, and what descends from it; say how many.

        What was approved and not used yet ends too.
        """
        ended = []
        for request in self._store.open_below(node):
            with self._store.change() as change:
                old = change.request(request)
                if old is not None and old.state in OPEN_STATES:
                    self._settle(change, old, "withdrawn", note)
                    ended.append(old)
        for old in ended:
            if old.state == "requested":
                self._tell(old.id)
        return len(ended)

    def withdraw_own(self, request: str, principal: Principal) -> Request:
        """End a request because who asked does not want it any more.

        Raises:
            VoteRefusedError: it is not this principal's, or it is too late.

        """
        with self._store.change() as change:
            old = _existing(change, request)
            if not is_own(old, principal):
                raise VoteRefusedError("only who asked can withdraw it")
            if late := self._too_late(old, self._now()):
                raise TooLateError(late)
            new = self._settle(change, old, "withdrawn", f"withdrawn by {principal.path}")
        self._tell(request)
        return new

    def consume(self, request: str, digest: bytes, also: Callable[[], None] = lambda: None) -> bool:
        """Use an approval: true exactly once, and only for what was approved.

        Args:
            request: the one.
            digest: of what is about to be done.
            also: done in the same transaction, if the approval is used.

        """
        now = self._now()
        if request in self._used:
            return False
        with self._store.change() as change:
            old = change.request(request)
            if old is None or old.state != "approved" or old.usable_until is None:
                return False
            if now >= old.usable_until or now >= old.principal.expires:
                return False
            if not hmac.compare_digest(old.digest, digest):
                return False
            if self._store.is_revoked(old.principal.lineage):
                return False
            if not is_enough(old, change.votes(request)):
                return False
            if not change.replace(old, evolve(old, state="consumed")):
                return False
            also()
        self._used[request] = old.usable_until
        return True

    def expire(self) -> None:
        """Move on what time has ended, and forget what it has made harmless."""
        now = self._now()
        self._used = {key: end for key, end in self._used.items() if end > now}
        for request in self._store.due(now, DUE_LIMIT):
            with self._store.change() as change:
                old = change.request(request)
                if old is None:
                    change.set_aside(request)
                    continue
                waited = old.state == "requested"
                expired = self._time_out(change, old, now)
            if waited and expired:
                self._tell(request)

    def _new(self, ask: Ask, key: bytes, now: float) -> Request:
        patience = min(remedy.patience for remedy in ask.remedies)
        return Request(
            id=f"{ask.prefix}-{secrets.token_hex(8)}",
            join_key=key,
            principal=ask.principal,
            session=ask.session,
            protocol=ask.protocol,
            target=ask.target,
            action=ask.action,
            text=ask.text,
            digest=ask.digest,
            context=ask.context,
            remedies=ask.remedies,
            reason=words(ask.reason),
            created=now,
            expires=min(now + patience, ask.principal.expires),
        )

    def _check_room(self, change: Change, principal: Principal) -> None:
        root = principal.root
        for generation, limit in enumerate(shares(WAITING_LIMIT_ROOT, generation_of(principal))):
            if change.count_waiting(root.id, generation) >= limit:
                text = has_already(root.name, WAITING_LIMIT_ROOT, generation, "requests waiting")
                raise UnavailableError(text)
        if change.count_waiting() >= WAITING_LIMIT:
            raise UnavailableError("too many requests wait for approval already")
        if not self._rate.charge(root.id, principal, 1.0, self._now()):
            raise UnavailableError(f"{principal.root.name} asks too often; try again in a minute")

    def _after_vote(
        self,
        change: Change,
        old: Request,
        voter: Principal,
        comment: str,
        *,
        approve: bool,
        now: float,
    ) -> Request:
        said = f": {comment}" if comment else ""
        if not approve:
            return self._settle(change, old, "denied", f"denied by {voter.root.name}{said}")
        votes = change.votes(old.id)
        if not is_enough(old, votes):
            return old
        names = ", ".join(vote.name for vote in votes)
        new = self._settled(old, "approved", f"approved by {names}", now)
        return self._moved(change, old, evolve(new, usable_until=now + USABLE))

    def _too_late(self, request: Request, now: float) -> str | None:
        """Say why nobody can act on a request any more, or None."""
        state = request.state
        if state == "requested" and request.expires > now:
            return None
        return f"it is {'expired' if state == 'requested' else state} already"

    def _time_out(self, change: Change, old: Request, now: float) -> bool:
        end = old.expires if old.state == "requested" else old.usable_until
        if old.state not in ("requested", "approved") or end is None or end > now:
            return False
        groups = ", ".join(groups_asked(old.remedies))
        note = (
            f"nobody of {groups} answered in {old.expires - old.created:.0f} s"
            if old.state == "requested"
            else f"{old.note}, but not used in time"
        )
        self._settle(change, old, "expired", note)
        return True

    def _settle(self, change: Change, old: Request, state: State, note: str) -> Request:
        return self._moved(change, old, self._settled(old, state, note, self._now()))

    def _settled(self, old: Request, state: State, note: str, now: float) -> Request:
        return evolve(old, state=state, note=words(note), settled=now)

    def _moved(self, change: Change, old: Request, new: Request) -> Request:
        if not change.replace(old, new):
            raise UnavailableError("the request changed meanwhile: look at it again")
        return new

    def _tell(self, request: str) -> None:
        """Tell after the transaction: who is told may act on it at once."""
        settled = self._store.request(request)
        if settled is not None:
            self._on_settled(settled, tuple(self._store.votes(request)))


def join_key(ask: Ask) -> bytes:
    """Return what is the same exactly for the same operation, asked by the same chain.

    What policy asks is in it: after a policy got stricter, nothing joins a request that was filed
    under the old one. So are a workload's log-in and the persons behind it: another run of a job is
    another one, and who set that off could approve it as the first one's.
    """
    values = [
        [hop.id for hop in ask.principal.chain],
        [node.id for node in ask.principal.nodes],
        ask.principal.login,
        sorted(ask.principal.origin.persons),
        ask.target,
        ask.digest.hex(),
        remedies_to_list(ask.remedies),
    ]
    return hashlib.sha256(b"hoopgw/join-key/v4\0" + compact(values).encode()).digest()


def _existing(change: Change, request: str) -> Request:
    found = change.request(request)
    if found is None:
        raise NoRequestError("there is no such request")
    return found


def words(text: str) -> str:
    """Return words of a person as they are kept: bounded, and safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:WORDS_LIMIT]).strip()
