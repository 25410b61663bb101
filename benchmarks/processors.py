"""Where processes run, and what they use: affinity, processor time, memory, from ``/proc``."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.gateway import GatewayRig
from tests.support.processes import children_of

ONE: Final = 0
"""The processor that is measured."""
OTHER: Final = 1
"""The one for what should not be measured with it."""


def here(processor: int) -> None:
    """Run on one processor from now on, with all processes that are started after this.

    Threads of this process keep theirs.
    """
    os.sched_setaffinity(0, {processor if processor in available() else min(available())})


def move(pids: Iterable[int], processor: int) -> None:
    """Let processes and all that they have started run on one processor from now on."""
    if processor not in available():
        return
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread.name), {processor})
        move(children_of(pid), processor)


def available() -> frozenset[int]:
    """Return the processors of this machine that we may use."""
    return _AVAILABLE


_AVAILABLE: Final = frozenset(os.sched_getaffinity(0))


def run_on(
    processor: int, command: Sequence[str | Path], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end on one processor, wherever we are ourselves."""
    return subprocess.run(
        ["taskset", "-c", str(processor), *map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def roles(rig: GatewayRig) -> dict[str, tuple[int, ...]]:
    """Return the process ids of a gateway and its agent, by what they do on the data path."""
    assert rig.agent is not None
    found = {"worker": rig.gateway.pid}  # it is its own supervisor if it has no such child
    for pid in children_of(rig.gateway.pid):
        found[_words(pid)[2].rpartition(".")[2]] = pid
    parsers = (pid for pid in children_of(found["worker"]) if _words(pid)[2].endswith("process"))
    return {
        "worker": (found["worker"],),
        "agent": (rig.agent.pid,),
        "recorder": (found["recorder"],),
        "parsers": tuple(parsers),
    }


def _words(pid: int) -> list[str]:
    return [*Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"), "", "", ""]


def used(pids: Iterable[int]) -> float:
    """Return the seconds of processor time that processes have used, in all their threads."""
    nanoseconds = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / 1e9


def resident(pid: int) -> int:
    """Return the bytes of memory that are resident for a process."""
    return _memory(pid, "VmRSS")


def peak(pid: int) -> int:
    """Return the most bytes that were resident, since the start or `forget_peak`."""
    return _memory(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Count the most from now on (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, what: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no memory")
