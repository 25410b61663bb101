"""Real clients through our transport, relay and agent's leg, to a real sshd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopgw_ssh import transport
from hoopgw_ssh.rulings import Ruling
from tests.ssh.thin import ThinGateway
from tests.support.openssh import SshServer, running
from tests.support.processes import PATIENCE
from tests.support.waiting import eventually, is_quiet


class ClientCase(TestCase):
    """With a gateway of its own."""

    timeout = 240
    server: SshServer

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(running())

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.gateway = ThinGateway(reactor, self.server, self.folder)
        self.addCleanup(self.stop)

    def stop(self) -> Deferred[None]:
        """Stop it, and wait until nothing of it is left."""

        async def stopping() -> None:
            await self.gateway.stop()
            await eventually(reactor, lambda: is_quiet(reactor))

        return Deferred.fromCoroutine(stopping())

    async def run_client(
        self, *argv: str | Path, stdin: bytes = b"", status: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a client that reads our configuration."""
        program, *rest = map(str, argv)
        command = [program, "-F", str(self.folder / "config"), *rest]
        done = await deferToThread(
            subprocess.run, command, input=stdin, capture_output=True, timeout=PATIENCE * 2
        )
        self.assertEqual(done.returncode, status, done.stderr[-2000:])
        return done

    async def ssh(self, *argv: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ssh."""
        return await self.run_client("ssh", *argv, **options)


class CommandTests(ClientCase):
    """ssh with a command."""

    async def test_large_both_ways(self) -> None:
        """With new keys on the way, in both legs."""
        self.patch(transport, "REKEY_BYTES", 4_000_000)
        sent = os.urandom(20_000_000)
        done = await self.ssh("-o", "RekeyLimit=5M", "gw", "cat", stdin=sent)
        self.assertTrue(done.stdout == sent)

    async def test_refused(self) -> None:
        """In words, and by a status."""
        ruling = Ruling(allowed=False, reason="Refused by policy no-rm.")
        self.gateway.judging.answers[b"exec"] = succeed(ruling)
        done = await self.ssh("gw", "rm -rf /", status=77)
        self.assertEqual(done.stderr, b"Refused by policy no-rm.\r\n")

    async def test_held_and_given_up(self) -> None:
        """Ctrl-C withdraws the question."""
        withdrawn: list[object] = []
        self.gateway.judging.answers[b"exec"] = Deferred(withdrawn.append)
        command = ["ssh", "-F", str(self.folder / "config"), "gw", "sleep 100"]
        client = subprocess.Popen(command)
        await eventually(reactor, lambda: (b"exec", ANY_COMMAND) in self.gateway.judging.asked)
        client.terminate()
        await deferToThread(client.wait, PATIENCE)
        await eventually(reactor, lambda: withdrawn)


ANY_COMMAND = b"\0\0\0\x09sleep 100"


class ForwardTests(ClientCase):
    """Forwards, once somebody allows them."""

    async def test_refused(self) -> None:
        """In the words of who refused."""
        ruling = Ruling(allowed=False, reason="forwards are not for you")
        self.gateway.judging.answers[b"direct-tcpip"] = succeed(ruling)
        done = await self.ssh("-W", "127.0.0.1:1", "gw", status=255)
        self.assertIn(b"forwards are not for you", done.stderr)
