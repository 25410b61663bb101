"""Tests of `hoopgw.control.regrouping`: what was opened with a group that was taken away ends."""

from __future__ import annotations

from attrs import evolve

from hoopgw.control.regrouping import Regrouping
from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.caller_certificates import lineage_of
from hoopgw.store.certificate_rows import CertificateRow
from hoopgw.store.rows import LoginRow, PasswordRow
from tests.control.world import WorkerEnd, WorldCase
from tests.store.values import ALICE, ALICES_AGENT, CAROL, LATER, hop


class RegroupingTests(WorldCase):
    """Live sessions of a worker, and passwords."""

    def setUp(self) -> None:
        super().setUp()
        self.end = self.worker()
        self.cut: list[str] = []
        self.regrouping = Regrouping(
            self.store, self.board.fleet, self.board.delegations, self.clock.seconds
        )

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

    def test_certificates(self) -> None:
        """Those of the log-in and of its agents would open sessions for an hour."""
        for serial, who in ((1, ALICE), (2, ALICES_AGENT), (3, CAROL)):
            row = CertificateRow(
                serial=serial,
                kind="x509",
                login=who.session,
                lineage=tuple(lineage_of(who, serial)),
                issued=self.clock.seconds(),
                expires=LATER,
            )
            self.assertTrue(self.store.certificates.keep(row, [10]))
        self.regrouping.regrouped(ALICE.session, frozenset())
        self.carry()
        for serial, who, ended in ((1, ALICE, True), (2, ALICES_AGENT, True), (3, CAROL, False)):
            self.assertEqual(self.end.client.is_revoked(lineage_of(who, serial)), ended, serial)

    def test_what_was_given_before(self) -> None:
        """Tokens and chains say the groups of then: nothing is given for them any more."""
        row = LoginRow(
            id=ALICE.session,
            principal=ALICE,
            thumbprint="t",
            refresh=b"r" * 32,
            began=1000.0,
            groups_at=1000.0,
            expires=LATER,
        )
        fewer = evolve(ALICE, chain=(hop("alice"),))
        self.store.logins.keep(row)
        self.board.delegations.admit(ALICES_AGENT, None)
        self.assertTrue(self.store.logins.replace(row, evolve(row, principal=fewer)))
        with self.assertRaisesRegex(AuthenticationError, "revoked"):
            self.board.delegations.admit(ALICES_AGENT, None)
        self.assertFalse(self.board.delegations.is_ended(fewer))
        self.assertFalse(self.board.delegations.is_ended(CAROL))

    def test_a_token_that_is_out(self) -> None:
        """The worker does not know that it has lost a group; what it opens is cut at once."""
        self.store.logins.keep(
            LoginRow(
                id=ALICE.session,
                principal=evolve(ALICE, chain=(hop("alice"),)),
                thumbprint="t",
                refresh=b"r" * 32,
                began=1000.0,
                groups_at=1000.0,
                expires=LATER,
            )
        )
        for session, who in (("s-own", ALICE), ("s-agent", ALICES_AGENT), ("s-carol", CAROL)):
            self.open(self.end, session, who)
        self.open(self.end, "s-fewer", evolve(ALICE, chain=(hop("alice"),)))
        self.assertEqual(self.cut, ["s-own", "s-agent"])

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
