"""Ways to get a secret through the masks of an output, by who can choose how it is printed."""

from __future__ import annotations

import base64
import re

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.streams.mask_rules import Rules, standard
from hoopgw.streams.masks import KEPT, QUIET, StreamMask
from tests.streams.masking import RULES

KEY = b"AKIAIOSFODNN7EXAMPLE"
PLAIN = re.compile(rb"AKIA[A-Z0-9]{16}")
"""What a mask would go by that looks at each piece by itself."""
OVERSTRUCK = b"".join(bytes([byte, 8, byte]) for byte in KEY)
"""As manual pages print bold letters."""
WAYS: dict[str, list[bytes]] = {
    "single bytes": [bytes([byte]) for byte in KEY],
    "a packet's end": [b"x " * 50 + KEY[:7], KEY[7:] + b" y\n"],
    "a colour for each letter": [b"".join(b"\x1b[3%dm%c" % (byte % 8, byte) for byte in KEY)],
    "letters that are struck over": [OVERSTRUCK],
    "a wrong letter that is taken back": [KEY[:9] + b"?\x08" + KEY[9:]],
    "bytes that terminals ignore": [b"\0".join(bytes([byte]) for byte in KEY)],
    "a title in the middle": [KEY[:9] + b"\x1b]0;hello\x07" + KEY[9:]],
    "a title": [b"\x1b]0;" + KEY + b"\x07"],
    "a link": [b"\x1b]8;;https://x/?" + KEY + b"\x1b\\x\x1b]8;;\x1b\\"],
    "the cursor moved to where it is": [KEY[:9] + b"\x1b[1C\x1b[1D" + KEY[9:]],
    "an escape in two packets": [KEY[:9] + b"\x1b[", b"0m" + KEY[9:]],
    "a title that has no end": [b"\x1b]0;" + KEY],
    "as UTF-16": [KEY.decode().encode("utf-16-le")],
}
OPEN: dict[str, bytes] = {
    "encoded": base64.b64encode(KEY),
    "reversed": KEY[::-1],
    "spelled": b" ".join(bytes([byte]) for byte in KEY),
    "drawn from its end": KEY[9:] + b"\r" + KEY[:9],
}
"""What the manual says that it does not see: who can choose that can have anything."""

GROWING = (
    (b"-----BEGIN PRIVATE KEY-----", b"A"),
    (b"eyJ", b"a"),
    (b"AKIA", b"\x1b[m"),
    (b"\x1b]0;", b"x"),
    (b"password=", b"x"),
    (b"A", b"\0"),
    (b"x", b"\x08"),
)
"""How something begins, and what it goes on with."""


def visible(out: bytes) -> bytes:
    """Return the letters and digits of an output, whatever stands between."""
    out = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", out)
    return re.sub(rb"[^A-Z0-9]", b"", out)


class StreamTests(SynchronousTestCase):
    """What is shown of an output."""

    def shown(self, pieces: list[bytes]) -> bytes:
        """Return it, of an output in pieces."""
        mask = StreamMask(RULES)
        return b"".join([*map(mask.feed, pieces), mask.rest()])

    def test_ways_that_are_closed(self) -> None:
        """Each would get past a pattern that is tried on each piece; none gets past the mask."""
        for how, pieces in WAYS.items():
            out = self.shown(pieces)
            self.assertNotIn(KEY[-11:], visible(out), how)
            self.assertNotIn(KEY[:11], visible(out), how)
            self.assertIn(b"***", out, how)
            if not how.startswith(("a title", "a link")):
                naive = b"".join(PLAIN.sub(b"***", piece) for piece in pieces)
                struck = visible(re.sub(rb".\x08", b"", naive))
                self.assertIn(KEY, struck, f"{how}: this shows nothing")

    def test_ways_that_are_open(self) -> None:
        """They are said to be in the manual; if one is closed, this should say so."""
        for how, text in OPEN.items():
            self.assertEqual(self.shown([text]), text, how)

    def test_two_streams(self) -> None:
        """Half of it on standard error: said in the manual, too."""
        out, err = StreamMask(RULES), StreamMask(RULES)
        self.assertEqual(out.feed(KEY[:9]) + out.rest(), KEY[:9])
        self.assertEqual(err.feed(KEY[9:]) + err.rest(), KEY[9:])

    def test_silence_shows_no_part_of_what_has_begun(self) -> None:
        """Only what may be nothing; so waiting for a moment between letters gains nothing."""
        for size in range(4, len(KEY)):
            mask = StreamMask(RULES)
            out = mask.feed(KEY[:size])
            self.assertEqual(mask.wait, QUIET)
            out += mask.let_go() + mask.feed(KEY[size:] + b"\n")
            self.assertEqual(out, b"***\n")

    def test_nothing_grows(self) -> None:
        """However long what might be a secret is, and whatever is put in it."""
        for head, filler in GROWING:
            mask = StreamMask(Rules(standard()))
            for piece in (head, *(filler * 4096,) * 40):
                mask.feed(piece)
                self.assertLessEqual(len(mask._raw), 2 * KEPT, head)
