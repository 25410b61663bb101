"""``pgbench -S`` through hoopgw, pgbouncer, and direct: rates, latencies, and what recording costs.

All processes of what is measured are pinned to one processor, so a rate is a ratio of total
processor time, not of what runs side by side; the others are on another one meanwhile. Clients
speak TLS in all cases; hoopgw is a gateway and an agent, every statement decided and recorded.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from attrs import define, field
from rich.progress import Progress

from benchmarks import arena
from benchmarks.arena import Arena, Sample
from benchmarks.figures import Figure, Section, Target, at_least, at_most, ratios
from hoopgw.transport import accelerated

CLIENTS: Final = 8
MODES: Final = ("simple", "extended", "prepared", "cold simple")
LATE_ROUNDS: Final = 3
"""Rounds with one client for each of the others: a 99th percentile of one round says little."""
RECORDED: Final = ("simple", "prepared")
"""Modes in which recording is switched off for comparison."""
_NAMES: Final = ("direct", "pgbouncer", "hoopgw")
_RATES: Final[dict[str, Target]] = {"simple": at_least(0.45), "prepared": at_least(0.55)}
_LATE: Final[dict[float, Target]] = {0.5: at_most(4.0), 0.99: at_most(5.0)}
_LOSS: Final = at_most(0.10)


@define
class Samples:
    """What each candidate did, a sample a round, by mode and number of clients."""

    found: dict[tuple[str, str, int], list[Sample]] = field(factory=dict)

    def of(self, name: str, mode: str, clients: int = CLIENTS) -> list[Sample]:
        """Return the samples of a candidate."""
        return self.found.setdefault((name, mode, clients), [])

    def rates(self, name: str, mode: str) -> list[float]:
        """Return a candidate's rates."""
        return [sample.rate for sample in self.of(name, mode)]

    def late(self, name: str, share: float) -> list[float]:
        """Return a quantile of a candidate's latencies with one client, in microseconds."""
        return [sample.quantile(share) for sample in self.of(name, "simple", 1)]


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure."""
    plan = [(name, mode, CLIENTS) for mode in MODES for name in _NAMES]
    plan += [("unrecorded", mode, CLIENTS) for mode in RECORDED]
    compiled = accelerated.is_wanted("hoopgw.transport._dispatch")
    if compiled:
        plan += [("plain", mode, CLIENTS) for mode in RECORDED]
    plan.sort(key=lambda each: each[1])  # what is compared comes one after the other
    one = [(name, "simple", 1) for name in _NAMES]
    turns = [plan] * rounds + [one] * rounds * LATE_ROUNDS
    task = progress.add_task("small statements", total=sum(map(len, turns)))
    samples = Samples()
    with arena.opened(plain=compiled) as ground:
        _warm(ground, plan)
        for turn in turns:
            for name, mode, clients in turn:
                samples.of(name, mode, clients).append(ground.run(name, mode, clients, seconds))
                progress.advance(task)
        ground.check_records()
    times = f"rounds of {seconds:.0f} s, one processor, TLS to the client, unix link"
    method, often = f"{rounds} {times}", f"{rounds * LATE_ROUNDS} {times}"
    python = f"with {'compiled parts' if compiled else 'plain Python only'}"
    return [
        Section(
            name=f"pgbench -S, {CLIENTS} clients, {python}",
            method=method,
            figures=[*_rates(samples), *(_plain(samples) if compiled else ())],
        ),
        Section(name="one client, simple", method=often, figures=[*_latencies(samples)]),
        Section(
            name="recording",
            method=f"{method}; against a worker that keeps no records of statements",
            figures=[*_recording(samples)],
        ),
        Section(
            name="processor time of a statement",
            method=f"{method}; from the scheduler's own account",
            figures=[*_costs(samples)],
        ),
    ]


def _warm(ground: Arena, plan: list[tuple[str, str, int]]) -> None:
    for name in dict.fromkeys(name for name, _, _ in plan):
        ground.run(name, "simple", CLIENTS, 1.0)


def _rates(samples: Samples) -> Iterator[Figure]:
    for mode in MODES:
        rates = {name: samples.rates(name, mode) for name in _NAMES}
        for name in _NAMES:
            yield Figure(name=f"{mode}: {name}", samples=tuple(rates[name]), unit="/s")
        yield Figure(
            name=f"{mode}: hoopgw / pgbouncer",
            samples=ratios(rates["hoopgw"], rates["pgbouncer"]),
            target=_RATES.get(mode),
        )


def _plain(samples: Samples) -> Iterator[Figure]:
    for mode in RECORDED:
        rates = samples.rates("plain", mode)
        yield Figure(name=f"{mode}: plain Python only", samples=tuple(rates), unit="/s")
        yield Figure(
            name=f"{mode}: plain Python only / pgbouncer",
            samples=ratios(rates, samples.rates("pgbouncer", mode)),
        )


def _latencies(samples: Samples) -> Iterator[Figure]:
    for share, target in _LATE.items():
        p = f"p{share * 100:.0f}"
        found = {name: samples.late(name, share) for name in _NAMES}
        for name in _NAMES:
            yield Figure(name=f"{p}: {name}", samples=tuple(found[name]), unit="us")
        # Of the medians: within a round pgbouncer may add next to nothing.
        base = statistics.median(found["direct"])
        added = {name: statistics.median(found[name]) - base for name in _NAMES[1:]}
        for name, late in added.items():
            yield Figure(name=f"{p}: added by {name}", samples=(late,), unit="us")
        if added["pgbouncer"] > 0:  # else other work on the machine hides what is added
            ratio = added["hoopgw"] / added["pgbouncer"]
            yield Figure(name=f"{p}: added, hoopgw / pgbouncer", samples=(ratio,), target=target)


def _recording(samples: Samples) -> Iterator[Figure]:
    for mode in RECORDED:
        without = samples.rates("unrecorded", mode)
        yield Figure(name=f"{mode}: rate without records", samples=tuple(without), unit="/s")
        lost = [1 - ratio for ratio in ratios(samples.rates("hoopgw", mode), without)]
        yield Figure(name=f"{mode}: rate lost to recording", samples=tuple(lost), target=_LOSS)


def _costs(samples: Samples) -> Iterator[Figure]:
    for mode in MODES:
        for name in (*_NAMES[1:], "plain"):
            found = samples.of(name, mode)
            for role in found[0].cost if found else ():
                cost = tuple(sample.cost[role] for sample in found)
                role = "" if role == name else f" {role}"
                yield Figure(name=f"{mode}: {name}{role}", samples=cost, unit="us")
