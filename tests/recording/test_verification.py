"""Tests for `hoopgw.recording.verification`: what an auditor finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.framing import RECORD, frame
from hoopgw.recording.notes import Verifier
from hoopgw.recording.records import AnyRecord, ReviewSettled, SessionRefused, TextDefined
from hoopgw.recording.segments import segments
from hoopgw.recording.verification import Report, verify
from tests.recording.samples import (
    KEY,
    ORIGIN,
    START,
    VERIFIER,
    encoded,
    ended,
    fill,
    intent,
    opened,
    result,
    started,
    whole_session,
)

SESSIONS = [*whole_session("a"), *whole_session("b"), *whole_session("c", 10)]


class VerificationTestCase(SynchronousTestCase):
    """A log folder."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "log"

    def write(self, records: list[AnyRecord], segment_size: int = 2**26) -> None:
        log = opened(self.directory, segment_size).writer
        wire = encoded(records)
        for start in range(0, len(wire), 10):
            fill(log, wire[start : start + 10])
        log.close()

    def verified(self) -> Report:
        return verify(self.directory, VERIFIER)

    def file(self, name: str) -> Path:
        return self.directory / name

    def assertProblem(self, *words: str) -> Report:
        """Expect that one of the problems has all these words in its place and text."""
        report = self.verified()
        self.assertFalse(report.ok)
        told = [f"{problem.where}: {problem.what}" for problem in report.problems]
        self.assertTrue(any(all(word in line for word in words) for line in told), told)
        return report


