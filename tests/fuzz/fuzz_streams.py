"""Streams to mask, in whatever pieces they come.

Invariant: nothing comes out of a mask but bytes; pieces make no difference (backspaces aside, which
take back what may have been shown), and neither does what finds fixed texts; what has no secret
comes out as it went in.
"""

from __future__ import annotations

from typing import Final

from hoopgw.streams.mask_finding import PlainFinder
from hoopgw.streams.mask_rules import Rules, standard
from hoopgw.streams.mask_views import part
from hoopgw.streams.masks import StreamMask
from tests.fuzz.pieces import cut

_RULES: Final = Rules(standard())
_PLAIN: Final = Rules(standard(), finder=PlainFinder, part=part)
SEEDS: Final = (
    b"\x02\x10\x30" + b"password=hunter2 AKIA\x1b[1mIOSFODNN7EXAMPLE\r\n",
    b"\x01\x11" + b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n",
    b"\x03\x05\x09\x21" + b"\x1b]0;a@b.cd\x07alice@example.com\x1b[5C4111 1111 1111 1111",
    b"\x01\x04" + b"p\x08pa\x08as\x08ss\x08sword: x 123-45-6789",
)


def fuzz(data: bytes) -> None:
    """Mask what the pieces are; the length says how wide the terminal is."""
    body, pieces = cut(data)
    columns = len(body) % 3 * 7
    out, mask = _masked(_RULES, columns, pieces)
    assert out == _masked(_PLAIN, columns, pieces)[0]
    if b"\x08" not in body:
        assert out == _masked(_RULES, columns, [body])[0]
    if mask.masked == 0:
        assert out == body


def _masked(rules: Rules, columns: int, pieces: list[bytes]) -> tuple[bytes, StreamMask]:
    mask = StreamMask(rules, columns)
    return b"".join([*map(mask.feed, pieces), mask.rest()]), mask
