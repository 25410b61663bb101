"""How late recording makes a worker's reactor: timers of a worker that records 20,000 events/s."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.progress import Progress

from benchmarks.figures import Figure, Section, Target, at_most
from tests.support.processes import TOP, python_environment

RATE: Final = 20_000
_SHARES: Final[dict[float, Target | None]] = {0.5: None, 0.99: at_most(5.0), 0.999: None}


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure."""
    task = progress.add_task("lateness", total=2 * rounds)
    found: dict[int, list[Mapping[str, Any]]] = {0: [], RATE: []}
    for _ in range(rounds):
        for rate, samples in found.items():
            samples.append(busy(rate, max(seconds, 2.0)))
            progress.advance(task)
    least = 0.95 * RATE
    assert min(each["rate"] for each in found[RATE]) > least, "the worker did not keep up"
    figures = []
    for rate, samples in found.items():
        for share, target in _SHARES.items():
            late = tuple(_quantile(each["late"], share) * 1e3 for each in samples)
            figures.append(
                Figure(
                    name=f"p{share * 100:g} with {rate:,} events/s",
                    samples=late,
                    unit="ms",
                    target=target if rate else None,
                )
            )
    busiest = found[RATE]
    figures += [
        Figure(
            name="sync: p50",
            samples=tuple(_quantile(each["syncs"], 0.5) * 1e3 for each in busiest),
            unit="ms",
        ),
        Figure(
            name="sync: worst",
            samples=tuple(each["syncs"][-1] * 1e3 for each in busiest),
            unit="ms",
        ),
        Figure(
            name="recorder behind, at most",
            samples=tuple(each["lag"] / 1024 for each in busiest),
            unit="KB",
        ),
        Figure(
            name="memory of the recorder",
            samples=tuple(each["recorder_memory"] / 2**20 for each in busiest),
            unit="MB",
        ),
    ]
    method = f"{rounds} rounds, a timer each 2 ms, the recorder on another processor"
    return [Section(name="lateness of a worker's timers", method=method, figures=figures)]


def busy(rate: int, seconds: float) -> Mapping[str, Any]:
    """Run a worker that records at a rate."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.busy_worker", str(rate), str(seconds)],
        env=python_environment(),
        cwd=TOP,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _quantile(values: list[float], share: float) -> float:
    return values[int(len(values) * share)]
