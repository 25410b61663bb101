"""What masking must give, written as plainly as can be: a recursion over what ``json.loads`` reads.

It shares no code with the masker but the mask kinds and the detectors themselves; above all it
matches each path by itself, without an automaton.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen

from hoopgw.documents.detectors import DETECTORS
from hoopgw.documents.limits import Masker
from hoopgw.documents.paths import Step, Wild, parse_path
from hoopgw.documents.rules import (
    Count,
    Detect,
    Drop,
    Mask,
    MaskStrings,
    Refuse,
    Rewrite,
    Rule,
)
from hoopgw.masking import mask_text, plain_kind, token_integer

KEY: Final = b"k" * 32
ORDER: Final = ("null", "redact", "year", "hash", "email", "last4")
ELEMENT: Final = object()
"""A step of a value's own path that is no name."""


@frozen
class Number:
    """A number as it was written."""

    text: str


@frozen
class Members:
    """An object, with members that are there twice."""

    pairs: tuple[tuple[str, Any], ...]


def read(text: str | bytes) -> Any:
    """Read JSON, keeping what ``json.loads`` would lose."""

    def constant(name: str) -> Any:
        raise ValueError(name)

    return json.loads(
        text,
        parse_int=Number,
        parse_float=Number,
        parse_constant=constant,
        object_pairs_hook=lambda pairs: Members(tuple(pairs)),
    )


def matches(steps: Sequence[Step], path: Sequence[object], fold: bool) -> bool:
    """Say whether a rule's path names a value, by trying everything."""
    if not steps:
        return not path
    first, rest = steps[0], steps[1:]
    if first is Wild.DEEP:
        return any(matches(rest, path[taken:], fold) for taken in range(len(path) + 1))
    if not path or (first is Wild.ELEMENT) != (path[0] is ELEMENT):
        return False
    if isinstance(first, str) and fold:
        fits = first.casefold() == str(path[0]).casefold()
    else:
        fits = isinstance(first, Wild) or first == path[0]
    return fits and matches(rest, path[1:], fold)


