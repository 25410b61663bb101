"""Tests for `hoopgw.link.witness`: an agent that sees when its gateway's log goes back."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError, LinkError, UnavailableError
from hoopgw.link import witness
from hoopgw.link.witness import LogWitness
from hoopgw.recording.notes import Checkpoint, sign
from hoopgw.recording.reader import LogReader
from tests.recording.samples import KEY, ORIGIN, VERIFIER, fill, opened


class WitnessCase(SynchronousTestCase):
    """A gateway's log and one agent that watches it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(mode=0o700)
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.log = self.new_log("log")
        self.asked: list[tuple[int, int]] = []
        self.witness = self.start()

    def new_log(self, name: str) -> LogReader:
        """Begin a log."""
        directory = self.folder / name
        writer = opened(directory).writer
        self.addCleanup(writer.close)
        self.writer = writer
        return LogReader(directory)

    def start(self, key: str | None = None) -> LogWitness:
        """Start an agent, which has connected."""
        text = VERIFIER.encode() if key is None else key
        found = LogWitness(self.folder, text, self.clock)
        found.connected()
        return found

    def grow(self, records: int = 3, text: bytes = b"record") -> None:
        """Let the log grow, and sign it."""
        start = self.writer.size
        fill(self.writer, [text + b"%d" % (start + n) for n in range(records)])

    async def prove(self, first: int, second: int) -> list[bytes]:
        """Prove as the recorder does."""
        self.asked.append((first, second))
        return self.log.consistency(first, second)

    def show(self, note: bytes | None = None) -> None:
        """Show the log as it stands."""
        self.witness.show(self.log.note() if note is None else note, self.prove)

    def assert_opens(self) -> None:
        """Targets are opened, at once."""
        self.assertEqual(self.witness.objection, "")
        self.successResultOf(Deferred.fromCoroutine(self.witness.ready()))

    def assert_refuses(self, why: str) -> None:
        """No target is opened, and why is said."""
        waiting = Deferred.fromCoroutine(self.witness.ready())
        self.clock.advance(witness.SHOW_PATIENCE)
        self.failureResultOf(waiting, LinkError)
        self.assertIn(why, self.witness.objection)

    def kept(self) -> bytes:
        """Return what is in the agent's state folder."""
        return (self.folder / witness.FILE).read_bytes()


