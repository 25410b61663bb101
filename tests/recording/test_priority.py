"""Tests for `hoopgw.processes.priority`: the recorder is scheduled behind the workers."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.processes.priority import NICENESS

_PROGRAM = """
import os
from hoopgw.processes.priority import give_way
before = os.nice(0)
give_way()
print(os.sched_getscheduler(0) == os.SCHED_BATCH, os.nice(0) - before)
"""


class PriorityTests(SynchronousTestCase):
    """In a process of its own: niceness cannot be taken back."""

    def test_it_gives_way(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        nicer = min(NICENESS, 19 - os.nice(0))
        self.assertEqual(done.stdout.split(), ["True", str(nicer)], done.stderr)
