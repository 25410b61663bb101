"""Tests for `hoopgw_postgres.target_login`: a log-in at servers that are honest, odd or hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import get_args

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError
from hoopgw_postgres import startup, wire
from hoopgw_postgres.target_login import (
    BYTES_LIMIT,
    MESSAGE_LIMIT,
    SETTINGS,
    Auth,
    LoginPlan,
    TargetLogin,
    Tls,
)

PASSWORD = "pässword"
END_POINT = b"e" * 32
FULL = Tls(is_verified=True, end_point=END_POINT)
PLAN = LoginPlan(user="reader", database="shop", secret=PASSWORD.encode())
PLUS, PLAIN = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"
WELCOME = (
    wire.AUTHENTICATION_OK
    + wire.parameter_status("server_version", "18.6")
    + wire.parameter_status("client_encoding", "UTF8")
    + wire.backend_key(4711, b"keys")
    + wire.ready(b"I")
)
CLEARTEXT = wire.AUTHENTICATION_CLEARTEXT
MD5 = wire.message(b"R", (5).to_bytes(4, "big") + b"salt")


@define
class ScramServer:
    """An honest server's side of SCRAM, and what a hostile one would change."""

    mechanisms: tuple[str, ...] = (PLUS, PLAIN)
    binding: bytes | None = END_POINT
    password: str = PASSWORD
    iterations: int = 4096
    change_first: Callable[[str], str] = field(default=lambda text: text)
    chosen: str = ""

    def run(self, login: TargetLogin) -> bytes:
        """Log in up to the server's final word, and return that without giving it."""
        reply = login.receive_data(wire.authentication_sasl(self.mechanisms))
        name, _, rest = reply[5:].partition(b"\0")
        self.chosen = name.decode()
        mechanism = ScramMechanism(self.chosen)
        salt, stored, server_key, iterations = mechanism.make_auth_info(
            self.password, iteration_count=self.iterations
        )
        binding = ("tls-server-end-point", self.binding) if self.binding is not None else None
        server = mechanism.make_server(
            lambda _user: (salt, stored, server_key, iterations), channel_binding=binding
        )
        server.set_client_first(rest[4:].decode())
        first = self.change_first(server.get_server_first())
        reply = login.receive_data(wire.authentication_sasl_continue(first.encode()))
        server.set_client_final(reply[5:].decode())
        return wire.authentication_sasl_final(server.get_server_final().encode())


class LoginTestCase(SynchronousTestCase):
    plan = PLAN
    tls: Tls | None = FULL

    def begin(self, plan: LoginPlan | None = None, tls: Tls | None = None) -> TargetLogin:
        login = TargetLogin(plan or self.plan)
        login.begin(tls or self.tls)
        return login

    def refused(self, login: TargetLogin, data: bytes) -> str:
        """Feed it, and return why that was refused; it stays so."""
        error = self.assertRaises(LinkError, login.receive_data, data)
        self.assertNotIn(PASSWORD, str(error))
        self.assertRaises(LinkError, login.receive_data, WELCOME)
        self.assertFalse(login.is_ready)
        return str(error)


class StartupTests(LoginTestCase):
    def test_only_what_is_allowed_is_sent(self) -> None:
        plan = evolve(PLAN, settings={"TimeZone": "UTC", "application_name": "é"})
        packet = TargetLogin(plan).begin(None)
        self.assertEqual(int.from_bytes(packet[:4], "big"), len(packet))
        found = wire.parse_opening(packet[4:])
        self.assertEqual(
            found,
            wire.Startup(
                wire.PROTOCOL_3_0,
                {
                    "user": "reader",
                    "database": "shop",
                    "client_encoding": "UTF8",
                    "TimeZone": "UTC",
                    "application_name": "é",
                },
            ),
        )

    def test_what_could_widen_the_account_is_refused(self) -> None:
        for name in ("role", "session_authorization", "options", "replication", "user", "x\0y"):
            login = TargetLogin(evolve(PLAN, settings={name: "on"}))
            self.assertRaises(LinkError, login.begin, None)

    def test_values_cannot_break_out_of_their_place(self) -> None:
        for value in ("x\0user\0postgres", "x" * 1025):
            login = TargetLogin(evolve(PLAN, settings={"timezone": value}))
            self.assertRaises(LinkError, login.begin, None)
        self.assertRaises(LinkError, TargetLogin(evolve(PLAN, database="a\0b")).begin, None)

    def test_the_gateways_own_list_is_a_part_of_ours(self) -> None:
        self.assertLessEqual(startup.SETTINGS, SETTINGS)


