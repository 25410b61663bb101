"""Delegations as control knows them: taken note of at first use, and ended for good.

A hop is minted by whoever holds its parent's key, and nobody is asked; so the first time that
anybody here hears of it is when a chain is shown. Then each node of the chain is kept, for lists
and for who may end it. Ending one ends all that descends from it: its log-ins are refused from then
on, its sessions are cut on every worker, its requests are withdrawn, its passwords deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from hoopgw.control.fleet import Fleet
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.caller_certificates import CERTIFICATE, LIFETIME
from hoopgw.identity.shares import SharedRate, share
from hoopgw.identity.tokens import CHAIN_LIMIT, TOKEN, GatewayToken
from hoopgw.reviews.docket import Docket
from hoopgw.store.rows import LINEAGE_KEPT, NodeRow, Store

log = Logger()

NODES_LIMIT: Final = 5_000
"""Delegations of one root that are kept at one time."""
BRANCH_LIMIT: Final = 1_000
"""Delegations that descend from one of the root's own: a child must not use up what its parent and
its siblings need."""
UNKNOWN_LIMIT: Final = 100_000
"""Revocations beyond which nothing is revoked that control has not heard of, nor by who has used a
share up: every worker keeps them all, so nobody may make them without end."""
REVOKED_BURST: Final = 5_000.0
REVOKED_PER_SECOND: Final = 1 / 30
"""What one root may revoke below its log-ins, with all that descends from it, which has a share:
each worker keeps what was revoked, and gets it in one message, so nobody may fill that by making
and ending."""
_LATE: Final = 3_600.0
"""Seconds after the end of a log-in, or of a certificate, for which its revocation is kept."""
_MADE_UP: Final = re.compile(r"[A-Za-z0-9_-]{22}")
"""What ids of log-ins and of delegations look like."""
USED_FOR: Final = 300.0
"""Seconds that a proof may be good at most: what control lets itself be told to remember."""


class TooManyError(UnavailableError):
    """More was revoked than anybody needs."""


@define(eq=False)
class Delegations:
    """One in the control process."""

    _store: Store
    _docket: Docket
    _fleet: Fleet
    _now: Callable[[], float]
    _rate: SharedRate = field(
        factory=lambda: SharedRate(REVOKED_BURST, REVOKED_PER_SECOND), init=False, repr=False
    )

    def admit(
        self,
        principal: Principal,
        proof: str | None,
        expires: float = 0.0,
        ends: tuple[float, ...] = (),
    ) -> None:
        """Take note of a chain that was verified, and use its proof up.

        Args:
            principal: whom it stands for.
            proof: the id of its proof; None if the transport proved the key.
            expires: the end of the proof.
            ends: as of `keep`.

        Raises:
            AuthenticationError: the proof was used before, or something of the lineage was ended.
            UnavailableError: the root has too many delegations.

        """
        if self.is_ended(principal):
            raise AuthenticationError("the log-in or a delegation of the chain was revoked")
        if proof is not None:
            until = min(expires, self._now() + USED_FOR)
            if not self._store.use_once("pop", proof, until):
                raise AuthenticationError("the pop was used before")
        self.keep(principal, ends)

    def keep(self, principal: Principal, ends: tuple[float, ...] = ()) -> None:
        """Keep the nodes of a chain; those that are known live longer if need be.

        Args:
            principal: whom the chain stands for.
            ends: when each of its delegations ends by itself: an ancestor may well outlive the
                chain. Where it is not known, the end of the principal counts.

        Raises:
            UnavailableError: the root has too many.

        """
        now, rows = self._now(), node_rows(principal, self._now(), ends)
        fresh = [row for row in rows if self._is_news(row)]
        if not fresh:
            return
        news = {row.id for row in fresh}
        generations = [n for n, node in enumerate(principal.nodes, 1) if node.id in news]
        below = [generation - 1 for generation in generations if generation > 1]
        branch = self._store.nodes.count_below(principal.nodes[0].id, now) if below else {}
        if limit := _exceeded(branch, below, BRANCH_LIMIT):
            raise UnavailableError(
                f"{principal.chain[1].name} has {limit} delegations below it already, the"
                " limit; they are forgotten when they end"
            )
        there = self._store.nodes.count(principal.root.id, now)
        if limit := _exceeded(there, generations, NODES_LIMIT):
            raise UnavailableError(
                f"{principal.root.name} has {limit} delegations already, the limit;"
                " they are forgotten when they end, or are revoked"
            )
        self._store.nodes.keep(fresh)

    def revoke(self, node: str, reason: str, by: Principal | None = None) -> float:
        """End a log-in or a delegation with all below it; return until when it is remembered.

        Args:
            node: one of `Principal.lineage`, or a certificate's.
            reason: shown to those whose sessions and requests end.
            by: who ends it, if they are no administrator.

        Raises:
            TooManyError: the share is used up, or control has not heard of it, and there
                are too many revocations already; what it descends from can be ended all the same.
                One's own log-in is refused only if both are so.
            UnavailableError: it cannot be kept.

        """
        if by is not None and not self._store.is_revoked([node]):
            self._pay(node, by)
        expires = self._until(node)
        self._revoke(node, expires, reason)
        withdrawn = self._docket.withdraw_lineage(node, reason)
        log.info("{node} was revoked, {count} requests with it", node=node, count=withdrawn)
        return expires

    def end_token(self, token: GatewayToken) -> None:
        """End one token alone: it opens nothing more. What it stands for goes on.

        Raises:
            TooManyError: there are too many revocations already, and the share is used up.
            UnavailableError: it cannot be kept.

        """
        if not self._store.is_revoked([token.node]):
            self._pay(token.node, token.principal)
        self._revoke(token.node, token.expires, "the token was revoked")
        log.info("{node} was revoked, of {path}", node=token.node, path=token.principal.path)

    def is_ended_token(self, token: GatewayToken) -> bool:
        """Whether a token, or its principal, was ended before its time."""
        return self._store.is_revoked([token.node]) or self.is_ended(token.principal)

    def _revoke(self, node: str, expires: float, reason: str) -> None:
        self._store.revoke(node, expires)
        self._fleet.tell_all("cut", {"node": node, "expires": expires, "reason": reason})

    def _pay(self, node: str, by: Principal) -> None:
        """Take a revocation from the share of who ends something.

        Log-ins and tokens are let go beyond it, as nobody else might end them; but they can be made
        as they are ended, so not when there are too many revocations in all.
        """
        is_own = node == by.session or node.startswith(TOKEN)
        is_full = self._store.count_revoked() >= UNKNOWN_LIMIT
        if is_full and not is_own and self._is_unknown(node):
            raise TooManyError("too much was revoked already; end what this descends from")
        paid = self._rate.charge(by.root.id, by, 1.0, self._now())
        if not paid and (is_full or not is_own):
            raise TooManyError("you have revoked too much; end what this descends from")

    def _until(self, node: str) -> float:
        """Return until when it must be kept that something was ended: some time after its end.

        A delegation is minted anew under the same id as long as its log-in lasts.
        """
        now = self._now()
        if node.startswith(CERTIFICATE):
            return now + LIFETIME.total_seconds() + _LATE
        row = self._store.nodes.find(node)
        login = self._store.logins.find(node if row is None else row.login)
        latest = now + LINEAGE_KEPT
        return latest if login is None else min(latest, login.expires + _LATE)

    def _is_unknown(self, node: str) -> bool:
        return (
            _MADE_UP.fullmatch(node) is not None
            and self._store.nodes.find(node) is None
            and self._store.logins.find(node) is None
        )

    def is_ended(self, principal: Principal) -> bool:
        """Whether a principal was ended before its time, or has a group that its root has no more.

        What an issuer says at a refresh holds for all that the log-in gave out before, too.
        """
        if self._store.is_revoked(principal.lineage):
            return True
        login = self._store.logins.find(principal.session)
        return login is not None and not principal.root.groups <= login.principal.root.groups

    def is_over(self, row: NodeRow) -> bool:
        """Whether a delegation was ended, or anything that it descends from."""
        lineage, at = [row.login], row
        for _ in range(CHAIN_LIMIT):
            lineage.append(at.id)
            above = self._store.nodes.find(at.parent)
            if above is None:
                break
            at = above
        return self._store.is_revoked(tuple(lineage))

    def _is_news(self, row: NodeRow) -> bool:
        known = self._store.nodes.find(row.id)
        return known is None or known.expires < row.expires


def node_rows(principal: Principal, now: float, ends: tuple[float, ...] = ()) -> list[NodeRow]:
    """Return what is kept of each delegation of a chain; see `Delegations.keep`."""
    if len(ends) != len(principal.nodes):
        ends = (principal.expires,) * len(principal.nodes)
    rows = zip(principal.lineage, principal.chain[1:], principal.nodes, ends, strict=False)
    return [
        NodeRow(
            id=node.id,
            parent=parent,
            login=principal.session,
            root=principal.root.id,
            hop=hop.id,
            name=hop.name,
            kind=hop.kind,
            attested=hop.attested,
            purpose=node.purpose,
            first_seen=now,
            expires=max(end, principal.expires),
        )
        for parent, hop, node, end in rows
    ]


def _exceeded(there: Mapping[int, int], fresh: Sequence[int], limit: int) -> int:
    """Return which limit new delegations would pass, or 0.

    Args:
        there: generation to how many there are.
        fresh: the generations of the new ones.
        limit: of all; who makes a delegation is of the generation above it, and has its share.

    """
    for above in range(max(fresh, default=0)):
        count = sum(number for generation, number in there.items() if generation > above)
        count += sum(generation > above for generation in fresh)
        if count > (most := share(limit, above)):
            return most
    return 0
