"""Let the workers go first: how the recorder shares a processor with them.

What the recorder does can wait some milliseconds; what a worker does, a caller waits for. On a
processor that both share, a recorder that is woken in the middle of a worker's turn costs the
worker its caches, and one that a worker has to wait for shows in its callers' latencies.
"""

from __future__ import annotations

import os
from typing import Final

NICENESS: Final = 5
"""Leaves a third of a worker's share on a processor that is never idle: more than it needs."""


def give_way() -> None:
    """Be scheduled as a batch job, a little nicer than the rest of the gateway.

    What is not allowed or not known here changes nothing: only latencies depend on it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):  # not Linux, or a sandbox that refuses the call
        return
    os.nice(NICENESS)
