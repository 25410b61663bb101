"""The ledger: grants, and every way they move. One in the control process, the only writer.

What people say is the docket's matter: a grant that needs approval is a request there, under the
same id, bound to a digest of all that was asked for; once approved, that is used up and the grant
made active in one transaction. Each step is recorded before it is done, except the end of a grant,
which nothing must hinder. A grant that was seen ended stays ended while the process lives,
whatever the store says later; time does not go back (`hoopgw.clock`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from hoopgw.errors import HoopgwError, RecorderError, UnavailableError
from hoopgw.events import Principal
from hoopgw.grants.alarms import Alarm, GlassBroken
from hoopgw.grants.calls import RefusedCall
from hoopgw.grants.held import HeldGrant, Scope
from hoopgw.grants.journal import PROTOCOL, GrantJournal
from hoopgw.grants.rules import is_same, objection_to_review
from hoopgw.grants.terms import PATIENCE, described, digest_of, used, voted_on
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.shares import generation_of, has_already, shares
from hoopgw.policy.decision import Remedy
from hoopgw.policy.offers import Offer
from hoopgw.reviews.docket import WAITING_LIMIT, Ask, Docket, words
from hoopgw.store.grant_rows import GrantRow, GrantState
from hoopgw.store.rows import LINEAGE_KEPT, Request, Store, Vote

log = Logger()

SHORTEST: Final = 60.0
"""Seconds that a grant is for, at least."""
ACTIVE_LIMIT_ROOT: Final = 50
"""Grants in force of one root."""
ACTIVE_LIMIT: Final = 5_000
"""Grants in force in all."""
_GLASS_BURST: Final = 10.0
_GLASS_PER_SECOND: Final = 1 / 360
"""How often one person breaks glass."""
_PREFIX: Final = "g"


class GrantRefusedError(HoopgwError):
    """Somebody may not do this with a grant. The text says why, to who wanted it."""


class NoGrantError(GrantRefusedError):
    """There is no such grant."""


class GrantOverError(GrantRefusedError):
    """The grant is not any more, or not yet, what it would have to be."""


@frozen(kw_only=True)
class GrantAsk:
    """What somebody asks for."""

    principal: Principal
    offer: Offer
    target: str
    seconds: float
    reason: str
    scope: Scope = "window"
    call: RefusedCall | None = None
    """The one operation, if it is for one call."""
    extends: str = ""


def is_grant(request: str) -> bool:
    """Whether a request of the docket is for a grant."""
    return request.startswith(f"{_PREFIX}-")


@define(eq=False)
class Ledger:
    """All grants.

    Args:
        store: of the control process.
        docket: where people vote.
        now: seconds since the epoch; does not go back.
        journal: records the steps.
        alarm: raised when glass is broken.
        changed: told of each grant as it is in force now, or None when it is decided otherwise.

    """

    _store: Store
    _docket: Docket
    _now: Callable[[], float]
    _journal: GrantJournal
    _alarm: Alarm
    _changed: Callable[[str, HeldGrant | None], None]
    _active: dict[str, HeldGrant] = field(factory=dict, init=False)
    _logins: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    """Of each grant in force, whose end is its end."""
    _ended: dict[str, float] = field(factory=dict, init=False)
    """What was seen ended, to when it would have ended by itself."""
    _unsettled: set[str] = field(factory=set, init=False)
    """What people may have decided without its being done: after a restart, without a recorder."""
    _glass: RateLimit = field(
        factory=lambda: RateLimit(_GLASS_BURST, _GLASS_PER_SECOND), init=False
    )

    def take_up(self) -> float:
        """Take up what the store holds in force; return when the last of it began."""
        began = 0.0
        for name in self._store.grants.ids(["active"], ACTIVE_LIMIT):
            row = self._store.grants.find(name)
            if row is not None:
                self._keep(row)
                began = max(began, row.began or 0.0)
        self._unsettled.update(self._store.grants.ids(["requested"], WAITING_LIMIT))
        return began

    def in_force(self) -> list[HeldGrant]:
        """Return all that is in force now."""
        now = self._now()
        return [grant for grant in self._active.values() if grant.until > now]

    # Asking

    def ask(self, asked: GrantAsk) -> GrantRow:
        """Ask for a grant; what breaks glass is in force at once.

        Raises:
            GrantRefusedError: it is not to be had so.
            UnavailableError: it cannot be asked for now.

        """
        self._check(asked)
        row = self._new(asked)
        if asked.offer.breakglass:
            return self._break_glass(row)
        remedy = Remedy(
            rule=row.template,
            groups=asked.offer.approvers,
            needed=asked.offer.needed,
            patience=PATIENCE,
        )
        filed = Ask(
            principal=voted_on(row, self._now()),
            session="",
            protocol=PROTOCOL,
            target=row.target,
            action="grant",
            text=described(row, asked.offer).encode(),
            digest=digest_of(row),
            remedies=(remedy,),
            reason=row.reason,
            prefix=_PREFIX,
        )

        def keep(request: Request) -> None:
            named = evolve(row, id=request.id)
            self._journal.write("requested", named, text=named.reason)
            self._store.grants.add(named)

        request = self._docket.file(filed, keep)
        return self.find(request.id)

    def find(self, grant: str) -> GrantRow:
        """Return a grant.

        Raises:
            NoGrantError: there is none, or it was tampered with.

        """
        row = self._store.grants.find(grant)
        if row is None:
            raise NoGrantError("there is no such grant")
        return row

    def _check(self, asked: GrantAsk) -> None:
        offer, root = asked.offer, asked.principal.root
        if refused := offer.refuses(asked.principal.chain, asked.target):
            raise GrantRefusedError(refused)
        if asked.scope not in offer.scopes:
            raise GrantRefusedError(
                f"{offer.name} is granted for: {', '.join(sorted(offer.scopes))}"
            )
        if not SHORTEST <= asked.seconds <= offer.limit:
            raise GrantRefusedError(
                f"{offer.name} is granted for {SHORTEST:.0f} to {offer.limit:.0f} seconds"
            )
        if not words(asked.reason):
            raise GrantRefusedError("say why: a grant needs a reason")
        if (asked.scope == "call") != (asked.call is not None):
            raise GrantRefusedError(
                "a grant for one call, and no other, names the digest of a statement that was"
                " refused within the last minutes; run it once more, and ask for it then"
            )
        if asked.extends:
            self._check_extended(asked)
        generation = generation_of(asked.principal)
        for each, limit in enumerate(shares(ACTIVE_LIMIT_ROOT, generation)):
            if self._store.grants.count("active", root.id, each) >= limit:
                text = has_already(root.name, ACTIVE_LIMIT_ROOT, each, "grants")
                raise UnavailableError(text)
        if len(self._active) >= ACTIVE_LIMIT:
            raise UnavailableError("too many grants are in force already")
        self._charge(asked.principal)

    def _charge(self, principal: Principal) -> None:
        """Take one request put before people from the budgets of a chain."""
        nodes = [node for node in principal.nodes if node.budget is not None]
        if not any(node.budget is not None and node.budget.reviews is not None for node in nodes):
            return
        taken = self._store.nodes.take(nodes, {"reviews": 1}, self._now() + LINEAGE_KEPT)
        if taken.given.get("reviews", 0) < 1:
            raise GrantRefusedError("the chain may not put any more requests before people")

    def _check_extended(self, asked: GrantAsk) -> None:
        old = self.find(asked.extends)
        if not is_same(old, asked.principal):
            raise NoGrantError("there is no such grant")
        if old.id not in self._active or old.scope == "call" or old.breakglass:
            raise GrantOverError("only a grant for a time or a session, in force, can be extended")
        if old.scope == "session" and not old.session:
            raise GrantOverError("no session uses it yet: there is nothing to go on with")
        if (old.name, old.target, old.scope) != (asked.offer.name, asked.target, asked.scope):
            raise GrantRefusedError("an extension is of the same grant, target and scope")

    def _new(self, asked: GrantAsk) -> GrantRow:
        offer, call = asked.offer, asked.call
        return GrantRow(
            id=f"{_PREFIX}-{secrets.token_hex(8)}",
            name=offer.name,
            template=offer.template,
            terms=offer.terms,
            principal=asked.principal,
            target=asked.target,
            scope=asked.scope,
            digest=b"" if call is None else call.digest,
            text=b"" if call is None else call.text,
            seconds=asked.seconds,
            reason=words(asked.reason),
            extends=asked.extends,
            session=self.find(asked.extends).session if asked.extends else "",
            approvers=offer.approvers,
            breakglass=bool(offer.breakglass),
            created=self._now(),
        )

    def _break_glass(self, row: GrantRow) -> GrantRow:
        now, root = self._now(), row.principal.root
        if not self._glass.charge(root.id, 1.0, now):
            raise UnavailableError(f"{root.name} breaks glass too often; ask for a grant")
        note = f"taken by {root.name}; {', '.join(sorted(row.approvers))} will look at it"
        row = evolve(row, state="active", began=now, ends=now + row.seconds, note=note)
        row = evolve(row, review="open")
        self._journal.write("requested", row, text=row.reason)
        self._journal.write("break-glass", row, text=row.reason)
        with self._store.grants.change():
            self._store.grants.add(row)
        self._keep(row)
        self._alarm(
            GlassBroken(
                grant=row.id,
                name=row.name,
                person=root.id,
                person_name=root.name,
                target=row.target,
                reason=row.reason,
                until=now + row.seconds,
                reviewers=row.approvers,
            )
        )
        self._changed(row.id, row.held)
        return row

    # What people say

    def settled(self, request: Request, votes: tuple[Vote, ...]) -> None:
        """Take what became of a request for a grant; what cannot be done now is done later."""
        row = self._store.grants.find(request.id)
        if row is None or row.state != "requested":
            return
        try:
            self._settle(row, request, ", ".join(vote.person for vote in votes))
        except UnavailableError as error:
            self._unsettled.add(row.id)
            log.error("grant {grant} waits: {error}", grant=row.id, error=error)

    def _settle(self, row: GrantRow, request: Request, by: str) -> None:
        if request.state == "approved":
            self._begin(row, request, by)
        elif (state := _ENDS.get(request.state)) is not None:
            self._journal.note(state, row, by=by, text=request.note)
            self._move(row, evolve(row, state=state, ended=self._now(), note=request.note))

    def _begin(self, row: GrantRow, request: Request, by: str) -> None:
        """Use the approval, and put the grant in force."""
        now = self._now()
        ends = now + row.seconds
        if row.extends in self._active:
            ends = max(ends, self._active[row.extends].until)
        if not row.is_personal:
            ends = min(ends, row.principal.expires)
        new = evolve(row, state="active", began=now, ends=ends, note=request.note)
        self._journal.write("approved", new, by=by, text=request.note)
        if self._docket.consume(request.id, digest_of(row), lambda: self._replace(row, new)):
            self._keep(new)
            self._changed(new.id, new.held)

    def _replace(self, old: GrantRow, new: GrantRow) -> None:
        if not self._store.grants.move(old, new):
            raise UnavailableError("the grant changed meanwhile: look at it again")

    # Using

    def use(self, grant: str, session: str, digest: bytes) -> bool:
        """Use a grant up, or claim it for a session: true if the operation may run by it.

        Args:
            grant: the one.
            session: of the gateway, in which the operation would run.
            digest: of the operation.

        """
        now = self._now()
        if grant in self._ended or grant not in self._active:
            return False
        with self._store.grants.change():
            row = self._store.grants.find(grant)
            if row is None or row.state != "active" or row.ends is None or now >= row.ends:
                return False
            if self._store.is_revoked(row.principal.lineage):
                return False
            new = used(row, session, digest, now)
            if new is None:
                return False
            if new is not row:
                try:
                    self._journal.write("used", new, used_in=session)
                except RecorderError:
                    return False
                if not self._store.grants.move(row, new):
                    return False
        if new.state == "consumed":
            self._forget(new)
            self._changed(new.id, None)
        elif new is not row:
            self._keep(new)
            self._changed(new.id, new.held)
        return True

    def was_used(self, grant: str, session: str) -> None:
        """Note that a grant has allowed something in a session."""
        row = self._store.grants.find(grant)
        if row is not None:
            self._journal.note("used", row, used_in=session)

    # Ending

    def revoke(self, grant: str, by: Principal, comment: str = "") -> GrantRow:
        """End a grant, or take it back while it is asked for. Who may: `hoopgw.grants.rules`.

        Raises:
            NoGrantError, GrantOverError: there is nothing to end.

        """
        row = self.find(grant)
        said = f": {words(comment)}" if words(comment) else ""
        if row.state == "requested":
            self._docket.withdraw(row.id, f"withdrawn by {by.path}{said}")
            return self.find(grant)
        if row.state != "active":
            raise GrantOverError(f"it is {row.state} already")
        return self._end(row, "revoked", f"revoked by {by.path}{said}", by=by.root.id)

    def sweep(self) -> None:
        """Move on what time, and the end of log-ins, has ended. Call it every second."""
        now = self._now()
        self._ended = {name: end for name, end in self._ended.items() if end > now}
        for name, held in list(self._active.items()):
            if held.until <= now:
                self.end_named(name, "expired", "its time is over")
            elif self._store.is_revoked(self._logins[name]):
                self.end_named(name, "revoked", "the log-in that asked for it was ended")
        for name in list(self._unsettled):
            self._unsettled.discard(name)  # and back, if it cannot be done now
            request = self._store.request(name)
            if request is not None and request.state != "requested":
                self.settled(request, tuple(self._store.votes(name)))

    def close_review(self, grant: str, by: Principal, comment: str) -> GrantRow:
        """Close the review of broken glass.

        Raises:
            GrantRefusedError: not by this person, or not so.

        """
        row = self.find(grant)
        if row.review == "none":
            raise GrantOverError("no glass was broken with it")
        if refused := objection_to_review(row, by, comment):
            raise GrantRefusedError(refused)
        if row.review == "closed":
            raise GrantOverError("somebody has looked at it already")
        new = evolve(
            row,
            review="closed",
            reviewer=by.root.id,
            comment=words(comment),
            reviewed=self._now(),
        )
        self._journal.write("after-review", new, by=by.root.id, text=new.comment)
        self._move(row, new, tell=False)
        return new

    def end_named(self, grant: str, state: GrantState, note: str) -> None:
        """End a grant in force, whoever has it."""
        row = self._store.grants.find(grant)
        if row is None or row.state != "active":
            # It was tampered with: workers are told all the same.
            held = self._active.pop(grant)
            self._logins.pop(grant, None)
            self._ended[grant] = held.until
            log.error("grant {grant} in force is not in the store", grant=grant)
            self._changed(grant, None)
            return
        self._end(row, state, note)

    def _end(self, row: GrantRow, state: GrantState, note: str, by: str = "") -> GrantRow:
        new = evolve(row, state=state, ended=self._now(), note=words(note))
        self._forget(row)
        self._journal.note(state, new, by=by, text=new.note)
        self._move(row, new)
        return new

    def _move(self, old: GrantRow, new: GrantRow, *, tell: bool = True) -> None:
        with self._store.grants.change():
            self._replace(old, new)
        if tell:
            self._changed(new.id, None)

    def _keep(self, row: GrantRow) -> None:
        if row.id not in self._ended:
            self._active[row.id] = row.held
            self._logins[row.id] = row.principal.lineage

    def _forget(self, row: GrantRow) -> None:
        self._active.pop(row.id, None)
        self._logins.pop(row.id, None)
        self._ended[row.id] = row.ends or 0.0


_ENDS: Final[dict[str, GrantState]] = {
    "denied": "denied",
    "expired": "expired",
    "withdrawn": "withdrawn",
}
