"""Recordings as asciicasts, read back, and played by asciinema itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import SkipTest

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.content_frames import ContentFrame, ContentHead, FrameKind, resize_data
from hoopgw.streams.asciicast import Cast, CastError, Transcript, Version, asciicast, read_cast
from hoopgw.streams.display import DisplayFilter
from tests.support import player

OUT, ERR, IN = FrameKind.OUTPUT, FrameKind.STDERR, FrameKind.INPUT
HEAD = ContentHead(
    session="s-1", number=0, started=1_700_000_000_123_456_789, kind="shell", title="alice > web1",
    term="xterm-256color", columns=132, rows=43,
)  # fmt: skip
EXEC = evolve(HEAD, kind="exec", term="", columns=0, rows=0)
versions = st.sampled_from([2, 3])


def frame(at: float, kind: int, data: bytes) -> ContentFrame:
    """Return a frame at some seconds."""
    return ContentFrame(kind, round(at * 1e6), data)


def cast(
    frames: list[ContentFrame],
    version: Version = 2,
    head: ContentHead = HEAD,
    filtered: bool = True,
) -> Cast:
    """Write a file, and read it."""
    return read_cast("\n".join(asciicast(head, frames, version, filtered=filtered)) + "\n")


def text(of: Cast, code: str = "o") -> str:
    """Return what all events of one code say."""
    return "".join(event.data for event in of.events if event.code == code)


class WriterTests(SynchronousTestCase):
    """Files of both versions."""

    def test_header_of_version_2(self) -> None:
        (first,) = asciicast(HEAD, [], 2)
        self.assertEqual(
            json.loads(first),
            {
                "version": 2,
                "width": 132,
                "height": 43,
                "timestamp": 1_700_000_000,
                "title": "alice > web1",
                "env": {"TERM": "xterm-256color"},
            },
        )

    def test_header_of_version_3(self) -> None:
        (first,) = asciicast(HEAD, [], 3)
        said = json.loads(first)
        self.assertEqual(said["term"], {"cols": 132, "rows": 43, "type": "xterm-256color"})
        self.assertEqual((said["version"], said["timestamp"]), (3, 1_700_000_000))

    def test_events(self) -> None:
        frames = [
            frame(0.5, OUT, b"$ "),
            frame(1.0, IN, b"ls\r"),
            frame(1.5, FrameKind.RESIZE, resize_data(80, 25)),
            frame(1.5, FrameKind.MARK, b"signal \x1bINT"),
            frame(2.25, ERR, b"oh"),
            frame(3.0, FrameKind.EXIT, b"1"),
            frame(3.0, 99, b"of a later version"),
        ]
        expected = [
            (0.5, "o", "$ "),
            (1.0, "i", "ls\r"),
            (1.5, "r", "80x25"),
            (1.5, "m", "signal \\x1bINT"),
            (2.25, "o", "oh"),
        ]
        told = [(event.at, event.code, event.data) for event in cast(frames, 2).events]
        self.assertEqual(told, expected)
        told = [(event.at, event.code, event.data) for event in cast(frames, 3).events]
        self.assertEqual(told, [*expected, (3.0, "x", "1")])

    @given(st.binary(max_size=200), st.data(), versions)
    def test_any_cut_says_the_same(
        self, data: bytes, cuts: st.DataObject, version: Version
    ) -> None:
        """Characters and sequences over the borders of frames, and bytes that are no UTF-8."""
        at = sorted(cuts.draw(st.lists(st.integers(0, len(data)), max_size=8)))
        ends = zip([0, *at], [*at, len(data)], strict=True)
        frames = [frame(n, OUT, data[a:b]) for n, (a, b) in enumerate(ends)]
        for filtered in (True, False):
            found = text(cast(frames, version, filtered=filtered))
            decoded = data.decode("utf-8", "replace")
            self.assertEqual(found, DisplayFilter().feed(decoded) if filtered else decoded)

    @given(st.binary(max_size=60))
    def test_byte_by_byte_without_a_terminal(self, data: bytes) -> None:
        """Each line feed gets its carriage return, once."""
        frames = [frame(n, OUT, data[n : n + 1]) for n in range(len(data))]
        found = text(cast(frames, head=EXEC, filtered=False))
        decoded = data.decode("utf-8", "replace")
        self.assertEqual(found, decoded.replace("\r\n", "\n").replace("\n", "\r\n"))

    def test_streams_do_not_mix(self) -> None:
        """Half a character on one stream is none on the other."""
        frames = [frame(0, OUT, b"\xe2\x82"), frame(0, ERR, b"x\xac"), frame(0, OUT, b"\xac")]
        self.assertEqual(text(cast(frames)), "x\N{REPLACEMENT CHARACTER}\N{EURO SIGN}")

    def test_what_attacks_is_left_out(self) -> None:
        frames = [frame(0, OUT, b"a\x1b]52;c;"), frame(1, OUT, b"cm0=\x07b")]
        self.assertEqual(text(cast(frames)), "ab")
        self.assertEqual(text(cast(frames, filtered=False)), "a\x1b]52;c;cm0=\x07b")

    def test_time_never_goes_back(self) -> None:
        frames = [frame(5, OUT, b"a"), frame(3, OUT, b"b")]
        for version in (2, 3):
            self.assertEqual([event.at for event in cast(frames, version).events], [5.0, 5.0])

    def test_a_damaged_size_is_left_out(self) -> None:
        self.assertEqual(cast([frame(0, FrameKind.RESIZE, b"x")]).events, ())

    @given(st.text(max_size=100))
    def test_what_is_none(self, garbage: str) -> None:
        try:
            read_cast(garbage)
        except CastError as error:
            self.assertIn("asciicast", str(error))


class TranscriptTests(SynchronousTestCase):
    """One stream."""

    def test_the_end_of_half_a_character(self) -> None:
        stream = Transcript()
        self.assertEqual(stream.feed(b"\xe2\x82"), "")
        self.assertEqual(stream.feed(b"", final=True), "\N{REPLACEMENT CHARACTER}")


class PlayerTests(SynchronousTestCase):
    """asciinema's own player takes the files."""

    def played(self, version: Version) -> list[Any]:
        """Return what the player would show."""
        if not player.is_there():
            raise SkipTest("asciinema's player is not installed")
        frames = [
            frame(0.1, OUT, b"$ ls \xe2\x82"),
            frame(0.2, OUT, b"\xac\r\n"),
            frame(0.3, FrameKind.RESIZE, resize_data(90, 20)),
            frame(0.3, FrameKind.MARK, b"signal INT"),
            frame(0.4, ERR, b"oh\x1b]52;c;cm0=\x07\r\n"),
            frame(0.5, FrameKind.EXIT, b"1"),
        ]
        path = Path(self.mktemp())
        path.write_text("\n".join(asciicast(HEAD, frames, version)) + "\n")
        return player.play(path)

    def test_both_versions(self) -> None:
        for version in (2, 3):
            shown = self.played(version)
            texts = [event[0] for kind, event in shown if kind == "output"]
            self.assertEqual("".join(texts), "$ ls \N{EURO SIGN}\r\noh\r\n")
            told = {kind: event for kind, event in shown if kind != "output"}
            self.assertEqual(told["reset"]["size"], {"cols": 132, "rows": 43})
            self.assertEqual(told["resize"], {"cols": 90, "rows": 20})
            self.assertEqual(told["marker"]["label"], "signal INT")
            self.assertEqual(shown[-1][0], "ended")
