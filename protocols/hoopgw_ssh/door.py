"""The local door for SSH clients: an agent's socket that signs as the child, and no file of a key.

`ssh` finds a configuration with the child's targets in the child's folder (``HOOPGW_SSH_CONFIG``;
git, rsync and Ansible find it in variables of their own), and in it the socket of an SSH agent,
which the broker serves. The agent lists a certificate that the gateway gave for the child's chain
and signs log-ins with it. The key is made here, is in no file, and ends with the broker; a
certificate is asked for when a client comes and the last one is about to end.

What is signed is a log-in at the gateway (RFC 4252 section 7) as ACCOUNT+TARGET, for a target that
was delegated; nothing else, and nothing for a connection that an `ssh` has forwarded to elsewhere.

Reference: draft-ietf-sshm-ssh-agent; OpenSSH's PROTOCOL.agent for ``session-bind@openssh.com``.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.broker.doors import Door, DoorSpec, Place
from hoopgw.broker.folders import BACKLOG, listen_at, write_once
from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError
from hoopgw.client.errors import Refused
from hoopgw.client.ssh import (
    AGENT_VARIABLE,
    HOSTS_PATH,
    Choices,
    Issued,
    Plan,
    make_plan,
    read_hosts,
    wanted_certificate,
)
from hoopgw.client.ssh_texts import ClientFiles, config_text, environment, known_hosts_text
from hoopgw.errors import AuthenticationError, ProtocolViolationError
from hoopgw.identity.ssh_certificates import public_line
from hoopgw.identity.tokens import GATEWAY
from hoopgw.terminal import printable
from hoopgw_ssh.user_login import CERTIFICATE, USERAUTH_REQUEST, parse_user
from hoopgw_ssh.wire import Reader, string

SOCKET: Final = "ssh.sock"
CONNECTIONS_LIMIT: Final = 200
"""Clients of the agent at once."""
IDLE_LIMIT: Final = 120.0
"""Seconds between two questions of a client: it asks while it logs in."""
HOSTS_EVERY: Final = 600.0
"""Seconds between two looks at the CAs of the gateway's host certificate."""
HOSTS_RETRY: Final = 10.0
_MESSAGE_LIMIT: Final = 256 * 1024

FAILURE: Final = 5
SUCCESS: Final = 6
REQUEST_IDENTITIES: Final = 11
IDENTITIES_ANSWER: Final = 12
SIGN_REQUEST: Final = 13
SIGN_RESPONSE: Final = 14
EXTENSION: Final = 27
SESSION_BIND: Final = b"session-bind@openssh.com"


@frozen(kw_only=True)
class _Kept:
    """A certificate, while it is good."""

    blob: bytes = field(repr=False)
    soft: float
    hard: float
    """Seconds, of the monotonic clock."""


