"""The recorder hands its log over: asked for over its socket, and killed at every step of it."""

from __future__ import annotations

import shutil

from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.keyfiles import LogKeyFiles, load_log_key
from hoopgw.ipc import Body, Peer
from hoopgw.processes.recorder import finish_handover
from hoopgw.recording.connection import over_unix
from hoopgw.recording.notes import Verifier
from hoopgw.recording.reader import LogReader
from hoopgw.recording.recovery import open_log
from hoopgw.recording.verification import verify
from tests.recording.samples import whole_session
from tests.recording.test_process import ProcessTestCase, reactor


class HandOverTests(ProcessTestCase):
    """A recorder that runs."""

    async def test_while_records_come(self) -> None:
        """Before, during and after: nothing is lost, and either key verifies all."""
        process, worker = self.started(), self.worker()
        await self.until(worker, ready=True)
        told: list[bytes] = []

        def take(body: Body) -> Body:
            told.append(body["note"])
            return {}

        peer = Peer({"checkpoint": take}, reactor)
        await over_unix(reactor, self.paths.recorder_socket)(peer)
        await peer.call("follow")
        keys = [Verifier("gw1", load_log_key(self.paths.log_key).public_key())]
        for number in range(3):
            for record in whole_session(f"s{number}"):
                worker.write(record)
            answer = await peer.call("hand_over")
            keys.append(Verifier.decode(answer["key"]))
            self.assertEqual(load_log_key(self.paths.log_key).public_key(), keys[-1].key)
        peer.close()
        self.assertEqual(process.stop(), 0)
        self.assertEqual(len(told), 3)
        for key in keys:
            report = verify(self.paths.log, key)
            self.assertEqual((report.problems, report.signed), ((), 18))
        self.assertEqual(LogReader(self.paths.log).key(), keys[-1].encode())
        await self.until(worker, ready=False)
        again = self.start("again")
        await self.until(worker, ready=True)  # it takes signals from then on
        self.assertEqual(again.stop(), 0)


class CrashTests(ProcessTestCase):
    """What is left when it is killed between two steps."""

    def setUp(self) -> None:
        super().setUp()
        self.keys = LogKeyFiles(KeyBook(self.paths))
        self.first = load_log_key(self.paths.log_key)
        self.writer = open_log(self.paths.log, self.first, "gw1").writer

    def restart(self) -> Verifier:
        """Do what the next start does; return the key that signs then."""
        finish_handover(self.paths.log, self.keys)
        key = load_log_key(self.paths.log_key)
        writer = open_log(self.paths.log, key, "gw1").writer
        writer.checkpoint()
        writer.close()
        found = Verifier("gw1", key.public_key())
        for each in (found, self.verifier):
            self.assertEqual(verify(self.paths.log, each).problems, ())
        self.assertEqual(LogReader(self.paths.log).key(), found.encode())
        self.assertIsNone(self.keys.successor())
        return found

    def test_before_the_note(self) -> None:
        """The next key was made, and nobody was told: it is forgotten."""
        self.keys.prepare()
        self.writer.close()
        self.assertEqual(self.restart(), self.verifier)

    def test_behind_the_note(self) -> None:
        """It was given the log, and has it."""
        key = self.keys.prepare()
        self.writer.hand_over(key)
        self.writer.close()
        self.assertEqual(self.restart(), Verifier("gw1", key.public_key()))

    def test_between_history_and_newest(self) -> None:
        """The note is in the history alone."""
        newest = self.paths.log / "checkpoint"
        shutil.copy(newest, self.folder / "before")
        key = self.keys.prepare()
        self.writer.hand_over(key)
        self.writer.close()
        shutil.copy(self.folder / "before", newest)
        self.assertEqual(self.restart(), Verifier("gw1", key.public_key()))

    def test_before_it_was_said_beside_the_log(self) -> None:
        """The key is in its place, and the files beside the log are of before."""
        key = self.keys.prepare()
        self.writer.hand_over(key)
        self.writer.close()
        book = KeyBook(self.paths)
        next_key = book.path(KINDS["log"], ahead=True)
        shutil.copy(next_key, self.folder / "kept")
        self.keys.promote()
        shutil.copy(self.folder / "kept", next_key)
        next_key.chmod(0o600)
        self.assertEqual(self.restart(), Verifier("gw1", key.public_key()))
