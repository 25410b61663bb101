"""Tests for `hoopgw_postgres.at_once`: the short way says and does what the usual way does."""

from __future__ import annotations

import struct
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Intent, Record, Result, TextDefined
from hoopgw.transport import accelerated
from hoopgw_postgres import at_once, session, wire
from tests.postgres.conversation import SYNC, Conversation, complete, error, row, row_description

COMPILED: type[Any] | None = None
if accelerated.is_built("hoopgw_postgres._at_once"):
    from hoopgw_postgres import _at_once

    COMPILED = _at_once.AtOnce
WAYS = [at_once.AtOnce] if COMPILED is None else [at_once.AtOnce, COMPILED]

TEXT = b"select x from t where i = $1"
READY = wire.message(b"Z", b"I")
RUN = wire.describe(b"P", b"") + wire.message(b"E", bytes(5)) + SYNC
ROWS = row_description("x") + row(b"1") + row(None)


def parse(text: bytes = TEXT, name: bytes = b"") -> bytes:
    return wire.message(b"P", name + b"\0" + text + b"\0" + struct.pack(">HI", 1, 23))


def bind(statement: bytes = b"", value: bytes = b"7", portal: bytes = b"") -> bytes:
    names = portal + b"\0" + statement + b"\0"
    return wire.message(b"B", names + struct.pack(">HHI", 0, 1, len(value)) + value + b"\0\0")


def conversation(*, short: bool) -> Conversation:
    """Start a session, with or without its short way, that has seen the texts of these tests."""
    talk = Conversation()
    if not short:
        talk.session._at_once = None
    talk.say(parse(name=b"named") + SYNC)
    talk.answer(wire.message(b"1") + READY)
    talk.say(wire.query(b"select 1"))
    talk.answer(ROWS + complete("SELECT 2") + READY)
    talk.recorder.records.clear()
    return talk


def told(records: list[Record]) -> list[Any]:
    """Return what records say, without times, and with texts instead of their numbers."""
    found: list[Any] = []
    texts: dict[int, bytes] = {}
    for record in records:
        if isinstance(record, TextDefined):
            texts[record.number] = record.text
        elif isinstance(record, Intent):
            number = record.text
            text = texts.get(number, TEXT) if isinstance(number, int) else number
            found.append((record.action, text, record.parameters, record.digest, record.decision))
        elif isinstance(record, Result):
            found.append(shown(record))
    return found


def shown(result: Result) -> tuple[Any, ...]:
    """Return what a result says, without times.

    What answers Parse, Bind and Sync may belong to it or to nothing, as the pieces come.
    """
    output = result.output
    for before in (wire.message(b"1"), wire.message(b"2")):
        output = output.removeprefix(before)
    if output[-6:-1] == READY[:-1]:
        output = output[:-6]
    besides = result.sent - len(result.output)
    return result.outcome, result.rows, result.masked, besides, output


class BothWaysTestCase(SynchronousTestCase):
    """The same, said both ways."""

    short_way: type[Any] | None = at_once.AtOnce

    def setUp(self) -> None:
        if self.short_way is None:
            raise SkipTest("the compiled twin was not built")
        self.patch(session, "at_once_class", lambda: self.short_way)

    def both(self, *said: tuple[bytes, list[bytes]]) -> Conversation:
        """Say messages and give answers both ways; return the short one for a closer look."""
        short, usual = conversation(short=True), conversation(short=False)
        usual.session._dispatch._impossible = short.session._dispatch._impossible
        for message, answers in said:
            self.assertEqual(short.say(message), usual.say(message))
            for answer in answers:
                self.assertEqual(short.answer(answer), usual.answer(answer))
        self.assertEqual(told(short.recorder.records), told(usual.recorder.records))
        self.assertEqual(short.over, usual.over)
        flows = short.session._flow, usual.session._flow
        for name in ("status", "touched", "in_segment", "failed", "skipping", "tainted"):
            self.assertEqual(getattr(flows[0], name), getattr(flows[1], name), name)
        self.assertEqual(len(flows[0].pending), len(flows[1].pending))
        self.assertEqual(set(flows[0].statements.known), set(flows[1].statements.known))
        portals = [
            {name: (portal.frame, portal.parameters) for name, portal in flow.portals.known.items()}
            for flow in flows
        ]
        self.assertEqual(portals[0], portals[1])
        return short