@define(eq=False)
class SshDoor:
    """Implements `hoopgw.broker.doors.Door`."""

    _make: Callable[[Place, Plan], Certificates] = field(
        default=lambda place, plan: Certificates(place, plan)
    )
    _server: asyncio.Server | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def open(self, place: Place) -> Mapping[str, str]:
        """Listen, and write a configuration with every target."""
        gateway = (await asyncio.to_thread(place.signer.standing)).gateway
        plan = make_plan(
            place.targets, urlsplit(gateway).hostname or "", Choices(accounts=place.accounts)
        )
        certificates = self._make(place, plan)
        files = ClientFiles(folder=_folder(place))
        path = files.folder / SOCKET
        loop = asyncio.get_running_loop()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._tasks) >= CONNECTIONS_LIMIT:
                writer.close()
                return
            self._keep(loop.create_task(_serve(place, certificates, reader, writer)))

        self._server = await asyncio.start_unix_server(
            connected, sock=listen_at(path, place.uid), backlog=BACKLOG
        )
        identity = (f"IdentityAgent {path}", "IdentityFile none", "IdentitiesOnly no")
        write_once(files.config, config_text(plan, files, identity), mode=place.file_mode)
        hosts = Hosts(place, plan, files.known_hosts)
        self._keep(loop.create_task(hosts.follow(found=await hosts.fetch())))
        return {**environment(files.config), AGENT_VARIABLE: str(path)}

    async def close(self) -> None:
        """Stop listening, and end what lives."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@define(eq=False)
class Certificates:
    """The child's certificates, one for each bundle of targets, got when they are asked for."""

    _place: Place
    _plan: Plan
    _now: Callable[[], float] = time.monotonic
    _key: Ed25519PrivateKey = field(factory=Ed25519PrivateKey.generate, init=False, repr=False)
    _kept: dict[int, _Kept] = field(factory=dict, init=False, repr=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _said: str = field(default="", init=False)

    async def blobs(self) -> list[bytes]:
        """Return all certificates that are good; what goes wrong is said on standard error."""
        found: list[bytes] = []
        async with self._lock:
            for bundle in self._plan.bundles:
                now, kept = self._now(), self._kept.get(bundle)
                if kept is None or kept.soft <= now:
                    kept = await self._renew(bundle) or kept
                if kept is not None and kept.hard > now:
                    found.append(kept.blob)
        return found

    def sign(self, blob: bytes, data: bytes) -> bytes:
        """Sign a log-in.

        Raises:
            AuthenticationError, ProtocolViolationError: it is none that may be signed.

        """
        if not any(kept.blob == blob for kept in self._kept.values()):
            raise AuthenticationError("there is no such key")
        check_login(data, blob, (target.name for target in self._plan.targets))
        return string(b"ssh-ed25519") + string(self._key.sign(data))

    async def _renew(self, bundle: int) -> _Kept | None:
        try:
            wanted = wanted_certificate(
                self._plan.bundle(bundle), public_line(self._key.public_key())
            )
            asked = self._now()
            issued = Issued.read(await asyncio.to_thread(self._ask, wanted))
        except (Refused, CommandError) as error:
            self._say(str(error))
            return None
        self._kept[bundle] = made = _Kept(
            blob=base64.b64decode(issued.text.split()[1]),
            soft=asked + issued.soft,
            hard=asked + issued.hard,
        )
        self._said = ""
        return made

    def _ask(self, wanted: Mapping[str, object]) -> object:
        return _api(self._place).post("/v1/certificates", wanted)

    def _say(self, why: str) -> None:
        """Say why there is none, once: an agent has no words for it, and `ssh` says nothing."""
        if why != self._said:
            self._said = why
            name = printable(self._place.signer.standing().path)
            print(f"hoopgw: no SSH certificate for {name}: {printable(why)}", file=sys.stderr)


@define(eq=False)
class Hosts:
    """Keeps the CAs of the gateway's host certificate, which may be replaced while we live."""

    _place: Place
    _plan: Plan
    _path: Path

    async def fetch(self) -> bool:
        """Write them down; say whether they could be had."""
        try:
            lines = read_hosts(await asyncio.to_thread(self._ask))
        except (Refused, CommandError):
            lines = []
        if not lines:
            if not self._path.exists():
                self._write("")
            return False
        self._write(known_hosts_text(self._plan.gateway, lines))
        return True

    async def follow(self, *, found: bool) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(HOSTS_EVERY if found else HOSTS_RETRY)
            found = await self.fetch()

    def _ask(self) -> object:
        return _api(self._place, anonymous=True).get(HOSTS_PATH)

    def _write(self, text: str) -> None:
        draft = self._path.with_name(f".{self._path.name}-{secrets.token_hex(4)}")
        write_once(draft, text, mode=self._place.file_mode)
        draft.rename(self._path)


def check_login(data: bytes, blob: bytes, targets: Iterable[str]) -> None:
    """See that what is to be signed is a log-in at the gateway, for one of the targets.

    Raises:
        AuthenticationError: it is for another target.
        ProtocolViolationError: it is something else.

    """
    reader = Reader(data)
    reader.string()  # the session's id
    if reader.byte() != USERAUTH_REQUEST:
        raise ProtocolViolationError("only log-ins are signed")
    wanted = parse_user(reader.string())
    service, method, signs = reader.string(), reader.string(), reader.boolean()
    algorithm, key = reader.string(), reader.string()
    reader.end()
    if (service, method, signs) != (b"ssh-connection", b"publickey", True):
        raise ProtocolViolationError("only log-ins are signed")
    if algorithm != CERTIFICATE or key != blob:
        raise ProtocolViolationError("the log-in is with another key")
    if wanted.target not in set(targets):
        raise AuthenticationError("nothing on this target was delegated")


async def _serve(
    place: Place,
    certificates: Certificates,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Serve one client of the agent."""
    is_elsewhere = False
    try:
        place.admit(writer.get_extra_info("socket"))
        while True:
            async with asyncio.timeout(IDLE_LIMIT):
                length = int.from_bytes(await reader.readexactly(4), "big")
                if not 0 < length <= _MESSAGE_LIMIT:
                    return
                message = await reader.readexactly(length)
            is_elsewhere = is_elsewhere or _is_forwarded(message)
            answer = await _answer(certificates, message, is_elsewhere=is_elsewhere)
            writer.write(string(answer))
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, Refused):
        return  # it has gone, is silent, or is not the child's: an agent has no words for that
    finally:
        writer.close()


def _is_forwarded(message: bytes) -> bool:
    """Say whether a message tells that the connection is one that `ssh` forwards to a target."""
    try:
        reader = Reader(message)
        if reader.byte() != EXTENSION or reader.string() != SESSION_BIND:
            return False
        for _ in range(3):  # host key, session id, signature
            reader.string()
        return reader.boolean()
    except ProtocolViolationError:
        return True  # what cannot be read may say so


async def _answer(certificates: Certificates, message: bytes, *, is_elsewhere: bool) -> bytes:
    """Answer one message."""
    failure = bytes([FAILURE])
    if is_elsewhere:
        return failure
    try:
        reader = Reader(message)
        match reader.byte():
            case number if number == REQUEST_IDENTITIES:
                blobs = await certificates.blobs()
                keys = b"".join(string(blob) + string(b"hoopgw") for blob in blobs)
                return bytes([IDENTITIES_ANSWER]) + len(blobs).to_bytes(4, "big") + keys
            case number if number == SIGN_REQUEST:
                blob, data = reader.string(), reader.string()
                return bytes([SIGN_RESPONSE]) + string(certificates.sign(blob, data))
            case number if number == EXTENSION and reader.string() == SESSION_BIND:
                return bytes([SUCCESS])
    except (ProtocolViolationError, AuthenticationError):
        return failure
    return failure


def _api(place: Place, *, anonymous: bool = False) -> GatewayApi:
    standing = place.signer.standing()
    return GatewayApi(
        url=standing.gateway,
        ca=None if standing.ca is None else Path(standing.ca),
        shown=None if anonymous else lambda: place.signer.prove(GATEWAY).value,
    )


def _folder(place: Place) -> Path:
    """Make the folder for the client's files, which another user may enter if it is for one."""
    path = place.folder / "ssh"
    path.mkdir(mode=0o700)
    if place.uid != os.geteuid():
        path.chmod(0o711)
    return path


def make_door() -> Door:
    """Make one."""
    return SshDoor()


door: Final = DoorSpec(protocol="ssh", needs=frozenset(), make=make_door)
"""Announced under ``hoopgw.doors``."""
