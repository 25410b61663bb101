"""Attacks on grants behind our back: a store that was edited, clocks that jump, parts that fail.

Where it can be shown, an attack is tried on the same parts without the defence, too.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from attrs import evolve

from hoopgw.clock import ForwardClock
from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.grants import ledger as ledgers
from hoopgw.grants.held import HeldGrant, held_from_dict, held_to_dict
from hoopgw.grants.view import GrantView
from hoopgw.policy.decision import Deny
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.links import links_of
from hoopgw.policy.offers import Offer
from hoopgw.store.sqlite import SqliteStore
from tests.control.gateway_case import CAROL
from tests.grants.case import (
    DIGEST,
    EVE,
    GrantCase,
)
from tests.policy.test_granting import READ, Holding, grant
from tests.policy.world import EVE as SHOP_EVE
from tests.policy.world import PLANNER as SHOP_PLANNER
from tests.policy.world import operation, policies
from tests.policy.world import principal as shop_principal


class StoreTests(GrantCase):
    """Behind our back, in the store's file."""

    def edit(self, sql: str, *values: Any) -> None:
        """Write the file as somebody does who can."""
        with sqlite3.connect(self.config.paths.store) as database:
            self.assertEqual(database.execute(sql, values).rowcount, 1, sql)

    def restarted(self) -> list[HeldGrant]:
        """Return what would be in force after a restart."""
        board = self.service.board
        again = ledgers.Ledger(
            self.store,
            self.docket,
            time.time,
            board.granting.journal,
            board.granting.alarms,
            lambda _grant, _held: None,
        )
        again.take_up()
        return again.in_force()

    async def test_edited(self) -> None:
        """No column can be changed: the row is void then, and workers are told at its end."""
        for change in (
            "state = 'active', began = 1, ends = 9e9",
            "target = 'other'",
            "template = 't-glass'",
            "terms = ''",
            "ends = 9e9",
            "scope = 'window'",
            "breakglass = 1",
            "principal = replace(principal, 'eve', 'mallory')",
        ):
            waits = "state" in change
            held = (
                (await self.ask(seconds=61)).body["id"]
                if waits
                else await self.granted(CAROL, scope="session")
            )
            self.edit(f"UPDATE grants SET {change} WHERE id = ?", held)  # a constant
            self.assertNotIn(held, [each.id for each in self.restarted()], change)
            self.assertFalse(self.ledger.use(held, "s-1", DIGEST), change)
            answer = await self.call("GET", f"/v1/grants/{held}", EVE)
            self.assertEqual(answer.status, 404, change)
            self.edit("DELETE FROM grants WHERE id = ?", held)
        self.flushLoggedErrors()

    async def test_votes_made_up(self) -> None:
        """A vote without its seal is none; a request set to approved is void."""
        asked = (await self.ask()).body["id"]
        self.edit(
            "INSERT INTO votes VALUES (?, 'corp|carol', 'carol', '[\"dba\"]', 1, '', 1.0, x'00')",
            asked,
        )
        self.edit("UPDATE requests SET state = 'approved', usable_until = 9e9 WHERE id = ?", asked)
        self.ledger.sweep()
        self.assertEqual(self.held(), [])

    async def test_rolled_back(self) -> None:
        """A row put back as it was, seal and all, brings back nothing that was seen ended."""
        held = await self.granted(CAROL, scope="session")
        with sqlite3.connect(self.config.paths.store) as database:
            (old,) = database.execute("SELECT * FROM grants WHERE id = ?", (held,)).fetchall()
        await self.act(held, "revoke", EVE)
        marks = ", ".join("?" * len(old))
        self.edit(f"INSERT OR REPLACE INTO grants VALUES ({marks})", *old)  # marks
        self.assertEqual(self.row(held).state, "active")
        self.assertFalse(self.ledger.use(held, "s-1", DIGEST))
        self.service.board.take_up()
        self.assertEqual(self.held(), [])

    async def test_deleted_while_in_force(self) -> None:
        """Its end comes all the same, and workers hear of it."""
        ended: list[Any] = []
        held = await self.granted(CAROL)
        peer = await self.worker([], ended)
        self.edit("DELETE FROM grants WHERE id = ?", held)
        self.pass_time(901)
        self.ledger.sweep()
        await peer.call("ping")
        self.assertEqual((self.held(), ended), ([], [{"grant": held}]))

    async def test_a_store_with_another_key(self) -> None:
        """Made elsewhere, a grant is none here."""
        held = await self.granted(CAROL)
        other = SqliteStore.open(self.config.paths.store, b"x" * 32)
        self.addCleanup(other.close)
        self.assertIsNone(other.grants.find(held))


