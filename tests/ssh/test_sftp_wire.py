"""SFTP's packets: cut anyhow, lying about lengths, and there and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.sftp_packets import Bulk, PacketReader
from hoopgw_ssh.sftp_wire import EXTENSIONS, Attributes, MalformedError, Packet, Request
from hoopgw_ssh.wire import string

_U32 = st.integers(0, 2**32 - 1)
_U64 = st.integers(0, 2**64 - 1)
_PAIR = st.tuples(_U32, _U32)
attributes = st.builds(
    Attributes,
    st.none() | _U64,
    st.none() | _PAIR,
    st.none() | _U32,
    st.none() | _PAIR,
    st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=2).map(tuple),
)
_FORMS = {
    "p": st.binary(max_size=40),
    "h": st.binary(max_size=8),
    "s": st.binary(max_size=8),
    "a": attributes,
    "f": _U32,
    "l": _U32,
    "o": _U64,
}


def _request(kind: int, name: bytes, layout: str) -> st.SearchStrategy[Request]:
    fields = st.tuples(*(_FORMS[form] for form in layout))
    return st.builds(Request, st.just(kind), _U32, fields, st.just(name))


requests = st.one_of(
    *(_request(kind, b"", layout) for kind, layout in sftp._LAYOUTS.items()),
    *(_request(sftp.EXTENDED, name, layout) for name, layout in EXTENSIONS.items()),
)


def write(number: int, handle: bytes, offset: int, content: bytes) -> bytes:
    """Encode a WRITE."""
    where = string(handle) + offset.to_bytes(8, "big") + string(content)
    return sftp.packet(sftp.WRITE, number, where)


def data(number: int, content: bytes) -> bytes:
    """Encode a DATA."""
    return sftp.packet(sftp.DATA, number, string(content))


writes = st.builds(write, _U32, st.binary(max_size=8), _U64, st.binary(max_size=60))


def cut(wire: bytes, cuts: list[int], bulk: int) -> list[object]:
    """Feed a stream in pieces; return heads and packets, contents put together."""
    reader, found = PacketReader(bulk), list[object]()
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        reader.receive(wire[start:end])
        while (piece := reader.next_piece()) is not None:
            if isinstance(piece, memoryview):
                last = found.pop()
                assert isinstance(last, bytes)
                found.append(last + bytes(piece))
            else:
                found += [piece, b""] if isinstance(piece, Bulk) else [piece]
    return found


def joined(pieces: list[object]) -> bytes:
    """Return the bytes that pieces came from."""
    parts = []
    for piece in pieces:
        match piece:
            case Packet():
                parts.append(piece.encode())
            case Bulk():
                parts.append(piece.head)
            case bytes():
                parts.append(piece)
    return b"".join(parts)


class PacketReaderTests(SynchronousTestCase):
    """Streams."""

    @given(st.lists(requests.map(Request.encode) | writes, max_size=6), st.data())
    def test_any_cut_gives_the_same(self, sent: list[bytes], draw: st.DataObject) -> None:
        """Nothing is lost, nothing invented."""
        wire = b"".join(sent)
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        found = cut(wire, cuts, sftp.WRITE)
        self.assertEqual(found, cut(wire, [], sftp.WRITE))
        self.assertEqual(joined(found), wire)

    def test_byte_by_byte(self) -> None:
        """Of both directions."""
        up = write(7, b"\0\0\0\1", 2**33, b"content") + sftp.init() + write(8, b"", 0, b"")
        self.assertEqual(joined(cut(up, list(range(len(up))), sftp.WRITE)), up)
        down = data(7, b"content") + sftp.status(8, sftp.OK, "fine") + data(9, b"")
        found = cut(down, list(range(len(down))), sftp.DATA)
        self.assertEqual(joined(found), down)
        heads = [each for each in found if isinstance(each, Bulk | Packet)]
        self.assertEqual([each.id for each in heads], [7, 8, 9])

    def test_what_a_write_says(self) -> None:
        head, content = cut(write(7, b"handle", 5, b"abc"), [], sftp.WRITE)
        assert isinstance(head, Bulk)
        self.assertEqual((head.id, head.handle, head.offset, head.size), (7, b"handle", 5, 3))
        self.assertEqual(content, b"abc")

    def test_lengths_that_lie(self) -> None:
        """Of packets, handles and contents: seen as soon as they are read."""
        whole = write(7, b"handle", 5, b"abc")
        empty = sftp.packet(sftp.WRITE, 7, string(b"handle") + bytes(8) + string(b""))
        for wire in (
            b"\xff\xff\xff\xff\x03",
            b"\0\0\0\0\x03",
            (sftp.PACKET_LIMIT + 1).to_bytes(4, "big") + b"\x03",
            whole[:-4] + b"\0\0\0\4",
            (len(whole) - 3).to_bytes(4, "big") + whole[4:],
            empty[:9] + b"\xff\xff\xff\xff" + empty[13:],
            empty[:9] + b"\0\0\0\x7f" + empty[13:],
            b"\0\0\0\5\6\0\0\0\0",
        ):
            reader = PacketReader(sftp.WRITE)
            reader.receive(wire)
            for _ in range(2):
                with self.assertRaises(ProtocolViolationError):
                    list(iter(reader.next_piece, None))
            self.assertEqual(reader.kept, 0)

    def test_a_large_packet_in_small_pieces(self) -> None:
        """Is joined once: what came is not copied again for each byte."""
        wire = sftp.packet(sftp.NAME, 1, bytes(sftp.PACKET_LIMIT - 5))
        reader, found = PacketReader(sftp.DATA), []
        for at in range(len(wire)):
            reader.receive(wire[at : at + 1])
            found += list(iter(reader.next_piece, None))
        self.assertEqual(len(found), 1)

    @given(st.binary(max_size=200), st.sampled_from([sftp.WRITE, sftp.DATA]))
    def test_garbage(self, garbage: bytes, bulk: int) -> None:
        """Only ever breaks the protocol, and never gives more than came."""
        reader, found = PacketReader(bulk), list[object]()
        reader.receive(garbage)
        try:
            while (piece := reader.next_piece()) is not None:
                found.append(bytes(piece) if isinstance(piece, memoryview) else piece)
        except ProtocolViolationError:
            self.assertRaises(ProtocolViolationError, reader.next_piece)
        self.assertTrue(garbage.startswith(joined(found)))


class RequestTests(SynchronousTestCase):
    """One request."""

    @given(requests)
    def test_there_and_back(self, request: Request) -> None:
        (found,) = cut(request.encode(), [], sftp.WRITE)
        assert isinstance(found, Packet)
        again = sftp.parse_request(found)
        self.assertEqual(again, request)
        self.assertEqual(again.encode(), request.encode())

    @given(st.sampled_from([*sftp._LAYOUTS, sftp.EXTENDED, 0, 250]), st.binary(max_size=80))
    def test_garbage(self, kind: int, body: bytes) -> None:
        """Is malformed, or unknown, or means exactly what it says."""
        try:
            found = sftp.parse_request(Packet(kind, body))
        except (MalformedError, KeyError):
            return
        again = sftp.parse_request(Packet(kind, found.encode()[5:]))
        self.assertEqual(again, found)

    def test_limits(self) -> None:
        """Long paths, long handles, unknown attributes, and bytes behind the end."""
        fine = Request(sftp.STAT, 1, (b"/a",)).encode()[5:]
        sftp.parse_request(Packet(sftp.STAT, fine))
        for kind, body in (
            (sftp.STAT, fine + b"x"),
            (sftp.STAT, fine[:-1]),
            (sftp.STAT, bytes(4) + string(bytes(sftp.PATH_LIMIT + 1))),
            (sftp.CLOSE, bytes(4) + string(bytes(sftp.HANDLE_LIMIT + 1))),
            (sftp.MKDIR, bytes(4) + string(b"/a") + b"\0\0\1\0"),
            (sftp.MKDIR, bytes(4) + string(b"/a") + b"\x80\0\0\0\xff\xff\xff\xff"),
        ):
            with self.assertRaises(MalformedError):
                sftp.parse_request(Packet(kind, body))
        with self.assertRaises(KeyError):
            body = bytes(4) + string(b"new@example.com")
            sftp.parse_request(Packet(sftp.EXTENDED, body))

    def test_other_paths(self) -> None:
        """In the places of its own."""
        rename = Request(sftp.EXTENDED, 3, (b"a", b"b"), sftp.POSIX_RENAME)
        self.assertEqual(rename.with_paths((b"/x", b"/y")).paths, (b"/x", b"/y"))
        opened = Request(sftp.OPEN, 3, (b"a", 1, Attributes(mode=0o600)))
        self.assertEqual(opened.with_paths((b"/x",)).fields, (b"/x", 1, Attributes(mode=0o600)))


class AnswerTests(SynchronousTestCase):
    """What targets answer."""

    def test_version(self) -> None:
        extensions = ((b"a", b"1"), (b"b", b""))
        (found,) = cut(sftp.encode_version(3, extensions), [], sftp.DATA)
        assert isinstance(found, Packet)
        self.assertEqual(sftp.parse_version(found.body), (3, extensions))
        with self.assertRaises(ProtocolViolationError):
            sftp.parse_version(found.body + b"x")

    def test_status(self) -> None:
        """With a text or, of old servers, without."""
        (found,) = cut(sftp.status(1, sftp.FAILURE, "no"), [], sftp.DATA)
        assert isinstance(found, Packet)
        self.assertEqual(sftp.parse_status(found.body), (sftp.FAILURE, "no"))
        self.assertEqual(sftp.parse_status(found.body[:8]), (sftp.FAILURE, ""))

    @given(st.binary(max_size=60))
    def test_garbage(self, body: bytes) -> None:
        """Only ever breaks the protocol."""
        for parse in (
            sftp.parse_version,
            sftp.parse_status,
            sftp.parse_name,
            sftp.parse_handle,
        ):
            try:
                parse(body)
            except ProtocolViolationError:
                continue
