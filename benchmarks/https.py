"""HTTPS through gateway and agent, through nginx and mitmproxy, and direct.

``python -m benchmarks https``. The server is nginx with TLS; the yardsticks are another nginx,
whose ``proxy_pass`` has TLS on both sides, and mitmproxy, which is set up alike; hoopgw is a
gateway and an agent, which adds a credential, every request decided and recorded. All processes are
pinned to one processor, wrk with them, so a rate is a ratio of total processor time. How late
answers are is measured by a client of its own, see `benchmarks.asker`; answers of 100 MB are in
`benchmarks.long_answers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen
from rich.progress import Progress

from benchmarks import long_answers, processors, upstream
from benchmarks.asker import Lateness, ask
from benchmarks.figures import Figure, Section, Target, at_least, ratios
from benchmarks.https_ways import PLAIN, USUAL, Compared, Way, fetch, opened
from benchmarks.processors import ONE

_MASKED: Final = at_least(30.0)
"""MB/s, with TLS on both sides, decided and recorded."""
_MITMPROXY: Final = at_least(6.0)
"""Of hoopgw's rate of small answers, as a multiple."""
_DIFFERENT: Final = Path(__file__).with_name("different.lua")
_UNITS: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


_LATENESS: Final[Mapping[str, Callable[[Lateness], float]]] = {
    "until each connection is answered once": lambda late: late.opening,
    "p50 after that": lambda late: late.middle,
    "p99 after that": lambda late: late.late,
    "worst after that": lambda late: late.worst,
}


@frozen(kw_only=True)
class Case:
    """What is asked for."""

    name: str
    path: str
    size: int
    """Bytes of an answer's body."""
    connections: int
    target: Target | None
    """Of hoopgw's rate, as a share of nginx's."""
    asked: str = USUAL
    """The target."""
    alike: bool = True
    """Whether all requests are the same; else each has a query of its own."""


CASES: Final = (
    Case(
        name="1 KB",
        path=upstream.SMALL,
        size=upstream.SMALL_SIZE,
        connections=16,
        target=at_least(0.12),
    ),
    Case(
        name="1 KB, each with a query of its own",
        path=upstream.SMALL,
        size=upstream.SMALL_SIZE,
        connections=16,
        target=None,
        alike=False,
    ),
    Case(
        name="1 KB, links = []",
        path=upstream.SMALL,
        size=upstream.SMALL_SIZE,
        connections=16,
        target=None,
        asked=PLAIN,
    ),
    Case(
        name="1 MB",
        path=upstream.LARGE,
        size=upstream.LARGE_SIZE,
        connections=4,
        target=at_least(0.5),
    ),
    Case(
        name="1 MB, links = []",
        path=upstream.LARGE,
        size=upstream.LARGE_SIZE,
        connections=4,
        target=None,
        asked=PLAIN,
    ),
    Case(
        name="1 MB, a field masked",
        path=upstream.SECRET,
        size=upstream.LARGE_SIZE,
        connections=4,
        target=None,
    ),
)


