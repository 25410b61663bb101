"""A target that does not keep to the protocol, in a session that is under way.

Whatever it sends: nothing raises out of the session, what the client gets is whole messages of
kinds that a session has, and what the target may not say ends the session with a word.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres import wire
from tests.postgres.conversation import (
    SYNC,
    Conversation,
    complete,
    error,
    fields,
    row,
    row_description,
)

ASKED = st.sampled_from(
    [
        wire.query(b"SELECT 1"),
        wire.query(b"DROP TABLE t"),
        wire.query(b"COPY t FROM STDIN"),
        wire.query(b"PREPARE s AS SELECT 1"),
        wire.parse_message(b"s", b"SELECT a FROM t"),
        wire.message(b"B", b"\0s\0" + bytes(6)),
        wire.message(b"E", b"\0" + bytes(4)),
        wire.describe(b"S", b"s"),
        wire.message(b"C", b"Ss\0"),
        SYNC,
        wire.message(b"H"),
        wire.message(b"d", b"data"),
        wire.message(b"c"),
    ]
)
TOLD = st.one_of(
    st.sampled_from(
        [
            row_description("a"),
            row(b"1"),
            complete("SELECT 1"),
            error("42601"),
            error("57P01"),
            *(wire.ready(status) for status in (b"I", b"T", b"E")),
            *(wire.message(kind) for kind in (b"1", b"2", b"3", b"n", b"s", b"I", b"c")),
            wire.message(b"G", b"\0\0\1\0\0"),
            wire.message(b"H", b"\0\0\1\0\0"),
            wire.message(b"t", b"\0\0"),
            wire.message(b"d", b"data"),
            wire.parameter_status("TimeZone", "UTC"),
            wire.message(b"A", b"\0\0\0\1bell\0ding\0"),
            wire.report(b"N", "NOTICE", "00000", "hello"),
        ]
    ),
    st.builds(
        wire.message,
        st.integers(0, 255).map(lambda number: bytes([number])),
        st.binary(max_size=12),
    ),
)
FOR_CLIENTS = set("123ACDEGHINSTZcdnst")


class HostileTargetTests(SynchronousTestCase):
    """Tests of a session's other side."""

    @given(
        st.lists(st.one_of(st.tuples(st.just("client"), ASKED), st.tuples(st.just("target"), TOLD)))
    )
    def test_any_messages_in_any_order(self, said: list[tuple[str, bytes]]) -> None:
        """A conversation of one who is well and one who is not."""
        talk = Conversation()
        for who, message in said:
            if who == "client":
                talk.session.from_client(memoryview(message))
            elif not talk.over:
                talk.target.protocol.dataReceived(memoryview(message))
            kinds = {kind for kind, _body in talk.client.take()}
            self.assertLessEqual(kinds, FOR_CLIENTS)
        self.assertLessEqual(len(talk.over), 1)
        self.assertEqual(talk.client.closed, bool(talk.over))
        self.assertEqual(talk.target.closed, bool(talk.over))

    def refused(self, *messages: bytes, asked: bytes = wire.query(b"SELECT 1")) -> None:
        """Send these from the target, which must end the session."""
        talk = Conversation()
        talk.session.from_client(memoryview(asked))
        talk.target.protocol.dataReceived(memoryview(b"".join(messages)))
        self.assertEqual(len(talk.over), 1, messages)
        last = talk.client.take()[-1]
        self.assertEqual((last[0], fields(last[1])["C"]), ("E", "08P01"))

    def test_it_asks_for_a_password(self) -> None:
        """A client that is asked in the middle of a session might give the gateway's token."""
        for body in (struct.pack(">I", 3), struct.pack(">I", 5) + b"salt", struct.pack(">I", 0)):
            self.refused(wire.message(b"R", body))

    def test_it_says_what_only_a_log_in_says(self) -> None:
        """Another cancel key, or another version."""
        self.refused(wire.backend_key(1, b"1234"))
        self.refused(wire.negotiate_version(0x30000, ()))
        self.refused(wire.message(b"W", b"\0\0\0"))
        self.refused(wire.message(b"V", b"\xff\xff\xff\xff"))

    def test_it_answers_what_was_not_asked(self) -> None:
        """Rows, ends and readiness belong to something."""
        self.refused(wire.message(b"1"))
        self.refused(wire.message(b"2"))
        self.refused(complete("SELECT 1"), wire.ready(b"I"), wire.ready(b"I"))
        self.refused(row_description("a"), asked=SYNC)
        self.refused(row(b"1"), asked=SYNC)
        self.refused(complete("DROP TABLE"), asked=wire.query(b"DROP TABLE t"))

    def test_lengths_that_lie(self) -> None:
        """Below four, for rows and for others."""
        for kind in b"DdTCEZS":
            for length in (0, 3):
                self.refused(bytes([kind]) + length.to_bytes(4, "big"))

    def test_messages_that_have_to_be_seen_whole(self) -> None:
        """An error of a gigabyte is not collected."""
        for kind in b"ENTSA":
            self.refused(bytes([kind]) + (2**30).to_bytes(4, "big") + b"x" * 100)

    def test_malformed_parameters(self) -> None:
        """Neither half nor double."""
        for body in (b"", b"\0", b"TimeZone", b"TimeZone\0", b"a\0b\0c\0"):
            self.refused(wire.message(b"S", body))

    def test_settings_that_bytes_rest_on(self) -> None:
        """Whatever made them change."""
        self.refused(wire.parameter_status("client_encoding", "SJIS"))
        self.refused(wire.parameter_status("standard_conforming_strings", "off"))

    def test_an_error_without_end(self) -> None:
        """Reports without fields, without ends, of nothing but NULs."""
        for body in (b"", b"\0", b"\0" * 100, b"S", b"SERROR", b"C\0\0\0", b"\xff\xff\0"):
            talk = Conversation()
            talk.say(wire.query(b"SELECT 1"))
            answers = talk.answer(wire.message(b"E", body), wire.ready(b"I"))
            self.assertEqual([kind for kind, _body in answers], ["E", "Z"])
            self.assertEqual(talk.over, [])

    def test_a_last_word_is_the_targets(self) -> None:
        """A FATAL error passes, also in the place of a refusal's answer."""
        for asked in (b"SELECT 1", b"DROP TABLE t"):
            talk = Conversation()
            talk.say(wire.query(asked))
            [(_, body)] = talk.answer(wire.report(b"E", "FATAL", "57P01", "going down"))
            self.assertEqual(fields(body)["C"], "57P01")
