"""Real clients that move files, through our inspectors, to a real server."""

from __future__ import annotations

import filecmp
import os
from hashlib import sha256
from pathlib import Path

import paramiko
from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread

from hoopgw_ssh.channels import Request
from hoopgw_ssh.file_commands import recognise
from hoopgw_ssh.files import FileRuling, Transfer
from hoopgw_ssh.relay import Pair
from hoopgw_ssh.rulings import Ruling
from hoopgw_ssh.scp import ScpInspector
from hoopgw_ssh.sftp import SftpInspector
from hoopgw_ssh.wire import string
from tests.ssh.sftp_bench import Deciding
from tests.ssh.test_clients import ClientCase as Case
from tests.ssh.test_relay import Judging
from tests.support.openssh import ACCOUNT
from tests.support.waiting import eventually


@define(eq=False)
class FileJudging(Judging):
    """A judge that puts an inspector into what moves files."""

    deciding: Deciding = field(factory=Deciding)

    def request(self, channel: Pair, request: Request) -> Deferred[Ruling]:
        """Answer."""
        if request.name == b"subsystem" and request.data == string(b"sftp"):
            inspector = SftpInspector(self.deciding)
            return succeed(Ruling(allowed=True, inspector=inspector))
        command = recognise(request.data[4:])
        if request.name == b"exec" and command is not None and command.protocol == "scp":
            scp = ScpInspector(self.deciding, command)
            return succeed(Ruling(allowed=True, inspector=scp))
        return super().request(channel, request)


class FileCase(Case):
    """With a judge for files."""

    def setUp(self) -> None:
        super().setUp()
        judging = self.gateway.judging = FileJudging()
        self.deciding = judging.deciding
        self.here, self.there = self.folder / "here", self.folder / "there"
        self.there.mkdir()

    @property
    def transfers(self) -> list[Transfer]:
        """What was told."""
        return [each for _, result in self.deciding.results for each in result.transfers]

    def moved(self, path: Path, content: bytes, *, up: bool) -> Transfer:
        """Return what should be told of a file."""
        return Transfer(
            path=str(path),
            is_upload=up,
            size=len(content),
            digest=sha256(content).digest(),
            offset=0,
            extent="whole",
        )

    async def all_told(self) -> None:
        """Wait until each operation that was allowed has come out."""
        await eventually(
            reactor, lambda: len(self.deciding.results) == len(self.deciding.operations)
        )

    async def batch(self, *lines: str, status: int = 0) -> bytes:
        """Run sftp; return what it printed on standard error."""
        batch = self.folder / "batch"
        batch.write_text("".join(f"{line}\n" for line in lines))
        return (await self.run_client("sftp", "-b", batch, "gw", status=status)).stderr


class SftpTests(FileCase):
    """OpenSSH's sftp and scp."""

    async def test_both_ways(self) -> None:
        """All of it arrives; each file is hashed whole; each path was asked about."""
        content, more = os.urandom(3_000_000), os.urandom(100)
        self.here.write_bytes(content)
        (self.there / "small").write_bytes(more)
        await self.batch(
            f"put {self.here} {self.there}/up",
            f"rename {self.there}/up {self.there}/new",
            f"get {self.there}/new {self.folder}/back",
            f"get {self.there}/small {self.folder}/small",
            f"ln -s {self.there}/new {self.there}/link",
            f"mkdir {self.there}/d",
            f"chmod 700 {self.there}/d",
            f"ls -l {self.there}",
            f"df {self.there}",
            f"rmdir {self.there}/d",
            f"rm {self.there}/link",
        )
        await self.all_told()
        self.assertTrue(filecmp.cmp(self.here, self.folder / "back", shallow=False))
        there = self.there.resolve()
        self.assertEqual(
            self.transfers,
            [
                self.moved(there / "up", content, up=True),
                self.moved(there / "new", content, up=False),
                self.moved(there / "small", more, up=False),
            ],
        )
        for text in (f"rename {there}/up {there}/new", f"remove {there}/link"):
            self.assertIn(text, self.deciding.texts)
        self.assertIn(f"link {there}/new {there}/link", self.deciding.texts)

    async def test_trees(self) -> None:
        """-r both ways, with times and modes; and a transfer that goes on where one ended."""
        tree = self.here
        for name in ("a", "b/c", "b/d"):
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(50_000))
        await self.run_client("scp", "-rpq", tree, f"gw:{self.there}/tree")
        await self.run_client("scp", "-rpq", f"gw:{self.there}/tree", self.folder / "back")
        for name in ("a", "b/c", "b/d"):
            self.assertTrue(filecmp.cmp(tree / name, self.folder / "back" / name, shallow=False))
        await self.all_told()
        self.assertEqual([each.extent for each in self.transfers], ["whole"] * 6)
        whole = (tree / "a").read_bytes()
        (self.folder / "part").write_bytes(whole[:20_000])
        await self.batch(f"reget {self.there}/tree/a {self.folder}/part")
        await self.all_told()
        last = self.transfers[-1]
        self.assertEqual((last.extent, last.offset, last.size), ("range", 20_000, 30_000))
        self.assertEqual(last.digest, sha256(whole[20_000:]).digest())
        self.assertEqual((self.folder / "part").read_bytes(), whole)

    async def test_refused(self) -> None:
        """The reason is printed; what is allowed goes on."""
        kept = self.there / "kept"
        kept.write_bytes(b"kept")
        (self.there / "link").symlink_to("kept")
        real = kept.resolve()
        self.deciding.refused = {f"{word} {real}" for word in ("remove", "write", "read")}
        self.here.write_bytes(b"other")
        said = await self.batch(
            f"-rm {kept}",
            f"-put {self.here} {kept}",
            f"-put {self.here} {self.there}/link",
            f"-get {self.there}/link {self.folder}/back",
            f"put {self.here} {self.there}/fine",
        )
        self.assertIn(f"No remove {real}.".encode(), said)
        self.assertIn(f"No read {real} (written as".encode(), said)
        self.assertIn(b"Permission denied", said)
        self.assertEqual(kept.read_bytes(), b"kept")
        self.assertFalse((self.folder / "back").exists())
        self.assertEqual((self.there / "fine").read_bytes(), b"other")

    async def test_held(self) -> None:
        """Who waits is told so, and goes on when somebody has said yes."""
        kept = self.there / "kept"
        kept.write_bytes(b"kept")
        held = self.deciding.held[f"remove {kept.resolve()}"] = Deferred[FileRuling]()
        running = Deferred.fromCoroutine(self.batch(f"rm {kept}"))
        await eventually(reactor, lambda: any("remove" in each for each in self.deciding.texts))
        self.assertTrue(kept.exists())
        held.callback(self.deciding.yes())
        said = await running
        self.assertIn(b"Waiting for bob.\r\n", said)
        self.assertFalse(kept.exists())