class GoodTests(WitnessCase):
    """A log that grows."""

    def test_the_first_is_kept(self) -> None:
        self.assert_opens()
        self.grow()
        self.show()
        self.assert_opens()
        self.assertEqual(self.kept(), self.log.note())
        self.assertEqual((self.folder / witness.FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.asked, [])

    def test_each_further_one_is_proved(self) -> None:
        for _ in range(5):
            self.grow()
            self.show()
            self.assert_opens()
            self.assertEqual(self.kept(), self.log.note())
        self.assertEqual(self.asked, [(3, 6), (6, 9), (9, 12), (12, 15)])

    def test_the_same_again_needs_no_proof(self) -> None:
        self.grow()
        self.show()
        self.show()
        self.assert_opens()
        self.assertEqual(self.asked, [])

    def test_an_empty_log_grows(self) -> None:
        fill(self.writer, [])
        self.show()
        self.grow()
        self.show()
        self.assert_opens()

    def test_after_a_restart_the_log_must_be_shown(self) -> None:
        """A target that is to be opened waits for it, and not for long."""
        self.grow()
        self.show()
        self.witness = self.start()
        opening = Deferred.fromCoroutine(self.witness.ready())
        self.clock.advance(witness.SHOW_PATIENCE - 1)
        self.assertNoResult(opening)
        self.grow()
        self.show()
        self.successResultOf(opening)
        self.witness = self.start()
        self.assert_refuses("has not shown")

    def test_of_several_the_newest_is_looked_at(self) -> None:
        """While a proof is under way, others may come."""
        self.grow()
        self.show()
        proof: Deferred[list[bytes]] = Deferred()

        async def slowly(first: int, second: int) -> list[bytes]:
            self.asked.append((first, second))
            return await proof

        self.grow()
        self.witness.show(self.log.note(), slowly)
        for _ in range(3):
            self.grow()
            self.show()
        proof.callback(self.log.consistency(3, 6))
        self.assertEqual(self.asked, [(3, 6), (6, 15)])
        self.assertEqual(self.kept(), self.log.note())

    def test_without_a_key_nothing_is_watched(self) -> None:
        """An agent that joined before it was told one goes on as before."""
        self.witness = self.start(key="")
        self.grow()
        self.show()
        self.assert_opens()
        self.assertFalse((self.folder / witness.FILE).exists())

    def test_joining_anew_forgets(self) -> None:
        self.grow()
        self.show()
        witness.forget(self.folder)
        self.witness = self.start()
        self.assert_opens()


class BadTests(WitnessCase):
    """A log that does not go on from what was seen."""

    def setUp(self) -> None:
        super().setUp()
        self.grow(5)
        self.show()
        self.seen = self.kept()

    def assert_fault(self, why: str) -> None:
        """Targets stay closed for good, and what was seen stays as evidence."""
        self.assert_refuses(why)
        self.show(self.seen)  # showing the old one again does not help
        self.assert_refuses(why)
        self.assertEqual(self.kept(), self.seen)

    def test_it_was_set_back(self) -> None:
        self.log = self.new_log("older")
        self.grow(3)
        self.show()
        self.assert_fault("was set back from 5 to 3 records")

    def test_it_was_rewritten(self) -> None:
        """As long as before, and longer."""
        self.log = self.new_log("other")
        self.grow(5, b"other")
        self.show()
        self.assert_fault("two logs of 5 records")

    def test_it_was_rewritten_and_goes_on(self) -> None:
        self.log = self.new_log("other")
        self.grow(5, b"other")
        self.grow(5)
        self.show()
        self.assert_fault("5 records was rewritten")

    def test_after_a_restart_too(self) -> None:
        """The agent's memory is its state folder."""
        self.log = self.new_log("older")
        self.grow(3)
        self.witness = self.start()
        self.show()
        self.assert_fault("set back")

    def test_another_key(self) -> None:
        """Somebody else's signature, or another log's name."""
        head = Checkpoint(ORIGIN, 9, bytes(32))
        self.show(sign(head.text(), ORIGIN, Ed25519PrivateKey.generate()))
        self.assert_fault("not of its log")

    def test_garbage(self) -> None:
        self.show(b"garbage \xff")
        self.assert_fault("not of its log")

    def test_another_logs_checkpoint(self) -> None:
        self.show(sign(Checkpoint("gw2", 9, bytes(32)).text(), "gw2", KEY))
        self.assert_fault("not of its log")

    def test_a_proof_that_proves_nothing(self) -> None:
        self.grow()

        async def lie(_first: int, _second: int) -> list[bytes]:
            return [bytes(32)]

        self.witness.show(self.log.note(), lie)
        self.assert_fault("rewritten")

    def test_a_proof_that_does_not_come(self) -> None:
        """It may be for a short while; not for long, and then it may come after all."""
        self.grow()

        async def silent(_first: int, _second: int) -> list[bytes]:
            raise UnavailableError("the recorder is not connected")

        self.witness.show(self.log.note(), silent)
        self.assert_opens()
        self.clock.advance(witness.PATIENCE - 1)
        self.assert_opens()
        self.witness.show(self.log.note(), silent)
        self.clock.advance(2)
        self.assert_refuses("has not shown")
        self.show()
        self.assert_opens()

    def test_a_proof_of_other_things(self) -> None:
        """What is no hash proves nothing, and costs nothing."""
        self.grow()

        async def odd(_first: int, _second: int) -> list[bytes]:
            return [b"", b"x" * 33]

        self.witness.show(self.log.note(), odd)
        self.assert_fault("rewritten")

    def test_an_answer_that_is_none(self) -> None:
        async def nonsense(_first: int, _second: int) -> list[bytes]:
            raise KeyError("proof")

        self.grow()
        self.witness.show(self.log.note(), nonsense)
        self.assertEqual(self.kept(), self.seen)

    def test_what_was_kept_is_damaged(self) -> None:
        """The agent does not start, and the file stays as it is."""
        (self.folder / witness.FILE).write_bytes(self.seen.replace(b"5", b"4", 1))
        error = self.assertRaises(ConfigError, self.start)
        self.assertIn("join again", str(error))

    def test_what_was_kept_is_a_link(self) -> None:
        path = self.folder / witness.FILE
        path.rename(self.folder / "elsewhere")
        path.symlink_to(self.folder / "elsewhere")
        self.assertRaises(ConfigError, self.start)

    def test_a_key_that_is_none(self) -> None:
        self.assertRaises(ConfigError, self.start, "nonsense")
