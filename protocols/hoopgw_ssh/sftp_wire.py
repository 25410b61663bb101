"""SFTP's packets, version 3: bytes and values, both ways, no I/O.

`hoopgw_ssh.sftp_packets` cuts a stream into these. Whatever the bytes, the only exception is
`ProtocolViolationError`, or `MalformedError` for one request that does not hold together in a
stream that goes on.

References: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4, for the extensions. OpenSSH
writes the two paths of SYMLINK the other way round than the draft, and so do most others now.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

from attrs import field, frozen

from hoopgw.errors import HoopgwError, ProtocolViolationError
from hoopgw_ssh.wire import Reader, string

INIT: Final = 1
VERSION: Final = 2
OPEN: Final = 3
CLOSE: Final = 4
READ: Final = 5
WRITE: Final = 6
LSTAT: Final = 7
FSTAT: Final = 8
SETSTAT: Final = 9
FSETSTAT: Final = 10
OPENDIR: Final = 11
READDIR: Final = 12
REMOVE: Final = 13
MKDIR: Final = 14
RMDIR: Final = 15
REALPATH: Final = 16
STAT: Final = 17
RENAME: Final = 18
READLINK: Final = 19
SYMLINK: Final = 20
STATUS: Final = 101
HANDLE: Final = 102
DATA: Final = 103
NAME: Final = 104
ATTRS: Final = 105
EXTENDED: Final = 200
EXTENDED_REPLY: Final = 201

POSIX_RENAME: Final = b"posix-rename@openssh.com"
STATVFS: Final = b"statvfs@openssh.com"
FSTATVFS: Final = b"fstatvfs@openssh.com"
HARDLINK: Final = b"hardlink@openssh.com"
FSYNC: Final = b"fsync@openssh.com"
LSETSTAT: Final = b"lsetstat@openssh.com"
LIMITS: Final = b"limits@openssh.com"
EXPAND_PATH: Final = b"expand-path@openssh.com"
COPY_DATA: Final = b"copy-data"
HOME_DIRECTORY: Final = b"home-directory"
USERS_GROUPS: Final = b"users-groups-by-id@openssh.com"

OK: Final = 0
EOF: Final = 1
NO_SUCH_FILE: Final = 2
PERMISSION_DENIED: Final = 3
FAILURE: Final = 4
BAD_MESSAGE: Final = 5
OP_UNSUPPORTED: Final = 8

OUTCOMES: Final = {
    OK: "OK",
    EOF: "EOF",
    NO_SUCH_FILE: "NO_SUCH_FILE",
    PERMISSION_DENIED: "PERMISSION_DENIED",
    FAILURE: "FAILURE",
    BAD_MESSAGE: "BAD_MESSAGE",
    6: "NO_CONNECTION",
    7: "CONNECTION_LOST",
    OP_UNSUPPORTED: "OP_UNSUPPORTED",
}
"""What a status is called."""

FOR_READING: Final = 1
FOR_WRITING: Final = 2
APPENDING: Final = 4
CREATING: Final = 8
TRUNCATING: Final = 16
EXCLUSIVELY: Final = 32
KNOWN_FLAGS: Final = 63

PROTOCOL_VERSION: Final = 3
PACKET_LIMIT: Final = 256 * 1024
"""Bytes of a packet, as OpenSSH's client and server have it."""
HANDLE_LIMIT: Final = 256
PATH_LIMIT: Final = 4_096
"""Bytes of a path: Linux's PATH_MAX."""

_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")
_PACKET: Final = Struct(">IBI")
"""Length, kind, id."""
_SIZE, _OWNERS, _MODE, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000


class MalformedError(HoopgwError):
    """A request whose fields do not fit; what follows it does."""


@frozen
class Attributes:
    """What is set of a file; what is None is not."""

    size: int | None = None
    owners: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None
    extended: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def is_only_size(self) -> bool:
        """Whether nothing but a size is set."""
        return self.size is not None and self == Attributes(self.size)

    def encode(self) -> bytes:
        """Return them as they go over the wire."""
        flags, parts = 0, [b""]
        if self.size is not None:
            flags |= _SIZE
            parts.append(_U64.pack(self.size))
        for flag, pair in ((_OWNERS, self.owners), (_MODE, None), (_TIMES, self.times)):
            if flag == _MODE and self.mode is not None:
                flags |= _MODE
                parts.append(_U32.pack(self.mode))
            elif pair is not None:
                flags |= flag
                parts.append(b"".join(map(_U32.pack, pair)))
        if self.extended:
            flags |= _EXTENDED
            parts.append(_U32.pack(len(self.extended)))
            parts.extend(string(each) for pair in self.extended for each in pair)
        parts[0] = _U32.pack(flags)
        return b"".join(parts)


