"""What the demonstration shows of SSH: commands that run, one that does not, one that waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from hoopgw.demo.command import CommandLine
from hoopgw.demo.stage import Stage
from hoopgw.demo.web1 import HIDDEN, LOG_LINES, TARGET, Web1

REFUSED: Final = 77
"""The exit status of what was refused."""
_PATIENCE: Final = 60.0


@frozen(kw_only=True)
class SshStory:
    """The part about the SSH host."""

    alice: CommandLine
    bob: CommandLine
    host: Web1
    held: Callable[[], str]
    """Waits for a request for approval; returns its id."""
    stage: Stage
    folder: Path
    """For a file that is fetched."""

    def perform(self) -> None:
        """Play it.

        Raises:
            DemoError: something is not as it should be.

        """
        self.looks()
        self.masked()
        self.refused()
        self.files()
        self.approved_removal()
        self.recorded()

    def looks(self) -> None:
        """Look at a log."""
        done = self._run(f"tail -n 2 {self.host.log}")
        self.stage.check(
            done.returncode == 0 and all(line in done.stdout for line in LOG_LINES),
            "the command runs, and nobody was asked whether the host is genuine",
            seen=done.stderr,
        )

    def masked(self) -> None:
        """Print settings, in which there is a password."""
        done = self._run(f"cat {self.host.settings}")
        self.stage.check(
            done.returncode == 0 and "NAME=shop" in done.stdout and HIDDEN not in done.stdout,
            "the settings are shown, and the password in them is masked",
            seen=done.stdout + done.stderr,
        )

    def refused(self) -> None:
        """Put what is not permitted behind what is."""
        mark = self.host.folder / "mark"
        done = self._run(f"tail -n 1 {self.host.log}; touch {mark}")
        self.stage.check(
            done.returncode == REFUSED and not done.stdout and not mark.exists(),
            f"touch is not permitted, so none of it ran; exit status {REFUSED}",
            seen=done.stdout + done.stderr,
        )

    def files(self) -> None:
        """Fetch a file, and try to replace it."""
        copy = self.folder / "copy.log"
        there = f"{TARGET}:{self.host.log}"
        done = self._scp(there, str(copy))
        self.stage.check(
            done.returncode == 0 and copy.read_text() == self.host.log.read_text(),
            "a file is fetched with scp as it is",
            seen=done.stderr,
        )
        copy.write_text("nothing happened\n")
        done = self._scp(str(copy), there)
        self.stage.check(
            done.returncode != 0 and LOG_LINES[0] in self.host.log.read_text(),
            "and may not be replaced",
            seen=done.stderr,
        )

    def approved_removal(self) -> None:
        """Remove a release, which waits for bob."""
        old = self.host.releases / "1.0"
        command = f"rm -r {old}"
        self.stage.typed("alice", f"hoopgw ssh {TARGET} '{command}'")
        with self._start(command) as process:
            request = self.held()
            self.stage.check(old.exists(), "ssh waits, and nothing is removed yet")
            shown = self.bob.run("requests", "show", request)
            self.stage.typed("bob", f"hoopgw requests show {request}")
            self.stage.shown(shown)
            self.stage.check(command in shown, "bob sees the exact command", seen=shown)
            self.stage.typed("bob", f"hoopgw requests approve {request} --comment 'it is old'")
            self.bob.run("requests", "approve", request, "--comment", "it is old")
            output, errors = process.communicate(timeout=_PATIENCE)
        self.stage.shown(output + errors)
        self.stage.check(
            process.returncode == 0 and not old.exists(), "now it is gone", seen=errors
        )
        self.stage.check((self.host.releases / "1.1").exists(), "and nothing else")

    def recorded(self) -> None:
        """Find all of it in the recordings."""
        sessions: list[dict[str, Any]] = self.bob.json("sessions", "list")["sessions"]
        mine = [each["id"] for each in sessions if each["target"] == TARGET]
        told = "\n".join(self.bob.run("sessions", "replay", each) for each in mine)
        for word in ("tail -n 2", "touch", "shop.log", "held for review", "approved"):
            self.stage.check(word in told, f"the recordings show: {word}", seen=told)
        self.stage.check(
            "shop.env" in told and HIDDEN not in told, "and not the password", seen=told
        )

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        self.stage.typed("alice", f"hoopgw ssh {TARGET} '{command}'")
        done = self.alice.attempt("ssh", TARGET, command)
        self.stage.shown(done.stdout + done.stderr)
        return done

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hoopgw.cli", "ssh", TARGET, command],
            env=self.alice.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _scp(self, source: str, destination: str) -> subprocess.CompletedProcess[str]:
        self.stage.typed("alice", f"scp {source} {destination}")
        config = self.alice.home / "ssh" / "config"
        done = subprocess.run(
            ["scp", "-q", "-F", str(config), source, destination],
            env=self.alice.environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        self.stage.shown(done.stdout + done.stderr)
        return done
