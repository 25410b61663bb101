"""A PostgreSQL client without manners: any bytes, in any order, and every message that comes back.

`RawClient` speaks to a gateway (TLS, token or session password) and to a server itself (SCRAM
without TLS), so that a test can put the same bytes to both. The functions beside it encode
messages, well formed ones; a test that wants others makes them of `message`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from attrs import frozen
from scramp import ScramClient

from tests.support.gateway import WRITER, GatewayRig, RigTarget

DEADLINE: Final = 30.0
"""Seconds that a test waits for bytes."""
_PIECE: Final = 65_536
"""Bytes that are offered to the system at once."""
SSL_REQUEST: Final = struct.pack(">II", 8, 80877103)
GSS_REQUEST: Final = struct.pack(">II", 8, 80877104)
PROTOCOL_3_0: Final = 0x30000
PROTOCOL_3_2: Final = 0x30002


@frozen
class Message:
    """One message from the other side."""

    kind: str
    body: bytes

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields of an ErrorResponse or NoticeResponse."""
        parts = self.body.split(b"\0")
        return {part[:1].decode("latin-1"): part[1:].decode() for part in parts if part}

    @property
    def values(self) -> list[bytes | None]:
        """The values of a DataRow."""
        (count,) = struct.unpack_from(">H", self.body)
        at, found = 2, list[bytes | None]()
        for _ in range(count):
            (length,) = struct.unpack_from(">i", self.body, at)
            at += 4
            found.append(None if length < 0 else self.body[at : at + length])
            at += max(length, 0)
        return found

    @property
    def gist(self) -> str:
        """What two servers must agree on: the type, with the status, SQLSTATE or tag."""
        match self.kind:
            case "Z":
                return f"Z{self.body.decode()}"
            case "E" | "N":
                return f"{self.kind}{self.fields.get('C', '')}"
            case "C":
                return f"C {self.body[:-1].decode()}"
        return self.kind


class RawClient:
    """One connection. Use it as a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1", **options: int) -> None:
        self.socket: socket.socket = socket.socket()
        for name, value in options.items():
            self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        self.socket.settimeout(DEADLINE)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.parameters: dict[str, str] = {}
        self.key: tuple[int, bytes] = (0, b"")

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the socket, without a word."""
        self.socket.close()

    def send(self, *messages: bytes) -> Self:
        """Send bytes."""
        self.socket.sendall(b"".join(messages))
        return self

    def pour(self, *messages: bytes) -> Self:
        """Send bytes, and take in meanwhile what comes: for more than buffers hold.

        One thread does both: a TLS connection of Python is not for two at once (a reader beside a
        writer now and then sees an end that is none).
        """
        data = memoryview(b"".join(messages))
        blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self.socket.settimeout(0)
        while data:
            sent = taken = 0
            with contextlib.suppress(*blocked):
                sent = self.socket.send(data[:_PIECE])
                data = data[sent:]
            with contextlib.suppress(*blocked):
                taken = len(piece := self.socket.recv(1 << 20))
                self._buffer += piece
                if not piece:
                    raise ConnectionError("the other side has closed")
            if not sent and not taken and not any(select.select([self], [self], [], DEADLINE)):
                raise TimeoutError("nothing is taken, and nothing comes")
        return self

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.socket.fileno()

    def byte(self) -> bytes:
        """Return one byte, or none at the end: the answer to an encryption request."""
        if not self._buffer:
            self._fill()
        found = bytes(self._buffer[:1])
        del self._buffer[:1]
        return found

    def start_tls(self, ca: str, *, alpn: Iterable[str] = (), ask: bool = True) -> Self:
        """Speak TLS from now on; ask for it first, unless it is direct."""
        if ask:
            assert self.send(SSL_REQUEST).byte() == b"S"
        context = ssl.create_default_context(cafile=ca)
        if names := list(alpn):
            context.set_alpn_protocols(names)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        return self

    def read(self, patience: float = DEADLINE) -> Message | None:
        """Return the next message; None when the other side has closed.

        Raises:
            TimeoutError: nothing came.

        """
        while len(self._buffer) < 5 or len(self._buffer) < self._end():
            if not self._fill(patience):
                return None
        end = self._end()
        found = Message(chr(self._buffer[0]), bytes(self._buffer[5:end]))
        del self._buffer[:end]
        return found

    def _end(self) -> int:
        return 1 + int.from_bytes(self._buffer[1:5], "big")

    def _fill(self, patience: float = DEADLINE) -> bool:
        self.socket.settimeout(max(0.001, patience))
        try:
            data = self.socket.recv(1 << 20)
        except (ConnectionError, ssl.SSLEOFError):
            data = b""
        self._buffer += data
        return bool(data)

    def until(self, *kinds: str) -> list[Message]:
        """Return messages up to one of these kinds, or up to the end of the connection."""
        found: list[Message] = []
        while (got := self.read()) is not None:
            found.append(got)
            if got.kind in kinds:
                break
        return found

    def all(self) -> list[Message]:
        """Return everything up to the end of the connection."""
        return self.until("never")

    def within(self, seconds: float) -> list[Message]:
        """Return what comes in this time, and no longer."""
        found, deadline = list[Message](), time.monotonic() + seconds
        try:
            while (got := self.read(deadline - time.monotonic())) is not None:
                found.append(got)
        except TimeoutError:
            return found
        return found

    def ask(self, *messages: bytes) -> list[Message]:
        """Send messages, and return the answers up to ReadyForQuery."""
        return self.send(*messages).until("Z")

    def log_in(self, password: str) -> Self:
        """Answer what is asked for after a startup packet, up to ReadyForQuery."""
        scram: Any = None
        while (got := self.read()) is not None:
            if got.kind == "E":
                raise AssertionError(f"no log-in: {got.fields}")
            if got.kind == "Z":
                return self
            if got.kind == "S":
                name, value = got.body[:-1].decode().split("\0")
                self.parameters[name] = value
            elif got.kind == "K":
                self.key = int.from_bytes(got.body[:4], "big"), got.body[4:]
            elif got.kind == "R":
                scram = self._authenticate(got.body, password, scram)
        raise AssertionError("no log-in: the connection was closed")

    def _authenticate(self, body: bytes, password: str, scram: Any) -> Any:
        match int.from_bytes(body[:4], "big"):
            case 3:
                self.send(message("p", password.encode() + b"\0"))
            case 10:
                scram = ScramClient(["SCRAM-SHA-256"], "*", password)
                first = scram.get_client_first().encode()
                self.send(sasl_first("SCRAM-SHA-256", first))
            case 11:
                scram.set_server_first(body[4:].decode())
                self.send(message("p", scram.get_client_final().encode()))
            case 12:
                scram.set_server_final(body[4:].decode())
        return scram


