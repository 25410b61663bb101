"""What was moved of a file, whichever order it was moved in."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import file_meter
from hoopgw_ssh.file_meter import FileMeter
from hoopgw_ssh.files import Transfer


def told(meter: FileMeter) -> tuple[str, int, int]:
    """Return extent, size and offset."""
    found = meter.transfer("/a")
    return found.extent, found.size, found.offset


class FileMeterTests(SynchronousTestCase):
    """Tests for `FileMeter`."""

    @given(st.binary(min_size=1, max_size=200), st.data())
    def test_any_order(self, content: bytes, data: st.DataObject) -> None:
        """Pieces without overlap in any order: the same hash, and the whole."""
        cuts = sorted(set(data.draw(st.lists(st.integers(1, len(content)), max_size=8))))
        pieces = [
            (start, content[start:end])
            for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)
        ]
        meter = FileMeter(0, is_upload=False)
        for offset, piece in data.draw(st.permutations(pieces)):
            meter.feed(offset, piece)
        meter.ended_at(len(content))
        self.assertEqual(
            meter.transfer("/a"),
            Transfer(
                path="/a",
                is_upload=False,
                size=len(content),
                digest=sha256(content).digest(),
                offset=0,
                extent="whole",
            ),
        )

    @given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=20)), max_size=9))
    def test_never_more_than_is_true(self, pieces: list[tuple[int, bytes]]) -> None:
        """What is called whole is what the file holds, whatever overlaps."""
        meter, held = FileMeter(0, is_upload=True, is_new=True), bytearray(100)
        for offset, piece in pieces:
            meter.feed(offset, piece)
            held[offset : offset + len(piece)] = piece
        found = meter.transfer("/a")
        if found.extent == "whole":
            self.assertEqual(found.digest, sha256(held[: found.size]).digest())

    def test_ranges(self) -> None:
        """Of a file that goes on, or that was there before."""
        meter = FileMeter(5, is_upload=False)
        meter.feed(5, b"abc")
        self.assertEqual(told(meter), ("range", 3, 5))
        meter.ended_at(8)
        self.assertEqual(told(meter), ("range", 3, 5))
        meter = FileMeter(0, is_upload=True)
        meter.feed(0, b"abc")
        self.assertEqual(told(meter), ("range", 3, 0))
        meter = FileMeter(0, is_upload=False)
        meter.feed(0, b"abc")
        meter.ended_at(9)
        self.assertEqual(told(meter), ("range", 3, 0))

    def test_read_again(self) -> None:
        """Counts once, and changes nothing."""
        meter = FileMeter(0, is_upload=False)
        for offset, piece in ((0, b"abc"), (1, b"bc"), (2, b"cde"), (0, b"a")):
            meter.feed(offset, piece)
        meter.ended_at(5)
        self.assertEqual(told(meter), ("whole", 5, 0))
        self.assertEqual(meter.transfer("/a").digest, sha256(b"abcde").digest())

    def test_written_again(self) -> None:
        """What is in the file is not what was hashed: at once, or while it waits."""
        for pieces in (((0, b"abc"), (1, b"x")), ((3, b"d"), (3, b"e"), (0, b"abc"))):
            meter = FileMeter(0, is_upload=True, is_new=True)
            for offset, piece in pieces:
                meter.feed(offset, piece)
            self.assertEqual(told(meter)[0], "partial")

    def test_holes(self) -> None:
        """What never came, and what is below the begin."""
        meter = FileMeter(0, is_upload=False)
        meter.feed(0, b"ab")
        meter.feed(5, b"xy")
        self.assertEqual(told(meter), ("partial", 4, 0))
        self.assertEqual(meter.transfer("/a").digest, sha256(b"ab").digest())
        meter = FileMeter(5, is_upload=False)
        meter.feed(3, b"xyz")
        self.assertEqual(told(meter), ("partial", 3, 5))

    def test_too_much_comes_early(self) -> None:
        """Is counted, and not kept."""
        self.patch(file_meter, "EARLY_LIMIT", 10)
        meter = FileMeter(0, is_upload=False)
        for at in range(1, 100):
            meter.feed(10 * at, b"0123456789")
        self.assertEqual((meter._early_size, told(meter)), (10, ("partial", 990, 0)))
        self.patch(file_meter, "EARLY_LIMIT", 10_000)
        self.patch(file_meter, "_PIECES_LIMIT", 10)
        meter = FileMeter(0, is_upload=False)
        for at in range(1, 100):
            meter.feed(10 * at, b"0")
        self.assertEqual(len(meter._early), 10)

    def test_spoiled(self) -> None:
        meter = FileMeter(0, is_upload=True, is_new=True)
        meter.feed(0, b"abc")
        self.assertEqual(told(meter)[0], "whole")
        meter.spoil()
        self.assertEqual(told(meter)[0], "partial")
