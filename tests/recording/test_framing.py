"""Tests for `hoopgw.recording.framing`: any cut, garbage, round trip."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import (
    LOG_HEADER_SIZE,
    RECORD,
    RECORD_LIMIT,
    SPOOL_HEADER_SIZE,
    DamagedError,
    TornError,
    frame,
    frames,
    log_header,
    parse_log_header,
    parse_spool_header,
    position_frame,
    spool_header,
    spool_records,
    whole_frames,
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

    @given(payloads, st.integers(0, 2000))
    def test_whole_frames_of_a_short_write(self, sent: list[bytes], written: int) -> None:
        wire = spool_frames(sent)
        written = min(written, len(wire))
        self.assertEqual(whole_frames(wire, written), spool_records(wire[:written]).taken)

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
        header = spool_header(SPOOL)
        self.assertEqual(len(header), SPOOL_HEADER_SIZE)
        self.assertEqual(parse_spool_header(header + b"more"), SPOOL)
        self.assertRaises(TornError, parse_spool_header, header[:-1])


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
