"""What of an answer is masked, as rules for `hoopgw.documents`. Pure.

The request says where secrets are (`Service.fields`), policy says how each is shown; nothing that
the answer says of itself matters. Members are compared without regard to case, as Azure does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from hoopgw.documents.rules import (
    Detect,
    Mask,
    MaskStrings,
    Rewrite,
    Rule,
    Rules,
    Treatment,
    compile_rules,
)
from hoopgw.events import Resource
from hoopgw.policy.decision import Sight, Sights
from hoopgw_azure import blob_masking
from hoopgw_azure.keeping import KEPT

EVERYTHING: Final = "*"
"""The path of a field that is all of an answer."""
HIDDEN: Final = "redact"
"""How a field is shown that policy does not show: not at all, and the answer keeps its form."""
_DATA: Final = ("**.tags",)
"""What is never a link, whatever it is called: a client's own words, which no client follows."""
_REMEMBERED: Final = 1024
"""Sets of rules that are kept compiled."""


def rules(
    fields: Iterable[Resource],
    sights: Sights,
    links: tuple[str, ...] = (),
    counted: tuple[Rule, ...] = (),
    detectors: tuple[str, ...] = (),
    *,
    blobs: bool = False,
) -> Rules | None:
    """Return how an answer is shown; None if there is nothing to change.

    Args:
        fields: of `hoopgw_azure.operations.Service.fields`.
        sights: what policy says of each; one that it says nothing of is not shown.
        links: paths of links, which are rewritten.
        counted: rules that count.
        detectors: names of what is looked for in all strings but those that policy shows in clear.
        blobs: whether they are for answers of Blob storage.

    """
    shown, clear = [], []
    for each in fields:
        kind, path = kind_of(each, sights), each.id.partition("#")[2]
        if kind is None:
            clear.append(path)
        else:
            shown.append((path, kind))
    if EVERYTHING in clear:
        detectors = ()
    if not (shown or links or counted or detectors):
        return None
    seen = tuple(clear) if detectors else ()
    return _compiled(tuple(shown), links, counted, detectors, seen, blobs)


def kind_of(each: Resource, sights: Sights) -> str | None:
    """Return the mask kind of a field; None: it is shown in clear."""
    sight = sights.get(each.id)
    return sight.mask if isinstance(sight, Sight) else HIDDEN


@lru_cache(_REMEMBERED)
def _compiled(
    shown: tuple[tuple[str, str], ...],
    links: tuple[str, ...],
    counted: tuple[Rule, ...],
    detectors: tuple[str, ...],
    clear: tuple[str, ...],
    blobs: bool,
) -> Rules:
    masked = [rule for path, kind in shown for rule in _rules(path, kind, blobs)]
    linked = (Rule(path, Rewrite(), _DATA) for path in links)
    searched = []
    if detectors:
        # What policy shows in clear is shown as it is.
        seen = tuple(each for path in clear for each in _everywhere(path, blobs))
        searched.append(Rule("$", Detect(detectors), seen))
    return compile_rules([*masked, *linked, *counted, *searched], fold_case=True)


def _rules(path: str, kind: str, blobs: bool) -> Iterator[Rule]:
    """Yield the rules for one path."""
    if path != EVERYTHING:
        treatment: Treatment = Mask(kind)
        for each in _everywhere(path, blobs):
            yield Rule(each, treatment)
        return
    yield Rule("$", MaskStrings(kind), spare=tuple(KEPT))
    for kept in KEPT:
        yield Rule(kept, Rewrite())  # by `hoopgw_azure.keeping`


def _everywhere(path: str, blobs: bool) -> Iterable[str]:
    """Return a path of a resource, and the same of each in a list of them."""
    return blob_masking.paths(path) if blobs else (path, f"value[*].{path}")
