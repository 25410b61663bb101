"""Tests of `hoopgw.control.regrouping`: what was opened with a group that was taken away ends."""

from __future__ import annotations

from attrs import evolve

from hoopgw.control.regrouping import Regrouping
from hoopgw.events import Principal
from hoopgw.store.rows import PasswordRow
from tests.control.world import WorkerEnd, WorldCase
from tests.store.values import ALICE, ALICES_AGENT, CAROL, LATER, hop


class RegroupingTests(WorldCase):
    """Live sessions of a worker, and passwords."""

    def setUp(self) -> None:
        super().setUp()
        self.end = self.worker()
        self.cut: list[str] = []
        self.regrouping = Regrouping(self.store, self.board.fleet)

    def open(self, worker: WorkerEnd, session: str, who: Principal) -> None:
        """Open a session that lives until it is cut."""
        worker.sessions.opened(session, who, "orders", lambda _why: self.cut.append(session))
        self.carry()

    def test_sessions(self) -> None:
        """Those of the log-in and of its agents; not those of others, nor what is as it was."""
        self.open(self.end, "s-own", ALICE)
        self.open(self.end, "s-agent", ALICES_AGENT)
        self.open(self.end, "s-carol", CAROL)
        fewer = evolve(ALICE, chain=(hop("alice"),))
        other = self.worker("w2")
        self.open(other, "s-fewer", fewer)
        self.regrouping.regrouped(ALICE.session, frozenset({"other"}))
        self.carry()
        self.assertEqual(sorted(self.cut), ["s-agent", "s-own"])
        self.assertFalse(self.store.is_revoked(ALICE.lineage))

    def test_passwords(self) -> None:
        """They stand for the groups that were."""
        for handle, who in (("own", ALICE), ("agent", ALICES_AGENT), ("carol", CAROL)):
            self.store.keep_password(
                PasswordRow(
                    handle=handle,
                    target="orders",
                    account="reader",
                    principal=who,
                    salt=b"salt",
                    iterations=4096,
                    stored_key=b"\0" * 32,
                    server_key=b"\1" * 32,
                    expires=LATER,
                )
            )
        self.regrouping.regrouped(ALICE.session, frozenset())
        kept = [self.store.password(handle) is not None for handle in ("own", "agent", "carol")]
        self.assertEqual(kept, [False, False, True])
