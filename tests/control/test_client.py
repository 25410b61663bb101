"""Tests for `hoopgw.control.client`, `live` and `logins`: the worker's side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from joserfc.jwk import OKPKey

from hoopgw.control.client import FORGET_EVERY, LAST_DELAY
from hoopgw.control.live import OUTAGE_GRACE
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.passwords import make_password
from hoopgw.identity.tokens import (
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)
from hoopgw.ipc import CALL_TIMEOUT, Body
from hoopgw.sessions.living import Freeze
from hoopgw.store.rows import PasswordRow
from tests.control.world import URL, WorldCase
from tests.store.values import ALICE, ALICES_AGENT, CAROL, person


class ConnectionTests(WorldCase):
    """The connection comes back by itself."""

    def test_it_tries_again_and_again_but_not_at_once(self) -> None:
        self.kill()
        worker = self.worker()
        self.clock.pump([0.05] * 20 * 60)
        self.assertFalse(worker.client.is_connected)
        self.assertGreater(self.endpoint.attempts, 60 / (LAST_DELAY * 2))
        self.assertLess(self.endpoint.attempts, 60)
        self.begin()
        self.wait(LAST_DELAY * 2)
        self.assertTrue(worker.client.is_connected)

    def test_calls_fail_while_it_is_down_and_work_afterwards(self) -> None:
        worker = self.worker()
        self.endpoint.cut()
        self.failureResultOf(worker.client.call("review_alive", requests=[]), UnavailableError)
        worker.client.tell("session_closed", session="s")
        self.wait(5)
        answer = worker.client.call("review_alive", requests=[])
        self.carry()
        self.assertEqual(self.successResultOf(answer), {"settled": []})

    def test_each_part_announces_itself_each_time(self) -> None:
        worker = self.worker()
        announced: list[str] = []

        def broken() -> None:
            announced.append("broken")
            raise ZeroDivisionError

        worker.client.on_connected(lambda: announced.append("now"))
        self.assertEqual(announced, ["now"])
        worker.client._connected.insert(0, broken)
        self.endpoint.cut()
        self.wait(5)
        self.assertEqual(announced, ["now", "broken", "now"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_control_tells_arrives(self) -> None:
        worker, told = self.worker(), list[Body]()
        worker.client.on_tell("reload", told.append)
        self.board.fleet.tell_all("reload", {"why": "test"})
        self.board.fleet.tell_all("unknown", {})
        self.carry()
        self.assertEqual(told, [{"why": "test"}])
        self.assertEqual(len(self.flushLoggedErrors(UnavailableError)), 1)

    def test_an_old_connection_does_not_take_the_new_ones_place(self) -> None:
        """A worker is back before control has noticed that it was gone."""
        first, again = self.worker("w1"), self.worker("w1")
        again.sessions.opened("s-1", ALICE, "orders", lambda _reason: None)
        self.carry()
        self.endpoint.wires[0].cut()
        self.assertEqual([head.id for head in self.store.sessions()], ["s-1"])
        self.assertEqual(self.board.fleet.workers, ["w1"])
        self.assertFalse(first.client.is_connected)


class RevokedTests(WorldCase):
    """What a worker knows of what was revoked."""

    def test_control_comes_back_with_less(self) -> None:
        """As with an older copy of its store: who was told before does not forget it."""
        worker = self.worker()
        self.board.delegations.revoke("login-alice", "test")
        self.carry()
        self.kill()
        self.path = Path(self.mktemp())
        self.begin()
        self.store.revoke("login-carol", 90_000.0)
        self.wait(LAST_DELAY * 2)
        self.assertTrue(worker.client.is_connected)
        known = [worker.client.is_revoked([name]) for name in ("login-alice", "login-carol")]
        self.assertEqual(known, [True, True])

    def test_what_is_over_is_forgotten(self) -> None:
        worker = self.worker()
        worker.client.revoke("soon", self.clock.seconds() + 30.0)
        worker.client.revoke("later", self.clock.seconds() + 900.0)
        self.wait(2 * FORGET_EVERY)
        known = [worker.client.is_revoked([name]) for name in ("soon", "later")]
        self.assertEqual(known, [False, True])


class LoginTests(WorldCase):
    """Tokens and session passwords."""

    def token(self, signer: TokenSigner, target: str, who: Principal = ALICE) -> str:
        """Sign a token for a target."""
        return signer.sign(
            GatewayToken(
                principal=who, audience=target_audience(target), issued=999.0, expires=1100.0
            )
        )

    def test_a_token_is_verified_here(self) -> None:
        worker = self.worker()
        self.kill()  # the keys are cached
        token = self.token(self.signer, "orders", evolve(ALICE, expires=1100.0))
        self.assertEqual(worker.logins.token(token, "orders").root, ALICE.root)
        self.assertRaises(AuthenticationError, worker.logins.token, token, "billing")
        stranger = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        forged = self.token(stranger, "orders")
        self.assertRaises(AuthenticationError, worker.logins.token, forged, "orders")
        self.clock.advance(100.0)
        self.assertRaises(AuthenticationError, worker.logins.token, token, "orders")

    def test_a_token_for_an_account(self) -> None:
        """It opens no other; one for none in particular opens any."""
        worker, now = self.worker(), 999.0
        mine = GatewayToken(
            principal=ALICE,
            audience=target_audience("orders"),
            issued=now,
            expires=now + 100.0,
            account="reader",
        )
        token, any_ = self.signer.sign(mine), self.signer.sign(evolve(mine, account=""))
        for shown in (token, any_):
            self.assertEqual(worker.logins.token(shown, "orders", "reader").root, ALICE.root)
        for account in ("owner", ""):
            with self.assertRaises(AuthenticationError):
                worker.logins.token(token, "orders", account)
            worker.logins.token(any_, "orders", account)

    def test_a_token_of_a_revoked_login_is_not_good(self) -> None:
        worker, token = self.worker(), self.token(self.signer, "orders")
        worker.client.revoke(ALICE.session, 5000.0)
        self.assertRaises(AuthenticationError, worker.logins.token, token, "orders")

    def test_a_token_that_was_ended_is_not_good(self) -> None:
        """Others of the same log-in are."""
        worker, token = self.worker(), self.token(self.signer, "orders")
        other = self.token(self.signer, "orders")
        read = TokenVerifier(self.signer.jwks, URL).read(token, target_audience("orders"), 1000.0)
        self.board.delegations.end_token(read)
        self.carry()
        self.assertRaises(AuthenticationError, worker.logins.token, token, "orders")
        self.assertEqual(worker.logins.token(other, "orders").root, ALICE.root)

    def test_no_token_is_good_before_the_keys_are_known(self) -> None:
        self.kill()
        worker = self.worker()
        token = self.token(self.signer, "orders")
        self.assertRaises(AuthenticationError, worker.logins.token, token, "orders")

    def test_keys_that_control_tells_replace_the_old(self) -> None:
        worker = self.worker()
        token = self.token(self.signer, "orders")
        worker.logins.token(token, "orders")
        other = TokenSigner(OKPKey.generate_key("Ed25519"), URL)
        self.board.fleet.tell_all("token_keys", other.jwks)
        self.carry()
        self.assertRaises(AuthenticationError, worker.logins.token, token, "orders")
        worker.logins.token(self.token(other, "orders"), "orders")

    def keep(self, expires: float) -> tuple[str, Any]:
        """Keep a session password; return its handle and what was made."""
        made = make_password(ALICES_AGENT, "orders", "reader")
        stored = made.stored
        self.store.keep_password(
            PasswordRow(
                handle=made.handle,
                target=stored.target,
                account=stored.account,
                principal=stored.principal,
                salt=stored.salt,
                iterations=stored.iterations,
                stored_key=stored.stored_key,
                server_key=stored.server_key,
                expires=expires,
            )
        )
        return made.handle, stored

    def test_a_session_password_is_asked_for(self) -> None:
        worker = self.worker()
        handle, stored = self.keep(1100.0)
        found = worker.logins.session_password(handle)
        self.carry()
        self.assertEqual(self.successResultOf(found), stored)

    def test_one_that_is_not_there_or_over_is_refused(self) -> None:
        worker = self.worker()
        handle, _ = self.keep(1100.0)
        for asked, wait in (("zzzzzzzz", 0), (handle, 100)):
            self.wait(wait)
            found = worker.logins.session_password(asked)
            self.carry()
            self.failureResultOf(found, AuthenticationError)

    def test_an_answer_that_does_not_come_is_unavailable(self) -> None:
        worker = self.worker()
        found = worker.logins.session_password("abcdefgh")
        self.clock.advance(CALL_TIMEOUT)
        self.failureResultOf(found, UnavailableError)

    def test_without_control_it_is_unavailable(self) -> None:
        worker = self.worker()
        self.kill()
        self.failureResultOf(worker.logins.session_password("abcdefgh"), UnavailableError)


class SessionTests(WorldCase):
    """The registry of live sessions: at most 4, and 3 of one root."""

    def setUp(self) -> None:
        super().setUp()
        self.end = self.worker()
        self.cuts: list[tuple[str, str]] = []

    def open(self, session: str, who: Principal = ALICE) -> None:
        """Open a session."""
        self.end.sessions.opened(
            session, who, "orders", lambda reason: self.cuts.append((session, reason)), "reader"
        )
        self.carry()

    def test_live_sessions_are_listed_until_they_close(self) -> None:
        self.open("s-1", ALICES_AGENT)
        (head,) = self.store.sessions()
        self.assertEqual((head.id, head.principal), ("s-1", ALICES_AGENT))
        self.assertEqual((head.protocol, head.account, head.opened), ("postgres", "reader", 1000.0))
        self.end.sessions.closed("s-1")
        self.end.sessions.closed("s-1")
        self.carry()
        self.assertEqual(self.store.sessions(), [])
        self.assertEqual(self.cuts, [])

    def test_a_session_ends_with_its_login(self) -> None:
        self.open("s-1", person("alice", expires=1010.0))
        self.wait(9)
        self.assertEqual(self.cuts, [])
        self.wait(1)
        self.assertEqual(self.cuts, [("s-1", "the log-in has expired")])
        self.wait(100)
        self.assertEqual(len(self.cuts), 1)

    def test_a_login_that_is_over_opens_none(self) -> None:
        over = person("alice", expires=1000.0)
        self.assertRaises(UnavailableError, self.open, "s-1", over)
        self.assertEqual(len(self.end.sessions), 0)

    def test_limits_for_one_root_and_for_all(self) -> None:
        for number, who in enumerate((ALICE, ALICES_AGENT, ALICE)):
            self.open(f"s-{number}", who)
        refused = self.assertRaises(UnavailableError, self.open, "s-3", ALICES_AGENT)
        self.assertIn("alice has 3 sessions", str(refused))
        self.open("s-3", CAROL)
        self.assertRaises(UnavailableError, self.open, "s-4", person("erin"))
        self.end.sessions.closed("s-0")
        self.open("s-4", ALICE)

    def test_control_cuts_a_session_or_a_login(self) -> None:
        self.open("s-1")
        self.open("s-2")
        self.open("s-3", CAROL)
        self.board.fleet.tell_one("w1", "cut", {"session": "s-1", "reason": "by carol"})
        revoked = {"node": "login-alice", "expires": 5000.0, "reason": "revoked"}
        self.board.fleet.tell_all("cut", revoked)
        self.board.fleet.tell_all("cut", {"session": "s-9", "reason": "unknown"})
        self.carry()
        self.assertEqual(self.cuts, [("s-1", "by carol"), ("s-2", "revoked")])

    def test_control_freezes_a_session(self) -> None:
        """And thaws it; what fails is cut, as nobody knows then what goes through."""
        said: list[dict[str, object]] = []
        self.end.sessions.opened("s-1", ALICE, "web1", lambda _why: None, freeze=_keeping(said))
        self.open("s-2")
        for session in ("s-1", "s-2", "s-9"):
            for frozen in (True, False):
                body = {"frozen": frozen, "by": "bob", "by_id": "corp|bob", "reason": "a look"}
                self.board.fleet.tell_one("w1", "freeze", {"session": session, **body})
        self.carry()
        who = {"by": "bob", "by_id": "corp|bob", "reason": "a look"}
        self.assertEqual(said, [{"frozen": True, **who}, {"frozen": False, **who}])
        self.assertEqual(self.cuts, [])

        def broken(**_more: object) -> None:
            raise ZeroDivisionError

        cut: list[str] = []
        self.end.sessions.opened("s-3", ALICE, "web1", cut.append, freeze=broken)
        body = {"frozen": True, "by": "bob", "by_id": "corp|bob", "reason": ""}
        self.board.fleet.tell_one("w1", "freeze", {"session": "s-3", **body})
        self.carry()
        self.assertEqual(cut, ["the gateway could not freeze it, or let it go on"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_cut_that_fails_does_not_spare_the_others(self) -> None:
        def broken(_reason: str) -> None:
            raise ZeroDivisionError

        self.end.sessions.opened("s-0", ALICE, "orders", broken)
        self.open("s-1")
        self.end.sessions.cut_all()
        self.assertEqual(self.cuts, [("s-1", "the gateway is shutting down")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_after_a_restart_of_control_they_are_announced_again(self) -> None:
        self.open("s-1")
        self.kill()
        self.end.sessions.opened("s-2", CAROL, "orders", lambda _reason: None)
        self.begin()
        self.assertEqual(self.store.sessions(), [])
        self.wait(10)
        self.assertEqual({head.id for head in self.store.sessions()}, {"s-1", "s-2"})

    def test_sessions_of_a_lost_worker_do_not_live(self) -> None:
        self.open("s-1")
        self.end.client.stop()
        self.carry()
        self.assertEqual(self.store.sessions(), [])

    def test_a_revoked_login_is_cut_when_it_comes_back(self) -> None:
        """Its session lived in a worker that control could not reach when it was revoked."""
        self.open("s-1")
        self.endpoint.cut()
        self.store.revoke("login-alice", 5000.0)
        self.wait(10)
        self.assertEqual(self.cuts, [("s-1", "the log-in was revoked")])

    def test_a_revoked_login_opens_nothing_here(self) -> None:
        """It was revoked while we listened, or before we came; until it would have ended."""
        revoked = {"node": "login-alice", "expires": 1020.0, "reason": "revoked"}
        self.board.fleet.tell_all("cut", revoked)
        self.carry()
        self.assertRaises(UnavailableError, self.open, "s-1", ALICES_AGENT)
        self.open("s-2", CAROL)
        self.store.revoke("login-carol", 1500.0)
        late = self.worker("w2")
        cut = self.assertRaises(
            UnavailableError, late.sessions.opened, "s-3", CAROL, "orders", lambda _reason: None
        )
        self.assertIn("revoked", str(cut))
        self.wait(21 + FORGET_EVERY)
        self.open("s-4", ALICE)

    def test_nobody_comes_in_while_revocations_cannot_be_known(self) -> None:
        self.open("s-1")
        self.kill()
        self.open("s-2")
        self.clock.pump([0.5] * 5)
        refused = self.assertRaises(UnavailableError, self.open, "s-3", CAROL)
        self.assertIn("try again", str(refused))
        self.begin()
        self.wait(6)
        self.open("s-3", CAROL)
        self.assertEqual(self.cuts, [])

    def test_a_control_that_hangs_is_as_one_that_is_gone(self) -> None:
        """The connection stands, but nothing is answered."""
        self.clock.pump([0.5] * 6)
        self.assertTrue(self.end.client.is_connected)
        self.assertRaises(UnavailableError, self.open, "s-1")
        self.carry()
        self.wait(1)
        self.open("s-1")

    def test_after_a_long_outage_sessions_end(self) -> None:
        self.open("s-1")
        self.kill()
        self.clock.pump([0.5] * int(2 * OUTAGE_GRACE))
        self.assertEqual(self.cuts, [])
        self.clock.pump([0.5] * 2)
        self.assertEqual([session for session, _ in self.cuts], ["s-1"])

    def test_the_same_id_twice_is_our_own_mistake(self) -> None:
        self.open("s-1")
        self.assertRaises(ValueError, self.open, "s-1")


def _keeping(said: list[dict[str, object]]) -> Freeze:
    def keep(*, frozen: bool, by: str, by_id: str, reason: str) -> None:
        said.append({"frozen": frozen, "by": by, "by_id": by_id, "reason": reason})

    return keep