class ScramTests(LoginTestCase):
    def finish(self, login: TargetLogin, server: ScramServer) -> None:
        final = server.run(login)
        self.assertEqual(login.receive_data(final + WELCOME + b"rest"), b"")
        self.assertTrue(login.is_ready)
        self.assertEqual(login.rest(), b"rest")

    def test_it_is_bound_to_the_certificate_wherever_there_is_one(self) -> None:
        login, server = self.begin(), ScramServer()
        self.finish(login, server)
        self.assertEqual(server.chosen, PLUS)
        self.assertEqual(login.cancel_key, (4711, b"keys"))
        self.assertEqual(login.parameters["server_version"], "18.6")
        self.assertNotIn("keys", repr(login))
        self.assertEqual(login.plan.secret, b"", "a credential outlives its log-in")
        self.assertIsNone(login._scram)
        self.assertNotIn(PASSWORD, repr(login))

    def test_without_tls_there_is_nothing_to_bind(self) -> None:
        login = TargetLogin(PLAN)
        login.begin(None)
        server = ScramServer(mechanisms=(PLAIN,), binding=None)
        self.finish(login, server)
        self.assertEqual(server.chosen, PLAIN)

    def test_every_cut_logs_in(self) -> None:
        login, server = self.begin(), ScramServer()
        final = server.run(login) + WELCOME
        for byte in final:
            self.assertEqual(login.receive_data(bytes([byte])), b"")
        self.assertTrue(login.is_ready)

    def test_a_server_behind_somebody_elses_certificate_refuses(self) -> None:
        login = self.begin()
        with self.assertRaisesRegex(Exception, "channel"):
            ScramServer(binding=b"x" * 32).run(login)

    def test_an_offer_without_binding_is_noticed_by_an_honest_server(self) -> None:
        """Somebody in between took PLUS out of the offer; the flag ``y`` tells the server."""
        login = self.begin()
        reply = login.receive_data(wire.authentication_sasl([PLAIN]))
        self.assertIn(b"y,,n=", reply)

    def test_where_tls_does_not_verify_binding_is_a_must(self) -> None:
        plan = evolve(PLAN, require_binding=True)
        offer = wire.authentication_sasl([PLAIN])
        self.assertIn("no SCRAM", self.refused(self.begin(plan), offer))
        unbound = self.begin(plan, Tls(is_verified=False, end_point=None))
        self.assertIn("no SCRAM", self.refused(unbound, wire.authentication_sasl([PLUS, PLAIN])))

    def test_a_server_that_does_not_know_the_password_is_not_the_target(self) -> None:
        login = self.begin()
        with self.assertRaisesRegex(Exception, "proof"):
            ScramServer(password="other").run(login)
        fake = wire.authentication_sasl_final(b"v=" + b"A" * 43 + b"=")
        self.assertIn("does not know", self.refused(login, fake))

    def test_an_ok_before_the_servers_proof_is_refused(self) -> None:
        login = self.begin()
        ScramServer().run(login)
        self.assertIn("without proof", self.refused(login, WELCOME))

    def test_the_work_is_bounded_both_ways(self) -> None:
        for count in ("1", "4095", "100001", "999999999", "2147483647999", "-4096", "x", ""):
            login = self.begin()
            server = ScramServer(
                change_first=lambda text, count=count: text.rpartition("i=")[0] + f"i={count}"  # type: ignore[misc]  # a lambda has no types
            )
            with self.assertRaisesRegex(LinkError, "iterations"):
                server.run(login)

    def test_another_nonce_is_refused(self) -> None:
        login = self.begin()
        server = ScramServer(change_first=lambda text: text.replace("r=", "r=x", 1))
        with self.assertRaisesRegex(LinkError, "breaks SCRAM"):
            server.run(login)

    def test_sasl_has_an_order(self) -> None:
        for message in (
            wire.authentication_sasl_continue(b"r=x,s=eA==,i=4096"),
            wire.authentication_sasl_final(b"v=x"),
        ):
            self.refused(self.begin(), message)
        login = self.begin()
        offer = wire.authentication_sasl([PLAIN])
        login.receive_data(offer)
        self.refused(login, offer)

    @given(st.binary(max_size=60))
    def test_garbage_in_scram_is_only_ever_refused(self, garbage: bytes) -> None:
        login = self.begin()
        login.receive_data(wire.authentication_sasl([PLAIN]))
        self.assertRaises(LinkError, login.receive_data, wire.authentication_sasl_continue(garbage))