class SameTests(BothWaysTestCase):
    """What both ways do alike."""

    def test_a_query(self) -> None:
        """Its text, its rows and its tag are recorded; all is passed."""
        talk = self.both((wire.query(b"select 1"), [ROWS + complete("SELECT 2") + READY]))
        self.assertEqual([result.rows for result in talk.recorder.of(Result)], [2])

    def test_a_prepared_statement(self) -> None:
        """The parameters are recorded with the types; the text is named."""
        answer = wire.message(b"2") + ROWS + complete("SELECT 2") + READY
        talk = self.both((bind(b"named") + RUN, [answer]), (bind(b"named", b"8") + RUN, [answer]))
        self.assertEqual([intent.text for intent in talk.recorder.of(Intent)], [1, 1])

    def test_an_unnamed_statement(self) -> None:
        """It can be bound again, as the target keeps it."""
        answer = wire.message(b"1") + wire.message(b"2") + ROWS + complete("SELECT 2") + READY
        talk = self.both((parse() + bind() + RUN, [answer]), (bind() + RUN, [answer[5:]]))
        self.assertEqual(talk.recorder.of(Intent)[0].text, TEXT)

    def test_an_unnamed_statement_that_fails(self) -> None:
        """The target has none then; and if Bind fails, it has this one."""
        answer = wire.message(b"1") + wire.message(b"2") + ROWS + complete("SELECT 2") + READY
        failed = error("42P01") + READY
        talk = conversation(short=True)
        known = talk.session._flow.statements.known
        talk.say(parse() + bind() + RUN)
        talk.answer(answer)
        self.assertIn(b"", known)
        talk.say(parse() + bind() + RUN)
        self.assertNotIn(b"", known)
        talk.answer(failed)
        self.assertNotIn(b"", known)
        talk.say(parse() + bind() + RUN)
        talk.answer(wire.message(b"1") + failed)
        self.assertIn(b"", known)

    def test_errors_are_passed(self) -> None:
        """They are recorded with their code."""
        talk = self.both((wire.query(b"select 1"), [error("22012") + READY]))
        self.assertEqual(talk.recorder.of(Result)[0].outcome, "ERROR 22012")

    def test_a_transaction(self) -> None:
        """What is bound in one takes the usual way, as its portal lives on."""
        begun = complete("BEGIN") + wire.message(b"Z", b"T")
        bound = wire.message(b"2") + ROWS + complete("SELECT 2") + wire.message(b"Z", b"T")
        talk = self.both(
            (wire.query(b"begin"), [begun]),
            (bind(b"named") + RUN, [bound]),
            (wire.message(b"E", bytes(5)) + SYNC, [complete("SELECT 0")]),
        )
        self.assertEqual(len(talk.recorder.of(Intent)), 3)

    def test_a_portal_that_began_a_transaction(self) -> None:
        """It lives on at the target, so a later Execute of it is judged and passed."""
        began = complete("BEGIN") + wire.message(b"Z", b"T")
        again = wire.message(b"E", bytes(5)) + SYNC
        failed = [error("55000") + wire.message(b"Z", b"E")]
        ended = (wire.query(b"rollback"), [complete("ROLLBACK") + READY])
        bound = wire.message(b"B", b"\0\0" + bytes(6))
        piece = wire.message(b"P", b"\0begin\0\0\0") + bound + again
        answers = wire.message(b"1") + wire.message(b"2") + began
        self.both((piece, [answers]), ended, (piece, [answers]), (again, failed), ended)
        cut = [answers[:7], answers[7:]]
        self.both((piece, [answers]), ended, (piece, cut), (again, failed), ended)
        prepare = (wire.message(b"P", b"b\0begin\0\0\0") + SYNC, [wire.message(b"1") + READY])
        named = wire.message(b"B", b"\0b\0" + bytes(6)) + again
        answers = wire.message(b"2") + began
        self.both(prepare, (named, [answers]), ended, (named, [answers]), (again, failed), ended)

    def test_refusals(self) -> None:
        """What is not allowed does not go the short way."""
        talk = self.both((wire.query(b"create table u (i int)"), [error("26000") + READY]))
        self.assertEqual(talk.recorder.of(Intent)[0].decision, "deny")

    def test_several_statements(self) -> None:
        """The rows of all are counted, and the last tag stands."""
        text = wire.query(b"select 1; select 2")
        answer = ROWS + complete("SELECT 2") + ROWS + complete("SELECT 2") + READY
        talk = self.both((text, [answer]), (text, [answer]))
        self.assertEqual([result.rows for result in talk.recorder.of(Result)], [4, 4])