Field: TypeAlias = bytes | int | Attributes

_LAYOUTS: Final = {
    OPEN: "pfa",
    CLOSE: "h",
    READ: "hol",
    LSTAT: "p",
    FSTAT: "h",
    SETSTAT: "pa",
    FSETSTAT: "ha",
    OPENDIR: "p",
    READDIR: "h",
    REMOVE: "p",
    MKDIR: "pa",
    RMDIR: "p",
    REALPATH: "p",
    STAT: "p",
    RENAME: "pp",
    READLINK: "p",
    SYMLINK: "pp",
}
"""Fields of each request: path, handle, string, attributes, flags or length, offset."""
EXTENSIONS: Final = {
    POSIX_RENAME: "pp",
    STATVFS: "p",
    FSTATVFS: "h",
    HARDLINK: "pp",
    FSYNC: "h",
    LSETSTAT: "pa",
    LIMITS: "",
    EXPAND_PATH: "p",
    COPY_DATA: "hooho",
    HOME_DIRECTORY: "s",
    USERS_GROUPS: "ss",
}
"""The same of each request that has a name; no other name is passed on."""


@frozen
class Request:
    """A request that comes whole: all but INIT and WRITE."""

    kind: int
    id: int
    fields: tuple[Field, ...] = field(repr=False)
    name: bytes = b""
    """Of an `EXTENDED` one."""

    @property
    def layout(self) -> str:
        """What the fields are: see `EXTENSIONS`."""
        return EXTENSIONS[self.name] if self.kind == EXTENDED else _LAYOUTS[self.kind]

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Its paths."""
        return tuple(
            each
            for form, each in zip(self.layout, self.fields, strict=True)
            if form == "p" and isinstance(each, bytes)
        )

    @property
    def handles(self) -> tuple[bytes, ...]:
        """Its handles."""
        return tuple(
            each
            for form, each in zip(self.layout, self.fields, strict=True)
            if form == "h" and isinstance(each, bytes)
        )

    @property
    def attributes(self) -> Attributes:
        """Its attributes; none if it has none."""
        for each in self.fields:
            if isinstance(each, Attributes):
                return each
        return Attributes()

    def with_paths(self, paths: tuple[bytes, ...]) -> Request:
        """Return it with other paths in the places of its own."""
        waiting = iter(paths)
        fields = tuple(
            next(waiting) if form == "p" else each
            for form, each in zip(self.layout, self.fields, strict=True)
        )
        return Request(self.kind, self.id, fields, self.name)

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        head = string(self.name) if self.kind == EXTENDED else b""
        parts = [_encode(form, each) for form, each in zip(self.layout, self.fields, strict=True)]
        return packet(self.kind, self.id, head + b"".join(parts))


@frozen
class Packet:
    """A packet that is here whole."""

    kind: int
    body: bytes = field(repr=lambda body: f"<{len(body)} bytes>")
    """Without length and kind."""

    @property
    def id(self) -> int | None:
        """Which request it is, or answers; None if there is no room for that."""
        return _U32.unpack_from(self.body)[0] if len(self.body) >= _U32.size else None

    def encode(self) -> bytes:
        """Return it as it goes over the wire."""
        return _U32.pack(len(self.body) + 1) + bytes([self.kind]) + self.body


def packet(kind: int, number: int, body: bytes = b"") -> bytes:
    """Encode a packet with an id."""
    return _PACKET.pack(len(body) + 5, kind, number) + body


def status(number: int, code: int, text: str) -> bytes:
    """Encode how a request came out."""
    return packet(STATUS, number, _U32.pack(code) + string(text.encode()) + string(b"en"))


def init(version: int = PROTOCOL_VERSION) -> bytes:
    """Encode what a client begins with."""
    return Packet(INIT, _U32.pack(version)).encode()


def parse_version(body: bytes) -> tuple[int, tuple[tuple[bytes, bytes], ...]]:
    """Read INIT or VERSION: the number, and the names and data of extensions.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(body)
    version, rest = reader.uint32(), Reader(reader.rest())
    extensions = []
    while not rest.is_empty:
        extensions.append((rest.string(), rest.string()))
    return version, tuple(extensions)


