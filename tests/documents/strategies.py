"""Documents and rules to draw from."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hoopgw.documents.detectors import DETECTORS
from hoopgw.documents.rules import (
    Count,
    Detect,
    Drop,
    Mask,
    MaskStrings,
    Rewrite,
    Rule,
    Treatment,
)
from hoopgw.masking import KINDS
from tests.documents.reference import Members, Number

NAMES = ("a", "b", "secret", "Secret", "value", "é", "K", "k", "\u212a", "x.y", "")
PATH_STEPS = (".a", ".b", ".secret", ".value", "['x.y']", "['é']", ".k", ".*", "[*]", ".**")
TEXTS = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig-_",
    "mail to alice@example.com now",
    "4111 1111 1111 1111",
    "https://x.blob.core.windows.net/c?sv=1&sig=abc%2Bdef&se=2",
    'tab\t "quoted" \\ back',
    "\U0001f600\u2028é\x7f",
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(TEXTS)
names = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
numbers = st.builds(
    Number,
    st.integers().map(str)
    | st.sampled_from(["-0", "1.50", "1e5", "-1E-05", "0.1e+10", "4111111111111111", "1" * 300]),
)
scalars = st.none() | st.booleans() | numbers | texts
documents: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(names, inner), max_size=4).map(lambda pairs: Members(tuple(pairs)))
    ),
    max_leaves=12,
)

paths = st.lists(st.sampled_from(PATH_STEPS), max_size=4).map(lambda steps: "$" + "".join(steps))
kinds = st.sampled_from(sorted(KINDS))
detectors = st.lists(st.sampled_from(sorted(DETECTORS)), min_size=1, max_size=3, unique=True)
treatments: st.SearchStrategy[Treatment] = st.one_of(
    st.builds(Mask, kinds),
    st.builds(MaskStrings, kinds, st.booleans()),
    st.just(Drop()),
    st.builds(Detect, detectors.map(tuple), kinds),
    st.just(Rewrite()),
    st.builds(Count, st.sampled_from(["one", "two"])),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Draw a rule."""
    treatment, path = draw(treatments), draw(paths)
    kept = draw(st.lists(paths.filter(lambda each: each != "$"), max_size=2))
    if isinstance(treatment, Drop) and set(path) <= set("$.*"):
        path = "$.a"  # the document itself cannot be left out
    spared = draw(st.lists(paths.filter(lambda each: each != "$"), max_size=2))
    return Rule(path, treatment, tuple(kept), tuple(spared))


rule_lists = st.lists(rules(), max_size=4)


def write(value: Any, chance: random.Random) -> str:
    """Write a value as JSON, with space and escapes anywhere that they may be."""

    def space() -> str:
        return chance.choice(["", "", "", " ", "\n", "\t \r"])

    def text(value: str) -> str:
        return '"' + "".join(escaped(character, chance) for character in value) + '"'

    def joined(parts: list[str], brackets: str) -> str:
        return brackets[0] + space() + (space() + "," + space()).join(parts) + space() + brackets[1]

    return _write(value, lambda inner: write(inner, chance), text, joined, space)


def _write(
    value: Any,
    inner: Callable[[Any], str],
    text: Callable[[str], str],
    joined: Callable[[list[str], str], str],
    space: Callable[[], str],
) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return joined([inner(each) for each in value], "[]")
    if isinstance(value, Members):
        pairs = [text(n) + space() + ":" + space() + inner(each) for n, each in value.pairs]
        return joined(pairs, "{}")
    return json.dumps(value)


def escaped(character: str, chance: random.Random) -> str:
    """Write a character of a string, in one of its forms."""
    short = json.dumps(character)[1:-1]
    if chance.random() < 0.1:
        units = character.encode("utf-16-be").hex(" ", 2).split()
        return "".join(f"\\u{chance.choice([unit, unit.upper()])}" for unit in units)
    if character in '"\\' or character < " ":
        return short
    return chance.choice([character, character, character, short])


@st.composite
def cuts(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """Draw how bytes are cut on their way."""
    places = draw(st.lists(st.integers(0, len(whole)), max_size=6).map(sorted))
    if draw(st.integers(0, 9)) == 0:
        return [whole[at : at + 1] for at in range(len(whole))]
    return [whole[a:b] for a, b in itertools.pairwise([0, *places, len(whole)])]
