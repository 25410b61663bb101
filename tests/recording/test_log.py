"""Tests for `hoopgw.recording.log` and `recovery`: transactions, crashes, tampering."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording import merkle
from hoopgw.recording.framing import LOG_HEADER_SIZE, RECORD, frame, frames
from hoopgw.recording.notes import open_checkpoint
from hoopgw.recording.reader import LogReader
from hoopgw.recording.recovery import EvidenceError, OpenedLog
from hoopgw.recording.segments import segments
from tests.recording.samples import SPOOL, VERIFIER, batch, fill, opened

RECORDS = [f"record {number} ".encode() * 3 for number in range(100)]


class LogTestCase(SynchronousTestCase):
    """A log folder."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "log"

    def contents(self) -> list[bytes]:
        """Return what a reader finds."""
        return [kept.data for kept in LogReader(self.directory).walk()]

    def reopened(self) -> OpenedLog:
        """Open the log, and check that it is whole."""
        log = opened(self.directory)
        self.addCleanup(log.writer.close)
        self.assertEqual(log.writer.size, len(self.contents()))
        return log

    def written(self, records: list[bytes] = RECORDS, sign: bool = True, size: int = 2**26) -> None:
        """Write a log and close it."""
        log = opened(self.directory, size).writer
        fill(log, records, sign=sign)
        log.close()

    def last_segment(self) -> Path:
        return segments(self.directory)[-1].path

    def assertTampered(self, *words: str) -> None:
        """Expect a refusal to open it, with a text that says why and what to do."""
        error = self.assertRaises(EvidenceError, opened, self.directory)
        for word in (*words, str(self.directory), "Keep it as evidence"):
            self.assertIn(word, str(error))


class WritingTests(LogTestCase):
    """Transactions."""

    def test_a_new_log_is_signed_at_once(self) -> None:
        opened(self.directory).writer.close()
        head = open_checkpoint((self.directory / "checkpoint").read_bytes(), VERIFIER)
        self.assertEqual((head.size, head.root), (0, merkle.EMPTY_ROOT))

    def test_the_checkpoint_is_the_root_of_the_records(self) -> None:
        self.written()
        head = LogReader(self.directory).checkpoint(VERIFIER)
        tree = merkle.Frontier()
        for record in RECORDS:
            tree.append(merkle.leaf_hash(record))
        self.assertEqual((head.size, head.root), (len(RECORDS), tree.root()))
        self.assertEqual(self.contents(), RECORDS)

    def test_rollback_forgets(self) -> None:
        log = opened(self.directory).writer
        fill(log, RECORDS[:10])
        log.append(SPOOL, 9999, batch(RECORDS[10:30]))
        log.rollback()
        log.append(SPOOL, 32, batch(RECORDS[10:12]))
        log.commit()
        log.close()
        self.assertEqual(self.contents(), RECORDS[:12])
        self.assertEqual(self.reopened().writer.size, 12)

    def test_closing_forgets_what_was_not_committed(self) -> None:
        log = opened(self.directory).writer
        log.append(SPOOL, 32, batch(RECORDS[:3]))
        log.close()
        self.assertEqual(self.contents(), [])

    def test_segments(self) -> None:
        self.written(size=500)
        self.assertGreater(len(segments(self.directory)), 5)
        self.assertEqual(self.contents(), RECORDS)
        self.assertEqual(self.reopened().writer.size, 100)

    def test_two_recorders(self) -> None:
        log = opened(self.directory).writer
        self.assertRaises(BlockingIOError, opened, self.directory)
        log.close()
        opened(self.directory).writer.close()

    def test_a_full_disk(self) -> None:
        """A transaction that did not fit leaves no trace; the next one is as if it had not been."""
        log = opened(self.directory).writer
        fill(log, RECORDS[:10])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        limit = self.last_segment().stat().st_size + 50
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for _ in range(2):
            self.assertRaises(OSError, log.append, SPOOL, 32, batch(RECORDS[10:50]))
            log.rollback()
        self.assertEqual(self.contents(), RECORDS[:10])
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        fill(log, RECORDS[10:])
        log.close()
        self.assertEqual(self.contents(), RECORDS)
        self.reopened()


