"""Tests for `hoopgw.link.tickets`: above all, what must not pass."""

from __future__ import annotations

import base64
import json
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import TicketError
from hoopgw.events import Hop, Node, Principal
from hoopgw.link import tickets
from hoopgw.link.tickets import Ticket, TicketSigner, TicketVerifier, public_keys, read_keys

NONCE = bytes(range(32))
START = 1_800_000_000
PRINCIPAL = Principal(
    chain=(
        Hop(id="corp|alice", name="alice", kind="person", groups=frozenset({"dba", "ops"})),
        Hop(id="corp|alice~1", name="planner", kind="agent"),
    ),
    nodes=(Node(id="node-1", purpose="migrate"),),
    session="sid-1",
    expires=START + 3600.0,
)
TICKET = Ticket(
    agent="local",
    nonce=NONCE,
    target="orders",
    account="reader",
    session="s-1",
    session_end=START + 3600.0,
    principal=PRINCIPAL,
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class TicketTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.key = OKPKey.generate_key("Ed25519")
        self.signer = TicketSigner(self.key, self.clock.seconds)
        self.keys = read_keys(public_keys([self.key]))
        self.verifier = TicketVerifier("local", self.keys, self.clock.seconds)

    def refused(self, text: str, nonce: bytes = NONCE, **options: Any) -> str:
        """Verify, and return why that was refused."""
        return str(self.assertRaises(TicketError, self.verifier.verify, text, nonce, **options))

    def forge(self, header: dict[str, Any], key: Any = None, **changes: Any) -> str:
        """Sign claims of a good ticket, changed, under another header."""
        claims = json.loads(self.payload(self.signer.sign(TICKET)))
        payload = json.dumps({**claims, **changes})
        algorithms = [header["alg"]]
        return jws.serialize_compact(header, payload, key or self.key, algorithms)

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": "Ed25519", "typ": tickets.TYPE, "kid": tickets.key_id(self.key)}

    @staticmethod
    def payload(text: str) -> bytes:
        part = text.split(".")[1]
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class VerifyTests(TicketTestCase):
    def test_what_was_signed_comes_back(self) -> None:
        for ticket in (
            TICKET,
            evolve(TICKET, digest=b"\1" * 32),
            evolve(TICKET, exporter=b"\2" * 32),
        ):
            found = self.verifier.verify(self.signer.sign(ticket), NONCE, exporter=b"\2" * 32)
            self.assertEqual(found, ticket)

    def test_a_ticket_to_renew_is_not_one_to_open(self) -> None:
        renewal = self.signer.sign(evolve(TICKET, use="renew"))
        self.assertIn("not to open", self.refused(renewal))
        self.assertEqual(self.verifier.verify(renewal, NONCE, "renew").use, "renew")
        self.assertIn("not to renew", self.refused(self.signer.sign(TICKET), use="renew"))

    def test_a_ticket_is_used_once(self) -> None:
        text = self.signer.sign(TICKET)
        self.verifier.verify(text, NONCE)
        self.assertIn("used before", self.refused(text))

    def test_the_gateway_reads_what_an_agent_was_given(self) -> None:
        """As often as it is shown, used or not; nothing else of it is looked over."""
        text = self.signer.sign(TICKET)
        self.assertEqual(self.verifier.verify(text, NONCE).text, text)
        for _ in range(2):
            self.assertEqual(self.verifier.read(text), TICKET)
        other = TicketVerifier("other", self.keys, self.clock.seconds)
        renewal = self.signer.sign(evolve(TICKET, use="renew"))
        stranger = TicketSigner(OKPKey.generate_key("Ed25519"), self.clock.seconds).sign(TICKET)
        for verifier, shown in (
            (other, text),
            (self.verifier, renewal),
            (self.verifier, stranger),
            (self.verifier, text[:-4] + "AAAA"),
        ):
            self.assertRaises(TicketError, verifier.read, shown)
        self.clock.advance(tickets.LIFETIME + tickets.SKEW)
        self.assertRaises(TicketError, self.verifier.read, text)

    def test_a_refused_ticket_is_not_used_up(self) -> None:
        text = self.signer.sign(TICKET)
        self.refused(text, bytes(32))
        self.verifier.verify(text, NONCE)

    def test_another_agent_does_not_take_it(self) -> None:
        self.assertIn("another agent", self.refused(self.signer.sign(evolve(TICKET, agent="b"))))

    def test_another_connection_does_not_take_it(self) -> None:
        self.assertIn("another connection", self.refused(self.signer.sign(TICKET), bytes(32)))
        self.assertIn("another connection", self.refused(self.signer.sign(TICKET), b""))

    def test_another_tls_connection_does_not_take_it(self) -> None:
        text = self.signer.sign(evolve(TICKET, exporter=b"\2" * 32))
        self.assertIn("another TLS", self.refused(text))
        self.assertIn("another TLS", self.refused(text, exporter=b"\3" * 32))

    def test_it_lasts_thirty_seconds_and_five_for_the_clocks(self) -> None:
        late, too_late = self.signer.sign(TICKET), self.signer.sign(TICKET)
        self.clock.advance(34)
        self.verifier.verify(late, NONCE)
        self.clock.advance(1)
        self.assertIn("expired", self.refused(too_late))

    def test_the_agents_clock_may_be_five_seconds_behind(self) -> None:
        behind = TicketVerifier("local", self.keys, lambda: START - 5)
        behind.verify(self.signer.sign(TICKET), NONCE)
        self.verifier = TicketVerifier("local", self.keys, lambda: START - 6)
        self.assertIn("future", self.refused(self.signer.sign(TICKET)))

    def test_no_ticket_lives_longer_than_it_should(self) -> None:
        self.assertIn("lifetime", self.refused(self.forge(self.header, exp=START + 31)))

    def test_a_session_whose_time_is_over_is_not_opened(self) -> None:
        over = self.signer.sign(evolve(TICKET, session_end=float(START)))
        self.assertIn("time is over", self.refused(over))

    def test_the_memory_of_used_tickets_is_bounded_and_refuses_when_full(self) -> None:
        self.patch(tickets, "USED_LIMIT", 3)
        for _ in range(3):
            self.verifier.verify(self.signer.sign(TICKET), NONCE)
        self.assertIn("too many", self.refused(self.signer.sign(TICKET)))
        self.clock.advance(40)
        self.verifier.verify(self.signer.sign(TICKET), NONCE)
        self.assertEqual(len(self.verifier._used), 1)


class ForgeryTests(TicketTestCase):
    def test_the_forge_makes_good_tickets_if_nothing_is_changed(self) -> None:
        self.verifier.verify(self.forge(self.header), NONCE)

    def test_no_algorithm(self) -> None:
        payload = b64(self.payload(self.signer.sign(TICKET)))
        for name in ("none", "None", "NONE", ""):
            header = b64(json.dumps({**self.header, "alg": name}).encode())
            self.assertIn("not a ticket", self.refused(f"{header}.{payload}."))

    def test_the_public_key_as_a_shared_secret(self) -> None:
        public = self.key.as_dict(private=False)
        x = str(public["x"])
        raw = base64.urlsafe_b64decode(x + "=")
        for secret in (x.encode(), raw, json.dumps(public).encode()):
            forged = self.forge({**self.header, "alg": "HS256"}, OctKey.import_key(secret))
            self.assertIn("not a ticket", self.refused(forged))

    def test_the_older_name_of_the_algorithm_is_not_taken(self) -> None:
        header = {**self.header, "alg": "EdDSA"}
        self.assertIn("not a ticket", self.refused(self.forge(header)))

    def test_a_gateway_token_is_no_ticket(self) -> None:
        for kind in ("JWT", "at+jwt", "hoopgw-token+jwt", None):
            header = {**self.header, "typ": kind}
            if kind is None:
                del header["typ"]
            self.assertIn("not a ticket", self.refused(self.forge(header)))

    def test_another_key(self) -> None:
        other = OKPKey.generate_key("Ed25519")
        self.assertIn("signature", self.refused(self.forge(self.header, other)))
        header = {**self.header, "kid": tickets.key_id(other)}
        self.assertIn("unknown key", self.refused(self.forge(header, other)))

    def test_a_key_that_the_ticket_brings_along(self) -> None:
        other = OKPKey.generate_key("Ed25519")
        header = {**self.header, "jwk": other.as_dict(private=False)}
        self.assertIn("other members", self.refused(self.forge(header, other)))

    def test_every_claim_is_needed_and_of_its_kind(self) -> None:
        for name in ("jti", "iat", "exp", "aud", "use", "nonce", "target", "sid", "principal"):
            wrong: tuple[object, ...] = (None, [], 3.5)
            for value in wrong:
                with self.subTest(claim=name, value=value):
                    self.refused(self.forge(self.header, **{name: value}))
        malformed: list[dict[str, Any]] = [
            {"use": "all"},
            {"nonce": "zz"},
            {"digest": "zz"},
            {"principal": {}},
        ]
        for changes in malformed:
            self.refused(self.forge(self.header, **changes))

    def test_a_long_chain_is_refused_when_it_is_signed(self) -> None:
        groups = frozenset(f"group-{n:040}" for n in range(2000))
        hop = evolve(PRINCIPAL.chain[0], groups=groups)
        long = evolve(TICKET, principal=evolve(PRINCIPAL, chain=(hop,), nodes=()))
        self.assertRaises(TicketError, self.signer.sign, long)
        self.assertIn("too long", self.refused("a" * (tickets.TICKET_LIMIT + 1)))

    def test_one_changed_character_is_seen(self) -> None:
        text = self.signer.sign(TICKET)

        @settings(max_examples=60)
        @given(st.integers(0, len(text) - 2), st.sampled_from("ABab019-_."))
        def changed(place: int, character: str) -> None:
            forged = text[:place] + character + text[place + 1 :]
            if forged != text:
                self.refused(forged)

        changed()
        self.verifier.verify(text, NONCE)

    @given(st.text(max_size=60) | st.text("eyJ0.-_A", max_size=60))
    def test_garbage_is_only_ever_refused(self, garbage: str) -> None:
        verifier = TicketVerifier("local", {}, lambda: START)
        self.assertRaises(TicketError, verifier.verify, garbage, NONCE)


class KeysTests(TicketTestCase):
    def test_two_keys_count_while_they_are_rotated(self) -> None:
        new = OKPKey.generate_key("Ed25519")
        verifier = TicketVerifier(
            "local", read_keys(public_keys([self.key, new])), self.clock.seconds
        )
        for key in (self.key, new):
            text = TicketSigner(key, self.clock.seconds).sign(TICKET)
            self.assertEqual(verifier.verify(text, NONCE), TICKET)

    def test_the_public_set_has_no_private_part(self) -> None:
        self.assertNotIn("d", public_keys([self.key])["keys"][0])

    def test_what_is_no_set_of_public_keys_is_refused(self) -> None:
        private = {"keys": [self.key.as_dict(private=True)]}
        other = {"keys": [OctKey.generate_key(256).as_dict(private=True)]}
        wrong: list[dict[str, Any]] = [{}, {"keys": []}, {"keys": [{}]}, {"keys": 3}, {"keys": [3]}]
        for jwks in [*wrong, private, other]:
            self.assertRaises(TicketError, read_keys, jwks)
