"""What is masked in a stream: named detectors, an operator's patterns, fixed texts.

Rules are compiled once and shared by all channels that they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from attrs import field, frozen
from attrs.validators import in_

from hoopgw.documents.detectors import DETECTORS
from hoopgw.errors import PolicyError
from hoopgw.masking import KINDS
from hoopgw.streams.mask_finding import Finder, quickest
from hoopgw.streams.mask_patterns import Pattern, literal
from hoopgw.streams.mask_views import Parter, quickest_parter

RULES: Final = 200
"""Rules of one stream."""
STANDARD: Final = (
    "aws_key",
    "github_token",
    "slack_token",
    "jwt",
    "private_key",
    "connection_string",
    "ssn",
    "card",
    "email",
)
"""The detectors that are meant for what programs print."""


@frozen(eq=False)
class Rule:
    """One kind of secret, and what is shown in its place."""

    name: str
    pattern: Pattern
    kind: str = field(default="redact", validator=in_(KINDS))
    accept: Callable[[str], bool] | None = field(default=None, repr=False)
    """Looks at what was found a second time."""


def detected(name: str, kind: str = "redact") -> Rule:
    """Return the rule of a detector of `hoopgw.documents.detectors`.

    Raises:
        PolicyError: there is none of that name.

    """
    detector = DETECTORS.get(name)
    if detector is None:
        raise PolicyError(f"detector {name!r} is none of {', '.join(sorted(DETECTORS))}")
    return Rule(name, _pattern(detector.stream), kind, detector.accept)


def of_pattern(name: str, source: str, kind: str = "redact") -> Rule:
    """Return the rule of an operator's pattern: a regular expression, see `Pattern`.

    Raises:
        PolicyError: it is none, or none that a stream can be searched for.

    """
    return Rule(name, _pattern(source), kind)


def of_literal(name: str, text: bytes, kind: str = "redact") -> Rule:
    """Return the rule of one fixed text.

    Raises:
        PolicyError: it is empty, or too long.

    """
    return Rule(name, literal(text), kind)


@lru_cache(1024)
def _pattern(source: str) -> Pattern:
    return Pattern(source)


@frozen(eq=False)
class Rules:
    """Rules as streams are searched for them.

    Args:
        rules: in any order; where two find the same, what shows less is shown.
        key: of masks that are tokens.
        finder: makes what looks for the patterns' fixed texts; the quickest there is, by itself.

    Raises:
        PolicyError: they are too many.

    """

    rules: tuple[Rule, ...]
    key: bytes = field(default=b"", repr=False)
    finder: Callable[[tuple[bytes, ...]], Finder] = field(default=quickest, repr=False)
    part: Parter = field(factory=quickest_parter, repr=False)
    """Reads what has escape sequences."""
    anchored: Finder = field(init=False, repr=False)
    uses: tuple[tuple[tuple[int, int], ...], ...] = field(init=False, repr=False)
    """For each fixed text that is looked for, the rules that it is for, and how far behind the
    beginning of a match it may be."""
    beginnings: Mapping[bytes, tuple[int, ...]] = field(init=False, repr=False)
    """What fixed texts begin with, to the rules whose matches they would begin."""
    longest_beginning: int = field(init=False)
    late: tuple[tuple[int, int], ...] = field(init=False)
    """Rules whose fixed text is not at the beginning, and how far behind it ends."""
    unanchored: tuple[int, ...] = field(init=False)
    """Rules without a fixed text."""

    def __attrs_post_init__(self) -> None:
        if len(self.rules) > RULES:
            raise PolicyError(f"{len(self.rules)} patterns for one stream; {RULES} is most")
        uses, beginnings = dict[bytes, list[tuple[int, int]]](), dict[bytes, list[int]]()
        late = dict[int, int]()
        for number, rule in enumerate(self.rules):
            for anchor in rule.pattern.anchors:
                uses.setdefault(anchor.text, []).append((number, anchor.back))
                if anchor.back:
                    late[number] = max(late.get(number, 0), anchor.back + len(anchor.text))
                    continue
                for size in range(1, len(anchor.text)):
                    beginnings.setdefault(anchor.text[:size], []).append(number)
        put = object.__setattr__
        put(self, "anchored", self.finder(tuple(uses)))
        put(self, "uses", tuple(tuple(each) for each in uses.values()))
        put(self, "beginnings", {text: tuple(dict.fromkeys(n)) for text, n in beginnings.items()})
        put(self, "longest_beginning", max(map(len, beginnings), default=0))
        put(self, "late", tuple(late.items()))
        put(self, "unanchored", tuple(n for n, r in enumerate(self.rules) if not r.pattern.anchors))


def standard(kind: str = "redact", names: Iterable[str] = STANDARD) -> tuple[Rule, ...]:
    """Return the rules of the detectors that are meant for streams."""
    return tuple(detected(name, kind) for name in names)