def through(
    rig: GatewayRig,
    target: str,
    account: str = WRITER,
    *,
    version: int = PROTOCOL_3_0,
    settings: Mapping[str, str] | None = None,
    **who: Any,
) -> RawClient:
    """Log in through a gateway."""
    client = RawClient(rig.port).start_tls(str(rig.ca))
    client.send(startup(version, user=account, database=target, **(settings or {})))
    return client.log_in(rig.token(target, **who))


def direct(place: RigTarget, account: str = WRITER, *, version: int = PROTOCOL_3_0) -> RawClient:
    """Log in at the target itself, past the gateway, as the same account."""
    client = RawClient(place.server.port)
    client.send(startup(version, user=account, database=place.database))
    return client.log_in(place.passwords[account])


# Messages


def message(kind: str, body: bytes = b"") -> bytes:
    """Encode a message."""
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def packet(code: int, body: bytes = b"") -> bytes:
    """Encode a packet that opens a connection."""
    return struct.pack(">II", len(body) + 8, code) + body


def startup(version: int = PROTOCOL_3_0, /, **parameters: str) -> bytes:
    """Encode a StartupMessage."""
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return packet(version, pairs + b"\0")


def cancel_request(key: tuple[int, bytes]) -> bytes:
    """Encode a CancelRequest."""
    return packet(80877102, struct.pack(">I", key[0]) + key[1])


def sasl_first(mechanism: str, data: bytes) -> bytes:
    """Encode a SASLInitialResponse."""
    return message("p", mechanism.encode() + b"\0" + struct.pack(">I", len(data)) + data)


def query(text: str) -> bytes:
    """Encode a Query."""
    return message("Q", text.encode() + b"\0")


def parse(text: str, name: str = "") -> bytes:
    """Encode a Parse."""
    return message("P", f"{name}\0{text}\0".encode() + b"\0\0")


def bind(statement: str = "", *values: str | None, portal: str = "") -> bytes:
    """Encode a Bind of text values."""
    body = f"{portal}\0{statement}\0".encode() + struct.pack(">HH", 0, len(values))
    for value in values:
        data = None if value is None else value.encode()
        body += struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    return message("B", body + b"\0\0")


def describe(kind: str, name: str = "") -> bytes:
    """Encode a Describe of a statement (S) or portal (P)."""
    return message("D", f"{kind}{name}\0".encode())


def execute(portal: str = "", limit: int = 0) -> bytes:
    """Encode an Execute."""
    return message("E", f"{portal}\0".encode() + struct.pack(">i", limit))


def close(kind: str, name: str = "") -> bytes:
    """Encode a Close of a statement (S) or portal (P)."""
    return message("C", f"{kind}{name}\0".encode())


def copy_data(data: bytes) -> bytes:
    """Encode a CopyData."""
    return message("d", data)


SYNC: Final = message("S")
FLUSH: Final = message("H")
TERMINATE: Final = message("X")
COPY_DONE: Final = message("c")
COPY_FAIL: Final = message("f", b"enough\0")


def kinds(messages: Iterable[Message]) -> str:
    """Join the types of messages."""
    return "".join(got.kind for got in messages)


def codes(messages: Iterable[Message]) -> list[str]:
    """Return the SQLSTATEs of the errors."""
    return [got.fields["C"] for got in messages if got.kind == "E"]


def rows(messages: Iterable[Message]) -> list[list[bytes | None]]:
    """Return the rows."""
    return [got.values for got in messages if got.kind == "D"]
