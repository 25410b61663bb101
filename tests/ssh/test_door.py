"""The agent that signs for a child: what it gives, what it signs, and for whom."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.doors import Place, installed_doors
from hoopgw.broker.running import BrokerLoop
from hoopgw.cli.failure import UnreachableError
from hoopgw.client.errors import NOT_YOURS, Refused
from hoopgw.client.ssh import AHEAD
from hoopgw.client.values import Target, parse_caps
from hoopgw.errors import AuthenticationError, ProtocolViolationError
from hoopgw.identity.ssh_certificates import issue_user
from hoopgw_ssh.door import (
    EXTENSION,
    FAILURE,
    IDENTITIES_ANSWER,
    REQUEST_IDENTITIES,
    SESSION_BIND,
    SIGN_REQUEST,
    SIGN_RESPONSE,
    SUCCESS,
    Certificates,
    SshDoor,
    check_login,
)
from hoopgw_ssh.user_login import CERTIFICATE, USERAUTH_REQUEST
from hoopgw_ssh.wire import Reader, string
from tests.client.family import Gateway
from tests.ssh.test_user_login import CERTIFIED, NOW

CA = Ed25519PrivateKey.generate()


def login(
    blob: bytes,
    user: bytes = b"deploy+web1",
    method: bytes = b"publickey",
    service: bytes = b"ssh-connection",
    algorithm: bytes = CERTIFICATE,
    number: int = USERAUTH_REQUEST,
) -> bytes:
    """Return what is signed to log in."""
    return b"".join(
        (
            string(b"session"),
            bytes([number]),
            *map(string, (user, service, method)),
            b"\1",
            string(algorithm),
            string(blob),
        )
    )


def bind(*, forwards: bool) -> bytes:
    """Return what OpenSSH tells an agent before it uses it."""
    parts = map(string, (SESSION_BIND, b"key", b"session", b"signature"))
    return bytes([EXTENSION]) + b"".join(parts) + bytes([forwards])


class DoorCase(SynchronousTestCase):
    """A door that is open."""

    def setUp(self) -> None:
        case = self
        self.asked: list[Mapping[str, object]] = []
        self.lifetime, self.away, self.stranger = 900.0, False, False
        self.now = 1_000.0

        class Given(Certificates):
            def _ask(self, wanted: Mapping[str, object]) -> object:
                return case.give(wanted)

        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="hg-door-")))
        gateway = Gateway(ca=None)
        self.place = Place(
            folder=folder,
            uid=os.geteuid(),
            signer=gateway.child(gateway.login(), caps=parse_caps(["web1:*"])),
            targets=[
                Target(name="web1", protocol="ssh", host="127.0.0.1", port=9, accounts=("deploy",))
            ],
            accounts={},
            admit=self.admit,
            file_mode=0o600,
        )
        self.loop = self.enterContext(BrokerLoop())
        self.door = SshDoor(lambda place, plan: Given(place, plan, lambda: self.now))
        self.variables = self.loop.run(self.door.open(self.place), 60.0)
        self.addCleanup(lambda: self.loop.run(self.door.close(), 60.0))

    def admit(self, _connection: socket.socket) -> None:
        """Let all in, or nobody."""
        if self.stranger:
            raise Refused(NOT_YOURS, "not below")

    def give(self, wanted: Mapping[str, object]) -> object:
        """Issue a certificate, as the gateway would."""
        self.asked.append(wanted)
        if self.away:
            raise UnreachableError("the gateway does not answer")
        key = load_ssh_public_key(str(wanted["ssh_key"]).encode())
        assert isinstance(key, Ed25519PublicKey)
        self.key = key
        text, serial = issue_user(CA, CERTIFIED, key, ["deploy"], NOW)
        return {
            "certificate": text,
            "host_authorities": ["ssh-ed25519 AAAA"],
            "serial": f"{serial:x}",
            "lifetime": self.lifetime,
        }

    def connect(self) -> socket.socket:
        """Connect as a client."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(60)
        client.connect(self.variables["HOOPGW_SSH_AGENT"])
        return client

    def ask(self, message: bytes, client: socket.socket | None = None) -> Reader:
        """Ask the agent; an answer of nothing is an end."""
        client = client or self.connect()
        try:
            client.sendall(string(message))
            head = self.take(client, 4)
        except (BrokenPipeError, ConnectionResetError):
            head = b""
        return Reader(self.take(client, int.from_bytes(head, "big")) if head else b"")

    def take(self, client: socket.socket, count: int) -> bytes:
        """Read so many bytes, or up to the end."""
        found = b""
        while len(found) < count and (piece := client.recv(count - len(found))):
            found += piece
        return found

    def blobs(self) -> list[bytes]:
        """Return what the agent lists."""
        reader = self.ask(bytes([REQUEST_IDENTITIES]))
        self.assertEqual(reader.byte(), IDENTITIES_ANSWER)
        found = []
        for _ in range(reader.uint32()):
            found.append(reader.string())
            reader.string()
        reader.end()
        return found


