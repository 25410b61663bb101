"""Tests for `hoopgw_postgres.replay`."""

from __future__ import annotations

import struct

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import (
    AnyRecord,
    HopRecord,
    Intent,
    Result,
    ReviewSettled,
    SessionEnded,
    SessionRefused,
    SessionStarted,
    TextDefined,
)
from hoopgw.spi import ReplayLine
from hoopgw_postgres.replay import replay


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def description(*columns: tuple[str, int]) -> bytes:
    parts = [
        name.encode() + b"\0" + struct.pack("!IhIhih", 16384, 1, 25, -1, -1, code)
        for name, code in columns
    ]
    return message(b"T", struct.pack("!h", len(parts)) + b"".join(parts))


def row(*values: bytes | None) -> bytes:
    parts = [struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v for v in values]
    return message(b"D", struct.pack("!h", len(parts)) + b"".join(parts))


def intent(text: bytes | int = b"select 1", parameters: bytes = b"", **changes: str) -> Intent:
    return Intent(
        session="s",
        sequence=1,
        at=10,
        action="select",
        resources=["orders/public.customers"],
        text=text,
        parameters=parameters,
        digest=b"d" * 32,
        decision=changes.get("decision", "allow"),
        because=["read"],
        policy="p",
        reason=changes.get("reason", ""),
    )


def result(output: bytes, outcome: str = "SELECT 1", sent: int | None = None) -> Result:
    return Result(
        session="s",
        sequence=2,
        at=11,
        intent=1,
        outcome=outcome,
        rows=1,
        masked=1,
        sent=len(output) if sent is None else sent,
        output=output,
        duration=1_500_000,
    )


ANSWER = (
    description(("id", 0), ("email", 0))
    + row(b"1", b"***@example.com")
    + row(b"22", None)
    + message(b"C", b"SELECT 2\0")
    + message(b"Z", b"I")
)


def shown(*records: AnyRecord) -> list[ReplayLine]:
    return list(replay(records))


