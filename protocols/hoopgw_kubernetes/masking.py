"""What of an answer is masked, in every form in which an API server gives an object. Pure.

The request says where secrets are (`Cluster.fields`), policy says how each is shown. One object
comes alone, in a list, as the event of a watch, in a row of a Table, or in several of these;
`kubectl apply` keeps all of it once more in an annotation. So each path is masked in all of these
places, whatever was asked for.

Values of a Secret's ``data`` are base64. What stands in their place is, too: else clients could not
read the object. `is_ours` knows it again, so that it is never written back.

Reference: Kubernetes API Concepts ("Receiving resources as Tables", "Streaming lists").
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from hoopgw.documents.rules import Count, Mask, MaskStrings, Rewrite, Rule, Rules, compile_rules
from hoopgw.events import Resource
from hoopgw.http.model import ITEMS
from hoopgw.masking import mask_text
from hoopgw.policy.decision import Sight, Sights

HIDDEN: Final = "redact"
"""How a field is shown that policy does not show: not at all, and the answer keeps its form."""
ENCODED: Final = "data"
"""The path whose values are base64."""
_OBJECTS: Final = (
    "",
    "items[*].",
    "object.",
    "rows[*].object.",
    "object.rows[*].object.",
    "object.items[*].",
)
"""Where objects are in an answer: alone, listed, watched, in Tables, and watched as these."""
_LAST_APPLIED: Final = "metadata.annotations['kubectl.kubernetes.io/last-applied-configuration']"
_LISTS: Final = ("items[*]", "rows[*]")
_REMEMBERED: Final = 256
"""Sets of rules that are kept compiled."""
_MARK: Final = mask_text(HIDDEN, "", b"") or ""
"""What stands in place of a value of which nothing is shown."""


def kind_of(each: Resource, sights: Sights) -> str | None:
    """Return the mask kind of a field; None: it is shown in clear."""
    sight = sights.get(each.id)
    return sight.mask if isinstance(sight, Sight) else HIDDEN


def rules(fields: Iterable[Resource], sights: Sights, *, counted: bool = False) -> Rules | None:
    """Return how an answer is shown; None if there is nothing to change.

    Args:
        fields: of `Cluster.fields`.
        sights: what policy says of each; one that it says nothing of is not shown.
        counted: whether items of lists are counted.

    """
    shown = []
    for each in fields:
        kind = kind_of(each, sights)
        if kind is not None:
            shown.append((each.id.partition("#")[2], kind))
    return _compiled(tuple(shown), counted) if shown or counted else None


@lru_cache(_REMEMBERED)
def _compiled(shown: tuple[tuple[str, str], ...], counted: bool) -> Rules:
    return compile_rules(_rules(shown, counted))


def _rules(shown: tuple[tuple[str, str], ...], counted: bool) -> Iterator[Rule]:
    for path, kind in shown:
        for where in _OBJECTS:
            if path == ENCODED:
                # All below it, and not its members alone: what is no map is no Secret's data.
                yield Rule(f"{where}{path}.*", Rewrite())
            else:
                yield Rule(f"{where}{path}", MaskStrings(kind, numbers=True))
    if shown:
        for where in _OBJECTS:
            # It holds what was applied, as a text: all of the object.
            yield Rule(f"{where}{_LAST_APPLIED}", Mask(HIDDEN))
    if counted:
        for path in _LISTS:
            yield Rule(path, Count(ITEMS))


def encoded(kind: str, text: str, key: bytes) -> str:
    """Return what stands in place of a value in base64, in base64, too."""
    try:
        value = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        kind, value = HIDDEN, ""
    masked = mask_text(kind, value, key)
    return base64.b64encode((_MARK if masked is None else masked).encode()).decode()


def is_ours(body: bytes) -> bool:
    """Whether a Secret that is written holds what we put in place of a value: it would be lost.

    Whoever wants to write three asterisks may; whoever writes back what was read must not.
    """
    plain, in_base64 = _MARK.encode(), base64.b64encode(_MARK.encode())
    quoted = any(b'"%s"' % mark in body for mark in (plain, in_base64))
    # In protobuf: the value of an entry of a map, with its length.
    return quoted or b"\x12%c%s" % (len(plain), plain) in body
