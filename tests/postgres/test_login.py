"""The client leg until its principal is known: phases, deadlines, what is told and what is not."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw_postgres import wire
from hoopgw_postgres.login import LOGIN_TIMEOUT
from tests.postgres.login_talk import ALICE, NEW, PLANNER, TARGETS, Talk, code, kinds
from tests.support.raw_postgres import (
    GSS_REQUEST,
    SSL_REQUEST,
    cancel_request,
    message,
    query,
    sasl_first,
    startup,
)


class PhaseTests(SynchronousTestCase):
    """What is taken, and when."""

    def test_deadline(self) -> None:
        """In every phase: whoever is silent is cut off, and told why once that is possible."""
        password = startup(user=NEW.user, database="orders")
        for sent in (b"", b"\0", startup(user="app", database="orders"), password):
            talk = Talk()
            talk.say(sent)
            talk.clock.advance(LOGIN_TIMEOUT - 0.1)
            self.assertFalse(talk.wire.closed)
            talk.clock.advance(0.2)
            self.assertTrue(talk.wire.closed)
            self.assertEqual(code(talk.wire.take()), "57014")
            self.assertEqual(talk.refused, ["timeout"])

    def test_a_slow_handshake(self) -> None:
        """The deadline runs from the connection, not from the handshake; nothing is in clear."""
        talk = Talk(encrypted=False)
        talk.clock.advance(LOGIN_TIMEOUT - 1)
        talk.login.received(SSL_REQUEST)
        self.assertEqual(bytes(talk.wire.written), b"S")
        talk.clock.advance(1.1)
        self.assertTrue(talk.wire.closed)
        self.assertEqual(bytes(talk.wire.written), b"S")

    def test_drops_do_not_extend_the_deadline(self) -> None:
        """One byte a second is not progress."""
        talk = Talk()
        for byte in startup(user="app", database="orders")[: int(LOGIN_TIMEOUT) + 1]:
            talk.say(bytes([byte]))
            talk.clock.advance(1)
        self.assertTrue(talk.wire.closed)
        self.assertEqual(talk.done, [])

    def test_no_timer_is_left(self) -> None:
        """Neither after a log-in, nor after a refusal, a cancel request or a lost connection."""
        good = Talk()
        good.say(startup(user="app", database="orders"), message("p", b"token\0"))
        bad = Talk()
        bad.say(startup(user="app", database="orders"), message("p", b"nonsense\0"))
        cancel = Talk()
        cancel.say(cancel_request((7, b"1234")))
        lost = Talk()
        lost.login.lost()
        for talk in (good, bad, cancel, lost):
            self.assertEqual(talk.clock.getDelayedCalls(), [])
        self.assertEqual(len(good.done), 1)
        self.assertEqual([request.pid for request in cancel.cancels], [7])

    def test_direct_tls_without_its_name(self) -> None:
        """Direct TLS needs ALPN; TLS that was asked for does not."""
        for alpn in (None, "http/1.1"):
            talk = Talk(encrypted=False)
            talk.wire.alpn = alpn
            talk.login.received(b"\x16\x03\x01rest")
            self.assertEqual(talk.wire.started, b"\x16\x03\x01rest")
            talk.login.handshake_completed()
            self.assertEqual(code(talk.wire.take()), "08P01")
            self.assertTrue(talk.wire.closed)

    def test_nothing_is_taken_twice(self) -> None:
        """A second startup, password or encryption request has no place to go."""
        good = startup(user="app", database="orders")
        for sent in (good + good, SSL_REQUEST, GSS_REQUEST, good + SSL_REQUEST, good + query("")):
            talk = Talk()
            talk.login.received(sent)
            self.assertTrue(talk.wire.closed)
            self.assertEqual(talk.wire.take()[-1][0], "E")
            self.assertEqual(talk.done, [])

    def test_in_clear_only_encryption_and_cancel(self) -> None:
        """Whatever the protocol's version says."""
        for version in (0x20000, 0x30000, 0x30002, 0x3270F, 0x40000):
            talk = Talk(encrypted=False)
            parameters = {"user": "app", "database": "orders"} if version >> 16 == 3 else {}
            answers = talk.say(startup(version, **parameters))
            self.assertIn(code(answers), ("28000", "0A000"))

    def test_what_waits_is_bounded(self) -> None:
        """While the session password is looked up, no client can fill the memory."""
        talk = Talk()
        talk.logins.slow = True
        talk.say(startup(user=NEW.user, database="orders"))
        for _ in range(17):
            talk.login.received(b"p" * 4096)
        self.assertTrue(talk.wire.closed)
        talk.logins.answers[0].callback(NEW.stored)  # too late: it must do nothing
        self.assertEqual(kinds(talk.wire.take()), "E")

    def test_what_follows_the_password_is_the_sessions(self) -> None:
        """A client need not wait for the answer before it sends its first query."""
        talk = Talk()
        talk.say(startup(user="app", database="orders"), message("p", b"token\0"), query("x"))
        self.assertEqual(talk.done[0].rest, query("x"))

    @given(st.data())
    def test_any_cut_logs_in(self, data: st.DataObject) -> None:
        """However the bytes come."""
        sent = startup(user="app", database="orders") + message("p", b"token\0")
        talk = Talk()
        while sent:
            size = data.draw(st.integers(1, len(sent)))
            talk.login.received(sent[:size])
            sent = sent[size:]
        self.assertEqual(len(talk.done), 1)


class CertificateTests(SynchronousTestCase):
    """A certificate, whose key TLS has proved."""

    def talk(self, shown: bytes | None = b"certificate") -> Talk:
        talk = Talk()
        talk.wire.shown = shown
        return talk

    def test_no_password_is_asked_for(self) -> None:
        """The chain in it logs in, and what revokes the certificate is known to the session."""
        talk = self.talk()
        self.assertEqual(talk.say(startup(user="app", database="orders"), query("x")), [])
        [done] = talk.done
        self.assertEqual((done.principal, done.method), (PLANNER, "certificate"))
        self.assertEqual((done.credential, done.rest), ("cert:7", query("x")))

    def test_refused(self) -> None:
        """In PostgreSQL's own words, with the reason and the remedy; no password helps then."""
        for shown, target, user in (
            (b"other", "orders", "app"),
            (b"certificate", "stock", "app"),
            (b"certificate", "orders", "root"),
        ):
            talk = self.talk(shown)
            [(kind, body)] = talk.say(startup(user=user, database=target), message("p", b"token\0"))
            report = wire.parse_report(body)
            self.assertEqual((kind, report["S"], report["C"]), ("E", "FATAL", "28000"))
            self.assertIn("certificate authentication failed", report["M"])
            self.assertIn("as the caller may know", report["M"])
            self.assertIn(f"hoopgw certificate {target}", report["H"])
            self.assertEqual((talk.done, talk.wire.closed), ([], True))
            self.assertEqual(talk.refused, ["the certificate is not good, as the caller may know"])

    def test_without_one(self) -> None:
        """Who shows none is asked for a password, as before."""
        talk = self.talk(None)
        self.assertEqual(kinds(talk.say(startup(user="app", database="orders"))), "R")

    def test_a_session_password_is_asked_for_by_name(self) -> None:
        """The certificate does not stand in for a handle's password."""
        talk = self.talk()
        answers = talk.say(startup(user=NEW.user, database="orders"))
        self.assertEqual((kinds(answers), talk.done), ("R", []))

    def test_nothing_in_clear(self) -> None:
        """Without TLS no certificate can be shown, and nothing is looked at."""
        talk = Talk(encrypted=False)
        talk.wire.shown = b"certificate"
        talk.say(startup(user="app", database="orders"))
        self.assertEqual(talk.done, [])


