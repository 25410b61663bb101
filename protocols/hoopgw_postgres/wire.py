"""PostgreSQL's frontend/backend protocol, versions 3.0 and 3.2: bytes and values, no I/O.

Every frontend message is parsed whole and exactly: inner lengths, counts and terminators must
account for every byte, so what is forwarded after parsing means the same to the server as to us.
Whatever the bytes, the only exception is `ProtocolViolationError`.

Reference: PostgreSQL 18 documentation, chapter "Frontend/Backend Protocol".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final, TypeAlias

import msgspec
from attrs import field, frozen

from hoopgw.errors import ProtocolViolationError

OPENING_LIMIT: Final = 10_000
"""Bytes of a packet that opens a connection (MAX_STARTUP_PACKET_LENGTH)."""
PASSWORD_LIMIT: Final = 65_535
"""Bytes of a message that carries a password or SASL data (PG_MAX_AUTH_TOKEN_LENGTH)."""

SSL_REQUEST: Final = 80877103
GSS_REQUEST: Final = 80877104
CANCEL_REQUEST: Final = 80877102
PROTOCOL_3_0: Final = 3 << 16
PROTOCOL_3_2: Final = 3 << 16 | 2

_KEY_LIMIT: Final = 256
"""Bytes of a cancel key (MAX_CANCEL_KEY_LENGTH in PostgreSQL 18)."""

_HEAD: Final = Struct(">cI")
_U32: Final = Struct(">I")
_read_u16: Final = Struct(">H").unpack_from
_read_i32: Final = Struct(">i").unpack_from
_read_u32: Final = _U32.unpack_from

Bytes: TypeAlias = bytes | memoryview


# What opens a connection


@frozen
class EncryptionRequest:
    """SSLRequest or GSSENCRequest."""

    gss: bool


@frozen
class CancelRequest:
    """Asks to cancel what another connection does."""

    pid: int
    key: bytes = field(repr=False)


@frozen
class Startup:
    """StartupMessage."""

    version: int
    parameters: Mapping[str, str]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the protocol options asked for (``_pq_.``)."""
        return tuple(name for name in self.parameters if name.startswith("_pq_."))


Opening: TypeAlias = EncryptionRequest | CancelRequest | Startup


def parse_opening(body: bytes) -> Opening:
    """Parse a packet without type byte, after its length.

    Raises:
        ProtocolViolationError: it is none of the three kinds.

    """
    if len(body) < 4:
        raise ProtocolViolationError("invalid length of startup packet")
    code = int.from_bytes(body[:4], "big")
    if code in (SSL_REQUEST, GSS_REQUEST):
        if len(body) != 4:
            raise ProtocolViolationError("an encryption request has a body")
        return EncryptionRequest(gss=code == GSS_REQUEST)
    if code == CANCEL_REQUEST:
        if not 9 <= len(body) <= 8 + _KEY_LIMIT:
            raise ProtocolViolationError("invalid length of cancel request")
        return CancelRequest(int.from_bytes(body[4:8], "big"), body[8:])
    return Startup(code, _parameters(body[4:]) if code >> 16 == 3 else {})


def _parameters(body: bytes) -> dict[str, str]:
    # name \0 value \0 ... \0: the split ends with two empty strings
    parts = body.split(b"\0")
    if len(parts) < 2 or parts[-1] or parts[-2] or len(parts) % 2:
        raise ProtocolViolationError("invalid startup packet layout: expected terminator")
    found: dict[str, str] = {}
    for name, value in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        try:
            key, text = name.decode(), value.decode()
        except UnicodeDecodeError as error:
            raise ProtocolViolationError("a startup parameter is not UTF-8") from error
        if not key or key in found:
            raise ProtocolViolationError("a startup parameter is empty or doubled")
        found[key] = text
    return found


# What the client sends later


@frozen
class Parse:
    """Prepare a statement."""

    name: bytes
    text: bytes = field(repr=False)
    types: tuple[int, ...]


class Bind(msgspec.Struct, frozen=True):
    """Make a portal of a statement and parameters."""

    portal: bytes
    statement: bytes
    result_formats: tuple[int, ...]


@frozen
class Named:
    """Describe or Close: ``kind`` is ``S`` for a statement, ``P`` for a portal."""

    kind: bytes
    name: bytes


@frozen
class Execute:
    """Run a portal."""

    portal: bytes
    limit: int


def parse_query(body: Bytes) -> bytes:
    """Return the text of a Query; its one NUL is the last byte."""
    text = bytes(body)
    if not text or text.find(b"\0") != len(text) - 1:
        raise ProtocolViolationError("invalid message format")
    return text[:-1]


def parse_parse(body: Bytes) -> Parse:
    """Parse a Parse message's body."""
    data = bytes(body)
    name_end, text_end = _two_strings(data)
    rest = data[text_end + 1 :]
    if len(rest) < 2 or len(rest) != 2 + 4 * _read_u16(rest)[0]:
        raise ProtocolViolationError("invalid message format")
    types = tuple(_read_u32(rest, at)[0] for at in range(2, len(rest), 4))
    return Parse(data[:name_end], data[name_end + 1 : text_end], types)


