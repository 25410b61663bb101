"""Tests for `hoopgw.link.frames`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw.link.frames import (
    FRAME_LIMIT,
    Challenge,
    Frame,
    FrameReader,
    Go,
    Hello,
    Open,
    Opened,
    Refused,
    Welcome,
    encode,
)

small = st.binary(max_size=40)
texts = st.text(max_size=20)
frames = st.one_of(
    st.builds(Challenge, st.integers(0, 9), small),
    st.builds(
        Hello, st.integers(0, 9), st.sampled_from(["control", "data"]), texts, small, small, small
    ),
    st.just(Welcome()),
    st.builds(Open, texts, st.dictionaries(texts, texts | st.booleans() | small, max_size=4)),
    st.builds(Opened, st.dictionaries(texts, texts, max_size=4)),
    st.builds(Refused, texts),
    st.just(Go()),
)


class FrameReaderTests(SynchronousTestCase):
    @given(st.lists(frames, max_size=6), st.data())
    def test_any_cut_gives_the_same_frames(self, sent: list[Frame], data: st.DataObject) -> None:
        wire = b"".join(map(encode, sent)) + b"\xff\xff"  # and the beginning of something else
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
        reader, got = FrameReader(), list[Frame]()
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            reader.receive_data(memoryview(wire)[start:end])
            got += iter(reader.next_frame, None)
        self.assertEqual(got, sent)
        self.assertEqual(reader.rest(), b"\xff\xff")

    @given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda b: bytes([0, 0, 0]) + b))
    def test_garbage_only_ever_violates_the_protocol(self, garbage: bytes) -> None:
        reader = FrameReader(limit=64)
        reader.receive_data(garbage)
        try:
            while reader.next_frame() is not None:
                pass
        except ProtocolViolationError:
            self.assertRaises(ProtocolViolationError, reader.next_frame)

    def test_a_long_frame_is_refused_by_its_length(self) -> None:
        reader = FrameReader()
        reader.receive_data((FRAME_LIMIT + 1).to_bytes(4, "big"))
        self.assertRaises(ProtocolViolationError, reader.next_frame)

    def test_what_is_nested_too_deep_is_malformed(self) -> None:
        body = b"\x82\xa4type\xa6Opened\xa5facts\x81\xa1x" + b"\x91" * 20_000 + b"\xc0"
        reader = FrameReader()
        reader.receive_data(len(body).to_bytes(4, "big") + body)
        self.assertRaises(ProtocolViolationError, reader.next_frame)

    def test_no_more_is_kept_than_a_frame_can_need(self) -> None:
        reader = FrameReader(limit=100)
        for _ in range(1000):
            reader.receive_data(b"\0\0\0\x64" + b"x" * 50)
        self.assertLess(len(reader._buffer), 300)

    def test_what_the_other_side_would_refuse_is_not_sent(self) -> None:
        self.assertRaises(LinkError, encode, Open("t", {"x": "y" * FRAME_LIMIT}))

    def test_a_ticket_is_not_shown(self) -> None:
        self.assertNotIn("s3cret", repr(Open("s3cret", {"x": "s3cret"})))
