"""Tests for `hoopgw.recording.succession`: a log whose key was handed over, verified offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.checkpoints import split_history
from hoopgw.recording.log import LogWriter
from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint, sign
from hoopgw.recording.reader import LogReader
from hoopgw.recording.recovery import EvidenceError, open_log
from hoopgw.recording.segments import segments
from hoopgw.recording.succession import MARK, make_handover, read_handover, succession
from hoopgw.recording.verification import Report, verify
from tests.recording.samples import KEY, ORIGIN, VERIFIER, encoded, fill, whole_session

SECOND, THIRD = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (2, 3))
HEAD = Checkpoint(ORIGIN, 6, bytes(range(32)))
NOTE = make_handover(HEAD, KEY, SECOND)


def verifier(key: Ed25519PrivateKey) -> Verifier:
    return Verifier(ORIGIN, key.public_key())


class NoteTests(SynchronousTestCase):
    """Tests for `make_handover` and `read_handover`."""

    def test_both_have_signed(self) -> None:
        """Whoever trusts either key opens it as the checkpoint that it is."""
        for key in (KEY, SECOND):
            self.assertEqual(open_checkpoint(NOTE, verifier(key)), HEAD)
        found = read_handover(NOTE)
        assert found is not None
        self.assertEqual((found.old, found.new), (VERIFIER, verifier(SECOND)))
        self.assertEqual(found.checkpoint, HEAD)

    def test_other_notes_hand_nothing_over(self) -> None:
        self.assertIsNone(read_handover(sign(HEAD.text(), ORIGIN, KEY)))

    def test_forged(self) -> None:
        """One signature is not enough, whichever; nor are other keys than those named."""
        text = NOTE.decode().partition("\n\n")[0] + "\n"
        for keys in ((KEY,), (SECOND,), (KEY, THIRD), (THIRD, SECOND)):
            self.assertRaises(NoteError, read_handover, sign(text, ORIGIN, *keys))

    def test_lines(self) -> None:
        """The line is the fourth and the last, and names two keys of this log."""
        old, new = VERIFIER.encode(), verifier(SECOND).encode()
        other = Verifier("gw2", SECOND.public_key()).encode()
        for lines in (
            f"more\n{MARK} {old} {new}",
            f"{MARK} {old} {new}\nmore",
            f"{MARK} {old} {new}\n{MARK} {old} {new}",
            f"{MARK} {old}",
            f"{MARK} {old} {new} {new}",
            f"{MARK} {old} {old}",
            f"{MARK} {old} {other}",
            f"{MARK} {old} x",
            f"{MARK}",
        ):
            note = sign(f"{HEAD.text()}{lines}\n", ORIGIN, KEY, SECOND)
            self.assertRaises(NoteError, read_handover, note)

    @given(st.binary(max_size=300).map((MARK + " ").encode().__add__))
    def test_garbage(self, note: bytes) -> None:
        self.assertRaises(NoteError, read_handover, note)

    def test_order(self) -> None:
        """Keys follow one another, and none comes back."""
        first, second = (
            read_handover(make_handover(HEAD, *keys)) for keys in ((KEY, SECOND), (SECOND, THIRD))
        )
        assert first is not None
        assert second is not None
        keys = [verifier(key) for key in (KEY, SECOND, THIRD)]
        for pinned in keys:
            self.assertEqual(succession([first, second], pinned), keys)
        self.assertEqual(succession([], VERIFIER), [VERIFIER])
        self.assertRaises(NoteError, succession, [second, first], VERIFIER)
        self.assertRaises(NoteError, succession, [second], VERIFIER)
        back = read_handover(make_handover(HEAD, SECOND, KEY))
        assert back is not None
        self.assertRaises(NoteError, succession, [first, back], VERIFIER)


class LogCase(SynchronousTestCase):
    """A log that KEY began, and that SECOND and THIRD went on with."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "log"
        self.key = KEY
        self.session = 0

    def open(self) -> LogWriter:
        return open_log(self.directory, self.key, ORIGIN).writer

    def write(self, writer: LogWriter) -> None:
        self.session += 1
        fill(writer, encoded(whole_session(f"s{self.session}")))

    def hand_over(self, writer: LogWriter, key: Ed25519PrivateKey) -> None:
        writer.hand_over(key)
        writer.settle()
        self.key = key

    def make(self) -> None:
        """Write a log of three keys, closed and opened between them."""
        for key in (SECOND, THIRD):
            writer = self.open()
            self.write(writer)
            self.hand_over(writer, key)
            self.write(writer)
            writer.close()

    def verified(self, key: Ed25519PrivateKey) -> Report:
        return verify(self.directory, verifier(key))


