"""The decisions of a log, from where they begin to what is wrong with them."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.decisions import DecisionLog, Found, Unreadable, tag_of
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.inputs import AGAIN
from hoopgw.recording.reader import ReadError
from hoopgw.recording.records import AnyRecord, Intent, SessionStarted, decode, encode
from hoopgw.recording.segments import segments
from tests.recording.samples import START, ended, fill, intent, opened, result, started

HOUR = AGAIN


def at(record: AnyRecord, moment: int) -> AnyRecord:
    """Return a record of another time."""
    changed: AnyRecord = msgspec.structs.replace(record, at=START + moment)
    return changed


class DecisionLogCase(SynchronousTestCase):
    """A log of several segments and hours."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "log"
        log = opened(self.directory, segment_size=700).writer
        records = [started("old"), intent("old", 1), result("old", 2, 1)]
        for hour in range(1, 9):
            records += [
                at(started(f"s{hour}"), hour * HOUR),
                at(intent(f"s{hour}", 1), hour * HOUR),
                at(result(f"s{hour}", 2, 1), hour * HOUR),
                at(ended(f"s{hour}", 3), hour * HOUR),
            ]
        records.append(at(intent("old", 3), 9 * HOUR))
        for record in records:
            fill(log, [encode(record)])
        SessionIndex.open(self.directory, log.size).close()
        log.close()
        self.log = DecisionLog(self.directory)
        self.count = len(records)

    def found(self, since: int | None = None) -> list[Found | Unreadable]:
        return list(self.log.records(self.log.begin(since)))

    def spoil(self, needle: bytes, instead: bytes, *, mend: bool) -> None:
        """Change some bytes of the log, and the checksum of their frame if asked."""
        for segment in segments(self.directory):
            data = bytearray(segment.path.read_bytes())
            place = bytes(data).find(needle)
            if place < 0:
                continue
            data[place : place + len(needle)] = instead
            frame = 60
            while True:
                end = frame + 9 + int.from_bytes(data[frame + 1 : frame + 5], "big")
                if frame <= place < end:
                    break
                frame = end
            if mend:
                crc = zlib.crc32(data[frame + 9 : end], zlib.crc32(data[frame : frame + 5]))
                data[frame + 5 : frame + 9] = crc.to_bytes(4, "big")
            segment.path.write_bytes(data)
            return
        self.fail("nothing to change")


class ReadTests(DecisionLogCase):
    """Tests for `DecisionLog.records`."""

    def test_all_but_results(self) -> None:
        kinds = [type(decode(each.data)) for each in self.found() if isinstance(each, Found)]
        self.assertEqual(kinds.count(Intent), 10)
        self.assertEqual(kinds.count(SessionStarted), 9)
        self.assertEqual(len(kinds), self.count - 9)
        self.assertEqual(self.log.read, self.log.total)

    def test_since_a_time(self) -> None:
        """Some hours are not read, and the old session that goes on has its beginning."""
        found = [each for each in self.found(START + 8 * HOUR) if isinstance(each, Found)]
        records = [decode(each.data) for each in found]
        sessions = {record.session for record in records if isinstance(record, Intent)}
        self.assertTrue({"old", "s8"} <= sessions)
        self.assertNotIn("s1", sessions)
        self.assertEqual((found[0].leaf, records[0].session), (0, "old"))
        self.assertLess(self.log.total, sum(s.size for s in segments(self.directory)))

    def test_tags(self) -> None:
        for record in (started("s"), intent("s", 1), ended("s", 2)):
            tag = record.__struct_config__.tag
            self.assertEqual(tag_of(encode(record)).decode(), tag)
        for data in (b"", b"\x90", b"\xdc", b"\xdc\0\x12", b"\x91\x05", b"\x91\xff", b"garbage"):
            self.assertNotIn(tag_of(data), (b"intent",))

    def test_no_log(self) -> None:
        with self.assertRaises(ReadError):
            DecisionLog(Path(self.mktemp())).begin(None)
        empty = Path(self.mktemp())
        empty.mkdir()
        with self.assertRaises(ReadError):
            DecisionLog(empty).begin(None)


class TamperedTests(DecisionLogCase):
    """A record that was changed is named, and never given."""

    def test_with_its_checksum_mended(self) -> None:
        """The tree knows what it was."""
        self.spoil(b"s4", b"sX", mend=True)
        (bad,) = (each for each in self.found() if isinstance(each, Unreadable))
        self.assertIn("not the record that the log's tree holds", bad.why)
        self.assertEqual(len(self.found()), self.count - 9)

    def test_without(self) -> None:
        """The rest of its segment cannot be told from noise; the next one can."""
        self.spoil(b"s4", b"sX", mend=False)
        found = self.found()
        (bad,) = (each for each in found if isinstance(each, Unreadable))
        self.assertIn("from there on", bad.why)
        self.assertEqual(decode(found[-1].data).session, "old")  # type: ignore[union-attr]  # the last is good

    def test_a_torn_end_is_what_the_recorder_writes(self) -> None:
        segment = segments(self.directory)[-1]
        segment.path.write_bytes(segment.path.read_bytes()[:-5])
        self.assertEqual([e for e in self.found() if isinstance(e, Unreadable)], [])
