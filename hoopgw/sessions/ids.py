"""Names of sessions."""

from __future__ import annotations

import secrets
import time


def new_session() -> str:
    """Return a session id: milliseconds since the epoch, so that ids sort, and 64 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
