"""What of an answer is masked, as rules for `hoopgw.documents`. Pure.

The request says where secrets are (`Service.fields`), policy says how each is shown; nothing that
the answer says of itself matters. Members are compared without regard to case, as Azure does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from hoopgw.documents.rules import Mask, MaskStrings, Refuse, Rule, Rules, Treatment, compile_rules
from hoopgw.events import Resource
from hoopgw.policy.decision import Sight, Sights

EVERYTHING: Final = "*"
"""The path of a field that is all of an answer."""
KEPT: Final = (
    *("status", "nextLink", "properties.provisioningState"),
    *("error.code", "error.message"),
)
"""What clients need of an answer of which every string is masked: to go on asking, and to stop."""
_REMEMBERED: Final = 1024
"""Sets of rules that are kept compiled."""


def rules(fields: Iterable[Resource], sights: Sights) -> Rules | None:
    """Return how an answer is shown; None if there is nothing to mask.

    Args:
        fields: of `hoopgw_azure.operations.Service.fields`.
        sights: what policy says of each; one that it says nothing of is not shown.

    """
    shown = []
    for each in fields:
        path = each.id.partition("#")[2]
        match sights.get(each.id):
            case Sight(mask=None):
                continue
            case Sight(mask=str(kind)):
                shown.append((path, kind))
            case _:
                shown.append((path, ""))
    return _compiled(tuple(shown)) if shown else None


@lru_cache(_REMEMBERED)
def _compiled(shown: tuple[tuple[str, str], ...]) -> Rules:
    return compile_rules(
        (rule for path, kind in shown for rule in _rules(path, kind)), fold_case=True
    )


def _rules(path: str, kind: str) -> Iterator[Rule]:
    """Yield the rules for one path: of a resource, and of each in a list of them."""
    if not kind:
        refused = Refuse("policy does not show you what is in this answer")
        yield Rule("$" if path == EVERYTHING else path, refused)
        if path != EVERYTHING:
            yield Rule(f"value[*].{path}", refused)
        return
    if path == EVERYTHING:
        yield Rule("$", MaskStrings(kind), KEPT)
        return
    treatment: Treatment = Mask(kind)
    yield Rule(path, treatment)
    yield Rule(f"value[*].{path}", treatment)
