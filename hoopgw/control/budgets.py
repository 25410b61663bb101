"""What the sessions of a worker may still use of budgets, leased from control in pieces.

Control keeps what each delegation with a budget has used, together with all below it; a worker
takes some of what is left in advance, so that not every operation needs a call. Sessions of the
same delegations share one account in a worker. What was leased and not used goes back when the
last of them ends; what a worker held that died counts as used.

Rows and bytes go to a client only when they have been taken from control before, so neither
sessions that run at the same time nor the death of a worker can pass a budget: see `Account.more`.

What may be shown of a list in a while is counted in the same way, in place of a delegation by root,
target and list, and by stretches of time: two windows long, and begun anew after each. So any
window lies in one stretch whole, and no moment is good for a fresh start.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.events import AMOUNTS, Budget, Node, Principal, encode_part
from hoopgw.ipc import Body
from hoopgw.sessions.purses import Listing
from hoopgw.wire_values import node_to_dict

log = Logger()

_PIECES: Final = 20
"""A lease is this part of the smallest budget, or what `_MOST` says."""
_MOST: Final = {"operations": 200, "rows": 50_000, "bytes": 16 * 2**20, "reviews": 1}
_LISTING: Final = b"hoopgw/listing/v1\0"
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})

Budgeted: TypeAlias = tuple[Node, ...]
"""The delegations of a lineage that have a budget."""


@define(eq=False)
class ControlBudgets:
    """Implements `hoopgw.spi.Budgets`."""

    _control: ControlClient
    _time: Callable[[], float]
    """Gives seconds since the epoch."""
    _accounts: dict[Budgeted, Account] = field(factory=dict, init=False, repr=False)

    def open(self, principal: Principal) -> Account | None:
        """Return what a session of a principal may use; None if nobody has set a limit."""
        nodes = tuple(node for node in principal.nodes if node.budget is not None)
        if not nodes:
            return None
        account = self._accounts.get(nodes)
        if account is None:
            names = {
                node.id: hop.name
                for hop, node in zip(principal.chain[1:], principal.nodes, strict=True)
            }
            account = Account(self._control, nodes, names, self._forget)
            self._accounts[nodes] = account
        account.sessions += 1
        return account

    def listing(self, principal: Principal, listing: Listing) -> Account:
        """Return what may be shown of a list now."""
        nodes = _stretches(principal, listing, self._time())
        account = self._accounts.get(nodes)
        if account is None:
            kept = 2 * listing.window
            account = Account(self._control, nodes, {}, self._forget, kept)
            self._accounts[nodes] = account
        account.sessions += 1
        return account

    def _forget(self, account: Account) -> None:
        self._accounts.pop(account.nodes, None)


@define(eq=False)
class Account:
    """What one lineage may use here: the `Purse` of each of its sessions."""

    _control: ControlClient
    nodes: Budgeted
    _names: Mapping[str, str]
    """Delegations to the names of who acts in them."""
    _forget: Callable[[Account], None]
    _kept: float | None = None
    """Seconds for which control keeps what was used; None is as long as delegations live."""
    sessions: int = field(default=0, init=False)
    _pieces: dict[str, int] = field(init=False)
    """The limited amounts, each with how much is taken at once."""
    _leased: dict[str, int] = field(init=False)
    """What is at hand; below nothing, as much was used without having been taken yet."""
    _beyond: dict[str, int] = field(factory=dict, init=False)
    """What control said that it has left besides."""
    _short: dict[str, str] = field(factory=dict, init=False)
    """Whose budget has the least left of what."""
    _waiters: list[Deferred[None]] = field(factory=list, init=False, repr=False)
    """Who waits for the answer to the one question that is under way."""

    def __attrs_post_init__(self) -> None:
        limits = {name: _smallest(self.nodes, name) for name in AMOUNTS}
        self._pieces = {
            name: max(1, min(limit // _PIECES, _MOST[name]))
            for name, limit in limits.items()
            if limit is not None
        }
        self._leased = dict.fromkeys(self._pieces, 0)

    def spend(self, names: Sequence[str]) -> bool:
        """Use one of each amount, if all that is limited is at hand; say whether it was."""
        leased = self._leased
        for name, left in leased.items():
            if left < self._needed(name, names):
                return False
        for name in names:
            if name in leased:
                leased[name] -= 1
        self._look()
        return True

    def fund(self, names: Sequence[str]) -> Deferred[str]:
        """Use one of each amount, or several of one that is named often, after taking more.

        Fires with nothing if that is done, otherwise with whose budget is used up; fails with
        `UnavailableError` if control cannot be asked.
        """
        return Deferred.fromCoroutine(self._fund(names))

    def room(self, name: str) -> int | None:
        """Return how much is at hand, charged in the store already; None is no limit."""
        return max(0, self._leased[name]) if name in self._leased else None

    def more(self, amounts: Mapping[str, int]) -> Deferred[str]:
        """Have so much at hand, for an answer that is under way.

        Fires with nothing if it is, otherwise with whose budget does not have it: then all that it
        has is at hand. Fails with `UnavailableError` if control cannot be asked.
        """
        wanted = {name: amount for name, amount in amounts.items() if name in self._leased}
        return Deferred.fromCoroutine(self._have(wanted))

    def used(self, amounts: Mapping[str, int]) -> None:
        """Count what was used."""
        for name, amount in amounts.items():
            if name in self._leased:
                self._leased[name] -= amount
        self._look()

    def close(self) -> None:
        """Take note that a session is over; after the last, what was not used goes back."""
        self.sessions -= 1
        if self.sessions > 0:
            return
        self._forget(self)
        if not self._waiters:  # otherwise when the answer is there
            self._give_back()

    async def _fund(self, names: Sequence[str]) -> str:
        needed = {name: self._needed(name, names) for name in self._pieces}
        while not self.spend(names):
            if short := await self._have(needed):
                return short
        return ""

    async def _have(self, wanted: Mapping[str, int]) -> str:
        """Take until so much is at hand; return whose budget does not have it, if one has not."""
        while any(self._leased[name] < amount for name, amount in wanted.items()):
            await self._take(wanted)
            for name, amount in wanted.items():
                # The answer may have been to a smaller question, and who waited for it too may have
                # used what it gave: then again, until all that is left is at hand.
                if self._leased[name] < amount and not self._beyond.get(name, 0):
                    return self._exhausted(name)
        return ""

    def _needed(self, name: str, names: Sequence[str]) -> int:
        """Return how much of an amount must be there: some of all, but for asking people."""
        wanted = names.count(name)
        return wanted if name == "reviews" else max(1, wanted)

    def _look(self) -> None:
        """Take more in time, so that nobody has to wait for it."""
        low = any(
            left < 0 or (left < self._pieces[name] // 2 and self._beyond.get(name, 0) > 0)
            for name, left in self._leased.items()
        )
        if low and not self._waiters and self._control.is_connected:
            self._take().addErrback(_not_taken)

    def _take(self, least: Mapping[str, int] = NOTHING) -> Deferred[None]:
        """Ask control for more of what is short; who comes meanwhile waits for the same answer."""
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        if len(self._waiters) == 1:
            wanted = {
                name: wanted - self._leased[name]
                for name, piece in self._pieces.items()
                if self._leased[name] < (wanted := max(piece, least.get(name, 0)))
            }
            answer = self._control.call(
                "budget_take", nodes=self._as_dicts(), wanted=wanted, kept=self._kept
            )
            answer.addCallback(self._taken).addBoth(self._answered)
        return waiter

    def _taken(self, answer: Body) -> None:
        for name, amount in answer["given"].items():
            if name in self._leased:
                self._leased[name] += int(amount)
        self._beyond.update((str(name), int(left)) for name, left in answer["left"].items())
        self._short.update((str(name), str(node)) for name, node in answer["short"].items())

    def _answered(self, result: Failure | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if result is None:
                waiter.callback(None)
            else:
                waiter.errback(result)
        if self.sessions <= 0:
            self._give_back()

    def _give_back(self) -> None:
        left = {name: amount for name, amount in self._leased.items() if amount}
        if left:
            self._leased = dict.fromkeys(self._leased, 0)
            self._control.tell("budget_return", nodes=self._as_dicts(), amounts=left)

    def _exhausted(self, name: str) -> str:
        """Say whose budget of an amount is used up."""
        node = next((each for each in self.nodes if each.id == self._short.get(name)), None)
        if node is None or node.budget is None:
            return f"a budget of {name} is used up"
        whose = self._names.get(node.id, "a delegation")
        limit = getattr(node.budget, name)
        return f"the budget of {whose} is used up: {limit} {name}, with all that it started"

    def _as_dicts(self) -> list[dict[str, object]]:
        return [node_to_dict(node) for node in self.nodes]


def _stretches(principal: Principal, listing: Listing, now: float) -> Budgeted:
    """Return what stands for the two stretches of time that now is in, of one list."""
    root, window = principal.root, listing.window
    about = [root.kind, root.id, listing.target, listing.name, repr(window)]
    parts = b"".join(encode_part("part", each.encode("utf-8", "surrogatepass")) for each in about)
    name = base64.urlsafe_b64encode(hashlib.sha256(_LISTING + parts).digest()[:18]).decode()
    budget = Budget(rows=listing.rows, bytes=listing.bytes)
    return tuple(
        Node(
            id=f"listing:{name}:{half}:{int((now + half * window) // (2 * window))}", budget=budget
        )
        for half in (0, 1)
    )


def _smallest(nodes: Budgeted, name: str) -> int | None:
    limits = [getattr(node.budget, name) for node in nodes]
    return min((limit for limit in limits if limit is not None), default=None)


def _not_taken(failure: Failure) -> None:
    log.warn("budgets could not be leased: {why}", why=failure.getErrorMessage())