def encode_version(version: int, extensions: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Encode VERSION."""
    parts = [string(each) for pair in extensions for each in pair]
    return Packet(VERSION, _U32.pack(version) + b"".join(parts)).encode()


def parse_request(whole: Packet) -> Request:
    """Read a request.

    Raises:
        MalformedError: it does not hold together, or is over a limit.
        KeyError: nobody knows such a request.

    """
    try:
        reader = Reader(whole.body)
        number = reader.uint32()
        name = reader.string() if whole.kind == EXTENDED else b""
        layout = EXTENSIONS[name] if whole.kind == EXTENDED else _LAYOUTS[whole.kind]
        fields = tuple(_decode(form, reader) for form in layout)
        reader.end()
    except ProtocolViolationError as broken:
        raise MalformedError(str(broken)) from broken
    return Request(whole.kind, number, fields, name)


def parse_status(body: bytes) -> tuple[int, str]:
    """Read the code and the text of a STATUS; servers of version 2 send no text.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(body)
    reader.uint32()
    code = reader.uint32()
    return code, "" if reader.is_empty else reader.string().decode("utf-8", "replace")


def parse_attributes(body: bytes) -> Attributes:
    """Read an ATTRS.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(body)
    reader.uint32()
    try:
        return _attributes(reader)
    except MalformedError as error:
        raise ProtocolViolationError(str(error)) from error


def name(number: int, path: bytes) -> bytes:
    """Encode the one name of an answer to REALPATH, as OpenSSH's server does."""
    return packet(NAME, number, _U32.pack(1) + string(path) * 2 + _U32.pack(0))


def parse_name(body: bytes) -> bytes:
    """Read the one name of an answer to REALPATH.

    Raises:
        ProtocolViolationError: it is malformed, or there is not one.

    """
    reader = Reader(body)
    reader.uint32()
    if reader.uint32() != 1:
        raise ProtocolViolationError("a path leads to several places")
    return reader.string()


def parse_handle(body: bytes) -> bytes:
    """Read a HANDLE.

    Raises:
        ProtocolViolationError: it is malformed.

    """
    reader = Reader(body)
    reader.uint32()
    handle = reader.string()
    reader.end()
    if not 0 < len(handle) <= HANDLE_LIMIT:
        raise ProtocolViolationError(f"a handle of {len(handle)} bytes")
    return handle


def _encode(form: str, value: Field) -> bytes:
    if isinstance(value, Attributes):
        return value.encode()
    if isinstance(value, bytes):
        return string(value)
    return (_U64 if form == "o" else _U32).pack(value)


def _decode(form: str, reader: Reader) -> Field:
    match form:
        case "a":
            return _attributes(reader)
        case "o":
            return int.from_bytes(reader.take(8), "big")
        case "f" | "l":
            return reader.uint32()
        case _:
            value = reader.string()
    if form == "p" and len(value) > PATH_LIMIT:
        raise MalformedError(f"a path is longer than {PATH_LIMIT} bytes")
    if form == "h" and len(value) > HANDLE_LIMIT:
        raise MalformedError("no handle is so long")
    return value


def _attributes(reader: Reader) -> Attributes:
    flags = reader.uint32()
    if flags & ~(_SIZE | _OWNERS | _MODE | _TIMES | _EXTENDED):
        raise MalformedError("attributes that version 3 has not")
    size = int.from_bytes(reader.take(8), "big") if flags & _SIZE else None
    owners = (reader.uint32(), reader.uint32()) if flags & _OWNERS else None
    mode = reader.uint32() if flags & _MODE else None
    times = (reader.uint32(), reader.uint32()) if flags & _TIMES else None
    count = reader.uint32() if flags & _EXTENDED else 0
    extended: list[tuple[bytes, bytes]] = []
    while count > len(extended):
        extended.append((reader.string(), reader.string()))
    return Attributes(size, owners, mode, times, tuple(extended))
