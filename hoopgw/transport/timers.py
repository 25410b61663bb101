"""Timers that may be late: how a process that carries bytes waits.

Who waits for bytes with a time limit, as each turn of a reactor does, has the kernel set a timer,
and unset it when bytes come. A limit that is nearer than whatever the processor would be
interrupted by anyway is programmed into its clock, twice each time. On a virtual machine each of
that leaves the machine (15 us and colder caches on a nested one), and a busy worker with a timer
each 50 ms did so some 500 times a second, beside the 250 of the tick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

LATE: Final = 5_000_000
"""Nanoseconds; more than the 4 ms of the tick that most kernels have, so that it serves us too."""
_SLACK: Final = Path("/proc/self/timerslack_ns")


def let_timers_be_late() -> None:
    """Let this process's timers be up to 5 ms late where it has nothing else to do.

    For the main thread, and for threads and processes that it starts later. A reactor that is busy
    looks at its timers in each turn all the same. Where the kernel has no such thing (before Linux
    4.6), nothing changes: only latencies depend on it.
    """
    try:
        _SLACK.write_text(str(LATE))
    except OSError:
        return
