"""Tests for `hoopgw.recording.records`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack, structs
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Intent, Record, Result, SessionEnded, encode, template
from tests.recording.samples import intent

NUMBERS = st.integers(0, 2**64 - 1)


class TemplateTests(SynchronousTestCase):
    """A template with values put in is the encoding of the record with these values."""

    def check(self, record: Record, names: list[str]) -> None:
        parts = template(record, *names)
        self.assertEqual(len(parts), len(names) + 1)
        values = [msgpack.encode(getattr(record, name)) for name in names]
        joined = parts[0] + b"".join(v + p for v, p in zip(values, parts[1:], strict=True))
        self.assertEqual(joined, encode(record))

    @given(st.sets(st.sampled_from(Intent.__struct_fields__)), NUMBERS, st.binary(max_size=300))
    def test_of_an_intent(self, names: set[str], number: int, text: bytes) -> None:
        """With more than 15 fields, which MessagePack writes in another way than fewer."""
        record = structs.replace(intent("s", 7), at=number, text=text)
        self.check(record, [name for name in Intent.__struct_fields__ if name in names])

    def test_of_others(self) -> None:
        self.check(Result("s", 1, 2, 0, "SELECT 1", 1, 0, 5, b"D", 9), ["sequence", "duration"])
        self.check(SessionEnded("s", 1, 2, "over"), [])
