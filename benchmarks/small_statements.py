"""``pgbench -S`` through hoopgw, pgbouncer, and direct: rates, latencies, and what recording costs.

All processes are pinned to one processor, so a rate is a ratio of total processor time, not of what
runs side by side. Clients speak TLS in all cases; hoopgw is a gateway and an agent, every statement
decided and recorded.
"""

from __future__ import annotations

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

    def added(self, name: str, share: float) -> list[float]:
        """Return by how much a candidate is later than a direct connection, in microseconds."""
        pairs = zip(self.of(name, "simple", 1), self.of("direct", "simple", 1), strict=True)
        return [one.quantile(share) - base.quantile(share) for one, base in pairs]


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure."""
    plan = [(name, mode, CLIENTS) for mode in MODES for name in _NAMES]
    plan += [("unrecorded", mode, CLIENTS) for mode in RECORDED]
    compiled = accelerated.is_wanted("hoopgw.transport._dispatch")
    if compiled:
        plan += [("plain", mode, CLIENTS) for mode in RECORDED]
    plan += [(name, "simple", 1) for name in _NAMES]
    plan.sort(key=lambda each: (each[2], each[1]))  # what is compared comes one after the other
    task = progress.add_task("small statements", total=rounds * len(plan))
    samples = Samples()
    with arena.opened(plain=compiled) as ground:
        _warm(ground, plan)
        for _ in range(rounds):
            for name, mode, clients in plan:
                samples.of(name, mode, clients).append(ground.run(name, mode, clients, seconds))
                progress.advance(task)
        ground.check_records()
    method = f"{rounds} rounds of {seconds:.0f} s, one processor, TLS to the client, unix link"
    python = f"with {'compiled parts' if compiled else 'plain Python only'}"
    return [
        Section(
            name=f"pgbench -S, {CLIENTS} clients, {python}",
            method=method,
            figures=[*_rates(samples), *(_plain(samples) if compiled else ())],
        ),
        Section(name="one client, simple", method=method, figures=[*_latencies(samples)]),
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
        direct = [sample.quantile(share) for sample in samples.of("direct", "simple", 1)]
        yield Figure(name=f"{p}: direct", samples=tuple(direct), unit="us")
        added = {}
        for name in _NAMES[1:]:
            figure = Figure(
                name=f"{p}: added by {name}", samples=tuple(samples.added(name, share)), unit="us"
            )
            added[name] = figure.median
            yield figure
        # Of the medians: within a round pgbouncer may add next to nothing.
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
