"""A client tries to write its own intent into the log, past the end of its parameters."""

from __future__ import annotations

import struct
from typing import Any
from unittest import SkipTest

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError
from hoopgw.recording.records import Intent, Record, TextDefined
from hoopgw.transport import accelerated
from hoopgw_postgres import at_once, session, wire
from tests.postgres.conversation import SYNC, Conversation, complete, row_description

COMPILED: type[Any] | None = None
if accelerated.is_built("hoopgw_postgres._at_once"):
    from hoopgw_postgres import _at_once

    COMPILED = _at_once.AtOnce

TEXT = b"select x from t where i = $1"
READY = wire.message(b"Z", b"I")
RUN = wire.message(b"E", bytes(5)) + SYNC
_WRAP = 65_536
"""What a length of two bytes counts from zero again at."""


def parse(name: bytes, types: bytes = b"") -> bytes:
    count = struct.pack(">H", len(types) // 4)
    return wire.message(b"P", name + b"\0" + TEXT + b"\0" + count + types) + SYNC


def bind(name: bytes) -> bytes:
    return wire.message(b"B", b"\0" + name + b"\0" + bytes(6)) + RUN


def forged_types() -> bytes:
    """Return types that go on, where a short length ends them, as the rest of a refusal."""
    fields: list[Any] = [bytes(32), "deny", [], "forged", "", 0, b"", 0, 0, ""]
    rest = b"".join(msgspec.msgpack.encode(value) for value in fields)
    types = bytes(1000) + rest + b"\xc5"
    types += bytes(_WRAP + 1000 - len(types))
    return types


class ForgedIntentTests(SynchronousTestCase):
    """Types that a prepared statement named are recorded with its parameters, however many."""

    short_way: type[Any] | None = at_once.AtOnce

    def setUp(self) -> None:
        if self.short_way is None:
            raise SkipTest("the compiled twin was not built")
        self.patch(session, "at_once_class", lambda: self.short_way)
        self.talk = Conversation()

    def run_both(self, types: bytes) -> list[Intent]:
        """Run a usual statement, so that the text is known, then one with these types."""
        talk = self.talk
        for name, given in ((b"usual", b""), (b"many", types)):
            talk.say(parse(name, given))
            talk.answer(wire.message(b"1") + READY)
            talk.say(bind(name))
            answer = row_description("x") + complete("SELECT 0")
            talk.answer(wire.message(b"2") + answer[len(row_description("x")) :] + READY)
        return talk.recorder.of(Intent)

    def test_many_types(self) -> None:
        """They are cut where they are too long, and the record says so."""
        for types in (forged_types(), bytes(4 * 65_535)):
            with self.subTest(size=len(types)):
                self.talk = Conversation()
                usual, many = self.run_both(types)
                self.assertEqual(many.decision, usual.decision)
                self.assertEqual(many.policy, usual.policy)
                self.assertEqual(len(many.parameters), 65_536)
                self.assertEqual(many.parameters_size, len(types) + 6)

    def test_a_text_that_could_not_be_defined(self) -> None:
        """It is defined before the next intent that names it, and no sequence is left out."""
        talk, recorder = self.talk, self.talk.recorder
        talk.say(parse(b"one"))
        talk.answer(wire.message(b"1") + READY)
        put_off = recorder.put_off

        def full(record: Record) -> None:
            if isinstance(record, TextDefined):
                raise RecorderError("too many records wait for the spool")
            put_off(record)

        recorder.put_off = full  # type: ignore[method-assign]
        talk.say(bind(b"one"))
        self.assertEqual(recorder.of(Intent), [])
        talk.answer(wire.message(b"2") + wire.report(b"E", "ERROR", "26000", "no") + READY)
        recorder.put_off = put_off  # type: ignore[method-assign]
        talk.say(bind(b"one"))
        (intent,), (text,) = recorder.of(Intent), recorder.of(TextDefined)
        self.assertEqual((intent.text, text.text), (text.number, TEXT))
        self.assertEqual(
            [record.sequence for record in recorder.records], list(range(len(recorder.records)))
        )


class ForgedIntentCompiledTests(ForgedIntentTests):
    """The same of the compiled twin."""

    short_way = COMPILED
