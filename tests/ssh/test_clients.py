"""Real clients through our transport, relay and agent's leg, to a real sshd."""

from __future__ import annotations

import filecmp
import os
import subprocess
import tempfile
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
from tests.support.processes import PATIENCE, free_port
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

    async def test_output_errors_and_status(self) -> None:
        done = await self.ssh("gw", "echo out; echo err >&2; exit 7", status=7)
        self.assertEqual((done.stdout, done.stderr), (b"out\n", b"err\n"))

    async def test_input(self) -> None:
        """All of it, though the server opens its channels with no window at all."""
        sent = os.urandom(1_407)
        done = await self.ssh("gw", "cat", stdin=sent)
        self.assertEqual(done.stdout, sent)

    async def test_killed_by_a_signal(self) -> None:
        done = await self.ssh("gw", "kill -TERM $$", status=255)
        self.assertEqual(done.stdout, b"")

    async def test_environment_and_terminal(self) -> None:
        done = await self.ssh("-tt", "-o", "SetEnv=HG_X=seen", "gw", "echo $HG_X; tty; stty size")
        self.assertIn(b"seen\r\n/dev/pts/", done.stdout)

    async def test_large_both_ways(self) -> None:
        """With new keys on the way, in both legs."""
        self.patch(transport, "REKEY_BYTES", 4_000_000)
        sent = os.urandom(20_000_000)
        done = await self.ssh("-o", "RekeyLimit=5M", "gw", "cat", stdin=sent)
        self.assertTrue(done.stdout == sent)

    async def test_ciphers(self) -> None:
        """Those that we have."""
        for cipher in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"):
            done = await self.ssh("-c", cipher, "gw", "echo yes")
            self.assertEqual(done.stdout, b"yes\n")

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

    async def test_who_may_not(self) -> None:
        """Another account, another target: the reason is printed."""
        for user in ("nobody+web1", "root"):
            done = await self.ssh("-l", user, "gw", "true", status=255)
            self.assertIn(b"Permission denied", done.stderr)
        self.assertIn(b"ACCOUNT+TARGET", done.stderr)

    async def test_several_on_one_connection(self) -> None:
        """ControlMaster: many sessions over one log-in."""
        control = f"ControlPath={tempfile.mkdtemp(prefix='hg-')}/c"
        await self.ssh("-o", "ControlMaster=yes", "-o", control, "-fN", "gw")
        for number in range(5):
            done = await self.ssh("-o", control, "gw", f"echo {number}")
            self.assertEqual(done.stdout, f"{number}\n".encode())
        self.assertEqual(len(self.gateway.clients), 1)
        await self.ssh("-o", control, "-O", "exit", "gw")


ANY_COMMAND = b"\0\0\0\x09sleep 100"


class FileTests(ClientCase):
    """scp and sftp."""

    async def test_scp(self) -> None:
        """Both modes, both ways."""
        here, there, back = (self.folder / name for name in ("here", "there", "back"))
        here.write_bytes(os.urandom(3_000_000))
        for mode in ((), ("-O",)):
            await self.run_client("scp", *mode, "-q", here, f"gw:{there}")
            await self.run_client("scp", *mode, "-q", f"gw:{there}", back)
            self.assertTrue(filecmp.cmp(here, back, shallow=False))
            there.unlink()
            back.unlink()

    async def test_sftp(self) -> None:
        """A batch."""
        here = self.folder / "here"
        here.write_bytes(os.urandom(2_000_000))
        batch = self.folder / "batch"
        batch.write_text(
            f"mkdir {self.folder}/d\nput {here} {self.folder}/d/x\nrename {self.folder}/d/x "
            f"{self.folder}/d/y\nget {self.folder}/d/y {self.folder}/back\nls -l {self.folder}/d\n"
        )
        await self.run_client("sftp", "-b", batch, "gw")
        self.assertTrue(filecmp.cmp(here, self.folder / "back", shallow=False))


class ForwardTests(ClientCase):
    """Forwards, once somebody allows them."""

    async def test_local(self) -> None:
        """-L to the sshd itself: its version comes through; and -W."""
        done = await self.ssh("-W", self.server.address, "gw", stdin=b"SSH-2.0-x\r\n")
        self.assertTrue(done.stdout.startswith(b"SSH-2.0-OpenSSH"))

    async def test_remote(self) -> None:
        """-R: the target listens, and what connects there comes out here."""
        port = free_port()
        forward = f"127.0.0.1:{port}:{self.server.address}"
        bash = f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo SSH-2.0-x >&3; head -c 15 <&3"
        done = await self.ssh("-R", forward, "gw", f"bash -c '{bash}'")
        self.assertEqual(done.stdout, b"SSH-2.0-OpenSSH")

    async def test_refused(self) -> None:
        """In the words of who refused."""
        ruling = Ruling(allowed=False, reason="forwards are not for you")
        self.gateway.judging.answers[b"direct-tcpip"] = succeed(ruling)
        done = await self.ssh("-W", "127.0.0.1:1", "gw", status=255)
        self.assertIn(b"forwards are not for you", done.stderr)