class ScpTests(FileCase):
    """OpenSSH's scp in its old mode."""

    async def test_trees(self) -> None:
        """Both ways, with times; each file is hashed."""
        tree, back = self.here, self.folder / "back"
        for name, size in (("a", 500_000), ("b/c", 0), ("b/d", 50_000)):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(os.urandom(size))
        await self.run_client("scp", "-Orpq", tree, f"gw:{self.there}")
        await self.run_client("scp", "-Orpq", f"gw:{self.there}/here", back)
        await self.all_told()
        for name in ("a", "b/c", "b/d"):
            self.assertTrue(filecmp.cmp(tree / name, back / name, shallow=False))
        self.assertEqual({each.extent for each in self.transfers}, {"whole"})
        self.assertEqual(
            sorted(each.digest for each in self.transfers),
            sorted(
                sha256((tree / name).read_bytes()).digest()
                for name in ("a", "b/c", "b/d")
                for _ in range(2)
            ),
        )

    async def test_refused(self) -> None:
        """The reason is printed; the other files go on."""
        there = self.there
        self.here.mkdir()
        for name in ("a", "no", "z"):
            (self.here / name).write_bytes(name.encode())
        self.deciding.refused = {f"write {there}/here/no", f"read {there}/here/z"}
        done = await self.run_client("scp", "-Orq", self.here, f"gw:{there}", status=1)
        self.assertIn(b"No write", done.stderr)
        self.assertEqual(sorted(path.name for path in (there / "here").iterdir()), ["a", "z"])
        done = await self.run_client(
            "scp", "-Orq", f"gw:{there}/here", self.folder / "back", status=1
        )
        self.assertIn(b"No read", done.stderr)
        self.assertEqual([path.name for path in (self.folder / "back").iterdir()], ["a"])

    async def test_held(self) -> None:
        held = self.deciding.held[f"write {self.there}/here"] = Deferred[FileRuling]()
        self.here.write_bytes(b"content")
        running = Deferred.fromCoroutine(
            self.run_client("scp", "-O", self.here, f"gw:{self.there}/here")
        )
        await eventually(reactor, lambda: self.deciding.operations)
        self.assertFalse((self.there / "here").exists())
        held.callback(self.deciding.yes())
        self.assertIn(b"Waiting for bob.", (await running).stderr)
        self.assertEqual((self.there / "here").read_bytes(), b"content")


class ParamikoTests(FileCase):
    """Another client: it asks for the whole file before it reads."""

    def _connect(self) -> paramiko.SSHClient:
        """Return a client; to be called in a thread."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # a test
        key = paramiko.Ed25519Key.from_private_key_file(str(self.folder / "id"))
        key.load_certificate(str(self.folder / "id-cert.pub"))
        client.connect(
            "127.0.0.1",
            self.gateway.port,
            f"{ACCOUNT}+web1",
            pkey=key,
            look_for_keys=False,
            allow_agent=False,
        )
        return client

    async def test_it(self) -> None:
        """Prefetch, pipelined writes, and a refusal with its reason."""
        content = os.urandom(2_000_000)
        self.here.write_bytes(content)
        there = self.there.resolve() / "x"
        self.deciding.refused = {f"remove {there}"}

        def use() -> str:
            with self._connect() as client:
                sftp = client.open_sftp()
                sftp.put(str(self.here), str(there))
                sftp.get(str(there), str(self.folder / "back"))
                with sftp.open(str(there), "r+") as file:
                    file.seek(10)
                    file.write("abc")
                try:
                    sftp.remove(str(there))
                except PermissionError as error:
                    return str(error)
                return "removed"

        said = await deferToThread(use)
        self.assertIn(f"No remove {there}.", said)
        self.assertTrue(filecmp.cmp(self.here, self.folder / "back", shallow=False))
        moved = [each for each in self.transfers if each.extent == "whole"]
        self.assertEqual(
            moved, [self.moved(there, content, up=True), self.moved(there, content, up=False)]
        )
        self.assertEqual(there.read_bytes(), content[:10] + b"abc" + content[13:])
