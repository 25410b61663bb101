"""Attacks on what is decided of files, by SFTP, with a real sshd and a client of our own.

What they try succeeds at the sshd itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import paramiko
from twisted.internet.threads import deferToThread

from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.sftp_wire import Attributes, Request
from tests.ssh.test_file_clients import FileCase as Case
from tests.support.openssh import ACCOUNT
from tests.support.processes import PATIENCE

T = TypeVar("T")
SECRET = b"the secret"


class Raw:
    """A client that sends what it likes. For threads."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        transport = client.get_transport()
        assert transport is not None
        self.channel = transport.open_session()
        self.channel.settimeout(PATIENCE)
        self.channel.invoke_subsystem("sftp")
        self.channel.sendall(sftp.init())
        self.answer()

    def answer(self) -> tuple[int, bytes]:
        """Return an answer's kind, and what is behind its id."""
        size = int.from_bytes(self._take(4), "big")
        body = self._take(size)
        return body[0], body[5:]

    def ask(self, kind: int, *fields: sftp.Field, name: bytes = b"") -> tuple[int, bytes]:
        """Ask for something; return the answer."""
        self.channel.sendall(Request(kind, 7, fields, name).encode())
        return self.answer()

    def read(self, path: bytes) -> bytes | None:
        """Read a file; None if that is refused."""
        kind, body = self.ask(sftp.OPEN, path, sftp.FOR_READING, Attributes())
        if kind != sftp.HANDLE:
            return None
        return self.ask(sftp.READ, body[4:], 0, 100)[1][4:]

    def _take(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self.channel.recv(count - len(found))
            if not more:
                raise EOFError
            found += more
        return found


class FileAttacks(Case):
    """Ways to what is refused."""

    def setUp(self) -> None:
        super().setUp()
        self.real = self.there.resolve()
        (self.real / "secret").mkdir()
        (self.real / "open").mkdir()
        self.secret = self.real / "secret" / "file"
        self.secret.write_bytes(SECRET)
        self.deciding.refused = {
            f"{action} {path}"
            for action in ("read", "write", "rename", "remove", "link", "setattr")
            for path in (self.secret, self.real / "secret")
        }

    def _direct(self) -> paramiko.SSHClient:
        """Log in at the sshd itself."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # a test
        key = paramiko.Ed25519Key.from_private_key_file(str(self.server.folder / "user"))
        client.connect("127.0.0.1", self.server.port, ACCOUNT, pkey=key, allow_agent=False)
        return client

    def _through(self) -> paramiko.SSHClient:
        """Log in at the gateway."""
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # a test
        key = paramiko.Ed25519Key.from_private_key_file(str(self.folder / "id"))
        key.load_certificate(str(self.folder / "id-cert.pub"))
        port, user = self.gateway.port, f"{ACCOUNT}+web1"
        client.connect("127.0.0.1", port, user, pkey=key, allow_agent=False, look_for_keys=False)
        return client

    async def directly(self, attack: Callable[[Raw], T]) -> T:
        """Return what an attack gets at the sshd."""
        return await deferToThread(_run, self._direct, attack)

    async def through(self, attack: Callable[[Raw], T]) -> T:
        """Return what it gets through the gateway."""
        return await deferToThread(_run, self._through, attack)

    async def test_paths(self) -> None:
        """Dots, slashes, links, and links to links: all lead to the file."""
        (self.real / "open" / "link").symlink_to("../secret/file")
        (self.real / "open" / "folder").symlink_to(self.real / "secret")
        (self.real / "open" / "again").symlink_to("link")
        here = str(self.real).encode()
        for path in (
            here + b"/open/../secret/file",
            here + b"//secret/.//file",
            here + b"/open/link",
            here + b"/open/again",
            here + b"/open/folder/file",
            b"/proc/self/root" + here + b"/secret/file",
            b"../" * 40 + here.lstrip(b"/") + b"/secret/file",
        ):
            attack = partial(Raw.read, path=path)
            self.assertEqual(await self.directly(attack), SECRET, path)
            self.assertIsNone(await self.through(attack), path)

    async def test_a_link_of_its_own(self) -> None:
        """Made in one go with its opening: the opening waits, and the link is refused."""
        link = str(self.real / "open" / "mine").encode()

        def attack(raw: Raw) -> bytes | None:
            raw.channel.sendall(
                Request(sftp.SYMLINK, 1, (str(self.secret).encode(), link)).encode()
                + Request(sftp.OPEN, 2, (link, 1, Attributes())).encode()
            )
            raw.answer()
            kind, body = raw.answer()
            if kind != sftp.HANDLE:
                return None
            return raw.ask(sftp.READ, body[4:], 0, 100)[1][4:]

        self.assertEqual(await self.directly(attack), SECRET)
        (self.real / "open" / "mine").unlink()
        self.assertIsNone(await self.through(attack))
        self.assertFalse((self.real / "open" / "mine").is_symlink())

    async def test_other_names(self) -> None:
        """Renamed, linked to, or its folder moved."""
        new = str(self.real / "open" / "new").encode()
        for kind, name, fields in (
            (sftp.RENAME, b"", (str(self.secret).encode(), new)),
            (sftp.RENAME, b"", (str(self.real / "secret").encode(), new)),
            (sftp.EXTENDED, sftp.HARDLINK, (str(self.secret).encode(), new)),
            (sftp.EXTENDED, sftp.POSIX_RENAME, (str(self.secret).encode(), new)),
        ):
            attack = partial(_ask, request=(kind, name, fields))
            _, body = await self.through(attack)
            self.assertEqual(int.from_bytes(body[:4], "big"), sftp.PERMISSION_DENIED)
            self.assertEqual(self.secret.read_bytes(), SECRET)
        refused = len(self.deciding.operations)
        _, body = await self.directly(attack)
        self.assertEqual(body[:4], bytes(4))  # it is done
        self.assertEqual((refused, self.secret.exists()), (4, False))

    async def test_handles_that_were_not_given(self) -> None:
        """Are not passed on; with the one that was, what was not decided is refused."""
        allowed = self.real / "open" / "file"
        allowed.write_bytes(b"open")
        self.deciding.refused.add(f"setattr {allowed}")

        def attack(raw: Raw) -> tuple[list[int], bytes]:
            _, body = raw.ask(sftp.OPEN, str(allowed).encode(), 1, Attributes())
            kinds = [raw.ask(sftp.READ, n.to_bytes(4, "big"), 0, 9)[0] for n in range(1, 9)]
            return kinds, raw.ask(sftp.FSETSTAT, body[4:], Attributes(mode=0o777))[1][:4]

        mode = allowed.stat().st_mode
        got = await self.through(attack)
        self.assertEqual(got, ([sftp.STATUS] * 8, sftp.PERMISSION_DENIED.to_bytes(4, "big")))
        self.assertEqual(allowed.stat().st_mode, mode)
        self.assertEqual((await self.directly(attack))[1], bytes(4))
        self.assertNotEqual(allowed.stat().st_mode, mode)

    async def test_names_that_end_early(self) -> None:
        """A NUL, and a name that is too long: refused, and the channel goes on."""

        def attack(raw: Raw) -> bytes | None:
            raw.ask(sftp.STAT, str(self.secret).encode() + b"\0.txt")
            raw.ask(sftp.STAT, b"/" + b"a" * 100_000)
            return raw.read(str(self.real / "open").encode() + b"/../secret/file\0")

        self.assertIsNone(await self.through(attack))
        self.assertEqual(self.deciding.texts, [])


def _run(login: Callable[[], paramiko.SSHClient], attack: Callable[[Raw], T]) -> T:
    with login() as client:
        return attack(Raw(client))


def _ask(raw: Raw, request: tuple[int, bytes, tuple[sftp.Field, ...]]) -> tuple[int, bytes]:
    kind, name, fields = request
    return raw.ask(kind, *fields, name=name)
