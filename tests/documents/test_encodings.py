"""Tests for `hoopgw.documents.encodings`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.encodings import Decoder, decoder
from hoopgw.documents.limits import SLICE, Limits
from hoopgw.errors import DocumentError


def raw_deflate(data: bytes) -> bytes:
    """Compress without zlib's header."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]),
    "deflate": zlib.compress,
    " Deflate": raw_deflate,
}


def decoded(coding: str, pieces: list[bytes], limits: Limits | None = None) -> bytes:
    """Decode pieces."""
    one = decoder(coding, limits or Limits())
    assert one is not None
    return drained(one, pieces)


def drained(one: Decoder, pieces: list[bytes]) -> bytes:
    """Send pieces through a decoder."""
    out = list[bytes]()
    for piece in pieces:
        one.receive_data(piece)
        out += iter(one.next_piece, None)
    one.receive_end()
    out += iter(one.next_piece, None)
    assert max(map(len, out), default=0) <= SLICE
    return b"".join(out)


class InflaterTests(SynchronousTestCase):
    """Tests for `Inflater`."""

    @given(st.sampled_from(sorted(CODINGS)), st.binary(), st.integers(1, 64), st.integers(0, 10**6))
    def test_any_cut(self, coding: str, data: bytes, size: int, repeat: int) -> None:
        """What was compressed comes out, in slices."""
        data = data * (repeat % 9000)
        data = data[:400_000]
        whole = CODINGS[coding](data)
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        self.assertEqual(decoded(coding, pieces, Limits(ratio=2000)), data)

    def test_cut_off(self) -> None:
        """A body that ends early is an error, not a shorter body."""
        for coding, compress in CODINGS.items():
            whole = compress(b"some text " * 50)
            for end in range(1, len(whole)):
                if coding == "x-gzip" and zlib.decompressobj(31).decompress(whole[:end]) == b"som":
                    continue  # its first member may be whole
                with self.subTest(coding, end=end):
                    self.assertRaises(DocumentError, decoded, coding, [whole[:end]])

    def test_what_follows_is_refused(self) -> None:
        """Nothing is skipped unseen."""
        for coding, compress in CODINGS.items():
            whole = compress(b"text")
            self.assertRaises(DocumentError, decoded, coding, [whole + b"x"])
            self.assertRaises(DocumentError, decoded, coding, [whole, b"x"])

    def test_changed(self) -> None:
        """Check sums are looked at."""
        whole = bytearray(gzip.compress(b"text" * 100))
        whole[-6] ^= 1
        self.assertRaises(DocumentError, decoded, "gzip", [bytes(whole)])

    def test_bombs(self) -> None:
        """A little that becomes very much is refused early, in total or by ratio."""
        bomb = gzip.compress(bytes(50 * 2**20))
        one, out = decoder("gzip", Limits()), 0
        assert one is not None
        one.receive_data(bomb)
        with self.assertRaisesRegex(DocumentError, "becomes more than 200"):
            for piece in iter(one.next_piece, None):
                out += len(piece)
        self.assertLessEqual(out, 2**21)
        self.assertRaises(DocumentError, one.next_piece)
        limits = Limits(total=2**20, ratio=2000)
        self.assertRaises(DocumentError, decoded, "gzip", [bomb], limits)

    def test_nothing(self) -> None:
        """An answer without content may say a coding."""
        for coding in CODINGS:
            self.assertEqual(decoded(coding, []), b"")


class DecoderTests(SynchronousTestCase):
    """Tests for `decoder`."""

    def test_no_coding(self) -> None:
        """Nothing is to be taken off."""
        self.assertIsNone(decoder("", Limits()))
        self.assertIsNone(decoder(" Identity ", Limits()))

    def test_unknown(self) -> None:
        """What cannot be read cannot be masked."""
        for coding in ("br", "zstd", "compress", "gzip, gzip", "gzip,identity", "aes128gcm", "*"):
            self.assertRaises(DocumentError, decoder, coding, Limits())