class RecoveryTests(LogTestCase):
    """After a crash: nothing lost, nothing doubled."""

    def test_positions_are_known_after_a_restart(self) -> None:
        log = opened(self.directory).writer
        log.append(SPOOL, 32, batch(RECORDS[:2]))
        log.append(b"another spool 16", 500, batch(RECORDS[2:3]))
        log.commit()
        log.close()
        taken = sum(4 + len(record) for record in RECORDS[:2])
        self.assertEqual(
            self.reopened().positions,
            {SPOOL: 32 + taken, b"another spool 16": 500 + 4 + len(RECORDS[2])},
        )

    def test_positions_survive_a_new_segment(self) -> None:
        """Only the last segment is read for them, even one without records."""
        log = opened(self.directory, 10).writer
        fill(log, RECORDS[:20])
        self.assertTrue(log.roll({SPOOL: 4711, b"b" * 16: 99}))
        log.close()
        again = opened(self.directory, recheck=1)
        self.addCleanup(again.writer.close)
        self.assertEqual(again.positions, {SPOOL: 4711, b"b" * 16: 99})

    @given(st.data())
    def test_any_cut_behind_the_checkpoint(self, data: st.DataObject) -> None:
        """Whole frames stay, and the position is where the spool must be read on."""
        self.directory = Path(self.mktemp()) / "log"
        self.written(RECORDS[:10])
        signed = self.last_segment().stat().st_size
        log = opened(self.directory).writer
        log.append(SPOOL, 32, batch(RECORDS[10:14]))
        log.commit()
        log.close()
        wire = self.last_segment().read_bytes()
        cut = data.draw(st.integers(signed, len(wire)))
        os.truncate(self.last_segment(), cut)
        ends = [signed + one.end for one in frames(wire[signed:])][1:]
        whole = sum(end <= cut for end in ends)
        again = opened(self.directory)
        self.assertEqual(self.contents(), RECORDS[: 10 + whole])
        taken = sum(4 + len(record) for record in RECORDS[10 : 10 + whole])
        if whole:
            self.assertEqual(again.positions[SPOOL], 32 + taken)
        again.writer.append(SPOOL, 32 + taken, batch(RECORDS[10 + whole :]))
        again.writer.commit()
        again.writer.checkpoint()
        self.assertEqual(self.contents(), RECORDS)
        torn = list(self.directory.glob("*.torn"))
        whole_ends = (signed, self.position_end(wire, signed), *ends)
        self.assertEqual(len(torn), int(cut not in whole_ends))
        again.writer.close()

    def position_end(self, wire: bytes, signed: int) -> int:
        return signed + next(iter(frames(wire[signed:]))).end

    def test_a_hole_behind_the_checkpoint(self) -> None:
        """A power loss may leave zeros where the file had grown already."""
        self.written(RECORDS[:10])
        with self.last_segment().open("ab") as file:
            file.write(bytes(4096))
        self.assertEqual(self.reopened().writer.size, 10)
        torn = next(self.directory.glob("*.torn"))
        self.assertEqual(torn.stat().st_size, 4096)

    def test_a_segment_that_was_being_made(self) -> None:
        self.written()
        (self.directory / f"{100:020}.log").write_bytes(b"hoopgw")
        self.assertEqual(self.reopened().writer.size, 100)

    def test_hash_files_are_made_again(self) -> None:
        self.written(size=500)
        for damage in (lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:64])):
            damage(self.directory / "hashes.0")
            log = opened(self.directory, recheck=1).writer
            self.assertEqual(log.size, 100)
            log.close()
            head = LogReader(self.directory).checkpoint(VERIFIER)
            proof = LogReader(self.directory).inclusion(3, 100)
            self.assertTrue(proof.proves(RECORDS[3], head))

    def test_a_torn_checkpoint(self) -> None:
        """The history is cut back to whole notes, and goes on."""
        self.written()
        history = self.directory / "checkpoints"
        whole = history.read_bytes()
        history.write_bytes(whole + whole[: len(whole) // 3])
        log = self.reopened().writer
        self.assertEqual(history.read_bytes(), whole)
        fill(log, [b"more"])
        notes = history.read_bytes().split(b"\n\n")
        self.assertEqual(len(notes), 3 * 2 + 1)

    def test_a_checkpoint_that_only_the_history_has(self) -> None:
        """The recorder died between the two files."""
        self.written(RECORDS[:50])
        before = (self.directory / "checkpoint").read_bytes()
        log = opened(self.directory).writer
        fill(log, RECORDS[50:])
        log.close()
        (self.directory / "checkpoint").write_bytes(before)
        self.assertEqual(self.reopened().writer.unsigned, 0)


class TamperTests(LogTestCase):
    """What a crash cannot do."""

    def test_truncated(self) -> None:
        self.written()
        os.truncate(self.last_segment(), self.last_segment().stat().st_size - 1)
        self.assertTampered("100", "signed")

    def test_truncated_at_a_frame(self) -> None:
        self.written()
        size = self.last_segment().stat().st_size
        os.truncate(self.last_segment(), size - len(frame(RECORD, RECORDS[-1])))
        self.assertTampered("record 99 of 100")

    def test_a_byte_changed(self) -> None:
        self.written()
        data = bytearray(self.last_segment().read_bytes())
        data[len(data) // 2] ^= 1
        self.last_segment().write_bytes(data)
        self.assertTampered("record")

    def test_a_record_replaced_with_a_good_checksum(self) -> None:
        self.written()
        old, new = frame(RECORD, RECORDS[50]), frame(RECORD, RECORDS[50].replace(b"r", b"x"))
        path = self.last_segment()
        path.write_bytes(path.read_bytes().replace(old, new))
        self.assertTampered("not those that were signed")

    def test_a_segment_removed(self) -> None:
        self.written(size=500)
        found = segments(self.directory)
        found[2].path.unlink()
        self.assertTampered()

    def test_the_last_segments_removed(self) -> None:
        self.written(size=500)
        for segment in segments(self.directory)[4:]:
            segment.path.unlink()
        self.assertTampered("100")

    def test_all_segments_removed(self) -> None:
        self.written()
        self.last_segment().unlink()
        self.assertTampered("100")

    def test_checkpoints_removed(self) -> None:
        self.written()
        (self.directory / "checkpoint").unlink()
        (self.directory / "checkpoints").unlink()
        self.assertTampered("no checkpoint")

    def test_a_rollback_that_the_history_remembers(self) -> None:
        """Log and newest checkpoint are set back, but the history is not."""
        self.written(RECORDS[:50])
        before = (self.last_segment().read_bytes(), (self.directory / "checkpoint").read_bytes())
        log = opened(self.directory).writer
        fill(log, RECORDS[50:])
        log.close()
        self.last_segment().write_bytes(before[0])
        (self.directory / "checkpoint").write_bytes(before[1])
        self.assertTampered("50 of 100")

    def test_a_forged_checkpoint(self) -> None:
        self.written()
        note = (self.directory / "checkpoint").read_bytes()
        (self.directory / "checkpoint").write_bytes(note.replace(b"\n100\n", b"\n90\n"))
        self.assertTampered("not genuine")

    def test_another_header(self) -> None:
        self.written(size=500)
        found = segments(self.directory)
        data = bytearray(found[1].path.read_bytes())
        data[LOG_HEADER_SIZE - 10] ^= 1
        found[1].path.write_bytes(data)
        self.assertTampered()

    def test_an_old_segment_behind_the_bounded_check(self) -> None:
        """The start does not read it; the hash files vouch for the tree, verification reads it."""
        self.written(size=500)
        path = segments(self.directory)[0].path
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        opened(self.directory, recheck=1).writer.close()
        self.assertTampered()
