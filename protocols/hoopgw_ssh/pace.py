"""How much is read at once of a target. No I/O, no clock.

A read may hold ten thousand messages of a byte each, all of which are judged, masked, recorded and
sealed before anybody else has a turn: seconds, in which the worker loses control and lets nobody
in. So who takes long for what was read reads less the next time; the rest waits in the kernel.
"""

from __future__ import annotations

from typing import Final

TURN: Final = 0.01
"""Seconds that a read of one session should take at most."""
LEAST: Final = 2_048
"""Bytes that are read at least."""
FIRST: Final = 32_768
"""Bytes that are read at first, until it is known how long they take."""
_QUICK: Final = 4
_NEAR: Final = 4
"""More is read where one took less than that part of its time, and had that part of its limit."""
WHOLE: Final = 262_144
"""Bytes from which there is no limit: `hoopgw.transport` reads no more at once."""


def next_read(size: int, seconds: float, limit: int) -> int:
    """Return how many bytes to read the next time; 0 is no limit.

    Args:
        size: of what was read; of a part of it, if TLS gives it record by record.
        seconds: that it took.
        limit: of that read.

    """
    if seconds > TURN:
        return max(LEAST, int(size * TURN / seconds))
    if limit and seconds * _QUICK < TURN and size * _NEAR >= limit:
        return 0 if limit * 2 >= WHOLE else limit * 2
    return limit
