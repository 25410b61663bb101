"""Units of a stream: however it is cut, they come whole, in order, and once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.ciphers import PACKET_LIMIT
from hoopgw_ssh.framing import FrameReader, encode_frame

messages = st.lists(st.tuples(st.integers(80, 100), st.binary(max_size=60)), max_size=8)


class FrameTests(SynchronousTestCase):
    """The link's frames; packets have the same reader, and tests of their own."""

    @given(messages, st.data())
    def test_any_cut(self, sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
        """The memory that they came in is another's as soon as the call is over."""
        got: list[tuple[int, bytes]] = []
        reader = FrameReader(lambda number, payload: got.append((number, bytes(payload))))
        wire = b"".join(encode_frame(*message) for message in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            shared = bytearray(wire[start:end])
            reader.receive(memoryview(shared))
            shared[:] = bytes(len(shared))
        self.assertEqual(got, sent)

    @given(st.binary(min_size=5))
    def test_garbage_only_ever_violates_the_protocol(self, garbage: bytes) -> None:
        reader = FrameReader(lambda _number, _payload: None)
        try:
            for at in range(len(garbage)):
                reader.receive(garbage[at : at + 1])
        except ProtocolViolationError:
            return

    def test_a_head_is_refused_before_its_bytes_are_waited_for(self) -> None:
        """Too long, empty, or of no message of the connection: byte by byte as well."""
        for length, number in ((0, 94), (PACKET_LIMIT + 1, 94), (9, 79), (9, 101)):
            head = length.to_bytes(4, "big") + bytes([number])
            for pieces in ([head], [head[at : at + 1] for at in range(len(head))]):
                reader = FrameReader(lambda _number, _payload: None)
                with self.assertRaises(ProtocolViolationError):
                    for piece in pieces:
                        reader.receive(piece)
