"""The local door for PostgreSQL's clients: a unix socket that needs no password.

A client connects to ``.s.PGSQL.5432`` in the child's folder; the broker opens TLS to the gateway,
shows a chain with a fresh proof as the password, and from then on carries bytes. So every client,
driver and pool works as it is, connects as often as it likes, and holds no secret at all. What
was weighed against it is in hoopgw-delegate(1): a proof in a password file is good for one
connection, and a session password is one that can be carried away.

Nothing of the session is looked at here: the gateway decides.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from attrs import define, field, frozen

from hoopgw.broker.doors import Door, DoorSpec, Place
from hoopgw.broker.folders import BACKLOG, listen_at, write_once
from hoopgw.client.errors import SLOW_DOWN, UNKNOWN_TARGET, UNREACHABLE, Refused
from hoopgw.client.values import Target
from hoopgw.errors import ProtocolViolationError
from hoopgw.identity.tokens import target_audience
from hoopgw_postgres import wire

PORT: Final = 5432
"""Names the socket; nothing listens on it."""
SESSIONS_LIMIT: Final = 200
"""Live connections through one door."""
OPENING_TIMEOUT: Final = 30.0
"""Seconds for a client to say what it wants, and for the gateway to take it."""
NEEDS: Final = frozenset({"Postgres::set", "Postgres::show", "Postgres::transaction"})
"""What every session does around its work; to connect comes with any cap."""
_WINDOW: Final = 256 * 1024
"""Bytes that wait for a slow side before the other one is not read any more."""
_AUTHENTICATION_LIMIT: Final = 64 * 1024
_REFUSAL: Final = "42501"
_UNAVAILABLE: Final = "57P03"
_MANY: Final = "53300"


@frozen
class _Asked:
    """How a client opens."""

    packet: bytes = field(repr=False)
    """Whole, as it is passed on."""
    target: str | None
    """None: it asks to cancel."""
    account: str = ""


@define(eq=False)
class PostgresDoor:
    """Implements `hoopgw.broker.doors.Door`."""

    _server: asyncio.Server | None = field(default=None, init=False)
    _sessions: set[asyncio.Task[None]] = field(factory=set, init=False)

    async def open(self, place: Place) -> Mapping[str, str]:
        """Listen, and write a service file with every target."""
        path = place.folder / f".s.PGSQL.{PORT}"
        loop = asyncio.get_running_loop()
        contexts = _Contexts(place)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._sessions) >= SESSIONS_LIMIT:
                writer.write(_fatal(_too_many()))
                writer.close()
                return
            task = loop.create_task(self._serve(place, contexts, reader, writer))
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

        self._server = await asyncio.start_unix_server(
            connected,
            sock=listen_at(path, place.uid),
            limit=wire.OPENING_LIMIT,
            backlog=BACKLOG,
        )
        services = place.folder / "pg_service.conf"
        write_once(services, service_file(place), mode=place.file_mode)
        return _environment(place, services)

    async def close(self) -> None:
        """Stop listening, and end what lives."""
        if self._server is not None:
            self._server.close()
        for task in list(self._sessions):
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(
        self,
        place: Place,
        contexts: _Contexts,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.timeout(OPENING_TIMEOUT):
                joined = await self._join(place, contexts, reader, writer)
            if joined is not None:
                await joined.carry()
        except (TimeoutError, OSError, ProtocolViolationError, asyncio.IncompleteReadError):
            return  # the client has gone, or says nothing that can be answered
        except Refused as refused:
            writer.write(_fatal(refused))
        finally:
            writer.close()

    async def _join(
        self,
        place: Place,
        contexts: _Contexts,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> _Joined | None:
        """Log the client in at the gateway."""
        asked = await _opening(reader, writer)
        place.admit(writer.get_extra_info("socket"))
        if asked.target is None:
            await self._cancel(contexts, asked)
            return None
        found = contexts.target(asked.target)
        _check_account(found, asked.account)
        token = await asyncio.to_thread(place.signer.prove, target_audience(found.name))
        upstream = await contexts.connect(found)
        try:
            upstream.writer.write(asked.packet)
            first = await _authenticate(upstream, token.value)
        except BaseException:
            upstream.writer.close()
            raise
        writer.write(first)
        return _Joined(_Side(reader, writer), upstream)

    async def _cancel(self, contexts: _Contexts, asked: _Asked) -> None:
        """Pass a request to cancel on; its key says of what, and the gateway knows it."""
        side = await contexts.connect(contexts.any())
        side.writer.write(asked.packet)
        await side.writer.drain()
        side.writer.close()


@frozen
class _Side:
    """One connection of the two that are joined."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@frozen
