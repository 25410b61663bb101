"""What of an answer is masked, as rules for `hoopgw.documents`. Pure.

The request says where secrets are (`Service.fields`), policy says how each is shown; nothing that
the answer says of itself matters. Members are compared without regard to case, as Azure does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from hoopgw.documents.rules import Mask, MaskStrings, Rewrite, Rule, Rules, Treatment, compile_rules
from hoopgw.events import Resource
from hoopgw.policy.decision import Sight, Sights
from hoopgw_azure import blob_masking

EVERYTHING: Final = "*"
"""The path of a field that is all of an answer."""
HIDDEN: Final = "redact"
"""How a field is shown that policy does not show: not at all, and the answer keeps its form."""
KEPT: Final = (
    *("status", "nextLink", "properties.provisioningState"),
    *("error.code", "error.message"),
    *("**.keyName", "**.permissions", "**.creationTime"),
)
"""What clients need of an answer of which every string is masked: to go on asking, and to stop; and
by which names Azure gives no secret."""
_REMEMBERED: Final = 1024
"""Sets of rules that are kept compiled."""


def rules(
    fields: Iterable[Resource],
    sights: Sights,
    links: tuple[str, ...] = (),
    counted: tuple[Rule, ...] = (),
    *,
    blobs: bool = False,
) -> Rules | None:
    """Return how an answer is shown; None if there is nothing to change.

    Args:
        fields: of `hoopgw_azure.operations.Service.fields`.
        sights: what policy says of each; one that it says nothing of is not shown.
        links: paths of links, which are rewritten.
        counted: rules that count.
        blobs: whether they are for answers of Blob storage.

    """
    shown = []
    for each in fields:
        kind = kind_of(each, sights)
        if kind is not None:
            shown.append((each.id.partition("#")[2], kind))
    if not (shown or links or counted):
        return None
    return _compiled(tuple(shown), links, counted, blobs)


def kind_of(each: Resource, sights: Sights) -> str | None:
    """Return the mask kind of a field; None: it is shown in clear."""
    sight = sights.get(each.id)
    return sight.mask if isinstance(sight, Sight) else HIDDEN


@lru_cache(_REMEMBERED)
def _compiled(
    shown: tuple[tuple[str, str], ...],
    links: tuple[str, ...],
    counted: tuple[Rule, ...],
    blobs: bool,
) -> Rules:
    masked = [rule for path, kind in shown for rule in _rules(path, kind, blobs)]
    linked = (Rule(path, Rewrite()) for path in links)
    return compile_rules([*masked, *linked, *counted], fold_case=True)


def _rules(path: str, kind: str, blobs: bool) -> Iterator[Rule]:
    """Yield the rules for one path: of a resource, and of each in a list of them."""
    if path == EVERYTHING:
        yield Rule("$", MaskStrings(kind), KEPT)
        return
    treatment: Treatment = Mask(kind)
    for each in blob_masking.paths(path) if blobs else (path, f"value[*].{path}"):
        yield Rule(each, treatment)
