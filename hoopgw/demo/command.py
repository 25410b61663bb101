"""The `hoopgw` command as the demonstration's people run it: a real process each time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from hoopgw.demo.issuer import Issuer
from hoopgw.demo.processes import DemoError

_TIMEOUT: Final = 60.0
_CODE: Final = re.compile(r"enter the code (\S+)")


@frozen(kw_only=True)
class CommandLine:
    """One person's command line: where the log-in is kept, and which gateway it is for."""

    home: Path
    gateway: str
    ca: Path
    more: Mapping[str, str] = field(factory=dict)
    """More of the environment."""

    def variables(self) -> dict[str, str]:
        """Return what makes `hoopgw` this person's."""
        return {
            "HOOPGW_HOME": str(self.home),
            "HOOPGW_GATEWAY": self.gateway,
            "HOOPGW_CA": str(self.ca),
        }

    def environment(self) -> dict[str, str]:
        """Return a whole environment with `variables` in it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "HOOPGW_"))}
        return {**kept, **self.more, **self.variables()}

    def attempt(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run the command and return how it went."""
        return subprocess.run(
            [sys.executable, "-m", "hoopgw.cli", *arguments],
            env=self.environment(),
            input=text,
            text=True,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )

    def run(self, *arguments: str, text: str = "") -> str:
        """Run the command and return its output.

        Raises:
            DemoError: it failed.

        """
        done = self.attempt(*arguments, text=text)
        if done.returncode != 0:
            raise DemoError(
                f"hoopgw {' '.join(arguments[:2])} failed ({done.returncode}): "
                f"{done.stderr.strip()[-2000:]}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run the command with ``--json`` and return what it printed."""
        return json.loads(self.run(*arguments, "--json"))

    def log_in(self, issuer: Issuer, name: str) -> None:
        """Log a person in by the device flow: the command asks, the issuer's page is filled in.

        Raises:
            DemoError: it did not come about.

        """
        with subprocess.Popen(
            [sys.executable, "-m", "hoopgw.cli", "login", "--device"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if match := _CODE.search(line):
                    issuer.approve_device(match[1], name)
            status = process.wait(_TIMEOUT)
        if status != 0:
            raise DemoError(f"hoopgw login failed ({status}): {''.join(said).strip()[-2000:]}")
