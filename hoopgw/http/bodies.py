"""Bodies: by length, in chunks, until the connection ends, and tunnels.

A `BodyReader` takes from an `Intake` what belongs to one body, and not a byte more. Data is given
as it came, many chunks of one piece as one run.

Reference: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from attrs import define, field, frozen

from hoopgw.http.errors import BodyTooLargeError, MalformedError
from hoopgw.http.heads import CHUNKED, TUNNEL, UNTIL_CLOSE, parse_fields
from hoopgw.http.intake import Buffer, Intake
from hoopgw.http.messages import NO_HEADERS, Headers, Limits

_SIZE: Final = rb"([0-9A-Fa-f]{1,16})((?:;[\t\x20-\x7e\x80-\xff]*)?)\r\n"
_FIRST_CHUNK: Final = re.compile(_SIZE)
_NEXT_CHUNK: Final = re.compile(rb"\r\n" + _SIZE)
_LAST: Final = re.compile(rb"\r\n")
FORBIDDEN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"host",
        b"trailer",
        b"transfer-encoding",
    }
)
"""What must be known before the body, and would change it afterwards (RFC 9110, section 6.5.1)."""


@frozen
class End:
    """A message is whole."""

    trailers: Headers = NO_HEADERS


END: Final = End()

BodyEvent: TypeAlias = Buffer | End


@define(eq=False)
class BodyReader:
    """Reads one body."""

    _intake: Intake
    _limits: Limits
    _framing: int = 0
    _left: int = 0
    """Of the body by length, or of the chunk."""
    _first: bool = True
    _last: bool = False
    _size: int = field(default=0, init=False)
    _extensions: int = field(default=0, init=False)

    def start(self, framing: int) -> None:
        """Begin a body.

        Raises:
            BodyTooLargeError: it says that it is longer than it may be.

        """
        self._framing = framing
        self._left = max(framing, 0)
        self._first, self._last = True, False
        self._size = self._extensions = 0
        if framing > self._limits.body:
            raise BodyTooLargeError(f"a body may have {self._limits.body} bytes")

    def next_event(self) -> BodyEvent | None:
        """Give data, the end, or None if more bytes are needed.

        Data is valid until `Intake.keep`: copy what you keep.

        Raises:
            MessageError: the body is malformed, or too long.

        """
        framing = self._framing
        if framing >= 0:
            if self._left == 0:
                return END
            data = self._intake.take(self._left)
            self._left -= len(data)
            return data or None
        if framing == CHUNKED:
            return self._chunks()
        data = self._intake.take_all()
        if framing == UNTIL_CLOSE:
            self._count(len(data))
        return data or None

    def end(self) -> bool:
        """Say whether the body may end because the connection did."""
        return self._framing in (UNTIL_CLOSE, TUNNEL) or (self._framing >= 0 and not self._left)

    def _chunks(self) -> BodyEvent | None:
        pieces: list[Buffer] = []
        while True:
            if self._left:
                data = self._intake.take(self._left)
                if not data:
                    break
                self._left -= len(data)
                pieces.append(data)
                if self._left:
                    break
            if self._last:
                break
            if not self._next_size():
                break
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._count(len(data))
            return data
        return self._trailers() if self._last else None

    def _next_size(self) -> bool:
        """Read a chunk's size; False if it has not come."""
        found = self._intake.match(_FIRST_CHUNK if self._first else _NEXT_CHUNK)
        skip = 0 if self._first else 2
        limit = self._limits.chunk_line + skip
        if found is None:
            if self._intake.has_line(skip, limit):
                raise MalformedError("a chunk's size is malformed")
            return False
        if found.end() - found.start() > limit:
            raise MalformedError("a chunk's extensions are too long")
        self._extensions += len(found[2])
        if self._extensions > self._limits.chunk_extensions:
            raise MalformedError("the extensions of chunks are too long")
        self._first = False
        self._left = int(found[1], 16)
        self._last = self._left == 0
        if self._size + self._left > self._limits.body:
            raise BodyTooLargeError(f"a body may have {self._limits.body} bytes")
        return True

    def _trailers(self) -> End | None:
        """Read what follows the last chunk: mostly nothing but a blank line."""
        if self._intake.match(_LAST) is not None:
            return END
        limits = self._limits
        if self._intake.unread < 2:
            return None
        block = self._intake.block(limits.trailers)
        if block is None:
            return None
        trailers = parse_fields(block, 0, limits)
        if not FORBIDDEN_TRAILERS.isdisjoint(trailers.by_name):
            raise MalformedError("a trailer changes what was said before the body")
        return End(trailers)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.body:
            raise BodyTooLargeError(f"a body may have {self._limits.body} bytes")
