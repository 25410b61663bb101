"""Tests for `hoopgw.recording.framing`: any cut, garbage, round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import (
    END_WORD,
    FREED_WORD,
    LOG_HEADER_SIZE,
    RECORD,
    RECORD_LIMIT,
    SEALED_WORD,
    SPOOL_HEADER_SIZE,
    DamagedError,
    SpoolHead,
    TornError,
    frame,
    frames,
    log_header,
    parse_log_header,
    parse_spool_header,
    position_frame,
    spool_header,
    spool_records,
)
from tests.recording.samples import SPOOL, payloads, spool_frames


class SpoolFramesTests(SynchronousTestCase):
    """Spool bytes."""

    @given(payloads, st.data())
    def test_any_cut_gives_whole_records_and_no_others(
        self, sent: list[bytes], data: st.DataObject
    ) -> None:
        """What is behind a cut is read once more bytes are there, and nothing is read twice."""
        wire = spool_frames(sent)
        at = data.draw(st.integers(0, len(wire)))
        first = spool_records(wire[:at])
        self.assertEqual(first.records, sent[: len(first.records)])
        self.assertEqual(spool_frames(first.records), wire[: first.taken])
        rest = spool_records(wire[first.taken :])
        self.assertEqual(first.records + rest.records, sent)
        self.assertEqual(first.taken + rest.taken, len(wire))
        self.assertEqual((first.fault, rest.fault), (None, None))

    @given(payloads, st.sampled_from([0, RECORD_LIMIT + 1, 2**32 - 1]))
    def test_an_impossible_length_ends_it(self, sent: list[bytes], size: int) -> None:
        wire = spool_frames(sent)
        cut = spool_records(wire + size.to_bytes(4, "big") + b"x" * 10)
        self.assertEqual((cut.records, cut.taken), (sent, len(wire)))
        self.assertIsNotNone(cut.fault)

    @given(st.binary(max_size=200))
    def test_garbage(self, garbage: bytes) -> None:
        self.assertLessEqual(spool_records(garbage).taken, len(garbage))
        self.assertRaises(DamagedError, parse_spool_header, garbage)

    def test_the_header(self) -> None:
        for head in (SpoolHead(SPOOL, 5000, b"b" * 16), SpoolHead(SPOOL, 1, bytes(16), True)):
            header = spool_header(head)
            self.assertEqual(len(header), SPOOL_HEADER_SIZE)
            self.assertEqual(parse_spool_header(header + b"more"), head)
            self.assertEqual(head.begin, SPOOL_HEADER_SIZE)
            self.assertRaises(TornError, parse_spool_header, header[:-1])

    def test_words_of_the_header(self) -> None:
        """Each is an aligned word, in the machine's own order: a store of it is never half seen."""
        words = memoryview(spool_header(SpoolHead(SPOOL, 5000))).cast("Q")
        self.assertEqual([words[END_WORD], words[FREED_WORD]], [SPOOL_HEADER_SIZE] * 2)
        self.assertEqual(words[SEALED_WORD], 0)

    def test_a_ring_of_no_size(self) -> None:
        self.assertRaises(DamagedError, parse_spool_header, spool_header(SpoolHead(SPOOL)))

    def test_the_header_of_a_file_that_grows(self) -> None:
        """As the first version wrote it."""
        head = parse_spool_header(b"hoopgw spool v1\n" + SPOOL)
        self.assertEqual((head.identity, head.capacity, head.begin), (SPOOL, 0, 32))


class LogFramesTests(SynchronousTestCase):
    """Log bytes."""

    @given(payloads, st.data())
    def test_any_cut_gives_whole_frames_then_says_torn(
        self, sent: list[bytes], data: st.DataObject
    ) -> None:
        pieces = [position_frame(SPOOL, 32), *(frame(RECORD, record) for record in sent)]
        ends = [sum(map(len, pieces[: at + 1])) for at in range(len(pieces))]
        wire = b"".join(pieces)
        at = data.draw(st.integers(0, len(wire)))
        got = []
        try:
            for one in frames(wire[:at]):
                got.append(one)  # noqa: PERF402  # what came before it raises counts
        except TornError:
            self.assertNotIn(at, ends)
        else:
            self.assertIn(at, [0, *ends])
        self.assertEqual([one.end for one in got], [end for end in ends if end <= at])
        self.assertEqual([one.payload for one in got[1:]], sent[: max(len(got) - 1, 0)])
        if got:
            self.assertEqual(got[0].position(), (SPOOL, 32))
            self.assertFalse(got[0].is_record)

    @given(st.binary(min_size=1, max_size=60), st.data())
    def test_every_flipped_bit_is_found(self, record: bytes, data: st.DataObject) -> None:
        wire = bytearray(frame(RECORD, record))
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at] ^= 1 << data.draw(st.integers(0, 7))
        self.assertRaises(DamagedError, list, frames(bytes(wire)))

    @given(st.binary(min_size=1, max_size=200))
    def test_garbage_raises_only_our_error(self, garbage: bytes) -> None:
        self.assertRaises(DamagedError, list, frames(garbage))

    def test_a_position_of_the_wrong_size(self) -> None:
        self.assertRaises(DamagedError, list, frames(frame(b"P", b"short")))

    def test_the_header(self) -> None:
        header = log_header(1234, bytes(range(32)))
        self.assertEqual(len(header), LOG_HEADER_SIZE)
        self.assertEqual(parse_log_header(header + b"more"), (1234, bytes(range(32))))
        self.assertRaises(TornError, parse_log_header, header[:-1])
        for at in range(len(header)):
            changed = bytearray(header)
            changed[at] ^= 1
            self.assertRaises(DamagedError, parse_log_header, bytes(changed))