class VerificationTests(LogCase):
    """What an auditor finds."""

    def test_with_each_key(self) -> None:
        """Whichever key an auditor has kept, the whole log is verified."""
        self.make()
        for key in (KEY, SECOND, THIRD):
            report = self.verified(key)
            self.assertEqual(report.problems, ())
            self.assertEqual((report.signed, report.records, report.handovers), (24, 24, 2))

    def test_with_another_key(self) -> None:
        self.make()
        report = self.verified(Ed25519PrivateKey.generate())
        self.assertIn("no checkpoint is signed by the key", report.problems[0].what)
        self.assertEqual(report.signed, 0)

    def test_what_is_said_beside_the_log(self) -> None:
        """``verifier`` has the key of now, ``handovers`` how it came to be."""
        self.make()
        reader = LogReader(self.directory)
        self.assertEqual(reader.key(), verifier(THIRD).encode())
        found = [read_handover(note) for note in reader.handovers()]
        self.assertEqual(
            [each and (each.old, each.new) for each in found],
            [(VERIFIER, verifier(SECOND)), (verifier(SECOND), verifier(THIRD))],
        )

    def test_the_old_key_signs_nothing_more(self) -> None:
        """Who has stolen a key that was handed over cannot go on with the log."""
        writer = self.open()
        self.write(writer)
        self.hand_over(writer, SECOND)
        writer.close()
        # The thief's recorder begins at the hand-over, which the old key has signed too.
        thief = open_log(self.directory, KEY, ORIGIN).writer
        self.write(thief)
        thief.close()
        self.assertRaises(EvidenceError, open_log, self.directory, SECOND, ORIGIN)
        for key in (KEY, SECOND):
            self.assertFalse(self.verified(key).ok)

    def test_a_changed_history(self) -> None:
        """Leaving a hand-over out, or changing what was before it, is seen with every key."""
        self.make()
        history = self.directory / "checkpoints"
        notes, _ = split_history(history.read_bytes())
        handed = [n for n, note in enumerate(notes) if MARK.encode() in note]

        def without(*left_out: int) -> bytes:
            kept = [note for n, note in enumerate(notes) if n not in left_out]
            return b"".join(note + b"\n" for note in kept)

        changes: list[Callable[[], bytes]] = [
            lambda: without(handed[0]),
            lambda: without(handed[1]),
            lambda: without(*handed),
            lambda: history.read_bytes().replace(MARK.encode(), b"hoopgw-handover-2"),
        ]
        for change in changes:
            before = history.read_bytes()
            history.write_bytes(change())
            for key in (KEY, SECOND, THIRD):
                self.assertFalse(self.verified(key).ok)
            history.write_bytes(before)
        self.assertTrue(self.verified(KEY).ok)

    def test_a_record_before_the_handover(self) -> None:
        """The new key vouches for what was there when it came."""
        self.make()
        segment = segments(self.directory)[0].path
        data = bytearray(segment.read_bytes())
        data[len(data) // 4] ^= 1
        segment.write_bytes(bytes(data))
        self.assertFalse(self.verified(THIRD).ok)