class Reference:
    """Masks what was read."""

    def __init__(
        self, rules: Sequence[Rule], fold: bool, rewrite: Callable[[str, str], str]
    ) -> None:
        self._rules = rules
        self._fold = fold
        self._rewrite = rewrite
        self.counts: dict[str, int] = {}

    def mask(self, value: Any, path: tuple[object, ...] = ()) -> Any:
        """Return what stands for a value; the `Drop` class for one that is left out."""
        treatments = [each.treatment for each in self._rules if self._is_for(each, path)]
        if any(isinstance(one, Drop) for one in treatments):
            return Drop
        if any(isinstance(one, Refuse) for one in treatments):
            raise ValueError("refused")
        for name in {one.name for one in treatments if isinstance(one, Count)}:
            self.counts[name] = self.counts.get(name, 0) + 1
        if isinstance(value, Members | list):
            whole = self._kind(treatments, Mask)
            return self._inside(value, path) if whole is None else nothing_of(whole, value)
        if isinstance(value, str):
            return self._string(value, path, treatments)
        numeric = [one for one in treatments if not isinstance(one, MaskStrings) or one.numbers]
        kind = self._kind(numeric, Mask, MaskStrings)
        if isinstance(value, Number) and kind is None:
            kind = found_in_number(treatments, value.text)
        return value if kind is None or value is None else scalar(kind, value)

    def _is_for(self, rule: Rule, path: tuple[object, ...]) -> bool:
        deep = (Wild.DEEP,) if isinstance(rule.treatment, MaskStrings | Detect) else ()
        if not matches((*parse_path(rule.path), *deep), path, self._fold):
            return False
        spared = any(matches(parse_path(each), path, self._fold) for each in rule.spare)
        return not spared and not self._is_kept(rule, path)

    def _is_kept(self, rule: Rule, path: tuple[object, ...]) -> bool:
        kept = ((*parse_path(each), Wild.DEEP) for each in rule.keep)
        return any(matches(each, path, self._fold) for each in kept)

    def _kind(self, treatments: Sequence[Any], *types: type[Any]) -> str | None:
        kinds = [plain_kind(one.kind) for one in treatments if isinstance(one, types)]
        return min(kinds, key=ORDER.index) if kinds else None

    def _inside(self, value: Any, path: tuple[object, ...]) -> Any:
        if isinstance(value, list):
            shown = [self.mask(each, (*path, ELEMENT)) for each in value]
            return [each for each in shown if each is not Drop]
        pairs, seen = [], set[str]()
        for name, each in value.pairs:
            folded = name.casefold() if self._fold else name
            if folded in seen and self._is_named(path, folded):
                pairs.append((name, repeated(each)))
            else:
                seen.add(folded)
                pairs.append((name, self.mask(each, (*path, name))))
        return Members(tuple(pair for pair in pairs if pair[1] is not Drop))

    def _is_named(self, path: tuple[object, ...], name: str) -> bool:
        """Say whether some rule's path names this member here, and not by a wildcard.

        What a rule keeps counts only where a rule is for something at all, and nothing of a rule
        does below what it keeps.
        """
        rules = [rule for rule in self._rules if not self._is_kept(rule, path)]
        if not any(self._may_go_on(rule, path) for rule in rules):
            return False
        for rule in rules:
            for text in (rule.path, *rule.keep, *rule.spare):
                steps = parse_path(text)
                for at, step in enumerate(steps):
                    if not isinstance(step, str) or not matches(steps[:at], path, self._fold):
                        continue
                    if (step.casefold() if self._fold else step) == name:
                        return True
        return False

    def _may_go_on(self, rule: Rule, path: tuple[object, ...]) -> bool:
        steps = parse_path(rule.path)
        if isinstance(rule.treatment, MaskStrings | Detect):
            steps = (*steps, Wild.DEEP)
        return any(matches(steps[:at], path, self._fold) for at in range(len(steps)))

    def _string(self, text: str, path: tuple[object, ...], treatments: Sequence[Any]) -> Any:
        kind = self._kind(treatments, Mask, MaskStrings)
        if kind is not None:
            return mask_text(kind, text, KEY)
        for one in treatments:
            if isinstance(one, Detect):
                for name in one.detectors:
                    text = DETECTORS[name].replace(text, plain_kind(one.kind), KEY)
        for rule in self._rules:
            if isinstance(rule.treatment, Rewrite) and self._is_for(rule, path):
                text = self._rewrite(rule.path, text)
        return text


def found_in_number(treatments: Sequence[Any], text: str) -> str | None:
    """Return the mask kind of the first detector that finds something."""
    for one in treatments:
        if isinstance(one, Detect):
            for name in one.detectors:
                if DETECTORS[name].replace(text, "redact", b"") != text:
                    return plain_kind(one.kind)
    return None


def scalar(kind: str, value: Any) -> Any:
    """Return what stands for a number, true or false."""
    if isinstance(value, bool):
        return False if kind in ("redact", "year") else None
    if kind in ("redact", "year"):
        return Number("0")
    if kind == "hash" and value.text.lstrip("-").isdigit():
        return Number(str(token_integer(KEY, value.text.encode(), 2**53)))
    return None


def nothing_of(kind: str, value: Any) -> Any:
    """Return what stands for all of a container."""
    if kind == "null":
        return None
    return Members(()) if isinstance(value, Members) else []


def repeated(value: Any) -> Any:
    """Return what stands for a member that is there again."""
    if isinstance(value, str):
        return "***"
    if isinstance(value, Members | list):
        return nothing_of("redact", value)
    return value if value is None else scalar("redact", value)


def run(masker: Masker, pieces: Sequence[bytes]) -> bytes:
    """Send pieces through a masker."""
    out = list[bytes]()
    for piece in pieces:
        masker.receive_data(piece)
        out += iter(masker.next_piece, None)
    masker.receive_end()
    out += iter(masker.next_piece, None)
    assert masker.next_piece() is None
    return b"".join(out)
