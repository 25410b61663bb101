"""Tests for `hoopgw.transport.timers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.transport.timers import LATE
from tests.support.processes import python_environment

_PROGRAM = """
from pathlib import Path
from hoopgw.transport.timers import let_timers_be_late
let_timers_be_late()
print(Path("/proc/self/timerslack_ns").read_text())
"""


class TimerTests(SynchronousTestCase):
    """In a process of its own."""

    def test_late(self) -> None:
        if not Path("/proc/self/timerslack_ns").exists():
            raise SkipTest("this kernel has no timer slack")
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=python_environment(),
        )
        self.assertEqual(done.stdout.split(), [str(LATE)])