class ReplayTests(SynchronousTestCase):
    """Tests for `replay`."""

    def test_a_select(self) -> None:
        """Statement, decision, table and facts, in this order."""
        lines = shown(intent(), result(ANSWER))
        self.assertEqual([line.kind for line in lines], ["input", "decision", "output", "note"])
        self.assertEqual(lines[0].text, "select 1")
        self.assertEqual(lines[1].text, "allowed: select on orders/public.customers [read]")
        self.assertEqual(
            lines[2].text.splitlines(),
            [
                "id | email",
                "---+----------------",
                "1  | ***@example.com",
                "22 | ∅",
                "SELECT 2",
            ],
        )
        self.assertEqual(
            lines[3].text,
            "SELECT 1, 1 rows, 30 bytes, 1 values masked, 1.5 ms".replace("30", str(len(ANSWER))),
        )

    def test_a_text_that_was_kept_once(self) -> None:
        """An intent may name its text by number; a missing one is said, not guessed."""
        defined = TextDefined(session="s", sequence=0, at=1, number=7, text=b"select 2")
        self.assertEqual(shown(defined, intent(7))[0].text, "select 2")
        self.assertIn("missing", shown(intent(8))[0].text)

    def test_a_refusal(self) -> None:
        """The reason is shown."""
        lines = shown(intent(b"drop table x", decision="deny", reason="no DDL"))
        self.assertEqual(
            lines[1].text, "refused: select on orders/public.customers [read] - no DDL"
        )

    def test_a_review(self) -> None:
        """The request and who voted."""
        record = ReviewSettled(
            session="s", sequence=3, at=1, intent=1, request="r-1", outcome="approved", voters=["b"]
        )
        self.assertEqual(shown(record)[0].text, "review r-1 approved by b")

    def test_start_end_and_refused_log_in(self) -> None:
        """The chain, the target and the end."""
        started = SessionStarted(
            session="s",
            sequence=0,
            at=1,
            protocol="postgres",
            target="orders",
            account="app_reader",
            chain=[
                HopRecord("i|a", "alice", "person", []),
                HopRecord("i|p", "planner", "agent", []),
            ],
            login="sid",
            method="session-password",
            address="127.0.0.1",
            agent="local",
        )
        refused = SessionRefused(
            session="t",
            sequence=0,
            at=1,
            protocol="postgres",
            target="orders",
            account="x\x1b[2J",
            address="1.2.3.4",
            reason="bad password",
        )
        ended = SessionEnded(session="s", sequence=9, at=3, reason="client left")
        texts = [line.text for line in shown(started, refused, ended)]
        self.assertTrue(texts[0].startswith("alice/planner opened orders as app_reader"))
        self.assertNotIn("\x1b", texts[1])
        self.assertEqual(texts[2], "session ended: client left")

    def test_an_error_answer(self) -> None:
        """Severity, SQLSTATE, text and hint."""
        body = b"SERROR\0VERROR\0C42501\0Mrefused by policy\0Hask dba\0\0"
        lines = shown(result(message(b"E", body), outcome="ERROR 42501"))
        self.assertEqual(lines[0].kind, "error")
        self.assertEqual(lines[0].text, "ERROR 42501: refused by policy\nHINT: ask dba")

    def test_binary_values_and_rows_without_description(self) -> None:
        """Bytes that are no text are shown in hexadecimal; unnamed columns get numbers."""
        binary = description(("n", 1)) + row(b"\0\0\0\x05")
        self.assertIn("\\x00000005", shown(result(binary))[0].text)
        self.assertIn("column 1", shown(result(row(b"5")))[0].text)

    def test_bound_values(self) -> None:
        """Values of a Bind are shown with their number."""
        bound = struct.pack("!HHi2siH", 0, 2, 2, b"42", -1, 0)
        types = struct.pack("!II", 23, 25)
        for parameters in (bound, types + bound):
            lines = shown(intent(b"select $1, $2", parameters))
            self.assertEqual(lines[1].text, "bound: $1 = '42', $2 = NULL")

    def test_binary_values(self) -> None:
        """A value in binary format is shown as what it may be: its type is not in the message."""
        for value, expected in (
            (b"\0\0\0\7", "\\x00000007 (7, if it is a number)"),
            (b"ann@example.com", "'ann@example.com'"),
            (b"abcd", "'abcd' (1633837924, if it is a number)"),
            (b"\1\2\3", "\\x010203"),
        ):
            bound = struct.pack("!HhHi", 1, 1, 1, len(value)) + value + struct.pack("!Hh", 1, 1)
            lines = shown(intent(b"select $1", bound))
            self.assertEqual(lines[1].text, f"bound: $1 = {expected}")

    def test_values_that_were_not_all_kept(self) -> None:
        """Their beginning is shown, with how many bytes there were."""
        line = shown(msgspec.structs.replace(intent(b"x", b"abc"), parameters_size=70_000))[1]
        self.assertEqual(line.text, "bound: \\x616263 (70000 bytes)")

    def test_a_shortened_answer_says_so(self) -> None:
        """Only when something is missing."""
        self.assertIn("keeps no more", shown(result(ANSWER[:-20], sent=len(ANSWER)))[0].text)
        self.assertNotIn("keeps no more", shown(result(ANSWER))[0].text)

    @given(st.integers(0, len(ANSWER)))
    def test_any_cut(self, size: int) -> None:
        """An answer may be cut at any byte; what came whole is shown."""
        lines = shown(result(ANSWER[:size], sent=len(ANSWER)))
        self.assertEqual(lines[-1].kind, "note")

    @given(st.binary(max_size=300), st.binary(max_size=60), st.binary(max_size=60))
    def test_garbage(self, output: bytes, parameters: bytes, text: bytes) -> None:
        """Whatever was recorded, it is shown without escapes and without an exception."""
        for line in shown(intent(text, parameters), result(output, sent=10**6)):
            self.assertNotIn("\x1b", line.text)
            self.assertNotIn("\r", line.text)

    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_well_framed_garbage(self, bodies: list[bytes]) -> None:
        """Messages with right lengths and wrong insides do no harm either."""
        kinds = [b"T", b"D", b"C", b"E", b"N", b"d"]
        output = b"".join(
            message(kind, body) for kind, body in zip(kinds * 2, bodies, strict=False)
        )
        shown(result(output))

    def test_much_is_cut(self) -> None:
        """A recorded answer cannot flood the terminal."""
        many = description(("n", 0)) + row(b"x" * 500) * 1000
        text = shown(result(many))[0].text
        self.assertIn("(and 800 more rows)", text)
        self.assertLess(max(map(len, text.splitlines())), 100)