class DowngradeTests(LoginTestCase):
    """A server asks for something else than SCRAM."""

    def test_the_password_is_never_given_in_clear(self) -> None:
        self.assertIn("in clear", self.refused(self.begin(), CLEARTEXT))

    def test_md5_needs_the_operators_word(self) -> None:
        self.assertIn("MD5", self.refused(self.begin(), MD5))
        login = self.begin(evolve(PLAN, allow_md5=True))
        inner = hashlib.md5(PASSWORD.encode() + b"reader").hexdigest()  # noqa: S324  # PostgreSQL's
        proof = hashlib.md5(inner.encode() + b"salt").hexdigest().encode()  # noqa: S324  # as above
        self.assertEqual(login.receive_data(MD5), wire.message(b"p", b"md5" + proof + b"\0"))
        login.receive_data(WELCOME)
        self.assertTrue(login.is_ready)

    def test_md5_is_not_asked_for_twice(self) -> None:
        login = self.begin(evolve(PLAN, allow_md5=True))
        login.receive_data(MD5)
        self.refused(login, MD5)

    def test_no_question_at_all_is_refused(self) -> None:
        self.assertIn("without proof", self.refused(self.begin(), WELCOME))

    def test_nothing_is_asked_of_us_after_scram_has_begun(self) -> None:
        for second in (CLEARTEXT, MD5, WELCOME):
            login = self.begin(evolve(PLAN, allow_md5=True))
            login.receive_data(wire.authentication_sasl([PLAIN]))
            self.refused(login, second)

    def test_other_ways_are_not_spoken(self) -> None:
        for code in (1, 2, 4, 6, 7, 8, 9, 13, 2**31):
            request = wire.message(b"R", code.to_bytes(4, "big"))
            self.assertIn("not spoken", self.refused(self.begin(), request))

    def test_oauth_is_no_scram(self) -> None:
        self.refused(self.begin(), wire.authentication_sasl(["OAUTHBEARER"]))


class TokenTests(LoginTestCase):
    plan = evolve(PLAN, auth="token", secret=b"eyJ...")

    def test_a_token_is_given_inside_verified_tls(self) -> None:
        login = self.begin()
        self.assertEqual(login.receive_data(CLEARTEXT), wire.message(b"p", b"eyJ...\0"))
        login.receive_data(WELCOME)
        self.assertTrue(login.is_ready)

    def test_and_nowhere_else(self) -> None:
        weak = Tls(is_verified=False, end_point=END_POINT)
        self.assertIn("verified in full", self.refused(self.begin(tls=weak), CLEARTEXT))
        login = TargetLogin(self.plan)
        login.begin(None)
        self.assertIn("verified in full", self.refused(login, CLEARTEXT))

    def test_and_once(self) -> None:
        login = self.begin()
        login.receive_data(CLEARTEXT)
        self.refused(login, CLEARTEXT)

    def test_it_is_not_a_password_for_scram_or_md5(self) -> None:
        self.refused(self.begin(), wire.authentication_sasl([PLUS, PLAIN]))
        self.refused(self.begin(evolve(self.plan, allow_md5=True)), MD5)


class CertificateTests(LoginTestCase):
    plan = evolve(PLAN, auth="cert", secret=b"-----")

    def test_the_server_asks_for_nothing(self) -> None:
        login = self.begin()
        self.assertEqual(login.receive_data(WELCOME), b"")
        self.assertTrue(login.is_ready)

    def test_a_server_that_asks_gets_nothing(self) -> None:
        for request in (CLEARTEXT, MD5, wire.authentication_sasl([PLUS, PLAIN])):
            self.refused(self.begin(evolve(self.plan, allow_md5=True)), request)


