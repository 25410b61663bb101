"""Why something was not passed on, in words for whoever asked; each protocol says it in its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

RefusalKind: TypeAlias = Literal[
    "unauthenticated", "denied", "held", "malformed", "too_large", "unavailable", "withheld"
]


@frozen(kw_only=True)
class Refusal:
    """Why a request was not passed on, or its answer not shown; for the caller."""

    kind: RefusalKind
    text: str
    """One sentence; holds nothing that the caller does not know already."""
    hint: str = ""
    """What to do next."""
    detail: Mapping[str, Any] = field(factory=dict)
    """For programs: how to ask for what would cure it."""
    request: str = ""
    """Id of the review that it waits for, or waited."""
    status: int = 0
    """What it is to HTTP; 0 is the usual status of the kind."""
    retry_after: int | None = None
    """Seconds after which asking again may help."""


class RefusedError(Exception):
    """Something is not passed on, or its answer not shown."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal
