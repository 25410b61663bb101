"""Tests for `hoopgw.recording.content_frames`."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.content_frames import (
    FRAME_HEAD,
    FRAME_LIMIT,
    MAGIC,
    ContentFormatError,
    ContentFrame,
    ContentHead,
    ContentReader,
    FrameKind,
    resize_data,
    size_of,
)

HEAD = ContentHead(
    session="s-1", number=3, started=1_700_000_000_000_000_000, kind="shell", title="alice > web1",
    term="xterm", columns=80, rows=24, boot=bytes(16),
)  # fmt: skip
frames = st.lists(
    st.builds(
        ContentFrame,
        st.sampled_from([int(kind) for kind in FrameKind]),
        st.integers(0, 2**63),
        st.binary(max_size=200),
    ),
    max_size=20,
)


def read(pieces: list[bytes]) -> tuple[ContentReader, list[ContentFrame]]:
    """Read a file that comes in pieces."""
    reader, got = ContentReader(), list[ContentFrame]()
    for piece in pieces:
        reader.receive(piece)
        got += reader.frames()
    return reader, got


class ContentReaderTests(SynchronousTestCase):
    """Files, however they are cut."""

    @given(frames, st.data())
    def test_any_cut_gives_the_same_frames(
        self, sent: list[ContentFrame], data: st.DataObject
    ) -> None:
        whole = HEAD.encode() + b"".join(frame.encode() for frame in sent)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        ends = zip([0, *cuts], [*cuts, len(whole)], strict=True)
        reader, got = read([whole[start:end] for start, end in ends])
        self.assertEqual((reader.head, got), (HEAD, sent))
        self.assertEqual((reader.offset, reader.rest), (len(whole), 0))

    @given(frames)
    def test_byte_by_byte(self, sent: list[ContentFrame]) -> None:
        whole = HEAD.encode() + b"".join(frame.encode() for frame in sent[:3])
        _, got = read([whole[at : at + 1] for at in range(len(whole))])
        self.assertEqual(got, sent[:3])

    @given(frames, st.data())
    def test_a_file_that_is_cut_off_gives_its_whole_frames(
        self, sent: list[ContentFrame], data: st.DataObject
    ) -> None:
        whole = HEAD.encode() + b"".join(frame.encode() for frame in sent)
        end = data.draw(st.integers(len(HEAD.encode()), len(whole)))
        reader, got = read([whole[:end]])
        self.assertEqual(got, sent[: len(got)])
        self.assertEqual(reader.offset + reader.rest, end)
        self.assertEqual(reader.offset, len(HEAD.encode() + b"".join(f.encode() for f in got)))

    @given(st.binary(max_size=300), st.booleans())
    def test_garbage_is_only_ever_no_content(self, garbage: bytes, begins_well: bool) -> None:
        with contextlib.suppress(ContentFormatError):
            read([(MAGIC if begins_well else b"") + garbage])

    def test_a_frame_that_is_too_long_is_not_waited_for(self) -> None:
        reader = ContentReader()
        reader.receive(HEAD.encode() + FRAME_HEAD.pack(2, 0, FRAME_LIMIT + 1))
        self.assertRaises(ContentFormatError, list, reader.frames())

    def test_a_header_that_is_too_long_is_not_waited_for(self) -> None:
        reader = ContentReader()
        reader.receive(MAGIC + (2**31).to_bytes(4, "big"))
        self.assertRaises(ContentFormatError, list, reader.frames())


class SizeTests(SynchronousTestCase):
    """Sizes of terminals."""

    @given(st.integers(0, 10_000), st.integers(0, 10_000))
    def test_round_trip(self, columns: int, rows: int) -> None:
        self.assertEqual(size_of(resize_data(columns, rows)), (columns, rows))

    @given(st.binary(max_size=12))
    def test_what_is_none(self, data: bytes) -> None:
        try:
            columns, rows = size_of(data)
        except ContentFormatError:
            self.assertNotEqual(len(data), 8)
        else:
            self.assertTrue(0 <= columns <= 10_000 and 0 <= rows <= 10_000)

    def test_what_a_client_claims_is_cut(self) -> None:
        self.assertEqual(size_of(resize_data(2**32 - 1, 2**32)), (10_000, 10_000))