class GoodTests(VerificationTestCase):
    """Logs that are what was written."""

    def test_empty(self) -> None:
        self.write([])
        report = self.verified()
        self.assertTrue(report.ok, report.problems)
        self.assertEqual((report.records, report.signed, report.sessions), (0, 0, 0))

    def test_sessions(self) -> None:
        self.write(SESSIONS)
        report = self.verified()
        self.assertTrue(report.ok, report.problems)
        self.assertEqual((report.records, report.signed), (len(SESSIONS), len(SESSIONS)))
        self.assertEqual((report.sessions, report.unsigned, report.torn), (3, 0, 0))
        # Each checkpoint of the history, that of size 0, and the newest once more.
        self.assertEqual(report.checkpoints, 1 + (len(SESSIONS) + 9) // 10 + 1)

    def test_many_segments(self) -> None:
        self.write(SESSIONS, 400)
        self.assertGreater(len(segments(self.directory)), 2)
        self.assertTrue(self.verified().ok)

    def test_unsigned_records_are_counted(self) -> None:
        self.write(SESSIONS)
        log = opened(self.directory).writer
        fill(log, encoded(whole_session("d")), sign=False)
        log.close()
        report = self.verified()
        self.assertTrue(report.ok)
        self.assertEqual(report.unsigned, 6)

    def test_a_torn_end_behind_what_is_signed(self) -> None:
        self.write(SESSIONS)
        with segments(self.directory)[-1].path.open("ab") as file:
            file.write(b"R\0\0")
        report = self.verified()
        self.assertTrue(report.ok)
        self.assertEqual(report.torn, 3)


class TamperTests(VerificationTestCase):
    """Every byte matters."""

    def setUp(self) -> None:
        super().setUp()
        self.write(SESSIONS, 700)
        paths = sorted(path for path in self.directory.iterdir() if path.name not in UNPROTECTED)
        self.originals = {path: path.read_bytes() for path in paths}

    @given(st.integers(0, 10**9), st.integers(0, 7))
    @example(0, 0)
    def test_any_flipped_bit_is_found_and_its_place_told(self, at: int, bit: int) -> None:
        places = [(path, i) for path, data in self.originals.items() for i in range(len(data))]
        path, at = places[at % len(places)]
        data = self.originals[path]
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        try:
            report = self.verified()
            self.assertFalse(report.ok, f"byte {at} of {path.name}")
            told = " ".join(f"{problem.where} {problem.what}" for problem in report.problems)
            self.assertIn(path.name, told)
        finally:
            path.write_bytes(data)

    @given(st.data())
    def test_any_cut_is_found(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(list(self.originals)))
        whole = self.originals[path]
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        try:
            report = self.verified()
            if path.name == "checkpoints":
                # Cut at a note, it is a shorter history; the newest checkpoint still covers all.
                self.assertEqual(report.signed, len(SESSIONS))
            else:
                self.assertFalse(report.ok, path.name)
        finally:
            path.write_bytes(whole)

    def test_a_record_replaced_with_everything_else_put_right(self) -> None:
        """Checksum and hash file fit again; only the signed root does not."""
        records = encoded(SESSIONS)
        changed = encoded([intent("a", 1, b"select 2")])[0]
        self.directory = Path(self.mktemp()) / "log"
        self.write(SESSIONS)
        forged = Path(self.mktemp()) / "log"
        log = opened(forged).writer
        for start in range(0, len(records), 10):
            fill(log, [changed if r == records[1] else r for r in records[start : start + 10]])
        log.close()
        for name in (f"{0:020}.log", "hashes.0"):
            (self.directory / name).write_bytes((forged / name).read_bytes())
        self.assertProblem("checkpoint of size 10", "not the one that was signed")

    def test_two_records_exchanged(self) -> None:
        path = segments(self.directory)[0].path
        one, two = (frame(RECORD, record) for record in encoded(SESSIONS)[1:3])
        path.write_bytes(path.read_bytes().replace(one + two, two + one))
        report = self.assertProblem(path.name, "record 1")
        self.assertEqual(report.checkpoints, 1)

    def test_the_last_segment_removed(self) -> None:
        segments(self.directory)[-1].path.unlink()
        self.assertProblem("records are signed, and", "can be read")

    def test_the_newest_checkpoint_removed(self) -> None:
        self.file("checkpoint").unlink()
        self.assertProblem("checkpoint", "is missing")

    def test_an_older_checkpoint_put_back(self) -> None:
        notes = self.file("checkpoints").read_bytes().split(b"\n\n")
        self.file("checkpoint").write_bytes(b"\n\n".join(notes[:2]) + b"\n")
        self.assertProblem("checkpoint", "older")

    def test_another_key(self) -> None:
        other = Verifier(ORIGIN, Ed25519PrivateKey.generate().public_key())
        report = verify(self.directory, other)
        self.assertFalse(report.ok)
        self.assertEqual(report.checkpoints, 0)

    def test_another_origin(self) -> None:
        self.assertFalse(verify(self.directory, Verifier("gw2", KEY.public_key())).ok)


UNPROTECTED = ("index.db", "index.db-wal", "index.db-shm", "lock", "verifier")
"""Files of the folder that are no evidence."""


class SessionTests(VerificationTestCase):
    """What the records of a session say of one another."""

    def wrong(self, records: list[AnyRecord], *words: str) -> None:
        self.write(records)
        self.assertProblem(*words)

    def test_a_gap(self) -> None:
        self.wrong([started("s"), intent("s", 2)], "record 1", "goes on with record 2, not 1")

    def test_a_session_without_its_beginning(self) -> None:
        self.wrong([intent("s", 1)], "goes on with record 1, not 0")

    def test_a_record_twice(self) -> None:
        self.wrong([started("s"), started("s")], "goes on with record 0, not 1")

    def test_a_result_without_its_intent(self) -> None:
        self.wrong([started("s"), result("s", 1, 0)], "belongs to record 0, which is no intent")

    def test_a_result_before_its_intent(self) -> None:
        self.wrong([result("s", 0, 1), intent("s", 1)], "belongs to record 1")

    def test_a_review_without_its_intent(self) -> None:
        settled = ReviewSettled("s", 1, START, 5, "r1", "approved", ["bob"])
        self.wrong([started("s"), settled], "belongs to record 5")

    def test_a_text_that_was_not_defined(self) -> None:
        self.wrong([intent("s", 0, 7)], "names text 7")

    def test_a_text_that_was_defined(self) -> None:
        self.write([TextDefined("s", 0, START, 7, b"select 1"), intent("s", 1, 7)])
        self.assertTrue(self.verified().ok)

    def test_after_its_end(self) -> None:
        self.wrong([*whole_session("s"), result("s", 6, 1)], "session s had ended")

    def test_after_a_refusal(self) -> None:
        refused = SessionRefused("s", 0, START, "postgres", "orders", "reader", "::1", "no token")
        self.wrong([refused, ended("s", 1)], "session s had ended")

    def test_no_record(self) -> None:
        log = opened(self.directory).writer
        fill(log, [b"\xc1garbage"])
        log.close()
        self.assertProblem("record 0", "no record")

    def test_numbers_that_are_absurd(self) -> None:
        """They are told, and cost no memory."""
        check: Callable[[list[AnyRecord]], None] = self.write
        check([started("s"), intent("s", 2**62), result("s", 2**62 + 1, 2**62)])
        self.assertEqual(len(self.verified().problems), 3)
