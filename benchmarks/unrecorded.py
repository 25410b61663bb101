"""A gateway that keeps no records of statements, to measure what recording costs.

    python -m benchmarks.unrecorded --config FILE

The product has no switch for this, and should not. Here the methods with which a session writes
intents and results do nothing: so their records are not made, digested, encoded, written or taken
by the recorder. (The compiled short way still digests and packs what is then dropped, which takes
about a microsecond.) The recorder and control are the real ones; this process is the worker.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hoopgw.processes import lifeline, worker
from hoopgw_postgres.journal import Journal


def main() -> int:
    """Run until stopped; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    path = parser.parse_args().config
    others = [
        subprocess.Popen(
            [sys.executable, "-m", f"hoopgw.processes.{role}", "--config", path],
            stdin=subprocess.PIPE,
            env={**os.environ, lifeline.VARIABLE: "1"},
        )
        for role in ("recorder", "control")
    ]
    _forget(Journal)
    try:
        return worker.main()
    finally:
        for other in others:
            assert other.stdin is not None
            other.stdin.close()  # they end when it closes
            other.wait()


def _forget(journal: Any) -> None:
    journal._intent = lambda self, *what, **more: 0
    journal.plain = lambda self, *what: (0, 0)
    journal.finished = lambda self, running: None
    journal.writers = lambda self: (_drop, _drop)


def _drop(_record: bytes) -> None:
    """Keep nothing."""


if __name__ == "__main__":
    sys.exit(main())
