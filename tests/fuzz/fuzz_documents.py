"""Documents of each kind, in whatever pieces they come.

Invariant: nothing but `DocumentError` comes out of a masker, and what is taken as JSON is JSON
before and after, and has no strings where all are masked. The plain reader says the same as its
compiled twin.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Final

from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.limits import Limits, Masker
from hoopgw.documents.opening import MaskingOrder, open_document
from hoopgw.documents.rules import Detect, Drop, Mask, MaskStrings, Rewrite, Rule, compile_rules
from hoopgw.errors import DocumentError
from tests.documents.reference import run
from tests.fuzz.pieces import cut

_TYPES: Final = (
    ("application/json", ""),
    ("application/x-ndjson", ""),
    ("text/plain", ""),
    ("text/xml", ""),
    ("application/json", "gzip"),
    ("application/json", "deflate"),
)
_RULES: Final = (
    [Rule("$", MaskStrings("null"))],
    [Rule("**.a", Mask()), Rule("b[*]", Drop()), Rule("**.c", Rewrite())],
    [Rule("value[*].id", Rewrite()), Rule("$", Detect(("jwt", "sas", "card"), "hash"))],
    [Rule("*", MaskStrings("last4", numbers=True), keep=("a",))],
)
_COMPILED: Final = tuple(compile_rules(rules, fold_case=True) for rules in _RULES)
_JSON: Final = b'{"a":"x","b":[1,{"\\u0063":"\\ud83d\\ude00"}],"A":null,"value":[{"id":"sig=1"}]}'
SEEDS: Final = (
    b"\x02\x10\x30\x00" + _JSON,
    b"\x01\x11\x06" + _JSON,
    b"\x00\x0c" + b'[-1.5e+3, true, "4111111111111111", ["eyJhbGciOiJIUzI.eyJzdWIiOiJhIn0."]]',
    b"\x00\x01" + b'{"a":1}\n{"b":["x"]}\r\n\n"c"',
    b"\x00\x02some sig=text",
    b'\x01\x09\x03<?xml version="1.0"?><a b="c">d<e/><![CDATA[x]]></a>',
    b"\x01\x08\x04" + gzip.compress(_JSON, mtime=0),
)


def fuzz(data: bytes) -> None:
    """Mask what the pieces are; their first byte says how."""
    body, pieces = cut(data)
    if not body:
        return
    choice, body = body[0], body[1:]
    content_type, coding = _TYPES[choice % len(_TYPES)]
    rules = _COMPILED[choice // len(_TYPES) % len(_COMPILED)]
    limits = Limits(depth=20, text=200, name=300, total=2**20)
    order = MaskingOrder(rules=rules, key=b"k", rewrite=lambda path, text: text, limits=limits)
    document = open_document(order, content_type, coding)
    first = next(index for index, piece in enumerate(pieces) if piece)
    pieces[first] = pieces[first][1:]
    out = _masked(document, pieces)
    if isinstance(document.masker, JsonMasker) and not coding:
        plain = JsonMasker(
            rules=rules,
            key=order.key,
            rewrite=order.rewrite,
            limits=limits,
            lines=document.masker.lines,
            plain=True,
        )
        assert _masked(plain, pieces) == out
        assert out is None or plain.masked == document.masked
    if out is None:
        return
    if content_type == "application/json" and body:
        shown = json.loads(out) if out else None
        if not coding:
            assert type(shown) is type(json.loads(body)) or shown in (None, "****", "{}")
        if rules is _COMPILED[0]:
            assert not any(_strings(shown)), shown


def _masked(masker: Masker, pieces: Sequence[bytes]) -> bytes | None:
    try:
        return run(masker, pieces)
    except DocumentError:
        return None


def _strings(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for each in value for text in _strings(each)]
        case dict():
            return [text for each in value.values() for text in _strings(each)]
    return []
