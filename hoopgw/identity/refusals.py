"""How the token endpoint refuses: a code that programs read, and a text for people."""

from __future__ import annotations

from typing import Literal, TypeAlias

from hoopgw.errors import HoopgwError

ErrorCode: TypeAlias = Literal[
    "access_denied",
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_grant",
    "invalid_request",
    "invalid_target",
    "slow_down",
    "temporarily_unavailable",
    "unsupported_grant_type",
]


class ExchangeError(HoopgwError):
    """A refusal, as RFC 6749 section 5.2 has it. The text is for the caller."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code: ErrorCode = code
        self.text = text
