"""What a program is told when it does not get what it asked for: for machines first.

Every refusal has a stable code, a sentence, and where something can be done about it, a hint and
the way to ask. An agent can act on ``code`` and ``ask`` without reading prose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hoopgw.errors import HoopgwError

NOT_LOGGED_IN: Final = "not_logged_in"
"""There is no identity here: nobody has logged in, and no broker serves this process."""
EXPIRED: Final = "expired"
"""The identity is over."""
NOT_IN_CAPS: Final = "not_in_caps"
"""What is asked for is outside of what the identity was narrowed to."""
OUTLIVES: Final = "outlives"
"""A child would live longer than its parent."""
TOO_DEEP: Final = "too_deep"
"""The chain may not grow, or not so far."""
UNKNOWN_TARGET: Final = "unknown_target"
UNKNOWN_ACCOUNT: Final = "unknown_account"
BAD_REQUEST: Final = "bad_request"
UNREACHABLE: Final = "unreachable"
"""The gateway or the broker does not answer; later it may."""
REFUSED: Final = "refused"
"""The gateway said no; its own word for it is in ``detail``."""
SLOW_DOWN: Final = "slow_down"
NOT_YOURS: Final = "not_yours"
"""The broker does not serve this process."""


class Refused(HoopgwError):  # noqa: N818  # a refusal is an answer, and callers name it so
    """Something was asked for and not given.

    Args:
        code: a stable word, one of this module's.
        detail: a sentence for people; holds no secret.
        hint: what to do about it, if anything can be done.
        ask: how to ask for it, for programs, such as ``{"target": "orders"}``.

    """

    def __init__(
        self, code: str, detail: str, *, hint: str = "", ask: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{detail} ({hint})" if hint else detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.ask: Mapping[str, Any] = dict(ask or {})

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; what is empty is left out."""
        values: dict[str, Any] = {"error": self.code, "detail": self.detail}
        if self.hint:
            values["hint"] = self.hint
        if self.ask:
            values["ask"] = dict(self.ask)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Refused:
        """Return what `as_dict` gave, whoever sent it."""
        ask = values.get("ask")
        return cls(
            str(values.get("error") or REFUSED)[:64],
            str(values.get("detail") or "no reason was given")[:1000],
            hint=str(values.get("hint") or "")[:1000],
            ask=ask if isinstance(ask, dict) else None,
        )

    @classmethod
    def of(cls, error: Exception) -> Refused | None:
        """Return what a database driver's error says of a refusal by the gateway, for programs.

        The gateway puts it into the error's DETAIL as JSON, with what can be asked for. Reads what
        psycopg and asyncpg keep of an error.

        Returns:
            None if the error is no refusal, or one about which nothing can be done.

        """
        said = getattr(error, "diag", error)
        detail = getattr(said, "message_detail", None) or getattr(said, "detail", None)
        hint = getattr(said, "message_hint", None) or getattr(said, "hint", None)
        try:
            values = json.loads(detail) if isinstance(detail, str) else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(values, dict) or not isinstance(values.get("code"), str):
            return None
        ask = {name: value for name, value in values.items() if name != "code"}
        text = getattr(said, "message_primary", None) or getattr(said, "message", None)
        return cls(values["code"], str(text or error), hint=str(hint or ""), ask=ask)
