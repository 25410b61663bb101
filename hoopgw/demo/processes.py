"""The demonstration's processes: started one by one, stopped in reverse, each by its own id.

Every child leads a session of its own, so that Ctrl-C in the terminal reaches the demonstration
only, and so that a child which does not stop when asked can be ended with all it started. Should
the demonstration itself be killed, the kernel asks its children to stop (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from hoopgw.errors import HoopgwError

STOP_PATIENCE: Final = 15.0
"""Seconds that a process gets to stop before it is killed."""
_POLL: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LOG_SHOWN: Final = 15
"""Last lines of a log that an error shows."""


class DemoError(HoopgwError):
    """A part of the demonstration did not start or did not do what it should."""


@define(eq=False)
class Child:
    """One process of the demonstration."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int
    group: bool
    """Whether its whole session is killed when it does not stop."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def log_end(self) -> str:
        """Return the last lines of what it wrote, for an error."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(lines[-_LOG_SHOWN:])

    def stop(self) -> None:
        """Ask it to stop; kill it, and what it started, if it does not."""
        if self.process.returncode is not None:
            return  # it is gone, and its id may be somebody else's by now
        os.kill(self.pid, self.stop_signal)
        if not self._has_ended(STOP_PATIENCE):
            os.kill(self.pid, signal.SIGKILL)
        if self.group:
            # Its session may outlive it. While it is not waited for, no other can have its id.
            self._has_ended(STOP_PATIENCE)
            with contextlib.suppress(PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def _has_ended(self, patience: float) -> bool:
        """Wait for its end without taking its status."""
        end = time.monotonic() + patience
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        while os.waitid(os.P_PID, self.pid, flags) is None:
            if time.monotonic() > end:
                return False
            time.sleep(_POLL)
        return True


@define(eq=False)
class Children:
    """All processes of the demonstration, in the order in which they were started."""

    folder: Path
    """Where their logs go."""
    _started: list[Child] = field(factory=list, init=False)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: tuple[int, int] | None = None,
        stop_signal: int = signal.SIGTERM,
        cwd: Path | None = None,
    ) -> Child:
        """Start a process with its output in ``<name>.log``.

        Args:
            name: for people, and for the log's name.
            argv: the program and its arguments.
            env: the whole environment; the present one if None.
            user: user and group id to become.
            stop_signal: what asks it to stop.
            cwd: where it starts.

        """
        log = self.folder / f"{name}.log"
        libc = ctypes.CDLL(None, use_errno=True)

        def die_with_us() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, stop_signal)

        with log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    cwd=cwd or self.folder,
                    start_new_session=True,
                    user=user[0] if user else None,
                    group=user[1] if user else None,
                    extra_groups=[] if user else None,
                    preexec_fn=die_with_us,
                )
            except OSError as error:
                raise DemoError(f"{name} did not start: {error}") from error
        child = Child(name, process, log, stop_signal, group=user is None)
        self._started.append(child)
        return child

    def stop(self, stopped: Callable[[str], None] = lambda _name: None) -> None:
        """Stop all, the last one first; ``stopped`` is told each name."""
        while self._started:
            child = self._started.pop()
            child.stop()
            stopped(child.name)

    def check(self) -> None:
        """Raise `DemoError` if one has ended by itself."""
        for child in self._started:
            if (status := child.process.poll()) is not None:
                raise DemoError(f"{child.name} ended with status {status}:\n{child.log_end()}")

    def wait_until(self, what: str, ready: Callable[[], bool], patience: float) -> None:
        """Wait until ``ready`` says so, while every process lives.

        Raises:
            DemoError: one ended, or ``patience`` seconds passed.

        """
        end = time.monotonic() + patience
        while not ready():
            self.check()
            if time.monotonic() > end:
                tails = "\n".join(f"-- {c.name}\n{c.log_end()}" for c in self._started[-2:])
                raise DemoError(f"{what} did not happen in {patience:.0f} s:\n{tails}")
            time.sleep(_POLL)


def free_port(wanted: int = 0) -> int:
    """Return ``wanted`` if nothing listens there on loopback, and any free port otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Say whether something accepts connections on loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
