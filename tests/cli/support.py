"""What the tests of the command share: it is run as a person runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from click.testing import CliRunner

from hoopgw.cli.program import program


@frozen
class Run:
    """How a command went."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.output)

    @property
    def fault(self) -> Any:
        """What it printed to standard error, as JSON."""
        return json.loads(self.errors)


def run(
    *arguments: str | Path, env: Mapping[str, str] | None = None, text: str | None = None
) -> Run:
    """Run the command in this process; an exception that escapes it fails the test."""
    clean = {"HOOPGW_GATEWAY": None, "HOOPGW_CA": None, "HOOPGW_HOME": None, **(env or {})}
    result = CliRunner().invoke(program, [str(a) for a in arguments], env=clean, input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.exit_code, result.stdout, result.stderr)