def parse_bind(body: Bytes) -> Bind:
    """Parse a Bind message's body; every length in it must fit."""
    data = bytes(body)
    portal_end, statement_end = _two_strings(data)
    size = len(data)
    at = statement_end + 1
    try:
        (formats,) = _read_u16(data, at)
        at += 2
        if formats:
            _check_formats(data, at, formats)
            at += 2 * formats
        (count,) = _read_u16(data, at)
        at += 2
        if formats > 1 and formats != count:
            raise ProtocolViolationError("bind message has the wrong number of formats")
        for _ in range(count):
            (length,) = _read_i32(data, at)
            at += 4
            if length > 0:
                at += length
            elif length < -1:
                raise ProtocolViolationError("invalid message format")
        (results,) = _read_u16(data, at)
        at += 2
        if at + 2 * results != size:
            raise ProtocolViolationError("invalid message format")
        codes = _check_formats(data, at, results) if results else ()
    except struct.error:
        raise ProtocolViolationError("insufficient data left in message") from None
    return Bind(data[:portal_end], data[portal_end + 1 : statement_end], codes)


def parse_named(body: Bytes) -> Named:
    """Parse the body of Describe or Close."""
    data = bytes(body)
    if data[:1] not in (b"S", b"P") or data.find(b"\0", 1) != len(data) - 1:
        raise ProtocolViolationError("invalid message format")
    return Named(data[:1], data[1:-1])


def parse_execute(body: Bytes) -> Execute:
    """Parse an Execute message's body."""
    data = bytes(body)
    end = data.find(b"\0")
    if end < 0 or len(data) != end + 5:
        raise ProtocolViolationError("invalid message format")
    return Execute(data[:end], _read_i32(data, end + 1)[0])


def _two_strings(data: bytes) -> tuple[int, int]:
    first = data.find(b"\0")
    second = data.find(b"\0", first + 1)
    if first < 0 or second < 0:
        raise ProtocolViolationError("invalid string in message")
    return first, second


def _check_formats(data: bytes, at: int, count: int) -> tuple[int, ...]:
    codes = struct.unpack_from(f">{count}H", data, at)
    if max(codes) > 1:
        raise ProtocolViolationError(f"unsupported format code: {max(codes)}")
    return codes


# What the gateway sends


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Encode a message."""
    return _HEAD.pack(kind, len(body) + 4) + body


def report(
    kind: bytes,
    severity: str,
    code: str,
    text: str,
    *,
    detail: str | None = None,
    hint: str | None = None,
    position: int = 0,
) -> bytes:
    """Encode an ErrorResponse (``E``) or NoticeResponse (``N``).

    ``position`` counts characters of the statement from 1; 0 says nothing.
    """
    fields = {"S": severity, "V": severity, "C": code, "M": text, "D": detail, "H": hint}
    fields["P"] = str(position) if position else None
    body = b"".join(
        name.encode() + value.replace("\0", "").encode() + b"\0"
        for name, value in fields.items()
        if value is not None
    )
    return message(kind, body + b"\0")


def parse_report(body: Bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letter."""
    parts = bytes(body).split(b"\0")
    return {
        part[:1].decode("latin-1"): part[1:].decode("utf-8", "replace") for part in parts if part
    }


def parameter_status(name: str, value: str) -> bytes:
    """Encode a ParameterStatus."""
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def negotiate_version(newest: int, options: Iterable[str]) -> bytes:
    """Encode NegotiateProtocolVersion: the newest version we speak, and what we do not know."""
    unknown = [name.encode() + b"\0" for name in options]
    return message(b"v", _U32.pack(newest) + _U32.pack(len(unknown)) + b"".join(unknown))


AUTHENTICATION_OK: Final = message(b"R", _U32.pack(0))
AUTHENTICATION_CLEARTEXT: Final = message(b"R", _U32.pack(3))


def authentication_sasl(mechanisms: Iterable[str]) -> bytes:
    """Encode AuthenticationSASL."""
    names = b"".join(name.encode() + b"\0" for name in mechanisms)
    return message(b"R", _U32.pack(10) + names + b"\0")


def authentication_sasl_continue(data: bytes) -> bytes:
    """Encode AuthenticationSASLContinue."""
    return message(b"R", _U32.pack(11) + data)


def authentication_sasl_final(data: bytes) -> bytes:
    """Encode AuthenticationSASLFinal."""
    return message(b"R", _U32.pack(12) + data)


def backend_key(pid: int, key: bytes) -> bytes:
    """Encode BackendKeyData."""
    return message(b"K", _U32.pack(pid) + key)


def ready(status: bytes) -> bytes:
    """Encode ReadyForQuery; ``status`` is I, T or E."""
    return message(b"Z", status)


# What the gateway sends to the target


def query(text: bytes) -> bytes:
    """Encode a Query."""
    return message(b"Q", text + b"\0")


def parse_message(name: bytes, text: bytes) -> bytes:
    """Encode a Parse without parameter types."""
    return message(b"P", name + b"\0" + text + b"\0\0\0")


def describe(kind: bytes, name: bytes) -> bytes:
    """Encode a Describe."""
    return message(b"D", kind + name + b"\0")
