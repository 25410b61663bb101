"""Records as sessions write them, for benchmarks that need no session."""

from __future__ import annotations

import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.recording.records import Intent, Result

ORIGIN: Final = "bench"
SESSION: Final = "01hxxxxxxxxxxxxxxxxxxxxxxx"
_TEXT: Final = (
    b"select id, name, email, created from public.customers where region = 'eu' and id = 4711"
)


def intent(sequence: int) -> Intent:
    """Make the record of a statement that is allowed."""
    return Intent(
        SESSION,
        sequence,
        time.time_ns(),
        "select",
        ["orders/public.customers"],
        _TEXT,
        b"",
        bytes(32),
        "allow",
        ["reader-may-select"],
        "0123456789abcdef",
    )


def result(sequence: int) -> Result:
    """Make the record of its answer."""
    return Result(
        SESSION, sequence, time.time_ns(), sequence - 1, "SELECT 1", 1, 1, 214, b"D" * 120, 81_234
    )


def new_key() -> Ed25519PrivateKey:
    """Make a key that signs checkpoints."""
    return Ed25519PrivateKey.generate()
