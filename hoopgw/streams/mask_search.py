"""What is found in one text of a stream: secrets, and what may become one with what comes next."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from hoopgw.streams.mask_patterns import BEHIND, FOLD
from hoopgw.streams.mask_rules import Rule, Rules
from hoopgw.streams.mask_views import Text

NOWHERE: Final = 1 << 62
"""Where what is masked begins, if nothing of it is there yet."""


class Stay(enum.IntEnum):
    """Why something at the end of a text is kept back, by how long it may be."""

    BRIEFLY = 1
    """It might be how a secret begins; no part of a fixed text, or a part of it only, is there."""
    WHOLE = 2
    """It is a secret, which may go on."""
    LONG = 3
    """A secret has begun: its fixed text is there, and some of what follows that."""


@frozen
class Span:
    """A secret, by its place in the stream."""

    start: int
    end: int
    rule: int
    value: bytes = field(repr=False)


@frozen
class Pending:
    """What may become a secret, or more of one."""

    begin: int
    """From here on the stream must be known to say what becomes of it."""
    start: int
    """From here on it would be masked; what is before may be shown."""
    stay: Stay
    span: Span | None = None
    """What it is as yet, of a whole one."""


@define(eq=False)
class Found:
    """What is in one text."""

    spans: list[Span] = field(factory=list)
    pending: list[Pending] = field(factory=list)
    matches: list[tuple[int, int, int]] = field(factory=list)
    """For each match that is one, whatever comes: the rule, where it begins and where it ends."""


@define(eq=False)
class Search:
    """Searches one text for all rules."""

    rules: Rules
    view: Text
    next: list[int]
    """For each rule where in the text its next match may begin."""
    found: Found = field(factory=Found)

    def run(self) -> Found:
        """Search; called once."""
        rules, text = self.rules, self.view.text
        for place, number in rules.anchored.find(text):
            for rule, back in rules.uses[number]:
                if place >= self.next[rule]:
                    self._try(rule, place, back)
        for rule in rules.unanchored:
            self._all(rule)
        self._beginnings()
        return self.found

    def _try(self, number: int, place: int, back: int) -> None:
        """Look for a match that has its fixed text at a place."""
        rule, text = self.rules.rules[number], self.view.text
        pattern, size = rule.pattern, len(text)
        open_ended = size - place <= pattern.longest + BEHIND
        if not back:
            match = pattern.full.match(text, place)
            part = pattern.partial.match(text, place) if open_ended else None
        else:
            start = max(self.next[number], place - back)
            match = pattern.full.search(text, start, place + pattern.longest + BEHIND)
            part = pattern.partial.search(text, start) if open_ended else None
            match = None if match is None or match.start() > place else match
            part = None if part is None or part.start() > place else part
        self._note(number, rule, match, part)

    def _all(self, number: int) -> None:
        """Look for all matches of a rule without a fixed text."""
        rule, text = self.rules.rules[number], self.view.text
        pattern = rule.pattern
        part = pattern.partial.search(
            text, max(self.next[number], len(text) - pattern.longest - BEHIND)
        )
        for match in pattern.full.finditer(text, self.next[number]):
            same = part is not None and part.start() == match.start()
            self._note(number, rule, match, part if same else None)
            if same:
                return
        if part is not None and part.start() >= self.next[number]:
            self._note(number, rule, None, part, Stay.BRIEFLY)

    def _note(
        self,
        number: int,
        rule: Rule,
        match: re.Match[bytes] | None,
        part: re.Match[bytes] | None,
        stay: Stay = Stay.LONG,
    ) -> None:
        span = None if match is None else self._span(number, rule, match)
        if part is not None:
            whole = span if match is not None and match.start() == part.start() else None
            self._keep(rule, part, stay if whole is None else Stay.WHOLE, whole)
            if whole is not None and match is not None:
                self.next[number] = match.end()
                return
        if match is not None:
            self.next[number] = match.end()
            self.found.matches.append(
                (number, self.view.start(match.start()), self.view.end(match.end()))
            )
            if span is not None:
                self.found.spans.append(span)

    def _span(self, number: int, rule: Rule, match: re.Match[bytes]) -> Span | None:
        if rule.accept is not None and not rule.accept(match.group().decode("latin-1")):
            return None
        start, end = match.span(match.lastgroup or 0)
        view = self.view
        return Span(view.start(start), view.end(end), number, view.text[start:end])

    def _keep(self, rule: Rule, part: re.Match[bytes], stay: Stay, span: Span | None) -> None:
        begin = self.view.start(part.start())
        if rule.pattern.has_group:
            places = [
                place for place in map(part.start, range(1, part.re.groups + 1)) if place >= 0
            ]
            if not places or min(places) == part.end():
                start = NOWHERE
            else:
                start = self.view.start(min(places))
        else:
            start = begin
        self.found.pending.append(Pending(begin, start, stay, span))

    def _beginnings(self) -> None:
        """Look at the end for what a fixed text may begin with."""
        rules, text = self.rules, self.view.text
        size = len(text)
        for number, before in self._begun():
            rule = rules.rules[number]
            part = rule.pattern.partial.search(text, max(self.next[number], size - before))
            if part is not None:
                self._keep(rule, part, Stay.BRIEFLY, None)

    def _begun(self) -> Iterator[tuple[int, int]]:
        """Give rules of which a match may have begun, and how far before the end it did at most."""
        yield from self.rules.late
        end = self.view.text[-self.rules.longest_beginning :] if self.rules.beginnings else b""
        folded = end.translate(FOLD)
        for size in range(len(folded), 0, -1):
            for number in self.rules.beginnings.get(folded[-size:], ()):
                yield number, size