class _Joined:
    """A client and the gateway, after log-in: bytes go both ways, with back-pressure."""

    client: _Side
    gateway: _Side

    async def carry(self) -> None:
        """Carry until one side ends; then the other ends too."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        try:
            for source, sink in ((self.client, self.gateway), (self.gateway, self.client)):
                _Relay.begin(source, sink, over)
            await over
        finally:
            self.gateway.writer.close()
            self.client.writer.close()


class _Relay(asyncio.Protocol):
    """Carries what one side sends to the other.

    Takes the place of the stream's own protocol: a reader and a task for each piece of data cost
    twice as much. Both relays of a session pause each other by their transports.
    """

    def __init__(
        self, source: asyncio.Transport, sink: asyncio.Transport, over: asyncio.Future[None]
    ) -> None:
        self._source = source
        self._write = sink.write
        self._sink = sink
        self._over = over
        self._peer: _Relay | None = None

    @classmethod
    def begin(cls, source: _Side, sink: _Side, over: asyncio.Future[None]) -> None:
        """Carry from one side to the other from now on."""
        transport = cast("asyncio.Transport", source.writer.transport)
        target = cast("asyncio.Transport", sink.writer.transport)
        relay = cls(transport, target, over)
        transport.set_write_buffer_limits(high=_WINDOW)
        early = bytes(source.reader._buffer)  # type: ignore[attr-defined]  # has no public name
        if early:
            target.write(early)
        if source.reader.at_eof():
            relay.connection_lost(None)
            return
        transport.set_protocol(relay)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self._write(data)

    def pause_writing(self) -> None:
        """Our own side takes no more: stop the other one."""
        self._sink.pause_reading()

    def resume_writing(self) -> None:
        """Our own side takes more again."""
        self._sink.resume_reading()

    def eof_received(self) -> bool:
        """Nothing more comes: PostgreSQL has no half-open sessions."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """End both."""
        if not self._over.done():
            self._over.set_result(None)


@define(eq=False)
class _Contexts:
    """How the gateway is reached: verified, and with PostgreSQL's name in the handshake."""

    _place: Place
    _made: ssl.SSLContext | None = field(default=None, init=False)

    def target(self, name: str) -> Target:
        """Return a target that may be reached. Raises `Refused`."""
        for target in self._place.targets:
            if target.name == name:
                return target
        known = ", ".join(sorted(t.name for t in self._place.targets)) or "none"
        raise Refused(
            UNKNOWN_TARGET,
            f"nothing on {name[:80]!r} was delegated to this process",
            hint=f"Connect with dbname=TARGET; delegated are: {known}.",
        )

    def any(self) -> Target:
        """Return any target: all have one listener."""
        if not self._place.targets:
            raise Refused(UNKNOWN_TARGET, "nothing was delegated to this process")
        return self._place.targets[0]

    async def connect(self, target: Target) -> _Side:
        """Open TLS to the gateway."""
        if self._made is None:
            ca = (await asyncio.to_thread(self._place.signer.standing)).ca
            self._made = ssl.create_default_context(cafile=ca)
            self._made.set_alpn_protocols(["postgresql"])
        try:
            reader, writer = await asyncio.open_connection(
                target.host,
                target.port,
                ssl=self._made,
                server_hostname=target.host,
                limit=_AUTHENTICATION_LIMIT,
            )
        except ssl.SSLCertVerificationError as error:
            raise Refused(UNREACHABLE, "the gateway's certificate is not trusted") from error
        except OSError as error:
            raise Refused(UNREACHABLE, "the gateway does not answer", hint="Try later.") from error
        return _Side(reader, writer)


