"""Tests for `hoopgw.recording.batch` and its compiled twin: the same bytes, whatever comes."""

from __future__ import annotations

from pathlib import Path
from unittest import SkipTest

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording import batch, merkle
from hoopgw.recording.batch import Batch, plain_take, take
from hoopgw.recording.framing import RECORD_LIMIT
from hoopgw.recording.index import SessionFilter, SessionIndex, SessionSummary, find
from hoopgw.recording.merkle import leaf_hash
from hoopgw.recording.records import encode
from hoopgw.transport import accelerated
from tests.recording.samples import (
    ended,
    intent,
    payloads,
    records_of,
    result,
    spool_frames,
    started,
)

_SESSIONS = [f"s{number}" for number in range(40)] + ["", "\xe4", "x" * 31, "x" * 40, "x" * 300]
_numbers = st.sampled_from([0, 127, 128, 2**16, 2**40, 2**63 - 1, 2**64 - 1, -1, -129, -(2**40)])
_values = st.recursive(
    st.none()
    | st.booleans()
    | _numbers
    | st.floats(allow_nan=False)
    | st.binary(max_size=300)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)
_decisions = st.sampled_from(["allow", "deny", "review", "denying", "", "\xe4"])


@st.composite
def _records(draw: st.DrawFn) -> bytes:
    """Make what a worker writes, and what only something else would."""
    session = draw(st.sampled_from(_SESSIONS))
    kind = draw(st.integers(0, 7))
    if kind == 0:
        return encode(started(session))
    if kind == 1:
        return encode(ended(session, 1))
    if kind == 2:
        return encode(result(session, 1, 0))
    if kind == 3:
        return encode(intent(session, 1))
    more = draw(st.lists(_values, max_size=12))
    if kind == 4:
        return msgspec.msgpack.encode(["result", session, *more])
    if kind == 5:
        head = ["intent", session, draw(_numbers), draw(_numbers), draw(st.text(max_size=5))]
        raw = [draw(_values) for _ in range(4)]
        return msgspec.msgpack.encode([*head, *raw, draw(_decisions), *more])
    if kind == 6:
        return msgspec.msgpack.encode([draw(_values), *more])
    return draw(st.binary(min_size=1, max_size=60))


@st.composite
def _mangled(draw: st.DrawFn) -> bytes:
    """Make a record that may have been cut, lengthened, or changed in a byte."""
    data = bytearray(draw(_records()))
    match draw(st.integers(0, 5)):
        case 0:
            del data[draw(st.integers(1, len(data))) :]
        case 1:
            data += draw(st.binary(max_size=3))
        case 2:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        case _:
            pass
    return bytes(data)


class TakeTests(SynchronousTestCase):
    """Whichever way is used here."""

    def bytes_of(self, taken: Batch) -> tuple[object, ...]:
        return taken.count, taken.taken, taken.fault, taken.frames, taken.leaves

    @given(payloads, st.binary(max_size=20))
    def test_the_frames_hold_the_records(self, records: list[bytes], more: bytes) -> None:
        taken = take(spool_frames(records))
        self.assertEqual(records_of(taken), records)
        self.assertEqual(taken.leaves, b"".join(map(leaf_hash, records)))
        self.assertEqual(taken.count, len(records))

    @given(payloads, st.binary(max_size=20))
    @example([b"x"], (RECORD_LIMIT + 1).to_bytes(4, "big") + b"x")
    @example([b"x"], RECORD_LIMIT.to_bytes(4, "big") + b"x")
    @example([], b"\xff\xff\xff\xff")
    @example([], b"\0\0\0\0")
    def test_both_ways_give_the_same(self, records: list[bytes], more: bytes) -> None:
        data = spool_frames(records) + more
        self.assertEqual(self.bytes_of(take(data)), self.bytes_of(plain_take(data)))

    @given(st.binary(min_size=1, max_size=700))
    def test_any_length(self, record: bytes) -> None:
        data = spool_frames([record])
        self.assertEqual(self.bytes_of(take(data)), self.bytes_of(plain_take(data)))

    def test_a_long_one(self) -> None:
        data = spool_frames([bytes(range(256)) * 4096] * 2)
        self.assertEqual(self.bytes_of(take(data)), self.bytes_of(plain_take(data)))


class CompiledTests(SynchronousTestCase):
    """That the compiled way is the one that is used, where it was built."""

    def test_it_is_used(self) -> None:
        if not accelerated.is_wanted("hoopgw.recording._batch"):
            raise SkipTest("it was not built")
        from hoopgw.recording import _batch

        if not _batch.can_hash():
            raise SkipTest("this Python's hashlib has no libcrypto")
        self.assertIsNot(batch.take, plain_take)
        self.assertIs(merkle.parents, _batch.parents)

    def test_plain_records_are_counted_without_an_object(self) -> None:
        taken = take(spool_frames([encode(intent("a", 0)), encode(result("a", 1, 0))]))
        if taken.counted:
            self.assertEqual((taken.counted, taken.others), ([("a", 0, 1, 1, 0, 0)], []))


class CountingTests(SynchronousTestCase):
    """The index says the same, whoever has looked at the records."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.made = 0

    def indexed(self, *batches: Batch) -> list[SessionSummary]:
        """Make an index of batches, and read all of it."""
        self.made += 1
        folder = self.folder / str(self.made)
        folder.mkdir()
        index = SessionIndex.open(folder, 0)
        for each in batches:
            index.note(each)
        index.commit()
        self.assertEqual(index.leaves, sum(each.count for each in batches))
        index.close()
        return find(folder, SessionFilter(limit=1000))

    @given(st.lists(_mangled(), max_size=60), st.integers(0, 60))
    def test_both_ways_give_the_same(self, records: list[bytes], middle: int) -> None:
        parts = [spool_frames(records[:middle]), spool_frames(records[middle:])]
        self.assertEqual(self.indexed(*map(take, parts)), self.indexed(*map(plain_take, parts)))

    def test_more_sessions_than_are_counted_at_once(self) -> None:
        records = [encode(intent(f"s{n % 100}", n)) for n in range(1000)]
        found = self.indexed(take(spool_frames(records)))
        self.assertEqual(found, self.indexed(plain_take(spool_frames(records))))
        self.assertEqual({each.intents for each in found}, {10})

    def test_what_was_rolled_back_does_not_count(self) -> None:
        index = SessionIndex.open(self.folder, 0)
        self.addCleanup(index.close)
        data = take(spool_frames([encode(started("a")), encode(intent("a", 1))]))
        index.note(data)
        index.rollback()
        index.commit()
        self.assertEqual((index.leaves, index.dirty), (0, False))
        index.note(data)
        index.commit()
        index.note(data)
        index.commit()
        index.flush()
        (found,) = find(self.folder, SessionFilter())
        self.assertEqual((index.leaves, found.intents), (4, 2))
        self.assertEqual((found.first_leaf, found.last_leaf), (0, 3))
