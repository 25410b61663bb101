"""A text without structure, taken as one leaf."""

from __future__ import annotations

from attrs import define, field

from hoopgw.documents.arrivals import fault
from hoopgw.documents.detectors import search
from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import Rules

_REDACTED = b"***"


@define(eq=False, kw_only=True)
class TextMasker:
    """Masks a text in UTF-8 as one leaf: it is held until its end, and put out in one piece.

    Where some rule goes by a path, the text may be what that path would have led to, in another
    form; then nothing of it is shown. Detectors alone show what they do not find.
    """

    rules: Rules
    key: bytes = field(default=b"", repr=False)
    limits: Limits = field(factory=Limits)
    masked: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    counts: dict[str, int] = field(factory=dict, init=False)
    """Of nothing: counts go by path."""
    _held: bytearray = field(factory=bytearray, init=False, repr=False)
    _ended: bool = field(default=False, init=False)
    _done: bool = field(default=False, init=False)

    def receive_data(self, data: bytes) -> None:
        """Store what came; nothing of it, if nothing will be shown."""
        self.received += len(data)
        if self.rules.shows_plain and len(self._held) <= self.limits.text:
            self._held += data
        elif data and not self._held:
            self._held += b"*"  # there was something

    def receive_end(self) -> None:
        """Note that nothing follows."""
        self._ended = True

    def next_piece(self) -> bytes | None:
        """Give the text, once it is whole.

        Raises:
            DocumentError: it is too long, or not UTF-8.

        """
        if len(self._held) > self.limits.text:
            raise fault(f"a text is longer than {self.limits.text} bytes")
        if self.received > self.limits.total:
            raise fault(f"it is longer than {self.limits.total} bytes")
        if self._done or not self._ended:
            return None
        self._done = True
        if not self._held:
            return b""
        if not self.rules.shows_plain:
            self.masked += 1
            return _REDACTED
        try:
            text = self._held.decode("utf-8")
        except UnicodeDecodeError:
            self._done = False
            raise fault("it is not UTF-8") from None
        shown = search(self.rules.start.effect.detectors, text, self.key)
        self.masked += shown != text
        return shown.encode("utf-8")
