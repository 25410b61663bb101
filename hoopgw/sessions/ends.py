"""Why sessions end from outside, in words that callers of all protocols are shown."""

from __future__ import annotations

from typing import Final

EXPIRED: Final = "the log-in has expired"
REVOKED: Final = "the log-in was revoked"
SHUTDOWN: Final = "the gateway is shutting down"

WHAT_TO_DO: Final = {
    EXPIRED: "Log in again (hoopgw login), or have whoever started you do so, and connect again.",
    REVOKED: "Nothing that came of it is good any more: log in again, if you may.",
    SHUTDOWN: "Connect again in a moment.",
}
"""By the reason. Others say themselves what happened."""
LEEWAY: Final = 5.0
"""Seconds that an agent's clock may be ahead of ours: it ends sessions by itself when the log-in is
over, and then a target that is lost just before our own time is lost by that."""
