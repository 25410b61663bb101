"""What a document may be, and what all that read documents have in common."""

from __future__ import annotations

import typing
from typing import Final

from attrs import field, frozen
from attrs.validators import ge

SLICE: Final = 64 * 2**10
"""Bytes that one call of `Masker.next_piece` takes at most."""


@frozen(kw_only=True)
class Limits:
    """What a document may be; beyond any of these it is refused with `DocumentError`."""

    depth: int = field(default=128, validator=ge(1))
    """Containers, or elements, inside one another."""
    text: int = field(default=256 * 2**10, validator=ge(16))
    """Bytes of a string that must be looked at as a whole, escapes counted as they are written.
    Strings that are passed, or replaced whatever they say, may be of any length."""
    name: int = field(default=4 * 2**10, validator=ge(300))
    """Bytes of a member's name, of an element's or of an attribute's."""
    total: int = field(default=2**30, validator=ge(1))
    """Bytes of the document, after its content encoding is removed."""
    ratio: int = field(default=200, validator=ge(1))
    """Bytes that one byte with a content encoding may become, on average."""
    counts: typing.Mapping[str, int] = field(factory=dict)
    """For names of `Count` rules: values that may pass."""


class Masker(typing.Protocol):
    """A document on its way: bytes in, bytes out. Pulled, so that the caller can yield between.

    One call of `next_piece` takes some milliseconds at most, whatever the document is. After a
    `DocumentError` each later call raises it again; the caller then must not send the end of the
    answer (no last chunk, no whole content length), so that the client sees that it broke off.
    """

    @property
    def masked(self) -> int:
        """Values that were replaced, rewritten or left out until now."""

    @property
    def received(self) -> int:
        """Bytes of the document that were read until now, without a content encoding."""

    @property
    def counts(self) -> typing.Mapping[str, int]:
        """Values that were counted until now, by the name of their `Count` rules."""

    def receive_data(self, data: bytes) -> None:
        """Store what came. Nothing is read yet, so it raises nothing.

        What is stored is not bounded here: pull until `next_piece` gives None before more is read.
        """

    def receive_end(self) -> None:
        """Note that nothing follows."""

    def next_piece(self) -> bytes | None:
        """Give what is to be sent next, maybe nothing.

        None if more bytes are needed; after `receive_end`, None if the document was whole, and is
        sent whole.

        Raises:
            DocumentError: it cannot be masked, or is beyond a limit.

        """
