"""Lists of 10 and 100 MB through gateway and agent, as they are and with a field of each masked.

A part of ``python -m benchmarks https``. While the answer streams, small requests go over another
connection of the same caller. How long the reactors were busy with something else meanwhile is told
in two ways: the time until the small answer, which on a machine with other work has that in it; and
the processor time that the process used from the small question to its answer, which has not: its
longest turn is not longer than that and `_PAUSE` together.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from attrs import frozen

from benchmarks import processors, upstream
from benchmarks.asker import any_server, connect
from benchmarks.figures import Figure, Section, at_least, at_most
from benchmarks.https_ways import PLAIN, Way
from benchmarks.upstream import LONG_ITEMS, masked

_ROLES: Final = ("worker", "agent")
_SPEED: Final = at_least(30.0)
"""MB/s a core."""
_STALL: Final = at_most(10.0)
"""Milliseconds of a reactor's turn."""
_GROWTH: Final = at_most(8.0)
"""MB that a process may hold at most for an answer, however long it is."""
_PAUSE: Final = 0.002
_MB: Final = 1e6
_PIECE: Final = 2**20
_TIMEOUT: Final = 300.0


@frozen(kw_only=True)
class Passed:
    """One long answer."""

    size: int
    """Bytes of its body."""
    used: Mapping[str, float]
    """Seconds of processor time of each process, the small requests' included."""
    growth: Mapping[str, float]
    """MB: the most that was resident, above what was before."""
    stalls: Mapping[str, float]
    """Milliseconds of processor time in which a small request waited, at most."""
    waited: float
    """Milliseconds that a small request took, at most."""


def measure(way: Way, rounds: int, advance: Callable[[], None]) -> Iterator[Section]:
    """Measure."""
    found: dict[str, list[Passed]] = {}
    paths = [each for path in LONG_ITEMS for each in (path, masked(path))]
    for path in paths:
        check(way, path)
    for _ in range(rounds):
        for path in paths:
            found.setdefault(path, []).append(pass_through(way, path))
        advance()
    for path, passed in found.items():
        size = passed[0].size / _MB
        what = "a field of each item masked" if path not in LONG_ITEMS else "as it is"
        yield Section(
            name=f"HTTPS: a list of {size:.0f} MB, {what}",
            method=f"{rounds} rounds, one processor for all but the client, small requests beside",
            figures=[*_figures(path, passed)],
        )


def check(way: Way, path: str) -> None:
    """Ask once, and look at all of the answer.

    Raises:
        RuntimeError: it is not what it should be.

    """
    bare = path if path in LONG_ITEMS else upstream.bare(path)
    value = upstream.VALUE if path == bare else "***"
    wanted, got = hashlib.sha256(), hashlib.sha256()
    for text in upstream.long_pieces(LONG_ITEMS[bare], value):
        wanted.update(text)
    with _curl(way, path, way.fields(PLAIN), "--output", "-") as curl:
        assert curl.stdout is not None
        while piece := curl.stdout.read(_PIECE):
            got.update(piece)
    if got.digest() != wanted.digest():
        raise RuntimeError(f"{way.name}: {path} is not answered as it should be")


def pass_through(way: Way, path: str) -> Passed:
    """Ask for a long answer, and for small ones beside.

    Raises:
        RuntimeError: it did not come whole.

    """
    fields = way.fields(PLAIN)
    beside = Beside(way, fields)
    pids = {role: way.processes[role] for role in _ROLES}
    before = {role: processors.resident(pids[role][0]) for role in _ROLES}
    for role in _ROLES:
        processors.forget_peak(pids[role][0])
    used = {role: processors.used(each) for role, each in way.processes.items()}
    said = ("--output", "/dev/null", "--write-out", "%{size_download}")
    stalls, waited = dict.fromkeys(_ROLES, 0.0), 0.0
    with _curl(way, path, fields, *said) as curl:
        while curl.poll() is None:
            asked = {role: processors.used(pids[role]) for role in _ROLES}
            waited = max(waited, beside.ask())
            for role in _ROLES:
                stalls[role] = max(stalls[role], processors.used(pids[role]) - asked[role])
            time.sleep(_PAUSE)
        assert curl.stdout is not None
        size = int(curl.stdout.read())
    if curl.returncode:
        raise RuntimeError(f"{way.name}: {path} did not come whole")
    beside.close()
    return Passed(
        size=size,
        used={r: processors.used(each) - used[r] for r, each in way.processes.items()},
        growth={r: (processors.peak(pids[r][0]) - before[r]) / _MB for r in _ROLES},
        stalls={role: stall * 1e3 for role, stall in stalls.items()},
        waited=waited * 1e3,
    )


class Beside:
    """A connection for small requests."""

    def __init__(self, way: Way, fields: Mapping[str, str]) -> None:
        lines = [
            f"GET {upstream.SMALL} HTTP/1.1",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._sock = connect(way.port, any_server())
        self.ask()  # the first one opens the way to the target

    def ask(self) -> float:
        """Ask, and return how long the answer took, in seconds."""
        begin = time.perf_counter()
        self._sock.sendall(self._request)
        got = b""
        while (end := got.find(b"\r\n\r\n")) < 0 or len(got) < end + 4 + upstream.SMALL_SIZE:
            piece = self._sock.recv(65_536)
            if not piece:
                raise RuntimeError("the connection of the small requests was closed")
            got += piece
        return time.perf_counter() - begin

    def close(self) -> None:
        """End it."""
        self._sock.close()


def _curl(way: Way, path: str, fields: Mapping[str, str], *more: str) -> subprocess.Popen[bytes]:
    command = ["curl", "-sS", "-k", "-f", "--max-time", str(_TIMEOUT), *more]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    url = f"https://127.0.0.1:{way.port}{path}"
    return subprocess.Popen([*command, url], stdout=subprocess.PIPE)


def _figures(path: str, passed: list[Passed]) -> Iterator[Figure]:
    for role in _ROLES:
        speed = tuple(each.size / _MB / each.used[role] for each in passed)
        name = f"in a second of the {role}'s time"
        yield Figure(name=name, samples=speed, unit="MB/s", target=_SPEED)
    both = tuple(each.size / _MB / sum(each.used.values()) for each in passed)
    yield Figure(name="in a second of all their time", samples=both, unit="MB/s", target=_SPEED)
    for role in _ROLES:
        growth = tuple(each.growth[role] for each in passed)
        yield Figure(
            name=f"memory of the {role}, more than before, at most",
            samples=growth,
            unit="MB",
            target=_GROWTH,
        )
    for role in _ROLES:
        stalls = tuple(each.stalls[role] for each in passed)
        name = f"the {role}'s own time while a small request waited, at most"
        yield Figure(name=name, samples=stalls, unit="ms", target=_STALL)
    waited = tuple(each.waited for each in passed)
    yield Figure(name="a small request took, at most", samples=waited, unit="ms")
