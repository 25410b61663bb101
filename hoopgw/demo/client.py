"""A real psql, as the demonstration's people use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.demo.command import CommandLine

_TIMEOUT: Final = 60.0


@frozen(kw_only=True)
class Answer:
    """What psql printed."""

    output: str
    errors: str
    status: int


@frozen(kw_only=True)
class Psql:
    """psql with one session password for one account."""

    program: Path
    variables: Mapping[str, str]
    """``PGHOST`` and so on, as `hoopgw token --format json` gives them."""

    @classmethod
    def log_in(cls, program: Path, command: CommandLine, target: str, account: str) -> Psql:
        """Fetch a session password and return a psql that uses it."""
        given = command.json("token", target, "--account", account, "--password")
        return cls(program=program, variables=given["env"])

    def run(self, sql: str) -> Answer:
        """Run one statement to its end."""
        with self.start(sql) as process:
            return self.finish(process)

    def start(self, sql: str) -> subprocess.Popen[str]:
        """Run one statement in the background; `finish` waits for it."""
        return subprocess.Popen(
            [str(self.program), "-Xw", "-v", "VERBOSITY=verbose", "-P", "pager=off", "-c", sql],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], patience: float = _TIMEOUT) -> Answer:
        """Wait for a statement's end; a psql that does not come to one is killed."""
        try:
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            errors += f"\n(psql had no answer after {patience:.0f} s and was killed)"
        return Answer(output=output, errors=errors, status=process.returncode)

    def environment(self) -> dict[str, str]:
        """Return psql's environment: the variables, and nothing else about PostgreSQL."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, **self.variables, "PSQLRC": os.devnull, "LC_ALL": "C.UTF-8"}
