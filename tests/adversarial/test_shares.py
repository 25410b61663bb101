"""Agents that use up whatever they share with those above them: these can always act all the same.

Each limit of a root or a log-in is flooded by grandchildren and by what these started, from two
branches, until nothing more is let through; then their parents, and the person, must get some.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeAlias

from attrs import evolve

from hoopgw.control import api_certificates, delegations, site
from hoopgw.control.live import SessionRegistry
from hoopgw.control.site import StoredPasswords
from hoopgw.errors import UnavailableError
from hoopgw.events import Hop, Node, Principal
from hoopgw.grants.calls import KEPT_ROOT, RefusedCall, RefusedCalls
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.shares import SharedRate, generation_of, shares
from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.reviews import docket
from hoopgw.store.certificate_rows import CertificateRow
from tests.control.world import WorldCase
from tests.store.values import ALICE, DBA, ask

Use: TypeAlias = Callable[[Principal], bool]
"""Does something once more; says whether it was let through."""


def child(parent: Principal, name: str) -> Principal:
    """Return what somebody started."""
    hop = Hop(id=f"{parent.chain[-1].id}~{name}", name=name, kind="agent")
    node = Node(id=hashlib.sha256(f"{parent.lineage[-1]}/{name}".encode()).hexdigest()[:22])
    return evolve(parent, chain=(*parent.chain, hop), nodes=(*parent.nodes, node))


PLANNER, TESTER = child(ALICE, "planner"), child(ALICE, "tester")
MIGRATOR, OTHER = child(PLANNER, "migrator"), child(TESTER, "other")


def let_through(use: Callable[[], object]) -> bool:
    """Say whether something is not refused."""
    try:
        use()
    except (UnavailableError, ExchangeError):
        return False
    return True


class StarvingTests(WorldCase):
    """One limit after the other."""

    def flood(self, use: Use, most: int = 400) -> None:
        """Let descendants use up what they get, and check that those above them get some."""
        below = [MIGRATOR, OTHER, child(MIGRATOR, "deeper"), child(OTHER, "deeper")]
        for who in reversed(below):
            self.exhaust(use, who, most)
        for who in (PLANNER, TESTER, ALICE):
            self.assertTrue(use(who), who.path)
        self.exhaust(use, PLANNER, most)
        self.assertTrue(use(ALICE))

    def exhaust(self, use: Use, who: Principal, most: int) -> None:
        """Use until it is refused, which must be some time."""
        count = 0
        while use(who):
            count += 1
            self.assertLess(count, most, "there is no limit")

    def test_requests_that_wait_for_people(self) -> None:
        texts = (f"q{number}" for number in itertools.count())
        self.flood(lambda who: let_through(lambda: self.docket.file(ask(next(texts), who, DBA))))

    def test_how_often_people_are_asked(self) -> None:
        """With requests that are withdrawn at once: the docket never fills."""
        self.patch(docket, "_FILED_BURST", 40.0)
        self.begin()
        texts = (f"q{number}" for number in itertools.count())

        def use(who: Principal) -> bool:
            asked = ask(next(texts), who, DBA)
            return let_through(lambda: self.docket.withdraw(self.docket.file(asked).id, "changed"))

        self.flood(use)

    def test_session_passwords(self) -> None:
        self.patch(site, "PASSWORDS_LIMIT", 40)
        stored, handles = StoredPasswords(self.store), (f"h{n}" for n in itertools.count())

        def use(who: Principal) -> bool:
            password = SessionPassword(
                target="orders",
                account="app",
                principal=who,
                salt=b"s",
                iterations=4096,
                stored_key=b"k",
                server_key=b"k",
            )
            return let_through(lambda: stored.put(next(handles), password, 2000.0))

        self.flood(use)

    def test_certificates(self) -> None:
        serials = itertools.count(1)

        def use(who: Principal) -> bool:
            row = CertificateRow(
                serial=next(serials),
                kind="ssh",
                login=who.session,
                lineage=(*who.lineage, "its own"),
                issued=1000.0,
                expires=2000.0,
            )
            return self.store.certificates.keep(row, shares(40, generation_of(who)))

        self.flood(use)
        self.assertGreater(api_certificates.CERTIFICATES_LIMIT, 40)

    def test_sessions(self) -> None:
        """And what is closed can be opened again, by whom it was or others."""
        registry = self.worker().sessions
        registry = SessionRegistry(registry._control, self.clock, {}, 1000, 40)
        names = (f"s{number}" for number in itertools.count())

        def use(who: Principal) -> bool:
            return let_through(
                lambda: registry.opened(next(names), who, "orders", lambda reason: None)
            )

        self.flood(use)
        for session in list(registry._live):
            registry.closed(session)
        self.assertEqual(len(registry._by_root), 0)
        self.flood(use)

    def test_delegations(self) -> None:
        """Two branches together, and what one branch may have."""
        for of_root, of_branch in ((40, 1000), (4000, 30)):
            self.patch(delegations, "NODES_LIMIT", of_root)
            self.patch(delegations, "BRANCH_LIMIT", of_branch)
            names = (f"n{of_root}-{number}" for number in itertools.count())
            self.flood(partial(self.delegates, names))
            self.store._db.write("DELETE FROM nodes")

    def delegates(self, names: Iterator[str], who: Principal) -> bool:
        made = child(who, next(names))
        return let_through(lambda: self.board.delegations.keep(made))

    def test_refused_statements(self) -> None:
        """What one could ask for is not pushed out by what those below are refused."""
        calls = RefusedCalls()
        mine = [self.refused(who, "mine") for who in (ALICE, PLANNER, TESTER)]
        for call in mine:
            calls.note(call)
        for number in range(3 * KEPT_ROOT):
            for parent in (PLANNER, TESTER, MIGRATOR):
                calls.note(self.refused(child(parent, f"c{number}"), "theirs"))
        for call in mine:
            self.assertEqual(calls.find(call.principal, "orders", call.digest, 0.0), call)

    def refused(self, who: Principal, text: str) -> RefusedCall:
        digest = hashlib.sha256(text.encode()).digest()
        return RefusedCall(
            principal=who, target="orders", action="x", digest=digest, text=b"x", at=0.0
        )

    def test_rates(self) -> None:
        """At once, and for as long as they go on."""
        rate = SharedRate(100.0, 1.0)
        now = 0.0
        self.flood(lambda who: rate.charge("alice", who, 1.0, now))
        for second in range(1, 300):
            now = float(second)
            while rate.charge("alice", MIGRATOR, 1.0, now):
                pass
            if second > 100:
                self.assertEqual(rate.charge("alice", PLANNER, 0.18, now), True, second)
                self.assertEqual(rate.charge("alice", ALICE, 0.25, now), True, second)

    def test_revocations(self) -> None:
        """Who was ended too often to end more can still be ended by those above."""
        self.patch(delegations, "REVOKED_BURST", 40.0)
        self.begin()
        nodes = (f"{number:022}" for number in itertools.count())

        def use(who: Principal) -> bool:
            revoke = self.board.delegations.revoke
            return let_through(lambda: revoke(next(nodes), "no more", who))

        self.flood(use)

    def test_tokens(self) -> None:
        """What descends from a log-in is charged before it is given anything, by log-in."""
        parts: Any = SimpleNamespace(below=SharedRate(300.0, 5.0), now=lambda: 0.0)
        exchange = Exchange(parts)
        self.flood(lambda who: let_through(lambda: exchange._charge(who)))
