"""An agent follows its gateway's log from one key to the next, and nobody else's."""

from __future__ import annotations

import contextlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred

from hoopgw.errors import ConfigError
from hoopgw.link.witness import LogWitness
from hoopgw.recording.notes import Checkpoint, Verifier
from hoopgw.recording.succession import make_handover
from tests.link.test_witness import WitnessCase
from tests.recording.samples import KEY, ORIGIN, VERIFIER


class HandoverTests(WitnessCase):
    """A log whose key is handed over."""

    def start(self, key: str | None = None) -> LogWitness:
        """Start an agent, which keeps what it pins."""
        self.pinned = getattr(self, "pinned", VERIFIER.encode()) if key is None else key
        found = LogWitness(self.folder, self.pinned, self.clock, self.pin)
        found.connected()
        return found

    def pin(self, key: str) -> None:
        self.pinned = key

    def hand_over(self) -> Ed25519PrivateKey:
        key = Ed25519PrivateKey.generate()
        self.writer.hand_over(key)
        self.writer.settle()
        return key

    def show_all(self, *handovers: bytes) -> None:
        """Show the log with its hand-overs, or with others."""
        given = handovers or tuple(self.log.handovers())
        self.witness.show(self.log.note(), self.prove, given)

    def test_followed(self) -> None:
        """The next key is pinned, proved to go on from what was kept, and believed."""
        self.grow()
        self.show_all()
        key = self.hand_over()
        self.grow()
        self.show_all()
        self.assert_opens()
        self.assertEqual(self.pinned, Verifier(ORIGIN, key.public_key()).encode())
        self.assertEqual(self.asked, [(3, 6)])
        self.witness = self.start()
        self.show_all()
        self.assert_opens()

    def test_away_during_several(self) -> None:
        """An agent that comes back follows them one after the other."""
        self.grow()
        self.show_all()
        for _ in range(3):
            self.hand_over()
            self.grow()
        self.witness = self.start()
        self.show_all()
        self.assert_opens()
        self.assertEqual(self.pinned, self.log.key())
        self.assertEqual(self.asked, [(3, 6), (6, 9), (9, 12)])

    def test_at_the_same_size(self) -> None:
        self.grow()
        self.show_all()
        self.hand_over()
        self.show_all()
        self.assert_opens()
        self.assertEqual(self.pinned, self.log.key())

    def test_stopped_on_the_way(self) -> None:
        """Whatever a stop leaves behind, the agent starts with it, and sees a log set back."""
        asked: list[Deferred[list[bytes]]] = []

        async def stopped(first: int, second: int) -> list[bytes]:
            if self.pinned == self.log.key():
                asked.append(Deferred())
                return await asked[-1]
            return await self.prove(first, second)

        for size in (3, 0):  # the log has grown before it was handed over, and it has not
            with self.subTest(size=size):
                self.grow()
                self.show_all()
                if size:
                    self.grow(size)
                self.hand_over()
                self.grow()
                self.witness = self.start()
                self.witness.show(self.log.note(), stopped, tuple(self.log.handovers()))
                self.assertEqual(len(asked), 1)
                asked.clear()
                self.witness = self.start()
                self.assert_refuses("has not shown")
                self.show_all()
                self.assert_opens()

    def test_stopped_before_it_was_pinned(self) -> None:
        """The hand-over is kept before the key that it is to."""

        class Stopped(BaseException):
            """Ends the process."""

        def stop(_key: str) -> None:
            raise Stopped

        self.grow()
        self.show_all()
        self.hand_over()
        self.grow()
        self.witness = LogWitness(self.folder, VERIFIER.encode(), self.clock, stop)
        with contextlib.suppress(Stopped):
            self.show_all()
        self.flushLoggedErrors(Stopped)
        self.assertIn(b"handover", self.kept())
        self.witness = self.start()
        self.show_all()
        self.assert_opens()
        self.assertEqual(self.pinned, self.log.key())

    def test_without_the_handover(self) -> None:
        """A checkpoint by a key that nobody handed the log to is another log."""
        self.grow()
        self.show_all()
        self.hand_over()
        self.grow()
        self.witness.show(self.log.note(), self.prove)
        self.assert_refuses("not of its log")

    def test_forged(self) -> None:
        """One that the old key has not signed, and one from another key, count for nothing."""
        self.grow()
        self.show_all()
        thief, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        head = Checkpoint(ORIGIN, 3, self.log.checkpoint(VERIFIER).root)
        self.show_all(make_handover(head, other, thief))
        self.assertEqual(self.pinned, VERIFIER.encode())
        self.assert_opens()
        bad = make_handover(head, KEY, thief).replace(b"gw1.example ", b"gw1.example  ")
        self.show_all(bad)
        self.assert_refuses("not good")

    def test_to_a_log_that_was_rewritten(self) -> None:
        """The old key's signature does not help where the proof fails."""
        self.grow()
        self.show_all()
        thief = Ed25519PrivateKey.generate()
        self.show_all(make_handover(Checkpoint(ORIGIN, 3, bytes(32)), KEY, thief))
        self.assert_refuses("two logs")
        self.assertEqual(self.pinned, VERIFIER.encode())

    def test_what_cannot_be_pinned_is_not_believed(self) -> None:
        """If the key cannot be kept, a restart would not know it: so it waits."""

        def broken(_key: str) -> None:
            raise ConfigError("the disk is full")

        self.grow()
        self.witness = LogWitness(self.folder, VERIFIER.encode(), self.clock, broken)
        self.show_all()
        self.hand_over()
        self.grow()
        self.show_all()
        self.flushLoggedErrors(ConfigError)
        self.clock.advance(61.0)
        self.assert_refuses("has not shown")