class ClockTests(GrantCase):
    """Setting the clock back."""

    async def test_in_control(self) -> None:
        """An hour back does not make an hour more."""
        held = await self.granted(CAROL, seconds=600)
        clock = self.service.board.granting.clock
        wall, steady = time.time() - 3600, time.monotonic() + 601
        self.patch(clock, "_wall", lambda: wall)
        self.patch(clock, "_steady", lambda: steady)
        self.ledger.sweep()
        self.assertEqual((self.row(held).state, self.held()), ("expired", []))

    async def test_in_control_over_a_restart(self) -> None:
        """It is not earlier than when the last grant in force began."""
        await self.granted(CAROL, seconds=600)
        board = self.service.board
        early = ForwardClock(lambda: time.time() - 3600, time.monotonic)
        board.granting.clock = early
        board.granting.take_up()
        self.assertGreater(early(), time.time() - 60)

    async def test_in_a_worker(self) -> None:
        """Without the defence, the clock on the wall would do."""
        wall, steady = 1000.0, 0.0
        held = grant(SHOP_EVE, until=1600.0)
        naive = GrantView(lambda: wall, lambda: True)
        view = GrantView(ForwardClock(lambda: wall, lambda: steady), lambda: True)
        for each in (naive, view):
            each.put(held)
        wall, steady = 400.0, 700.0
        who = shop_principal(SHOP_EVE)
        self.assertEqual(naive.held(who), (held,))
        self.assertEqual(view.held(who), ())


class WiderTests(GrantCase):
    """More than the template says, through what fills it in."""

    def test_slots(self) -> None:
        """The principal is one hop, the resource one target, whatever they are called."""
        made = policies(READ)
        offer = made.offers["t-read"]
        for target in ('shop"', "Hoopgw::Environment::prod", "*", "", 'x"; permit (principal'):
            held = grant(SHOP_EVE, target=target, terms=offer.terms)
            policy = CedarPolicy(made, lambda: 0.0, Holding(held))
            found = policy.decide(shop_principal(SHOP_EVE), operation("take"))
            self.assertIsInstance(found.decision, Deny, target)
        for name in ("Hoopgw::Group::staff", '" in x', "corp|ev", "CORP|EVE", "corp|eve "):
            held = evolve(grant(SHOP_EVE, terms=offer.terms), chain=(("person", name),))
            policy = CedarPolicy(made, lambda: 0.0, _Everybodys(held))
            found = policy.decide(shop_principal(SHOP_EVE), operation("take"))
            self.assertIsInstance(found.decision, Deny, name)

    def test_actions(self) -> None:
        made = policies(READ)
        held = grant(SHOP_EVE, terms=made.offers["t-read"].terms)
        policy = CedarPolicy(made, lambda: 0.0, Holding(held))
        found = policy.decide(shop_principal(SHOP_EVE), operation("put"))
        self.assertIsInstance(found.decision, Deny)

    def test_an_agent_as_its_root(self) -> None:
        """Of a chain's grant, the link for the root is of no use to the root alone.

        Without the check of the chain, it would be.
        """
        made = policies(READ + '@id("a") permit (principal is Hoopgw::Agent, action, resource);')
        held = grant(SHOP_EVE, SHOP_PLANNER, terms=made.offers["t-read"].terms)
        alone = shop_principal(SHOP_EVE)
        careless = CedarPolicy(made, lambda: 0.0, _Everybodys(held))
        self.assertNotIsInstance(careless.decide(alone, operation("take")).decision, Deny)
        careful = CedarPolicy(made, lambda: 0.0, Holding(held))
        self.assertIsInstance(careful.decide(alone, operation("take")).decision, Deny)

    def test_an_unknown_template(self) -> None:
        """Gone, changed, or of another kind: there is no link."""
        offer = policies(READ).offers["t-read"]
        offers: dict[str, Offer] = {"t-read": offer}
        good = grant(SHOP_EVE, terms=offer.terms)
        self.assertEqual(len(links_of([good], offers)), 1)
        for bad in (
            evolve(good, template="t-else"),
            evolve(good, terms=""),
            evolve(good, breakglass=True),
        ):
            self.assertEqual(links_of([bad], offers), ())
        self.assertEqual(links_of([good], {"t-read": evolve(offer, target="safe")}), ())

    async def test_a_worker_that_is_told_nonsense(self) -> None:
        """What is no grant is refused as a whole."""
        good = held_to_dict(grant(SHOP_EVE))
        view = GrantView(time.time, lambda: True)
        for name, value in (("scope", "ever"), ("chain", []), ("until", "never"), ("nodes", 7)):
            with self.assertRaises((ValueError, TypeError)):
                view.put(held_from_dict({**good, name: value}))
        self.assertEqual(len(view), 0)


class _Everybodys:
    """Gives grants to whoever asks: what is left is Cedar's own defence."""

    epoch = "1"

    def __init__(self, *grants: HeldGrant) -> None:
        self._grants = grants

    def held(self, who: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        return self._grants


class _Gone:
    """A database whose disk is gone."""

    in_transaction = False

    def execute(self, *_arguments: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")


class UnavailableTests(GrantCase):
    """A store that does not answer."""

    async def test_nothing_is_granted(self) -> None:
        held = await self.granted(CAROL, scope="session")

        peer = await self.worker([])
        self.patch(self.store._db, "connection", _Gone())
        with self.assertRaises(UnavailableError):
            await peer.call("grant_use", grant=held, session="s-1", digest=DIGEST)
        self.assertEqual((await self.ask()).status, 503)
        self.flushLoggedErrors()
