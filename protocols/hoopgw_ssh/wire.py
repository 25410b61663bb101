"""SSH's data types and message numbers: bytes and values, no I/O.

Whatever the bytes, the only exception is `ProtocolViolationError`.

Reference: RFC 4251 section 5; message numbers: RFC 4250 section 4.1, RFC 4252 to 4254, RFC 8308.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

from hoopgw.errors import ProtocolViolationError

Bytes: TypeAlias = bytes | bytearray | memoryview

DISCONNECT: Final = 1
IGNORE: Final = 2
UNIMPLEMENTED: Final = 3
DEBUG: Final = 4
SERVICE_REQUEST: Final = 5
SERVICE_ACCEPT: Final = 6
EXT_INFO: Final = 7
KEXINIT: Final = 20
NEWKEYS: Final = 21
KEX_ECDH_INIT: Final = 30
KEX_ECDH_REPLY: Final = 31
LAST_OF_TRANSPORT: Final = 49

GLOBAL_REQUEST: Final = 80
REQUEST_SUCCESS: Final = 81
REQUEST_FAILURE: Final = 82
CHANNEL_OPEN: Final = 90
OPEN_CONFIRMATION: Final = 91
OPEN_FAILURE: Final = 92
WINDOW_ADJUST: Final = 93
CHANNEL_DATA: Final = 94
EXTENDED_DATA: Final = 95
CHANNEL_EOF: Final = 96
CHANNEL_CLOSE: Final = 97
CHANNEL_REQUEST: Final = 98
CHANNEL_SUCCESS: Final = 99
CHANNEL_FAILURE: Final = 100

DISCONNECT_PROTOCOL_ERROR: Final = 2
DISCONNECT_KEY_EXCHANGE_FAILED: Final = 3
DISCONNECT_MAC_ERROR: Final = 5
DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED: Final = 8
DISCONNECT_HOST_KEY_NOT_VERIFIABLE: Final = 9
DISCONNECT_CONNECTION_LOST: Final = 10
DISCONNECT_BY_APPLICATION: Final = 11
DISCONNECT_TOO_MANY_CONNECTIONS: Final = 12

BOUNDED: Final = frozenset({CHANNEL_DATA, EXTENDED_DATA})
"""Messages that windows bound."""
HARMLESS: Final = frozenset({IGNORE, UNIMPLEMENTED, DEBUG})
"""Messages that may come at any time."""
NAMES_LIMIT: Final = 200
"""Names in one name-list."""

_U32: Final = Struct(">I")


def is_of_exchange(number: int) -> bool:
    """Whether a message may be sent while keys are exchanged: no other, with strict exchange."""
    return number == DISCONNECT or NEWKEYS <= number <= LAST_OF_TRANSPORT


def string(value: bytes) -> bytes:
    """Encode a string."""
    return _U32.pack(len(value)) + value


def name_list(names: tuple[bytes, ...]) -> bytes:
    """Encode a name-list."""
    return string(b",".join(names))


class Reader:
    """Reads the fields of a message, one after the other.

    Every method raises `ProtocolViolationError` if what is there is not what is asked for.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        """Read so many bytes."""
        end = self._at + count
        if end > len(self._data):
            raise ProtocolViolationError("a message is shorter than its fields say")
        found = bytes(self._data[self._at : end])
        self._at = end
        return found

    def byte(self) -> int:
        """Read one byte as a number."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """Read a boolean: all that is not zero is true."""
        return self.take(1) != b"\0"

    def uint32(self) -> int:
        """Read a number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Read a string."""
        return self.take(self.uint32())

    def text(self) -> str:
        """Read a string of UTF-8 without control characters."""
        try:
            found = self.string().decode()
        except UnicodeDecodeError:
            raise ProtocolViolationError("a text is not UTF-8") from None
        if not found.isprintable():
            raise ProtocolViolationError("a text has control characters")
        return found

    def names(self) -> tuple[bytes, ...]:
        """Read a name-list: visible ASCII, no empty names, at most `NAMES_LIMIT`."""
        value = self.string()
        if not value:
            return ()
        names = tuple(value.split(b","))
        if len(names) > NAMES_LIMIT or any(not _is_name(name) for name in names):
            raise ProtocolViolationError("a list of names is malformed")
        return names

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise ProtocolViolationError("a message is longer than its fields say")


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= 64 and all(33 <= byte <= 126 for byte in name)
