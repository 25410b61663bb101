"""Tests for `hoopgw.recording.reader` and `index`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.index import SessionFilter, SessionIndex
from hoopgw.recording.merkle import leaf_hash, verify_consistency
from hoopgw.recording.notes import open_checkpoint
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.records import AnyRecord, Intent, SessionRefused, encode
from hoopgw.recording.segments import segments
from tests.recording.samples import (
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

DENIED = Intent("b", 1, START, "drop", ["orders/public.t"], b"drop", b"", b"", "deny", [], "")
HELD = Intent("b", 2, START, "delete", ["orders/public.t"], b"delete", b"", b"", "review", [], "")
REFUSED = SessionRefused("c", 0, START + 9, "postgres", "orders", "admin", "::1", "no such token")
MIXED: list[AnyRecord] = [
    started("a"),
    started("b"),
    intent("a", 1),
    DENIED,
    result("a", 2, 1),
    HELD,
    REFUSED,
    ended("a", 3),
]


class ReaderTestCase(SynchronousTestCase):
    """A log with an index."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "log"
        self.write(MIXED)
        self.reader = LogReader(self.directory)

    def write(self, records: list[AnyRecord], segment_size: int = 300) -> None:
        """Write as the recorder does: log, then index."""
        log = opened(self.directory, segment_size).writer
        for record in records:
            fill(log, [encode(record)])
        self.index(log.size)
        log.close()

    def index(self, size: int) -> None:
        SessionIndex.open(self.directory, size).close()


class SessionsTests(ReaderTestCase):
    """Finding sessions."""

    def found(self, **wanted: object) -> list[str]:
        return [one.id for one in self.reader.sessions(SessionFilter(**wanted))]  # type: ignore[arg-type]  # names are checked by attrs

    def test_one(self) -> None:
        session = self.reader.session("b")
        self.assertEqual((session.intents, session.denied, session.held), (2, 1, 1))
        self.assertEqual((session.protocol, session.target), ("postgres", "orders"))
        self.assertEqual((session.root_id, session.path), ("corp|alice", "alice/planner"))
        self.assertEqual((session.started, session.ended), (START, None))
        self.assertEqual((session.first_leaf, session.last_leaf), (1, 5))

    def test_an_ended_one(self) -> None:
        session = self.reader.session("a")
        self.assertEqual((session.ended, session.reason), (START + 3, "the client went away"))

    def test_a_refused_one(self) -> None:
        session = self.reader.session("c")
        self.assertEqual((session.refused, session.reason), (True, "no such token"))
        self.assertEqual((session.started, session.ended), (START + 9, START + 9))

    def test_filters(self) -> None:
        self.assertEqual(self.found(), ["c", "b", "a"])
        self.assertEqual(self.found(limit=1), ["c"])
        self.assertEqual(self.found(root="alice"), ["b", "a"])
        self.assertEqual(self.found(root="corp|alice", live=True), ["b"])
        self.assertEqual(self.found(root="bob"), [])
        self.assertEqual(self.found(target="orders", denied=True), ["b"])
        self.assertEqual(self.found(protocol="ssh"), [])
        self.assertEqual(self.found(since=START + 1), ["c"])
        self.assertEqual(self.found(until=START + 1), ["b", "a"])
        self.assertEqual(self.found(live=False, denied=False), ["c", "a"])

    def test_unknown(self) -> None:
        self.assertRaises(ReadError, self.reader.session, "nobody")
        self.assertRaises(ReadError, list, self.reader.records("nobody"))
        self.assertRaises(ReadError, LogReader(self.directory / "no").sessions)
        self.assertRaises(ReadError, LogReader(self.directory / "no").record, 0)


class RecordsTests(ReaderTestCase):
    """Reading records."""

    def test_of_a_session(self) -> None:
        self.assertGreater(len(segments(self.directory)), 3)
        for session in "abc":
            wanted = [record for record in MIXED if record.session == session]
            self.assertEqual(list(self.reader.records(session)), wanted)

    def test_a_live_session_is_read_beyond_the_index(self) -> None:
        log = opened(self.directory).writer
        fill(log, encoded([intent("b", 3), intent("a", 99)]))
        log.close()
        self.assertEqual(list(self.reader.records("b"))[-1], intent("b", 3))

    def test_while_the_recorder_writes(self) -> None:
        """A torn end is where the recorder is at work."""
        with segments(self.directory)[-1].path.open("ab") as file:
            file.write(b"R\0\0\0")
        self.assertEqual(len(list(self.reader.walk())), len(MIXED))

    def test_a_damaged_log(self) -> None:
        path = segments(self.directory)[1].path
        path.write_bytes(path.read_bytes()[:-1])
        self.assertRaises(ReadError, list, self.reader.walk())

    def test_by_number(self) -> None:
        for leaf, record in enumerate(MIXED):
            self.assertEqual(self.reader.record(leaf).record, record)
        self.assertRaises(ReadError, self.reader.record, len(MIXED))


