"""Tests for `hoopgw.open_files`, and that what carries sessions uses it."""

from __future__ import annotations

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.open_files import FILES
from tests.support.processes import python_environment

_PROGRAM = """
import resource, sys
{imports}
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
try:
    {call}
except BaseException:
    pass  # there is nothing to start
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limit_after(imports: str, call: str) -> int:
    """Return a process's limit of open files after a call."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(imports=imports, call=call)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=python_environment(),
    )
    return int(done.stdout.split()[-1])


class FilesTests(SynchronousTestCase):
    """In processes of their own, which begin with few."""

    def setUp(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)

    def test_as_many_as_we_may(self) -> None:
        call = "allow_many_files(); allow_many_files()"
        found = limit_after("from hoopgw.open_files import allow_many_files", call)
        self.assertEqual(found, self.wanted)

    def test_a_worker(self) -> None:
        """Else whoever has many channels recorded keeps all others out."""
        imports = (
            "from pathlib import Path\nfrom twisted.internet.task import Clock\n"
            "from hoopgw.processes.worker import run"
        )
        found = limit_after(imports, "run(Path('/nowhere'), 'worker1', Clock())")
        self.assertEqual(found, self.wanted)

    def test_an_agent(self) -> None:
        imports = "from hoopgw.agent_tap import makeService"
        self.assertEqual(limit_after(imports, "makeService({'config': '/no'})"), self.wanted)
