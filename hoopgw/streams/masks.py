"""Masks a stream while it comes: what a command prints, what a terminal is shown.

A `StreamMask` opens nothing and has no clock. It passes on what cannot become a secret any more,
and keeps back what can, of bounded length; so whatever pieces a stream comes in, what goes on is
the same, but for what silence lets go:

- After `QUIET` seconds without more, what might only be how a secret begins (a part of a fixed
  text; a word, for e-mail addresses) is shown, and what is a secret, but might go on, is masked.
- After `PATIENCE` seconds, what has begun as a secret and is none yet is shown.
- What repeats just what the client has typed waits for neither, so that typing is not delayed.

What was shown so still counts: if a secret comes of it, the rest of that is masked. A prompt
(``password:``) is not a part of the secret, and is shown at once.

It is a second net, and no proof: what a program encodes (base64, hexadecimal), spells, draws in
some order of its own or prints slowly on purpose passes. See `hoopgw.streams.mask_views` for what
escape sequences can and cannot hide. What is not masked passes as it came, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Protocol

from attrs import define, field

from hoopgw.documents.automaton import stronger
from hoopgw.masking import mask_text
from hoopgw.streams.mask_patterns import BEHIND
from hoopgw.streams.mask_rules import Rules
from hoopgw.streams.mask_search import Found, Search, Span, Stay
from hoopgw.streams.mask_views import (
    CONTROL_STRINGS,
    Reading,
    View,
    column_after,
    escapes,
    read,
    without_escapes,
)

QUIET: Final = 0.02
"""Seconds."""
PATIENCE: Final = 1.0
"""Seconds."""
KEPT: Final = 64 * 2**10
"""Bytes that are kept back at most. What is longer, by escape sequences, is masked."""
TYPED: Final = 1024
"""Bytes that the client typed and that were not repeated yet, at most."""
REDACTED: Final = "***"
_CONTEXT: Final = 16 * 2**10
"""Bytes before what is kept back that are remembered, at most."""
_LONG: Final = 2 * 2**10
"""Bytes from which what is kept is not looked at again for each byte that comes: whoever sends the
smallest pieces would else have all of it searched for each of them."""
_SHARE: Final = 8
"""It is looked at when so much of it is new, or after `QUIET`."""
_FED: Final = Stay.BRIEFLY
_TYPED: Final = Stay.WHOLE
_QUIET: Final = Stay.LONG
_OVER: Final = Stay.LONG + 1


class OutputMask(Protocol):
    """Masks one stream."""

    @property
    def masked(self) -> int:
        """Secrets that were masked until now."""
        ...

    @property
    def wait(self) -> float | None:
        """Seconds of silence after which `let_go` is to be called; None if nothing is kept."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what may go on."""
        ...

    def let_go(self) -> bytes:
        """Return what is not to be kept any longer; `wait` says whether to come again."""
        ...

    def rest(self) -> bytes:
        """Return what is left at the end. Nothing is fed after that."""
        ...

    def typed(self, data: bytes) -> None:
        """Take note of what the client has sent."""
        ...

    def resize(self, columns: int) -> None:
        """Take note of the terminal's width; 0 is no terminal."""
        ...


