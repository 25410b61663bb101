"""What would help against a refusal, or holds an operation up: in words, and for programs. Pure.

A protocol says it in its own way: PostgreSQL in HINT and DETAIL, Azure in an error's ``details``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from attrs import frozen

from hoopgw.policy.decision import Review


class Refused(Protocol):
    """What a refusal says of itself; `hoopgw.policy.decision.Verdict` is one."""

    @property
    def cures(self) -> tuple[str, ...]:
        """Names of grants that would cure it."""
        ...

    @property
    def breakglass(self) -> tuple[str, ...]:
        """The same, of those that the principal can take itself."""
        ...


@frozen(kw_only=True)
class Cure:
    """What would help against a refusal."""

    hint: str
    """Commands, for a person."""
    told: Mapping[str, Any]
    """For a program."""

    @property
    def detail(self) -> str:
        """What is told, as JSON."""
        return json.dumps(self.told, separators=(",", ":"))

    @classmethod
    def of(cls, refused: Refused, target: str, url: str, digest: bytes = b"") -> Cure | None:
        """Return what would help, if something that can be asked for would.

        Args:
            refused: the refusal.
            target: what it is of.
            url: where grants are asked for.
            digest: of the operation, if it can be asked for as one call.

        """
        if not (refused.cures or refused.breakglass) or not url:
            return None
        asks = [how_to_ask(target, name) for name in refused.cures]
        asks += [f"in an emergency: {how_to_break_glass(target, n)}" for n in refused.breakglass]
        told: dict[str, object] = {
            "code": "grant_required",
            "grants": list(refused.cures),
            "target": target,
            "request": url,
        }
        if refused.breakglass:
            told["breakglass"] = list(refused.breakglass)
        if digest:
            told["digest"] = digest.hex()
        return cls(hint="\n".join(asks), told=told)


def how_to_ask(target: str, grant: str) -> str:
    """Return the command that asks for a grant."""
    return f"hoopgw request --target {target} --grant {grant} --for 15m --reason ..."


def how_to_break_glass(target: str, grant: str) -> str:
    """Return the command that takes a grant in an emergency."""
    return f"hoopgw grants breakglass --target {target} --grant {grant} --reason ..."


def approvers(review: Review) -> str:
    """Name who may approve."""
    return " and ".join(
        " or ".join(sorted(remedy.groups))
        + (f" ({remedy.needed} persons)" if remedy.needed > 1 else "")
        for remedy in review.remedies
    )


BUDGET_HINT: Final = (
    "Who was given the budget needs a new delegation, with another key and a budget of its own,"
    " from whoever started it. Policies and approvals do not add to a budget."
)