class TokenTests(SynchronousTestCase):
    """A token as the password."""

    def test_refusals_look_the_same(self) -> None:
        """The log knows why; the caller does not."""
        said = set()
        for target, token in (
            ("orders", b"wrong"),
            ("stock", b"token"),
            ("orders", b"\xff\xfe"),
            ("orders", b""),
        ):
            talk = Talk()
            talk.say(startup(user="app", database=target))
            [(_, body)] = talk.say(message("p", token + b"\0"))
            said.add(wire.parse_report(body)["M"])
            self.assertEqual(talk.done, [])
        self.assertEqual(len(said), 1)
        self.assertNotIn("says the log", said.pop())

    def test_a_malformed_password_message(self) -> None:
        """One NUL, at the end."""
        for body in (b"token", b"token\0\0", b"to\0ken\0", b""):
            talk = Talk()
            talk.say(startup(user="app", database="orders"))
            self.assertEqual(code(talk.say(message("p", body))), "08P01")

    def test_an_announced_length(self) -> None:
        """It is refused before anything of it is waited for."""
        for length in (3, 65_536, 2**30, 2**32 - 1):
            talk = Talk()
            talk.say(startup(user="app", database="orders"))
            self.assertEqual(code(talk.say(b"p" + length.to_bytes(4, "big"))), "08P01")


class ChainTests(SynchronousTestCase):
    """A chain of delegation as the password."""

    def begun(self, chain: bytes = b"root~hop~pop", **how: bool) -> tuple[Talk, list[Any]]:
        """Show a chain."""
        talk = Talk()
        for name, value in how.items():
            setattr(talk.logins, name, value)
        talk.say(startup(user="app", database="orders"))
        return talk, talk.say(message("p", chain + b"\0"))

    def test_good(self) -> None:
        """It logs in whom it stands for, and the method says how."""
        talk, said = self.begun()
        self.assertEqual(said, [])
        self.assertEqual((talk.done[0].principal, talk.done[0].method), (PLANNER, "chain"))

    def test_refused(self) -> None:
        """FATAL, with what to do next; the log alone says why."""
        talk, [(_, body)] = self.begun(b"root~hop~old")
        report = wire.parse_report(body)
        self.assertEqual((report["S"], report["C"]), ("FATAL", "28P01"))
        self.assertIn("new password for each connection", report["H"])
        self.assertNotIn("says the log", str(report))
        self.assertEqual(talk.refused, ["the chain is not good, says the log"])

    def test_control_is_away(self) -> None:
        """Whether the pop is new cannot be known: refused, to be tried again."""
        talk, [(_, body)] = self.begun(away=True)
        self.assertEqual(wire.parse_report(body)["C"], "57P03")
        self.assertEqual(talk.done, [])

    def test_nothing_is_taken_while_it_is_checked(self) -> None:
        """What the client sends meanwhile belongs to the session, and is bounded."""
        talk, _ = self.begun(slow=True)
        talk.say(b"Q" * 100)
        talk.logins.chains[0].callback(PLANNER)
        self.assertEqual(talk.done[0].rest, b"Q" * 100)
        talk, _ = self.begun(slow=True)
        self.assertEqual(code(talk.say(b"Q" * 70_000)), "08P01")
        talk.logins.chains[0].callback(PLANNER)
        self.assertEqual(talk.done, [])

    def test_too_slow(self) -> None:
        """The deadline of the log-in holds."""
        talk, _ = self.begun(slow=True)
        talk.clock.advance(LOGIN_TIMEOUT)
        self.assertEqual(code(talk.wire.take()), "57014")
        talk.logins.chains[0].errback(AuthenticationError("late"))
        self.assertEqual(talk.wire.take(), [])