class ProofTests(ReaderTestCase):
    """Proofs from the files."""

    def test_inclusion(self) -> None:
        head = self.reader.checkpoint(VERIFIER)
        for leaf, record in enumerate(MIXED):
            proof = self.reader.inclusion(leaf, head.size)
            self.assertTrue(proof.proves(encode(record), head))
            self.assertFalse(proof.proves(encode(MIXED[0]) + b"x", head))

    def test_consistency(self) -> None:
        before = self.reader.checkpoint(VERIFIER)
        self.write(whole_session("d"))
        after = self.reader.checkpoint(VERIFIER)
        proof = self.reader.consistency(before.size, after.size)
        good = (before.size, after.size, proof, before.root, after.root)
        self.assertTrue(verify_consistency(*good))
        self.assertFalse(verify_consistency(*good[:3], leaf_hash(b""), after.root))

    def test_the_note_is_what_is_signed(self) -> None:
        self.assertEqual(
            open_checkpoint(self.reader.note(), VERIFIER), self.reader.checkpoint(VERIFIER)
        )

    def test_what_cannot_be_proved(self) -> None:
        self.assertRaises(ReadError, self.reader.inclusion, 8, 8)
        self.assertRaises(ReadError, self.reader.inclusion, 0, 9)
        self.assertRaises(ReadError, self.reader.consistency, 3, 2)
        self.assertRaises(ReadError, LogReader(self.directory / "no").note)


class IndexTests(ReaderTestCase):
    """The index is made again from the log."""

    def summaries(self) -> list[object]:
        return list(self.reader.sessions())

    def test_lost(self) -> None:
        before = self.summaries()
        for path in self.directory.glob("index.db*"):
            path.unlink()
        self.index(len(MIXED))
        self.assertEqual(self.summaries(), before)

    def test_behind(self) -> None:
        """What the log has and the index has not is read when it is opened, once."""
        log = opened(self.directory).writer
        fill(log, encoded([intent("b", 3)]))
        log.close()
        for _ in range(2):
            self.index(len(MIXED) + 1)
            self.assertEqual(self.reader.session("b").intents, 3)

    def test_ahead(self) -> None:
        """The log lost its unsynced end in a power loss; the index must not know it."""
        self.index(len(MIXED))
        with sqlite3.connect(self.directory / "index.db") as database:
            database.execute("UPDATE meta SET leaves = 99")
            database.execute("UPDATE sessions SET intents = 99")
        database.close()
        self.index(len(MIXED))
        self.assertEqual(self.reader.session("b").intents, 2)

    def test_no_database(self) -> None:
        before = self.summaries()
        (self.directory / "index.db").write_bytes(b"not a database" * 100)
        self.index(len(MIXED))
        self.assertEqual(self.summaries(), before)

    def test_of_another_version(self) -> None:
        before = self.summaries()
        with sqlite3.connect(self.directory / "index.db") as database:
            database.execute("UPDATE meta SET version = 0")
        database.close()
        self.index(len(MIXED))
        self.assertEqual(self.summaries(), before)

    def test_records_that_are_none_are_passed_over(self) -> None:
        log = opened(self.directory).writer
        absurd = encode(started("absurd", 2**63))
        fill(log, [b"\xc1", absurd, *encoded(whole_session("d"))])
        self.index(log.size)
        log.close()
        self.assertEqual(self.reader.session("d").intents, 2)

    def test_a_time_that_sqlite_cannot_hold(self) -> None:
        log = opened(self.directory).writer
        late = REFUSED.__class__("late", 0, 2**64 - 1, "", "", "", "", "")
        fill(log, [encode(late)])
        self.index(log.size)
        log.close()
        self.assertEqual(self.reader.session("late").started, 2**63 - 1)
