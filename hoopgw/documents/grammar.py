"""JSON's grammar (RFC 8259) as regular expressions over bytes.

All repetitions are possessive, so that each takes time linear in what it reads, whether it matches
or not. Bytes of strings are not checked to be UTF-8 here; the reader does that. A lone surrogate is
no string here: what it stands for differs between readers (RFC 8259, section 8.2).

A *run* is a stretch of members or elements about which nothing has to be decided. It is read by one
call of ``match``, which is what makes plain Python fast enough: the work in Python is for what
rules are for, not for each token.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from attrs import define, field

from hoopgw.documents.automaton import DEAD, NOTHING, Effect, State, hints, names_pattern

DIGITS: Final = 400
"""Digits that each part of a number may have."""
NUMBER_LIMIT: Final = 3 * DIGITS + 4
NESTED: Final = 4
"""Levels of containers that a run reads at once."""
_PLAIN_NAME: Final = 256
"""Bytes of a name in a run; longer ones are read one by one."""

_SPACE: Final = rb"[ \t\n\r]*+"
_HEX: Final = rb"[0-9A-Fa-f]"
_BODY: Final = rb'[^"\\\x00-\x1f]*+'
_PAIR: Final = rb"[dD][89abAB]%(h)b{2}\\u[dD][c-fC-F]%(h)b{2}" % {b"h": _HEX}
_ESCAPE: Final = rb'\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CefEF]%(h)b{3}|[dD][0-7]%(h)b{2}|%(pair)b))' % {
    b"h": _HEX,
    b"pair": _PAIR,
}
_TEXT: Final = rb"%b(?:%b%b)*+" % (_BODY, _ESCAPE, _BODY)
_STRING: Final = b'"' + _TEXT + b'"'
_NUMBER: Final = (
    rb"-?+(?:0|[1-9][0-9]{0,%(n)d}+)(?:\.[0-9]{1,%(n)d}+)?+(?:[eE][-+]?+[0-9]{1,%(n)d}+)?+"
    rb"(?![0-9.eE+-])" % {b"n": DIGITS - 1}
)
_LITERAL: Final = b"(?:true|false|null)"
_SCALAR: Final = b"(?:" + _STRING + b"|" + _LITERAL + b"|" + _NUMBER + b")"
_END: Final = rb"(?=[ \t\n\r,\]}])"

SPACE: Final = re.compile(_SPACE)
TOKEN: Final = re.compile(
    rb"%b(?:([{}\[\],:])|(%b)|(%b)%b|(%b)%b)" % (_SPACE, _STRING, _NUMBER, _END, _LITERAL, _END)
)
"""One token, after space. Groups: punctuation, string, number, literal."""
NAME: Final = re.compile(rb"%b(%b)(?:%b(:))?+" % (_SPACE, _STRING, _SPACE))
"""A member's name, and the colon if it is there."""
PUNCTUATION, STRING, NUMBER, LITERAL = 1, 2, 3, 4
BODY: Final = re.compile(_TEXT)
"""What is in a string, as far as it is there."""
OPEN_ESCAPE: Final = re.compile(
    rb"\\(?:u(?:%(h)b{0,3}|[dD][89abAB]%(h)b{2}(?:\\(?:u(?:[dD](?:[c-fC-F]%(h)b?)?)?)?)?)?)?"
    % {b"h": _HEX}
)
"""The beginning of an escape whose rest did not come yet."""
OPEN_NUMBER: Final = re.compile(rb"[-+.0-9eE]{1,%d}" % NUMBER_LIMIT)
OPEN_LITERALS: Final = frozenset(
    word[:end] for word in (b"true", b"false", b"null") for end in range(1, len(word) + 1)
)


def _value(levels: int) -> bytes:
    """Return the grammar of values with so many levels of containers."""
    if levels == 0:
        return _SCALAR
    inner = _value(levels - 1)
    parts = {b"s": _SPACE, b"name": _STRING, b"value": inner}
    return (
        rb"(?:%(scalar)b"
        rb"|\{%(s)b(?:%(name)b%(s)b:%(s)b%(value)b%(s)b(?:,%(s)b(?=\x22)|(?=\})))*+\}"
        rb"|\[%(s)b(?:%(value)b%(s)b(?:,%(s)b(?!\])|(?=\])))*+\])"
    ) % {**parts, b"scalar": _SCALAR}


_MEMBER: Final = rb'%b"[^"\\\x00-\x1f]{0,%d}+"%b:%b%%(value)b%b,' % (
    *(_SPACE, _PLAIN_NAME),
    *(_SPACE, _SPACE, _SPACE),
)
_ELEMENT: Final = b"%b%%(value)b%b," % (_SPACE, _SPACE)


@cache
def _run(shape: bytes, levels: int) -> re.Pattern[bytes]:
    """Compile a run; the deep ones take some 20 ms, and are the same for all rules."""
    return re.compile(b"(?:" + shape % {b"value": _value(levels)} + b")*+")


@define(eq=False)
class Runs:
    """The runs of a state: in its object, and in its array."""

    members: re.Pattern[bytes] | None
    elements: re.Pattern[bytes] | None
    hints: tuple[re.Pattern[bytes], ...] = ()
    """What the runs must not reach: detectors have to look at it. For bytes in small letters."""


def runs_of(state: State) -> Runs:
    """Return the runs for the members and elements of a state."""
    if _is_searched(state):
        return Runs(
            _run(_MEMBER, NESTED),
            _run(_ELEMENT, NESTED),
            tuple(re.compile(hint.encode()) for hint in hints(state.effect)),
        )
    members = elements = None
    if state is DEAD:
        members = _run(_MEMBER, NESTED)
    elif not state.drops_members and state.other.effect is NOTHING:
        # What is deeper, or is for a rule, is met one by one.
        known = rb'(?!%b")' % names_pattern(state) if state.names else b""
        shape = rb'%b"%b[^"\\\x00-\x1f\x7f-\xff]{0,%d}+"%b:%b%%(value)b%b,' % (
            *(_SPACE, known.replace(b"%", b"%%"), _PLAIN_NAME),
            *(_SPACE, _SPACE, _SPACE),
        )
        members = _run(shape, int(state.other is DEAD))
    if state.element is DEAD:
        elements = _run(_ELEMENT, NESTED)
    elif state.element.effect is NOTHING:
        elements = _run(_ELEMENT, 0)
    return Runs(members, elements)


def _is_searched(state: State) -> bool:
    """Say whether detectors, and nothing else, are for all that is below."""
    effect = state.effect
    return state.is_uniform and bool(effect.detectors) and effect == Effect(effect.detectors)


@define(eq=False)
class RunTable:
    """Keeps the runs of states, made when each is first met; shared by all that use the rules."""

    _runs: dict[State, Runs] = field(factory=dict, init=False)

    def of(self, state: State) -> Runs:
        """Return the runs of a state."""
        found = self._runs.get(state)
        if found is None:
            found = self._runs[state] = runs_of(state)
        return found
