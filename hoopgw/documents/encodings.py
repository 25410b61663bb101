"""Content codings (RFC 9110, section 8.4) taken off, in pieces, and never without bound.

What is masked goes on without a coding. A gateway asks its targets for ``gzip`` and ``deflate``
only; an answer with another coding, or with two, cannot be masked.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from attrs import define, field

from hoopgw.documents.arrivals import Arrivals, beyond, fault
from hoopgw.documents.limits import SLICE, Limits
from hoopgw.errors import DocumentError

ACCEPTED: Final = b"gzip, deflate"
"""What to ask a target for, in ``Accept-Encoding``, where the answer is to be masked."""
_FREE: Final = 2**20
"""Bytes that come out before their ratio to what went in is looked at."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_HEADER: Final = 2
"""Bytes that tell ``deflate`` with a zlib header from one without."""


class Decoder(Protocol):
    """Takes a content coding off. Pulled like `hoopgw.documents.limits.Masker`."""

    def receive_data(self, data: bytes) -> None:
        """Store what came."""

    def receive_end(self) -> None:
        """Note that nothing follows."""

    def next_piece(self) -> bytes | None:
        """Give a slice of what it decodes to; None if more is needed, or all was given."""


def decoder(coding: str, limits: Limits) -> Decoder | None:
    """Return what takes a coding off; None for no coding.

    Args:
        coding: the values of ``Content-Encoding``, joined with commas; may be empty.
        limits: ``total`` and ``ratio`` are for the decoder.

    Raises:
        DocumentError: the coding is not known, or there are several.

    """
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate" as known:
            return Inflater(is_gzip=known != "deflate", limits=limits)
    raise fault("its content coding is not gzip or deflate")


@define(eq=False, kw_only=True)
class Inflater:
    """Takes ``gzip`` or ``deflate`` off.

    A gzip body may be of several members (RFC 1952, section 2.2). ``deflate`` is zlib's format, but
    many send it without zlib's header, so what does not begin with one is taken as that.
    """

    is_gzip: bool
    limits: Limits = field(factory=Limits)
    _arrived: Arrivals = field(init=False, repr=False)
    _stream: zlib._Decompress | None = field(default=None, init=False, repr=False)
    _given: int = field(default=0, init=False)
    _started: bool = field(default=False, init=False)
    _is_full: bool = field(default=False, init=False)
    """Whether the last piece was a whole slice: more of it may wait inside of zlib."""
    _failed: str | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._arrived = Arrivals(self.limits.total)

    def receive_data(self, data: bytes) -> None:
        """Store what came."""
        self._arrived.put(data)

    def receive_end(self) -> None:
        """Note that nothing follows."""
        self._arrived.end()

    def next_piece(self) -> bytes | None:
        """Inflate a slice.

        Raises:
            DocumentError: it is not of this coding, is cut off, or becomes too much.

        """
        if self._failed is not None:
            raise DocumentError(self._failed)
        try:
            return self._next_piece()
        except DocumentError as error:
            self._failed = str(error)
            self._arrived.clear()
            raise

    def _next_piece(self) -> bytes | None:
        data = self._input()
        if data is None:
            if self._arrived.is_ended and self._stream is not None:
                raise fault("it is compressed, and cut off")
            return None
        if self._stream is None:
            self._stream = zlib.decompressobj(self._format(data))
            self._started = True
        try:
            piece = self._stream.decompress(data, SLICE)
        except zlib.error:
            raise fault("it is not compressed as its content coding says") from None
        rest = self._stream.unconsumed_tail or self._stream.unused_data
        self._arrived.give_back(rest)
        if self._stream.eof:
            self._stream = None
            if not self.is_gzip and (rest or self._arrived):
                raise fault("something follows its compressed end")
        self._is_full = self._stream is not None and len(piece) == SLICE
        self._count(len(piece))
        return piece

    def _input(self) -> bytes | None:
        """Take what to inflate next; None if that did not come yet."""
        if not self._arrived:
            return b"" if self._is_full else None
        if self.is_gzip or self._stream is not None:
            return self._arrived.take()
        if self._started:
            raise fault("something follows its compressed end")
        data = self._arrived.take()
        while len(data) < _HEADER and self._arrived:
            data += self._arrived.take()
        if len(data) < _HEADER and not self._arrived.is_ended:
            self._arrived.give_back(data)
            return None
        return data

    def _format(self, data: bytes) -> int:
        if self.is_gzip:
            return _GZIP
        header = int.from_bytes(data[:_HEADER], "big")
        has_header = len(data) >= _HEADER and data[0] & 15 == zlib.DEFLATED and header % 31 == 0
        return _ZLIB if has_header else _RAW

    def _count(self, given: int) -> None:
        self._given += given
        if self._given > self.limits.total:
            raise beyond(f"it is longer than {self.limits.total} bytes")
        if self._given > _FREE and self._given > self._arrived.taken * self.limits.ratio:
            raise fault(f"a byte of it becomes more than {self.limits.ratio}")
