"""Whether a document may hold a text that leads elsewhere, told from its bytes, without reading it.

Where nothing but links is rewritten, most of a long document is read in vain. A text leads
elsewhere if a client takes it for an absolute URL of HTTP, or for one without a scheme; however it
is written, something of its beginning is in the document's bytes then: ``p:``, ``s:``, two slashes,
or a backslash that is no usual escape. A `Lookout` looks for these, anywhere: it says too often
that something may be there, and never too seldom, whatever the document is, also if it is no JSON.

What clients forgive in an URL (WHATWG's URL standard, "basic URL parser"): tabs and line ends
anywhere in it, as such or escaped; backslashes for slashes; small letters or large ones. The letter
U+017F counts as an ``s``, as it does for `re.IGNORECASE`. What is not UTF-8, or has control
characters or a byte order mark as UTF-16 has, may say anything.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field

from hoopgw.documents.limits import Masker
from hoopgw.transport import accelerated

SIGN: Final = 1
WIDE: Final = 2
"""There is more than ASCII."""
OVERLAP: Final = 5
"""Bytes before those that come by which it is told what they are: one less than the longest."""
_IGNORED: Final = rb"(?:[\x00-\x1f]|\\[nrt])"
_S: Final = rb"(?:[sS]|\xc5\xbf)"
_SIGNS: Final = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]"  # no JSON as it is usual
    rb'|\\[^"bfnrt]'  # a letter of any kind, a slash or a backslash
    rb"|/(?:[/\x00-\x1f]|\\[nrt])"
    rb"|%(ignored)b%(s)b?:|(?:[tT]|%(ignored)b)[pP]%(s)b?:" % {b"ignored": _IGNORED, b"s": _S}
)
_COARSE: Final = bytes(
    0x5C if byte < 0x20 and byte not in b"\t\n\r" else 9 if byte < 0x20 else byte
    for byte in range(256)
).translate(bytes.maketrans(b"PsS\xbf", b"pppp"))
_COARSE_SIGNS: Final = (b"\\", b"//", b"/\t", b"\t:", b"p:")
"""Of which one is in what has a sign, once all that is alike is made the same."""
_OPENING: Final = re.compile(rb'"(?:[\x00-\x20hHtTpPsS/\xc5\xbf]|\\[bfnrt]?)*+')
"""The beginning of a string up to where there would be a sign in it, if it leads elsewhere."""
_OPENING_LIMIT: Final = 256
"""Bytes of one that waits for what follows. Of a longer one some is shown before; if it is to be
rewritten then, that is found out, and the answer ends."""
_MARK: Final = b"\xef"
"""How a byte order mark begins in UTF-8."""


def has_sign(data: bytes) -> bool:
    """Say whether something here may be the beginning of a text that leads elsewhere."""
    coarse = data.translate(_COARSE)  # ten times as fast as the pattern, which few documents need
    return any(sign in coarse for sign in _COARSE_SIGNS) and _SIGNS.search(data) is not None


def look(data: bytes | memoryview) -> int:
    """Say what is here: `SIGN`, or `WIDE` if there is none, or 0."""
    whole = bytes(data)
    if has_sign(whole):
        return SIGN
    return 0 if whole.isascii() else WIDE


def _quickest() -> Callable[[bytes | memoryview], int]:
    if not accelerated.is_wanted("hoopgw.documents._signs"):
        return look
    from hoopgw.documents import _signs

    return _signs.look


@define(eq=False)
class Lookout:
    """Looks at one document, in any pieces."""

    _look: Callable[[bytes | memoryview], int] = field(factory=_quickest)
    _before: bytes = field(default=b"", init=False)
    """The last bytes that were seen."""
    _utf8: codecs.IncrementalDecoder | None = field(default=None, init=False)
    """Where there is more than ASCII."""

    def is_clear(self, data: bytes | memoryview) -> bool:
        """Take the next bytes; say whether nothing up to here can lead elsewhere.

        Once it is not, what it says of later bytes means nothing.
        """
        found, before = self._look(data), self._before
        if found == SIGN or (not before and data[:1] == _MARK):
            return False
        if (found == WIDE or self._utf8 is not None) and not self._is_utf8(data):
            return False
        self._before = (before + data[-OVERLAP:])[-OVERLAP:]
        return not before or self._look(before + data[:OVERLAP]) != SIGN

    def undecided(self, data: bytes | memoryview) -> int:
        """Return how many of the last bytes that came may belong to a text that leads elsewhere.

        Args:
            data: those that were not shown yet.

        """
        end = bytes(data[-_OPENING_LIMIT:])
        at = end.rfind(b'"')
        return 0 if at < 0 or _OPENING.fullmatch(end, at) is None else len(end) - at

    def _is_utf8(self, data: bytes | memoryview) -> bool:
        if self._utf8 is None:
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        try:
            self._utf8.decode(bytes(data))
        except UnicodeDecodeError:
            return False
        return True


@define(eq=False)
class Linked:
    """A document of which links alone are rewritten: read only where one may be.

    A `hoopgw.documents.limits.Masker` itself, to be given all of the document, or none.

    Args:
        opened: opens it, when it is first given something; it must not raise.

    """

    _opened: Callable[[], Masker]
    _lookout: Lookout = field(factory=Lookout, init=False)
    _masker: Masker | None = field(default=None, init=False)

    def is_clear(self, data: bytes | memoryview) -> bool:
        """Take the next bytes; say whether nothing up to here has to be read. See `Lookout`."""
        return self._lookout.is_clear(data)

    def undecided(self, data: bytes | memoryview) -> int:
        """Return how many of the last bytes must wait for what follows them. See `Lookout`."""
        return self._lookout.undecided(data)

    @property
    def masked(self) -> int:
        """Values that were replaced until now."""
        return 0 if self._masker is None else self._masker.masked

    @property
    def received(self) -> int:
        """Bytes that were read until now."""
        return 0 if self._masker is None else self._masker.received

    @property
    def counts(self) -> Mapping[str, int]:
        """Values that were counted until now: none are."""
        return {}

    def receive_data(self, data: bytes) -> None:
        """Store what came."""
        self._read().receive_data(data)

    def receive_end(self) -> None:
        """Note that nothing follows."""
        self._read().receive_end()

    def next_piece(self) -> bytes | None:
        """Read a slice; see `hoopgw.documents.limits.Masker`."""
        return self._read().next_piece()

    def _read(self) -> Masker:
        if self._masker is None:
            self._masker = self._opened()
        return self._masker