@frozen(kw_only=True)
class Sample:
    """One run of wrk."""

    rate: float
    """Answers per second."""
    middle: float
    """Microseconds: the median."""
    cost: Mapping[str, float]
    """Microseconds of processor time that each process used for an answer."""


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`."""
    with opened() as compared:
        ways = compared.ways
        task = progress.add_task("https", total=rounds * ((len(CASES) + 1) * len(ways) + 1))
        return [
            *_rates(compared, rounds, seconds, lambda: progress.advance(task)),
            _lateness(compared, rounds, seconds, lambda: progress.advance(task)),
            *long_answers.measure(compared["hoopgw"], rounds, lambda: progress.advance(task)),
        ]


def _rates(
    compared: Compared, rounds: int, seconds: float, advance: Callable[[], None]
) -> Iterator[Section]:
    ways = compared.ways
    found: dict[tuple[str, str], list[Sample]] = {}
    for case in CASES:
        for way in ways:
            check(way, case)
            load(way, case, 1.0)
    for _ in range(rounds):
        for case in CASES:
            for way in ways:
                found.setdefault((case.name, way.name), []).append(load(way, case, seconds))
                advance()
    method = f"{rounds} rounds of {seconds:.0f} s, one processor for all, TLS on both sides"
    for case in CASES:
        yield Section(
            name=f"HTTPS: {case.name}, {case.connections} connections",
            method=method + compared.missing,
            figures=[*_figures(case, {way.name: found[case.name, way.name] for way in ways})],
        )


def _lateness(
    compared: Compared, rounds: int, seconds: float, advance: Callable[[], None]
) -> Section:
    case = CASES[0]
    found: dict[str, list[Lateness]] = {}
    for _ in range(rounds):
        for way in compared.ways:
            late = ask(way.port, case.path, case.connections, seconds, way.fields(case.asked))
            found.setdefault(way.name, []).append(late)
            advance()
    figures = [
        Figure(name=f"{what}: {name}", samples=tuple(values(each) for each in late), unit="us")
        for what, values in _LATENESS.items()
        for name, late in found.items()
    ]
    name = f"HTTPS: how late {case.name} is, {case.connections} connections that ask at once again"
    method = f"{rounds} rounds of {seconds:.0f} s, the client in Python on another processor"
    return Section(name=name, method=method + compared.missing, figures=figures)


def load(way: Way, case: Case, seconds: float) -> Sample:
    """Run wrk once.

    Raises:
        RuntimeError: it failed, not all answers were good, or the way was not used.

    """
    command = ["wrk", "-t", "1", "-c", str(case.connections), "-d", f"{max(1, round(seconds))}s"]
    for name, value in way.fields(case.asked).items():
        command += ["-H", f"{name}: {value}"]
    before = {role: processors.used(pids) for role, pids in way.processes.items()}
    if not case.alike:
        command += ["-s", str(_DIFFERENT)]
    command += ["--latency", "--timeout", "20s", f"https://127.0.0.1:{way.port}{case.path}"]
    done = processors.run_on(ONE, command, {})
    said = done.stdout
    count = re.search(r"(\d+) requests in ", said)
    rate = re.search(r"Requests/sec: +([0-9.]+)", said)
    middle = re.search(r" 50% +([0-9.]+)(us|ms|s|m)\b", said)
    if done.returncode or not (count and rate and middle) or int(count[1]) == 0:
        raise RuntimeError(f"{way.name}: {said[-2000:]}{done.stderr[-2000:]}")
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{way.name}: not all answers were good: {said[-2000:]}")
    cost = {
        role: (processors.used(pids) - before[role]) / int(count[1]) * 1e6
        for role, pids in way.processes.items()
    }
    if cost and max(cost.values()) < 1.0:
        raise RuntimeError(f"{way.name} was not on the way of its requests")
    return Sample(
        rate=float(rate[1]),
        middle=float(middle[1]) * _UNITS[middle[2]],
        cost=cost,
    )


def check(way: Way, case: Case) -> None:
    """Ask once, and look at the answer.

    Raises:
        RuntimeError: it is not what it should be.

    """
    expected = upstream.small() if case.path == upstream.SMALL else upstream.large()
    if way.name == "hoopgw" and case.path == upstream.SECRET:
        expected = expected.replace(upstream.VALUE.encode(), b"***")
    body = fetch(f"https://127.0.0.1:{way.port}{case.path}", way.fields(case.asked))
    if body != expected:
        raise RuntimeError(f"{way.name}: {case.path} was answered {body[:500]!r}")


def _figures(case: Case, found: Mapping[str, list[Sample]]) -> Iterator[Figure]:
    rates = {name: [sample.rate for sample in samples] for name, samples in found.items()}
    for name in found:
        yield Figure(name=name, samples=tuple(rates[name]), unit="/s")
        if case.size > upstream.SMALL_SIZE:
            speed = tuple(rate * case.size / 1e6 for rate in rates[name])
            yield Figure(name=f"{name}: bodies", samples=speed, unit="MB/s")
    yield Figure(
        name=f"{case.name}: hoopgw / nginx",
        samples=ratios(rates["hoopgw"], rates["nginx"]),
        target=case.target,
    )
    if case.target is not None and case.path == upstream.SMALL and "mitmproxy" in rates:
        yield Figure(
            name=f"{case.name}: hoopgw / mitmproxy",
            samples=ratios(rates["hoopgw"], rates["mitmproxy"]),
            target=_MITMPROXY,
        )
    if case.path == upstream.SECRET:
        speed = tuple(case.size / sample.cost["worker"] for sample in found["hoopgw"])
        name = "masked in a second of the worker's time"
        yield Figure(name=name, samples=speed, unit="MB/s", target=_MASKED)
    for name, samples in found.items():
        yield Figure(name=f"p50: {name}", samples=tuple(s.middle for s in samples), unit="us")
    for name, samples in found.items():
        for role in samples[0].cost:
            cost = tuple(sample.cost[role] for sample in samples)
            yield Figure(name=f"processor time: {name} {role}", samples=cost, unit="us")