class CertificateTests(DoorCase):
    """What it lists."""

    def test_got_when_it_is_asked_for(self) -> None:
        """And kept while it is good; for what was delegated."""
        self.assertEqual(self.asked, [])
        (blob,) = self.blobs()
        self.assertEqual(self.blobs(), [blob])
        (wanted,) = self.asked
        self.assertEqual((wanted["targets"], wanted["accounts"]), (["web1"], ["deploy"]))

    def test_renewed(self) -> None:
        """When it is about to end; while the gateway is away, the old one is used."""
        (first,) = self.blobs()
        self.now += 900 - AHEAD + 1
        self.away = True
        self.assertEqual(self.blobs(), [first])
        self.away = False
        (second,) = self.blobs()
        self.assertNotEqual(first, second)
        self.away = True
        self.now += 900
        self.assertEqual(self.blobs(), [])

    def test_the_gateway_is_away(self) -> None:
        """There is none; the next client asks again."""
        self.away = True
        self.assertEqual(self.blobs(), [])
        self.away = False
        self.assertEqual(len(self.blobs()), 1)

    def test_the_real_programs(self) -> None:
        """They understand it, and find the child's configuration."""
        agent = {"SSH_AUTH_SOCK": self.variables["HOOPGW_SSH_AGENT"], "PATH": os.environ["PATH"]}
        done = subprocess.run(["ssh-add", "-l"], env=agent, capture_output=True, check=True)
        self.assertIn(b"ED25519-CERT", done.stdout)
        config = self.variables["HOOPGW_SSH_CONFIG"]
        done = subprocess.run(
            ["ssh", "-T", "-G", "-F", config, "web1"], capture_output=True, check=True
        )
        self.assertIn(f"identityagent {agent['SSH_AUTH_SOCK']}\n".encode(), done.stdout)
        self.assertIn(b"user deploy+web1\n", done.stdout)
        self.assertEqual(self.variables["GIT_SSH_COMMAND"], f"ssh -F {config}")
        for path in Path(config).parent.iterdir():
            if path.is_file():
                self.assertNotIn("PRIVATE", path.read_text())

    def test_announced(self) -> None:
        """As SSH's door."""
        self.assertIn("ssh", installed_doors())


class SigningTests(DoorCase):
    """What it signs."""

    def sign(self, data: bytes, blob: bytes, client: socket.socket | None = None) -> int:
        """Ask for a signature; return the number of the answer, whose signature is good."""
        request = bytes([SIGN_REQUEST]) + string(blob) + string(data) + bytes(4)
        reader = self.ask(request, client)
        number = reader.byte()
        if number == SIGN_RESPONSE:
            signature = Reader(reader.string())
            self.assertEqual(signature.string(), b"ssh-ed25519")
            self.key.verify(signature.string(), data)
        return number

    def test_a_log_in(self) -> None:
        """For a target that was delegated, with the certificate that is listed."""
        (blob,) = self.blobs()
        self.assertEqual(self.sign(login(blob), blob), SIGN_RESPONSE)
        self.assertEqual(self.sign(login(blob), blob + b"x"), FAILURE)
        self.assertEqual(self.sign(login(blob, b"deploy+web2"), blob), FAILURE)

    def test_nothing_else(self) -> None:
        """No commit, no file, no log-in elsewhere."""
        (blob,) = self.blobs()
        for data in (
            b"SSHSIG" + string(b"git") + string(b"") + string(b"sha512") + string(b"x" * 64),
            b"",
            login(blob, b"deploy"),
            login(blob, method=b"hostbased"),
            login(blob, service=b"ssh-userauth"),
            login(blob, algorithm=b"ssh-ed25519"),
            login(blob, number=51),
            login(b"other"),
            login(blob) + b"x",
        ):
            self.assertEqual(self.sign(data, blob), FAILURE, data)

    def test_forwarded(self) -> None:
        """Nothing is listed or signed for who is elsewhere."""
        (blob,) = self.blobs()
        here, there = self.connect(), self.connect()
        self.assertEqual(self.ask(bind(forwards=False), here).byte(), SUCCESS)
        self.assertEqual(self.sign(login(blob), blob, here), SIGN_RESPONSE)
        self.assertEqual(self.ask(bind(forwards=True), there).byte(), FAILURE)
        self.assertEqual(self.ask(bind(forwards=False), there).byte(), FAILURE)
        self.assertEqual(self.sign(login(blob), blob, there), FAILURE)
        self.assertEqual(self.ask(bytes([REQUEST_IDENTITIES]), there).byte(), FAILURE)

    def test_a_stranger(self) -> None:
        """Is told nothing."""
        self.stranger = True
        self.assertRaises(ProtocolViolationError, self.ask(bytes([REQUEST_IDENTITIES])).byte)
        self.assertEqual(self.asked, [])

    def test_other_questions(self) -> None:
        """Are answered with a failure, and too long ones not at all."""
        client = self.connect()
        for message in (bytes([17]) + b"add", bytes([EXTENSION]) + string(b"query"), b"\x00"):
            self.assertEqual(self.ask(message, client).byte(), FAILURE)
        client.sendall(b"\xff\xff\xff\xff")
        self.assertEqual(client.recv(10), b"")

    @given(st.binary(max_size=60))
    def test_garbage(self, data: bytes) -> None:
        """Is refused, whatever it is."""
        try:
            check_login(data, b"blob", ["web1"])
        except (ProtocolViolationError, AuthenticationError):
            return
        self.fail("it was taken for a log-in")