class HostileServerTests(LoginTestCase):
    plan = evolve(PLAN, auth="cert")

    def test_long_messages_are_refused_by_their_length(self) -> None:
        for kind in b"ERSNKZ":
            head = bytes([kind]) + (MESSAGE_LIMIT + 1).to_bytes(4, "big")
            self.refused(self.begin(), head)

    def test_short_lengths_are_refused(self) -> None:
        for length in (0, 3, 2**31, 2**32 - 1):
            self.refused(self.begin(), b"R" + length.to_bytes(4, "big"))

    def test_notices_without_end_are_refused(self) -> None:
        notice = wire.report(b"N", "NOTICE", "00000", "x")
        self.refused(self.begin(), notice * 1_001)
        long = wire.report(b"N", "NOTICE", "00000", "x" * 60_000)
        login = self.begin()
        with self.assertRaises(LinkError):
            for _ in range(BYTES_LIMIT // 60_000 + 2):
                login.receive_data(long)

    def test_the_callers_bytes_do_not_count(self) -> None:
        login = self.begin()
        login.receive_data(WELCOME + b"x" * (2 * BYTES_LIMIT))
        self.assertTrue(login.is_ready)

    def test_nothing_else_comes_before_ready(self) -> None:
        before = [wire.parameter_status("a", "b"), wire.ready(b"I"), wire.backend_key(1, b"k" * 4)]
        for message in before:
            self.refused(self.begin(), message)
        for kind in b"12CDTAGHWVvtns":
            self.refused(self.begin(), wire.message(bytes([kind]), b"\0" * 8))
            self.refused(
                self.begin(), wire.AUTHENTICATION_OK + wire.message(bytes([kind]), b"\0" * 8)
            )

    def test_after_the_ok_nothing_is_asked_again(self) -> None:
        self.refused(self.begin(), wire.AUTHENTICATION_OK + CLEARTEXT)

    def test_ready_means_idle(self) -> None:
        for status in (b"T", b"E", b"", b"II"):
            self.refused(self.begin(), wire.AUTHENTICATION_OK + wire.ready(status))

    def test_there_is_one_key(self) -> None:
        key = wire.backend_key(1, b"keys")
        self.refused(self.begin(), wire.AUTHENTICATION_OK + key + key)
        self.refused(self.begin(), wire.AUTHENTICATION_OK + wire.backend_key(1, b"k" * 300))

    def test_another_encoding_is_refused(self) -> None:
        latin = wire.parameter_status("client_encoding", "LATIN1")
        text = self.refused(self.begin(), wire.AUTHENTICATION_OK + latin + wire.ready(b"I"))
        self.assertIn("UTF8", text)

    def test_a_session_that_did_not_become_read_only_is_refused(self) -> None:
        plan = evolve(self.plan, settings={"default_transaction_read_only": "on"})
        off = wire.parameter_status("default_transaction_read_only", "off")
        self.refused(self.begin(plan), wire.AUTHENTICATION_OK + off + wire.ready(b"I"))

    def test_a_refusal_is_told_by_its_code(self) -> None:
        for code, text in (("28P01", "credential"), ("3D000", "no database"), ("XX000", "refused")):
            login = self.begin()
            error = wire.report(b"E", "FATAL", code, 'no pg_hba.conf entry for host "10.9.8.7"')
            said = self.refused(login, error)
            self.assertIn(text, said)
            self.assertIn(code, said)
            self.assertNotIn("10.9.8.7", said)
            self.assertIn("10.9.8.7", login.reason)

    def test_a_code_that_is_none_is_not_repeated(self) -> None:
        error = wire.report(b"E", "FATAL", "x\x1b[31m", "m")
        self.assertIn("(unknown)", self.refused(self.begin(), error))

    @given(st.binary(max_size=200), st.sampled_from(get_args(Auth)))
    def test_garbage_is_only_ever_refused(self, garbage: bytes, auth: Auth) -> None:
        login = TargetLogin(evolve(PLAN, auth=auth, allow_md5=True))
        login.begin(FULL)
        try:
            login.receive_data(garbage)
        except LinkError:
            self.assertRaises(LinkError, login.receive_data, b"")

    @given(
        st.lists(
            st.tuples(st.sampled_from(b"RSKZENv"), st.binary(max_size=12)).map(
                lambda pair: wire.message(bytes([pair[0]]), pair[1])
            ),
            max_size=6,
        )
    )
    def test_messages_of_any_content_are_only_ever_refused(self, messages: list[bytes]) -> None:
        login = TargetLogin(PLAN)
        login.begin(FULL)
        try:
            for message in messages:
                login.receive_data(message)
        except LinkError:
            return
        self.assertFalse(login.is_ready)