class SameCompiledTests(SameTests):
    """The compiled twin does the same."""

    short_way = COMPILED


class AnyAnswerTests(SynchronousTestCase):
    """Answers that are not whole, or none at all: all three ways do the same."""

    @given(st.lists(st.integers(1, 200), max_size=4), st.sampled_from(["query", "run"]))
    def test_any_cut_of_the_answer(self, cuts: list[int], kind: str) -> None:
        """An answer that comes in pieces takes the usual way."""
        answer = ROWS + complete("SELECT 2") + READY
        if kind == "run":
            answer = wire.message(b"2") + answer
        pieces, start = [], 0
        for cut in sorted(set(cuts)):
            pieces.append(answer[start:cut])
            start = cut
        pieces = [piece for piece in (*pieces, answer[start:]) if piece]
        for way in WAYS:
            self.patch(session, "at_once_class", lambda way=way: way)
            self.in_pieces(kind, pieces)

    def in_pieces(self, kind: str, pieces: list[bytes]) -> None:
        asked = wire.query(b"select 1") if kind == "query" else bind(b"named") + RUN
        short, usual = conversation(short=True), conversation(short=False)
        for talk in (short, usual):
            talk.say(asked)
            for piece in pieces:
                talk.target.protocol.dataReceived(memoryview(piece))
        self.assertEqual(short.client.written, usual.client.written)
        (one,), (other,) = short.recorder.of(Result), usual.recorder.of(Result)
        self.assertEqual(shown(one), shown(other))

    @given(st.binary(max_size=60))
    def test_garbage_from_the_target(self, garbage: bytes) -> None:
        """It ends both alike."""
        for way in WAYS:
            self.patch(session, "at_once_class", lambda way=way: way)
            short, usual = conversation(short=True), conversation(short=False)
            for talk in (short, usual):
                talk.say(wire.query(b"select 1"))
                talk.target.protocol.dataReceived(memoryview(garbage + READY))
            self.assertEqual(bytes(short.client.written), bytes(usual.client.written))
            self.assertEqual(short.over, usual.over)


class OnlyShortTests(BothWaysTestCase):
    """What the short way is for, and where it ends."""

    def test_it_is_taken(self) -> None:
        """The tests above would not notice if it never were."""
        talk = conversation(short=True)
        at_once = talk.session._at_once
        assert at_once is not None
        for message in (wire.query(b"select 1"), bind(b"named") + RUN, parse() + bind() + RUN):
            self.assertTrue(at_once.take(memoryview(message)), message)
            bound = b"" if message[:1] == b"Q" else wire.message(b"2")
            self.assertTrue(at_once.answered(memoryview(bound + complete("SELECT 0") + READY)))
            talk.target.take()

    def test_not_without_a_record(self) -> None:
        """Nothing goes to the target if the intent cannot be kept; the client is told."""
        talk = conversation(short=True)
        talk.recorder.full = True
        ((kind, text),) = talk.say(wire.query(b"select 1"))
        self.assertEqual((kind, text[:7]), ("Q", b"EXECUTE"))
        ((kind, body), _) = talk.answer(error("26000") + READY)
        self.assertIn(b"58030", body)

    def test_not_when_the_policy_has_changed(self) -> None:
        """What was known is judged again."""
        talk = conversation(short=True)
        at_once = talk.session._at_once
        assert at_once is not None
        talk.policy.version = talk.policy.epoch = "v2"
        self.assertFalse(at_once.take(memoryview(wire.query(b"select 1"))))

    def test_not_with_a_limit_of_rows(self) -> None:
        """They have to be counted."""
        talk = Conversation()
        talk.policy.max_rows = 1
        for _ in range(2):
            talk.say(wire.query(b"select 1"))
            answer = talk.answer(ROWS + complete("SELECT 2") + READY)
            self.assertEqual([kind for kind, _ in answer], ["T", "D", "E", "Z"])

    def test_not_in_the_middle_of_a_message(self) -> None:
        """A notice that has come in part is not taken for the answer's beginning."""
        talk = conversation(short=True)
        notice = wire.report(b"N", "NOTICE", "00000", "hello")
        self.assertEqual(talk.answer(notice[:7]), [])
        talk.say(wire.query(b"select 1"))
        answer = talk.answer(notice[7:] + ROWS + complete("SELECT 2") + READY)
        self.assertEqual([kind for kind, _ in answer], ["N", "T", "D", "D", "C", "Z"])

    def test_a_text_is_defined_once(self) -> None:
        """A named statement's text is kept once, an unnamed one's with its intent."""
        talk = conversation(short=True)
        answer = wire.message(b"2") + complete("SELECT 0") + READY
        for _ in range(2):
            talk.say(bind(b"named") + RUN)
            talk.answer(answer)
        self.assertEqual(len(talk.recorder.of(TextDefined)), 1)