@define(eq=False)
class StreamMask:
    """Masks one stream by rules. An `OutputMask`."""

    rules: Rules
    columns: int = 0
    """The terminal's width, if there is one."""
    counts: Counter[str] = field(factory=Counter, init=False)
    """Secrets that were masked until now, by the name of the rule."""
    wait: float | None = field(default=None, init=False)
    """See `OutputMask`."""
    _raw: bytes = field(default=b"", init=False, repr=False)
    """What is kept back, and before that what is needed to understand it."""
    _shown: int = field(default=0, init=False)
    """How much of that has gone on, or was masked."""
    _unseen: int = field(default=0, init=False)
    """How much has come since it was searched."""
    _masked_to: int = field(default=-1, init=False)
    """Where the last mask's secret ended, if that is where it stands."""
    _next: list[list[int]] = field(init=False, repr=False)
    """For each view and rule where its next match may begin."""
    _column: int = field(default=0, init=False)
    _typed: bytes = field(default=b"", init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._next = [[0] * len(self.rules.rules) for _ in range(2)]

    @property
    def masked(self) -> int:
        """Secrets that were masked until now."""
        return self.counts.total()

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what may go on."""
        if not data or not self.rules.rules:
            return data
        self._raw = self._raw + data if self._raw else data
        self._unseen += len(data)
        is_echo = self._is_echo(data)
        if len(self._raw) > max(_LONG, self._unseen * _SHARE):
            self.wait = QUIET
            return b""
        return self._go_on(_TYPED if is_echo else _FED)

    def let_go(self) -> bytes:
        """Return what silence lets go: first after `QUIET`, then after `PATIENCE`."""
        return self._go_on(_OVER if self.wait == PATIENCE else _QUIET)

    def rest(self) -> bytes:
        """Return what is left at the end."""
        return self._go_on(_OVER)

    def typed(self, data: bytes) -> None:
        """Take note of what the client has sent: it is no secret to who typed it."""
        self._typed = (self._typed + data)[-TYPED:]

    def resize(self, columns: int) -> None:
        """Take note of the terminal's width."""
        self.columns = columns

    def _is_echo(self, data: bytes) -> bool:
        if not self._typed:
            return False
        if self._typed.startswith(data):
            self._typed = self._typed[len(data) :]
            return True
        self._typed = b""
        return False

    def _go_on(self, least: int) -> bytes:
        """Return what may go on; what stays for a lesser reason than ``least`` is not kept."""
        size, self._unseen = len(self._raw), 0
        reading = read(
            self._raw, self.rules.part, self.columns, self._column, is_all=least >= _OVER
        )
        founds = [
            Search(self.rules, view, [view.place(at) for at in places]).run()
            for view, places in zip(reading.views, self._next, strict=False)
        ]
        spans = [span for found in founds for span in found.spans]
        spans += self._in_strings(reading)
        stop = keep = size if reading.unfinished < 0 else reading.unfinished
        if least >= _QUIET and self._raw[stop + 1 : stop + 2] not in CONTROL_STRINGS:
            stop = size
        for pending in (each for found in founds for each in found.pending):
            keep = min(keep, pending.begin)
            if pending.stay >= least:
                stop = min(stop, pending.start)
            elif pending.span is not None:
                spans.append(pending.span)
        stop = max(stop, self._shown)
        if size - stop > KEPT:
            spans.append(Span(stop, size, 0, b""))
            stop = keep = size
        shown = self._show(_clusters(spans), stop)
        self._forget(reading, founds, keep)
        self.wait = None if not self._kept else PATIENCE if least >= _QUIET else QUIET
        return shown

    @property
    def _kept(self) -> int:
        return len(self._raw) - self._shown

    def _in_strings(self, reading: Reading) -> list[Span]:
        """Search the texts of titles and links, each by itself."""
        found = list[Span]()
        for start, end in reading.strings:
            view = View(self._raw[start:end])
            inside = Search(self.rules, view, [0] * len(self.rules.rules)).run()
            spans = inside.spans + [each.span for each in inside.pending if each.span is not None]
            found += [Span(s.start + start, s.end + start, s.rule, s.value) for s in spans]
        return found

    def _show(self, clusters: list[list[Span]], stop: int) -> bytes:
        """Return what is shown up to a place, which is sooner if a secret is not there in whole."""
        pieces, at, raw = list[bytes](), self._shown, self._raw
        for cluster in clusters:
            start, end = cluster[0].start, max(span.end for span in cluster)
            if end <= at:
                continue
            if end > stop:
                if start >= at:
                    stop = min(stop, start)
                    break
                stop = end  # some of it was shown before: what there is of the rest is masked
            if start >= at or at != self._masked_to:
                pieces += (raw[at : max(start, at)], self._mask(cluster, start, end))
            pieces.append(escapes(raw[max(start, at) : end]))
            at = self._masked_to = end
        pieces.append(raw[at:stop])
        self._shown = max(at, stop)
        return b"".join(pieces)

    def _mask(self, cluster: list[Span], start: int, end: int) -> bytes:
        """Return what stands for a secret, or for several that overlap."""
        kind: str | None = None
        for span in cluster:
            rule = self.rules.rules[span.rule]
            kind = stronger(kind, rule.kind)
        self.counts[self.rules.rules[cluster[0].rule].name] += 1
        one = len({(span.start, span.end) for span in cluster}) == 1
        value = cluster[0].value if one else without_escapes(self._raw[start:end])
        shown = mask_text(
            kind or "redact", value.decode("utf-8", "surrogateescape"), self.rules.key
        )
        text = REDACTED if shown is None else shown
        return text.encode("utf-8", "surrogateescape")

    def _forget(self, reading: Reading, founds: list[Found], keep: int) -> None:
        """Forget what is not needed to understand what comes next."""
        for rule, begin, end in (each for found in founds for each in found.matches):
            if end > self._shown:
                keep = min(keep, begin)
            else:
                for places in self._next:
                    places[rule] = max(places[rule], end)
        for places in self._next:  # what begins before was looked at
            places[:] = [max(place, keep) for place in places]
        keep = min(keep, self._shown)
        cut = min(view.start(max(0, view.place(keep) - BEHIND)) for view in reading.views)
        cut = min(cut, keep)
        if len(self._raw) - cut > KEPT + _CONTEXT:
            cut = self._shown  # sequences without end: what was before them is not known any more
        if self.columns:
            view = reading.views[0]
            self._column = column_after(view.text[: view.place(cut)], self._column)
        self._raw = self._raw[cut:]
        self._shown -= cut
        self._masked_to -= cut
        for places in self._next:
            places[:] = [max(0, place - cut) for place in places]


@define(eq=False)
class Withheld:
    """Shows nothing of a stream but, once there is something, why. An `OutputMask`."""

    notice: bytes
    masked: int = field(default=0, init=False)
    wait: float | None = field(default=None, init=False)
    """Never: nothing is let go."""

    def feed(self, data: bytes) -> bytes:
        """Return the notice, at first."""
        if not data or self.masked:
            return b""
        self.masked = 1
        return self.notice

    def let_go(self) -> bytes:
        """Return nothing."""
        return b""

    def rest(self) -> bytes:
        """Return nothing."""
        return b""

    def typed(self, data: bytes) -> None:
        """Do nothing."""

    def resize(self, columns: int) -> None:
        """Do nothing."""


def _clusters(spans: list[Span]) -> list[list[Span]]:
    """Return secrets in order; those that overlap are one."""
    found = list[list[Span]]()
    end = -1
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if span.start < end:
            found[-1].append(span)
        else:
            found.append([span])
        end = max(end, span.end)
    return found
