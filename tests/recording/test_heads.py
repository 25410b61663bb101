"""Tests for `hoopgw.recording.heads`: checkpoints and proofs over the recorder's real socket."""

from __future__ import annotations

from twisted.internet.endpoints import UNIXClientEndpoint

from hoopgw.errors import UnavailableError
from hoopgw.recording import service
from hoopgw.recording.heads import LogHeads
from hoopgw.recording.merkle import verify_consistency
from hoopgw.recording.notes import Checkpoint, open_checkpoint
from tests.recording.samples import VERIFIER, whole_session
from tests.recording.test_service import ServiceTestCase, reactor
from tests.support.waiting import eventually


class HeadsTests(ServiceTestCase):
    """A worker that follows the recorder."""

    def setUp(self) -> None:
        self.patch(service, "CHECKPOINT_RECORDS", 1)
        self.patch(service, "CHECKPOINT_APART", 0.0)
        super().setUp()
        self.seen: list[Checkpoint] = []
        self.looked_at = 0
        endpoint = UNIXClientEndpoint(reactor, str(self.state / "recorder.sock"))
        self.heads = LogHeads(endpoint, reactor, lambda: 0.5, self.told)
        self.addCleanup(self.heads.stop)
        self.heads.start()

    def told(self, note: bytes, _handovers: tuple[bytes, ...]) -> None:
        """Take a checkpoint."""
        self.seen.append(open_checkpoint(note, VERIFIER))

    async def another(self) -> Checkpoint:
        """Wait for one after the last that was looked at; return the newest."""
        await eventually(reactor, lambda: len(self.seen) > self.looked_at)
        self.looked_at = len(self.seen)
        return self.seen[-1]

    async def write(self, session: str) -> None:
        """Write a session as a worker does."""
        await self.ready()
        for record in whole_session(session):
            self.recorder.write(record)
        await self.recorder.sync()

    async def test_the_first_and_each_later_one(self) -> None:
        first = await self.another()
        self.assertEqual(first.size, 0)
        await self.write("s-1")
        second = await self.another()
        self.assertGreater(second.size, 0)
        await self.write("s-2")
        third = await self.another()
        proof = await self.heads.prove(second.size, third.size)
        self.assertTrue(verify_consistency(second.size, third.size, proof, second.root, third.root))

    async def test_what_cannot_be_proved(self) -> None:
        """Sizes that the log does not have."""
        await self.another()
        for first, second in ((0, 10**9), (-1, 0), (5, 1), (10**30, 10**31)):
            try:
                await self.heads.prove(first, second)
            except (UnavailableError, OverflowError):  # what MessagePack cannot carry is not sent
                continue
            self.fail(f"{first} to {second} was proved")

    async def test_without_a_recorder(self) -> None:
        await self.another()
        await self.stopped()
        with self.assertRaises(UnavailableError):
            await self.heads.prove(0, 0)
