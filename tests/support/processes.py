"""Start programs for a test, see what they say, and stop them by their id.

What a process writes goes to a file and to whoever waits for a line, so that nothing sleeps and
hopes. A process ends with the test run, even if that is killed (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

TOP: Final = Path(__file__).resolve().parents[2]
ROOTS: Final = (TOP, TOP / "protocols", TOP / "plugins")
"""What is on the path of our own processes."""

PATIENCE: Final = 60.0
"""Seconds for something to start, on a machine with two cores that others use too."""
SOON: Final = 20.0
"""Seconds for what the product promises to do in two: the promise itself is held where it is made,
with a clock of the test's own. What must be seen with real processes is that nobody waits for
something else, as long as the machine lets them run at all."""
STOP_PATIENCE: Final = 60.0
_POLL: Final = 0.02
_PORTS: Final = (20_000, 32_000)
_claims: Final[list[socket.socket]] = []
_SHOWN: Final = 40


class ProcessError(AssertionError):
    """A process did not do what the test needs; the text has the end of what it wrote."""


@define(eq=False)
class Running:
    """One process, its log, and what it has written so far."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int = signal.SIGTERM
    _lines: list[str] = field(factory=list, init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)
    _reader: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start to read."""
        self._reader = threading.Thread(target=self._read, name=f"log of {self.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def output(self) -> str:
        """All that it has written so far."""
        with self._changed:
            return "\n".join(self._lines)

    def wait_for_line(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait for a line that matches, also one that came already.

        Raises:
            ProcessError: it ended, or did not write such a line in time.

        """
        seen = 0
        deadline = time.monotonic() + patience
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self._lines)
                if not self._reader.is_alive():
                    raise self.error(f"ended before it wrote {pattern!r}")
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise self.error(f"did not write {pattern!r} in {patience:.0f} s")

    def wait_until(self, what: str, ready: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until something that gives no sign is so, while the process lives."""
        wait_until(f"{self.name}: {what}", ready, patience, self.check)

    def wait_for_port(self, port: int, patience: float = PATIENCE) -> None:
        """Wait until something accepts connections on loopback."""
        self.wait_until(f"port {port}", lambda: is_listening(port), patience)

    def check(self) -> None:
        """Raise `ProcessError` if it has ended."""
        if (status := self.process.poll()) is not None:
            self._reader.join(1.0)
            raise self.error(f"ended with status {status}")

    def stop(self, patience: float = STOP_PATIENCE) -> int:
        """Ask it to stop, wait, and return its status; kill it if it does not.

        Raises:
            ProcessError: it had to be killed.

        """
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"did not stop in {patience:.0f} s") from None
        self._reader.join(5.0)
        return status

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5.0)

    def error(self, problem: str) -> ProcessError:
        """Return an error with the end of the log."""
        end = "\n".join(self._lines[-_SHOWN:])
        return ProcessError(f"{self.name} {problem}; its log ends with:\n{end}")

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.log.open("ab", buffering=0) as log:
            for line in self.process.stdout:
                log.write(line)
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@define(eq=False)
class Processes:
    """All processes of one test or rig, stopped in reverse order."""

    folder: Path
    """Where the logs go."""
    _started: list[Running] = field(factory=list, init=False)

    @classmethod
    @contextlib.contextmanager
    def for_a_while(cls) -> Iterator[Processes]:
        """Give a place for processes, and stop them behind the block."""
        with tempfile.TemporaryDirectory(prefix="hg-p-") as folder:
            made = cls(Path(folder))
            try:
                yield made
            finally:
                made.stop()

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        stop_signal: int = signal.SIGTERM,
        cwd: Path | None = None,
    ) -> Running:
        """Start a program.

        Args:
            name: for errors, and for the log: ``<name>.log``.
            argv: the program and its arguments.
            env: added to the environment.
            user: user and group id to become; only root can.
            stop_signal: what asks it to stop.
            cwd: where it starts.

        """
        become = [] if user is None else [f"--reuid={user[0]}", f"--regid={user[1]}"]
        if user is not None:
            become.append("--clear-groups")
        last_wish = signal.Signals(stop_signal).name.removeprefix("SIG")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", last_wish, *become, *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd or self.folder,
        )
        running = Running(name, process, self.folder / f"{name}.log", stop_signal)
        self._started.append(running)
        return running

    def start_python(
        self, name: str, *arguments: str | Path, env: Mapping[str, str] | None = None
    ) -> Running:
        """Start this interpreter with our own code on its path."""
        return self.start(
            name, [sys.executable, *arguments], env={**python_environment(), **(env or {})}
        )

    def stop(self) -> None:
        """Stop all, the last one first.

        Raises:
            ProcessError: one had to be killed; all have ended all the same.

        """
        problems: list[ProcessError] = []
        while self._started:
            try:
                self._started.pop().stop()
            except ProcessError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]


def python_environment() -> dict[str, str]:
    """Return what our own processes need in their environment."""
    given = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([*map(str, ROOTS), *([given] if given else [])]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
    }


def wait_until(
    what: str,
    ready: Callable[[], bool],
    patience: float = PATIENCE,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Look often whether something is so, and fail when it is not in time."""
    deadline = time.monotonic() + patience
    while not ready():
        check()
        if time.monotonic() > deadline:
            raise ProcessError(f"{what} was not so in {patience:.0f} s")
        time.sleep(_POLL)


def free_port() -> int:
    """Return a port on loopback where nothing listens, and that no other test run is given.

    It is below those that the kernel takes for outgoing connections: one of these could have it
    before the test's server does. An abstract socket of its number keeps it as long as we live.
    """
    while True:
        port = random.randrange(*_PORTS)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0hoopgw-test-port-{port}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def is_listening(port: int) -> bool:
    """Say whether something accepts connections on loopback."""
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children that run, from ``/proc``."""
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, tasks.read_text().split())
    return [child for child in found if not _is_zombie(child)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
