"""What masking a JSON document costs, beside reading and writing it whole: no network.

``python -m benchmarks.documents``, best pinned: ``taskset -c 1 python -m benchmarks.documents``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import Progress

from benchmarks.figures import Figure, Section, at_least, at_most, ratios, show
from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.rules import (
    Count,
    Detect,
    Drop,
    Mask,
    MaskStrings,
    Rewrite,
    Rule,
    Rules,
    compile_rules,
)

_ITEMS: Final = 100_000
_SEGMENT: Final = 2**16
_SECRETS: Final = ("jwt", "private_key", "connection_string", "sas")
_WANTED: Final = 30.0
_STALL: Final = 10.0

_RULES: Final[tuple[tuple[str, Rule, bool], ...]] = (
    ("nothing masked", Rule("there.is.none", Mask()), True),
    ("redact of one field an item", Rule("value[*].properties.primaryKey", Mask()), True),
    ("the same by name, anywhere", Rule("**.primaryKey", Mask()), True),
    ("last4 of one field an item", Rule("value[*].properties.primaryKey", Mask("last4")), True),
    ("redact of all strings", Rule("$", MaskStrings()), True),
    ("hash of all strings", Rule("$", MaskStrings("hash")), True),
    ("one member an item left out", Rule("value[*].tags", Drop()), True),
    ("one link an item rewritten", Rule("value[*].id", Rewrite()), True),
    ("items counted", Rule("value[*]", Count("items")), True),
    ("secrets detected, none there", Rule("$", Detect(_SECRETS)), True),
)

_HOSTILE: Final[tuple[tuple[str, bytes], ...]] = (
    ("deep nesting", b"[" * 100 + b"]" * 100 + b","),
    ("tiny arrays", b"[],"),
    ("tiny members", b"{" + b'"":0,' * 50 + b'"":0},'),
    ("escapes everywhere", b'{"\\u0061\\n":"\\ud83d\\ude00\\u0041"},'),
    ("repeated members", b'{"a":"x","a":"x","a":"x"},'),
    ("hints of secrets everywhere", b'"@@==eyJ 4111 1111 pwd=",'),
)
_ALL: Final = (Rule("**.a", Mask("last4")), Rule("$", Detect((*_SECRETS, "email", "card"))))


def document(items: int) -> bytes:
    """Return a list as Resource Manager would give it, 400 bytes an item."""
    account = "/subscriptions/0f5a3c1e-9d2b-4b7f-8a61-5c0e7d9b2f34/resourceGroups/rg%d/providers/"
    value = [
        {
            "id": account % number + f"Microsoft.Storage/storageAccounts/account{number}",
            "name": f"account{number}",
            "location": "westeurope",
            "tags": {"env": "prod", "owner": "team"},
            "properties": {
                "endpoints": {"blob": [f"https://account{number}.blob.example.net/"]},
                "size": 12.5,
                "primaryKey": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==",
            },
        }
        for number in range(items)
    ]
    return json.dumps({"value": value}).encode()


def mask(rules: Rules, whole: bytes, *, plain: bool = False) -> tuple[float, float]:
    """Mask a document; return processor seconds of all, and of the longest call."""
    one = JsonMasker(rules=rules, key=b"k" * 32, rewrite=lambda path, text: text, plain=plain)
    longest, begin = 0.0, time.thread_time()
    for at in range(0, len(whole), _SEGMENT):
        one.receive_data(whole[at : at + _SEGMENT])
        while True:
            before = time.thread_time()
            piece = one.next_piece()
            longest = max(longest, time.thread_time() - before)
            if piece is None:
                break
    one.receive_end()
    while one.next_piece() is not None:
        continue
    return time.thread_time() - begin, longest


def _loads_and_dumps(whole: bytes) -> float:
    before = time.thread_time()
    json.dumps(json.loads(whole))
    return time.thread_time() - before


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`. ``seconds`` does not matter: documents have a size."""
    del seconds
    whole = document(_ITEMS)
    small = whole[: len(whole) // 10]
    small = small[: small.rindex(b', {"id"')] + b"]}"
    task = progress.add_task("documents", total=rounds * (2 * len(_RULES) + len(_HOSTILE)))
    step: Callable[[], None] = lambda: progress.advance(task)  # noqa: E731  # one expression
    return [
        _masking("compiled where it was built", whole, rounds, step, plain=False),
        _masking("plain Python", small, rounds, step, plain=True),
        _hostile(rounds, step),
    ]


def _masking(
    how: str, whole: bytes, rounds: int, step: Callable[[], None], *, plain: bool
) -> Section:
    figures = []
    for name, rule, is_held in _RULES:
        rules = compile_rules([rule], fold_case=True)
        standard = [_loads_and_dumps(whole) for _ in range(rounds)]
        samples = []
        for _ in range(rounds):
            samples.append(mask(rules, whole, plain=plain)[0])
            step()
        target = at_least(_WANTED) if is_held and not plain else None
        rates = tuple(len(whole) / 1e6 / sample for sample in samples)
        figures.append(Figure(name=name, samples=rates, unit="MB/s", target=target))
        figures.append(
            Figure(name="  times json.loads and dumps", samples=ratios(standard, samples))
        )
    method = f"processor time, {len(whole) / 1e6:.0f} MB in segments of {_SEGMENT // 1024} KiB"
    return Section(name=f"Masking JSON, {how}", method=method, figures=figures)


def _hostile(rounds: int, step: Callable[[], None]) -> Section:
    figures = []
    rules = compile_rules(_ALL)
    for name, part in _HOSTILE:
        whole = b"[" + part * (2 * 10**6 // len(part)) + b"0]"
        taken = []
        for _ in range(rounds):
            taken.append(mask(rules, whole))
            step()
        rates = tuple(len(whole) / 1e6 / total for total, _ in taken)
        longest = tuple(1000 * call for _, call in taken)
        figures.append(Figure(name=name, samples=rates, unit="MB/s"))
        figures.append(
            Figure(name="  longest call", samples=longest, unit="ms", target=at_most(_STALL))
        )
    method = "processor time, 2 MB, a mask by name and all detectors"
    return Section(name="Masking JSON that is made to be slow", method=method, figures=figures)


if __name__ == "__main__":
    with Progress(transient=True) as shown:
        sections = run(shown, 3, 0)
    for section in sections:
        show(Console(), section)