def _check_account(target: Target, account: str) -> None:
    """Tell who named no account, or a wrong one, which there are. Raises `Refused`."""
    if target.accounts and account not in target.accounts:
        known = ", ".join(sorted(target.accounts))
        raise Refused(
            UNKNOWN_TARGET,
            f"{target.name} has no account {account[:63]!r}",
            hint=f"Connect with user=ACCOUNT; its accounts are: {known}.",
        )


async def _opening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Asked:
    """Read how a client opens; encryption is declined: this is a socket on the same machine."""
    for _ in range(3):
        head = await reader.readexactly(4)
        length = int.from_bytes(head, "big")
        if not 8 <= length <= wire.OPENING_LIMIT:
            raise ProtocolViolationError("invalid length of startup packet")
        body = await reader.readexactly(length - 4)
        match wire.parse_opening(body):
            case wire.EncryptionRequest():
                writer.write(b"N")
            case wire.CancelRequest():
                return _Asked(head + body, None)
            case wire.Startup(parameters=given):
                user = given.get("user", "")
                place = given.get("database") or user
                return _Asked(head + body, place.partition("/")[0], user.partition("~")[0])
    raise ProtocolViolationError("encryption was asked for too often")


async def _authenticate(gateway: _Side, token: str) -> bytes:
    """Answer the gateway's question for a password; return what is for the client."""
    passed = b""
    while True:
        head = await gateway.reader.readexactly(5)
        length = int.from_bytes(head[1:], "big")
        if not 4 <= length <= _AUTHENTICATION_LIMIT:
            raise Refused(UNREACHABLE, "the gateway does not speak PostgreSQL's protocol")
        body = await gateway.reader.readexactly(length - 4)
        if head[:1] != b"R":
            passed += head + body
            if head[:1] == b"E":
                return passed
        elif head + body == wire.AUTHENTICATION_CLEARTEXT:
            gateway.writer.write(wire.message(b"p", token.encode() + b"\0"))
            return passed
        else:
            raise Refused(UNREACHABLE, "the gateway asks for another kind of proof")


def service_file(place: Place) -> str:
    """Return a service file: each target, and each target with each of its accounts."""
    sections = []
    for target in place.targets:
        usual = place.accounts.get(target.name)
        named = [(target.name, usual)]
        named += [(f"{target.name}.{account}", account) for account in target.accounts]
        for name, account in named:
            lines = [f"[{name}]", f"host={place.folder}", f"port={PORT}", f"dbname={target.name}"]
            sections.append("\n".join([*lines, *([f"user={account}"] if account else [])]))
    return "\n\n".join(sections) + "\n"


def _environment(place: Place, services: Path) -> dict[str, str]:
    variables = {
        "PGHOST": str(place.folder),
        "PGPORT": str(PORT),
        "PGSERVICEFILE": str(services),
        # ~/.pgpass may hold passwords of the parent's; here nobody asks for any.
        "PGPASSFILE": str(place.folder / "no-passwords"),
    }
    if len(place.targets) == 1:
        variables["PGDATABASE"] = place.targets[0].name
    usual = {place.accounts.get(target.name) for target in place.targets}
    if len(usual) == 1 and (account := usual.pop()):
        variables["PGUSER"] = account
    return variables


def _too_many() -> Refused:
    return Refused(SLOW_DOWN, f"{SESSIONS_LIMIT} connections of this delegation are open already")


def _fatal(refused: Refused) -> bytes:
    """Say no in PostgreSQL's own words."""
    codes = {UNREACHABLE: _UNAVAILABLE, SLOW_DOWN: _MANY}
    code = codes.get(refused.code, _REFUSAL)
    return wire.report(
        b"E", "FATAL", code, f"hoopgw delegate: {refused.detail}", hint=refused.hint or None
    )


def make_door() -> Door:
    """Make one."""
    return PostgresDoor()


door: Final = DoorSpec(protocol="postgres", needs=NEEDS, make=make_door)
"""Announced under ``hoopgw.doors``."""