class SessionPasswordTests(SynchronousTestCase):
    """SCRAM with a session password."""

    def test_good(self) -> None:
        """With and without channel binding."""
        for plus in (False, True):
            talk = Talk()
            talk.scram(NEW.user, NEW.password, plus=plus)
            self.assertEqual(talk.done[0].principal, ALICE)

    def test_an_unknown_handle_looks_like_a_wrong_password(self) -> None:
        """The same messages, of the same lengths, for each kind of refusal."""
        seen = set()
        for user, password, target in (
            (NEW.user, "wrong", "orders"),
            ("app~aaaaaaaa", NEW.password, "orders"),
            (NEW.user, NEW.password, "stock"),
            (f"root~{NEW.handle}", NEW.password, "orders"),
        ):
            talk = Talk()
            first, last = talk.scram(user, password, target)
            self.assertEqual(talk.done, [])
            fields = wire.parse_report(last)
            iterations = first.rpartition(b",i=")[2]
            seen.add((fields["C"], len(first), iterations, fields["M"].replace(user, "user")))
        self.assertEqual(len(seen), 1)

    def test_a_salt_says_nothing(self) -> None:
        """It lasts, for a handle that exists or not, and differs for each account and target.

        If all accounts of a handle that does not fit had one salt, the one that differs would be
        the right one; if it changed with a restart, the one that stays would be real.
        """

        def salt(user: str, target: str) -> bytes:
            first, _last = Talk().scram(user, "guess", target)
            return first.split(b",s=")[1].partition(b",")[0]

        users = [NEW.user, f"root~{NEW.handle}", "app~aaaaaaaa", "root~aaaaaaaa"]
        salts = [salt(user, target) for user in users for target in TARGETS]
        again = [salt(user, target) for user in users for target in TARGETS]
        self.assertEqual(salts, again)
        self.assertEqual(len(set(salts)), len(salts))

    def test_expired(self) -> None:
        """A verifier that is kept for too long logs nobody in."""
        talk = Talk()
        expired = evolve(ALICE, expires=talk.clock.seconds())
        talk.logins.passwords[NEW.handle] = evolve(NEW.stored, principal=expired)
        talk.scram(NEW.user, NEW.password)
        self.assertEqual(talk.done, [])
        self.assertEqual(talk.refused, ["the session password has expired"])

    def test_a_downgrade(self) -> None:
        """``y``: the client thinks that we have no channel binding; somebody hid it."""
        for first in (
            b"y,,n=,r=nonce",
            b"p=tls-server-end-point,,n=,r=nonce",
            b"p=tls-unique,,n=,r=n",
        ):
            talk = Talk()
            talk.say(startup(user=NEW.user, database="orders"))
            self.assertEqual(code(talk.say(sasl_first("SCRAM-SHA-256", first))), "28P01")

    def test_mechanisms_that_are_not_offered(self) -> None:
        """And responses whose length lies."""
        for sent in (
            sasl_first("SCRAM-SHA-1", b"n,,n=,r=nonce"),
            sasl_first("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01"),
            sasl_first("", b"n,,n=,r=nonce"),
            message("p", b"SCRAM-SHA-256"),
            message("p", b"SCRAM-SHA-256\0\0\0\0\x7fn,,n=,r=nonce"),
            message("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            message("p", NEW.password.encode() + b"\0"),
            message("p"),
        ):
            talk = Talk()
            talk.say(startup(user=NEW.user, database="orders"))
            self.assertEqual(code(talk.say(sent)), "08P01")
            self.assertEqual(talk.done, [])

    def test_control_is_away(self) -> None:
        """Nobody is logged in, and that is told apart from a wrong password: it is no secret."""
        talk = Talk()
        talk.logins.away = True
        self.assertEqual(code(talk.say(startup(user=NEW.user, database="orders"))), "57P03")

    def test_a_fault_in_the_lookup(self) -> None:
        """It refuses, too."""
        talk = Talk()
        talk.logins.slow = True
        talk.say(startup(user=NEW.user, database="orders"))
        talk.logins.answers[0].errback(ZeroDivisionError())
        self.assertEqual(code(talk.wire.take()), "XX000")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