class OnlyShortCompiledTests(OnlyShortTests):
    """The same of the compiled twin."""

    short_way = COMPILED


class TwinTests(SynchronousTestCase):
    """Whatever bytes come: the compiled way takes what the plain one takes, and writes the same."""

    def setUp(self) -> None:
        if COMPILED is None:
            raise SkipTest("the compiled twin was not built")

    def twins(self) -> tuple[Conversation, Conversation]:
        """Start the same conversation, with the plain way and with the compiled one."""
        found = []
        for way in (at_once.AtOnce, COMPILED):
            self.patch(session, "at_once_class", lambda way=way: way)
            found.append(conversation(short=True))
        return found[0], found[1]

    @given(st.data())
    def test_any_question(self, data: st.DataObject) -> None:
        question = data.draw(mutated([*QUESTIONS]))
        plain, compiled = self.twins()
        taken = [
            talk.session._at_once.take(memoryview(question))  # type: ignore[union-attr]
            for talk in (plain, compiled)
        ]
        self.assertEqual(taken[0], taken[1], question)
        self.assertEqual(bytes(plain.target.written), bytes(compiled.target.written))
        self.assertEqual(told(plain.recorder.records), told(compiled.recorder.records))
        self.assertEqual(*(timeless(talk) for talk in (plain, compiled)))

    @given(st.data())
    def test_any_answer(self, data: st.DataObject) -> None:
        question, answers = data.draw(st.sampled_from([*QUESTIONS.items()]))
        answer = data.draw(mutated(answers))
        plain, compiled = self.twins()
        for talk in (plain, compiled):
            self.assertTrue(talk.session._at_once.take(memoryview(question)))  # type: ignore[union-attr]
        taken = [
            talk.session._at_once.answered(memoryview(answer))  # type: ignore[union-attr]
            for talk in (plain, compiled)
        ]
        self.assertEqual(taken[0], taken[1], answer)
        self.assertEqual(bytes(plain.client.written), bytes(compiled.client.written))
        self.assertEqual(*(timeless(talk) for talk in (plain, compiled)))


ANSWER = ROWS + complete("SELECT 2") + READY
QUESTIONS = {
    wire.query(b"select 1"): [ANSWER, complete("SELECT 0") + READY],
    bind(b"named") + RUN: [wire.message(b"2") + ANSWER],
    bind(b"named", b"x" * 300) + RUN[7:]: [wire.message(b"2") + complete("SELECT 0") + READY],
    parse() + bind() + RUN: [wire.message(b"1") + wire.message(b"2") + ANSWER],
}
"""What the short way takes, and answers that it passes."""


@st.composite
def mutated(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Give one of the samples, with some bytes replaced, put in, or cut off."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        put = draw(st.sampled_from([b"", b"\0", b"\1", b"\xff", b"D", b"C", b"\0\0\0\4", b"7"]))
        data[at : at + draw(st.integers(0, 5))] = put
    return bytes(data)


def timeless(talk: Conversation) -> list[Any]:
    """Return a session's records without times and durations, to the last field."""
    found = []
    for record in talk.recorder.records:
        values = structs.asdict(record)
        for name in ("session", "at", "duration"):
            values.pop(name, None)
        found.append(values)
    return found
