"""SSH: half a gigabyte, a log-in, and a key press, direct, by ``ssh -J`` and through hoopgw.

Every way speaks the same AEAD cipher on every hop, ends at the same sshd, and takes its turn in
each round. A way through hoopgw is through gateway and agent, decided and recorded: a command's
output whole, files as what they were, with their hashes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks import processors
from benchmarks.figures import Figure, Section, Target, at_least, at_most, ratios
from benchmarks.ssh_ways import Sample, Way, Ways, opened

MEGABYTES: Final = 500
LOGINS: Final = 10
"""In a round."""
ECHOES: Final = 300
"""In a round."""
SESSIONS: Final = 200
BLIND: Final = """
@id("all") permit (principal, action, resource) unless { action == Ssh::Action::"see" };
"""
"""A policy that lets nobody see what may be a secret: each output is searched for it."""
_BUFFER: Final = 2**20
_TRANSFERS: Final[Mapping[str, tuple[bool, Callable[[Way, Path], list[str]]]]] = {
    # What it is called: whether it is a transfer of files that is recorded as such, and how to.
    "cat": (False, lambda way, file: _shell(way.ssh(f"cat {file}"), "> /dev/null")),
    "stdin": (False, lambda way, file: _shell(way.ssh("cat > /dev/null"), f"< {file}")),
    "sftp get": (True, lambda way, file: _sftp(way, f"get {file} /dev/null")),
    "sftp put": (True, lambda way, file: _sftp(way, f"put {file} /dev/null")),
    "scp": (True, lambda way, file: [*way.options("scp"), "-q", f"{way.host}:{file}", "/dev/null"]),
    "scp -O": (
        True,
        lambda way, file: [*way.options("scp"), "-O", "-q", f"{way.host}:{file}", "/dev/null"],
    ),
}
_FILES: Final = (at_least(0.6), at_least(1.5))
_OUTPUT: Final[tuple[Target, None]] = (at_least(0.35), None)


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure. ``seconds`` is for how long a client that does not read is watched."""
    task = progress.add_task("ssh", total=rounds * (len(_TRANSFERS) + 3) + 1)

    def advance() -> None:
        progress.advance(task)

    with opened() as ways:
        sections = [_transfers(ways, name, rounds, advance) for name in _TRANSFERS]
        sections.append(_logins(ways, rounds, advance))
        sections.append(_echoes(ways, rounds, advance))
    with opened(policy=BLIND) as ways:
        sections.append(_transfers(ways, "cat", rounds, advance, ", masked, lines of text"))
    sections.append(_memory(max(seconds, 3.0)))
    advance()
    return sections


# Half a gigabyte


def _transfers(
    ways: Ways, name: str, rounds: int, advance: Callable[[], None], masks: str = ""
) -> Section:
    file = ways.folder / "big"
    if not file.exists():
        with file.open("wb") as stream:
            for _ in range(MEGABYTES):
                stream.write(_text() if masks else os.urandom(_BUFFER))
    is_files, command = _TRANSFERS[name]
    found: dict[str, list[Sample]] = {way.name: [] for way in ways.all}
    for _ in range(rounds):
        for way in ways.all:
            found[way.name].append(way.measured(command(way, file)))
        advance()
    targets = (None, None) if masks else _FILES if is_files else _OUTPUT
    return Section(
        name=f"{MEGABYTES} MB by {name}{masks}",
        method=f"{rounds} rounds, {'recorded with hashes' if is_files else 'recorded whole'}",
        figures=[*_speeds(found, *targets)],
    )


def _text() -> bytes:
    """Return a megabyte of a log's lines, with nothing to mask."""
    line = b'10.0.0.7 - - [22/Nov/2026:12:00:00] "GET /a/%08d?x=%08d HTTP/1.1" 200 5123\n'
    lines = b"".join(line % (number, number * 7919) for number in range(_BUFFER // 70))
    return lines[:_BUFFER]


def _speeds(
    found: Mapping[str, list[Sample]], of_direct: Target | None, of_jump: Target | None
) -> Iterator[Figure]:
    speeds = {name: [MEGABYTES / one.seconds for one in ones] for name, ones in found.items()}
    for name, speed in speeds.items():
        yield Figure(name=name, samples=tuple(speed), unit="MB/s")
    ours = speeds["hoopgw"]
    yield Figure(name="hoopgw / direct", samples=ratios(ours, speeds["direct"]), target=of_direct)
    yield Figure(name="hoopgw / ssh -J", samples=ratios(ours, speeds["ssh -J"]), target=of_jump)
    for role in found["hoopgw"][0].cost:
        cost = tuple(one.cost[role] for one in found["hoopgw"])
        yield Figure(name=f"processor time: {role}", samples=cost, unit="s")


def _shell(command: list[str], redirection: str) -> list[str]:
    return ["sh", "-c", f'"$@" {redirection}', "sh", *command]


def _sftp(way: Way, line: str) -> list[str]:
    program = [*way.options("sftp"), "-q", "-b", "-", way.host]
    return ["sh", "-c", 'line=$1; shift; echo "$line" | "$@" > /dev/null', "sh", line, *program]


# A log-in


def _logins(ways: Ways, rounds: int, advance: Callable[[], None]) -> Section:
    found: dict[str, list[list[Sample]]] = {way.name: [] for way in ways.all}
    for way in ways.all:
        way.measured(way.ssh("true"))  # what the first one loads is no other's
    for _ in range(rounds):
        for way in ways.all:
            found[way.name].append([way.measured(way.ssh("true")) for _ in range(LOGINS)])
        advance()
    elapsed = {
        name: [statistics.median([one.seconds * 1e3 for one in ones]) for ones in each]
        for name, each in found.items()
    }
    figures = [Figure(name=name, samples=tuple(each), unit="ms") for name, each in elapsed.items()]
    figures += [
        Figure(
            name="hoopgw / direct",
            samples=ratios(elapsed["hoopgw"], elapsed["direct"]),
            target=at_most(1.5),
        ),
        Figure(name="hoopgw / ssh -J", samples=ratios(elapsed["hoopgw"], elapsed["ssh -J"])),
    ]
    for role in found["hoopgw"][0][0].cost:
        cost = tuple(sum(one.cost[role] for one in ones) / LOGINS * 1e3 for ones in found["hoopgw"])
        target = at_most(10.0) if role == "worker" else None
        figures.append(
            Figure(name=f"processor time: {role}", samples=cost, unit="ms", target=target)
        )
    method = f"{rounds} rounds of {LOGINS}: connect, log in, run true, leave"
    return Section(name="a log-in and a command", method=method, figures=figures)


# A key press


def _echoes(ways: Ways, rounds: int, advance: Callable[[], None]) -> Section:
    found: dict[str, list[list[float]]] = {}
    file = ways.folder / "big"
    for _ in range(rounds):
        for way in ways.all:
            found.setdefault(way.name, []).append(echoes(way))
        for way in (ways.direct, ways.hoopgw):
            with _busy(way, file):
                found.setdefault(f"{way.name}, beside bulk data", []).append(echoes(way))
        advance()
    figures = [
        Figure(
            name=f"{name}: {label}",
            samples=tuple(_quantile(each, share) * 1e3 for each in ones),
            unit="ms",
        )
        for name, ones in found.items()
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]
    for beside in ("", ", beside bulk data"):
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            ours = [_quantile(each, share) for each in found[f"hoopgw{beside}"]]
            theirs = [_quantile(each, share) for each in found[f"direct{beside}"]]
            target = at_most(5.0) if beside and share > 0.5 else None
            figures.append(
                Figure(
                    name=f"added{beside}: {label}",
                    samples=tuple((a - b) * 1e3 for a, b in zip(ours, theirs, strict=True)),
                    unit="ms",
                    target=at_most(0.3) if not beside and share == 0.5 else target,
                )
            )
    method = f"{rounds} rounds of {ECHOES}; bulk data is another client's, through the same worker"
    return Section(name="a byte there and back", method=method, figures=figures)


def echoes(way: Way, count: int = ECHOES) -> list[float]:
    """Send bytes to a command that sends them back, one by one; return how long each took."""
    found = []
    with subprocess.Popen(
        way.ssh("cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for number in range(count + 1):
            begin = time.perf_counter()
            client.stdin.write(b"x")
            if client.stdout.read(1) != b"x":
                raise RuntimeError(f"{way.name} does not answer")
            if number:  # the first one waits for the log-in
                found.append(time.perf_counter() - begin)
            time.sleep(0.002)
        client.stdin.close()
    return sorted(found)


@contextmanager
def _busy(way: Way, file: Path) -> Iterator[None]:
    """Move bulk data meanwhile, again and again."""
    command = _shell(way.ssh(f"while cat {file}; do :; done"), "> /dev/null")
    with subprocess.Popen(command, process_group=0) as client:
        try:
            time.sleep(0.5)
            yield
        finally:
            os.killpg(client.pid, 15)


def _quantile(values: list[float], share: float) -> float:
    return values[int(len(values) * share)]


# Memory


def _memory(seconds: float) -> Section:
    limits = f"[limits]\nsessions = {2 * SESSIONS}\nsessions_per_principal = {2 * SESSIONS}"
    figures: list[Figure] = []
    with opened(extra=limits) as ways:
        way = ways.hoopgw
        way.measured(way.ssh("true"))
        figures += _unread(way, seconds)
    with opened(extra=limits) as ways:
        figures += _idle(ways.hoopgw)
    return Section(name="memory", method="once", figures=figures)


def _unread(way: Way, seconds: float) -> Iterator[Figure]:
    """Let a client ask for much and read nothing of it."""
    pids = {role: way.processes[role][0] for role in ("worker", "agent")}
    before = {role: processors.resident(pid) for role, pid in pids.items()}
    most = dict(before)
    with subprocess.Popen(way.ssh("cat /dev/zero"), stdout=subprocess.PIPE) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for role, pid in pids.items():
                most[role] = max(most[role], processors.resident(pid))
            time.sleep(0.02)
        client.kill()
    for role in pids:
        grown = (most[role] - before[role]) / _BUFFER
        yield Figure(
            name=f"{role}, for a reader that stops",
            samples=(grown,),
            unit="MB",
            target=at_most(16.0),
        )


def _idle(way: Way) -> Iterator[Figure]:
    """Open sessions in which a command waits."""
    pids = {role: way.processes[role][0] for role in ("worker", "agent")}
    way.measured(way.ssh("true"))
    before = {role: processors.resident(pid) for role, pid in pids.items()}
    clients = []
    for _ in range(SESSIONS):
        client = subprocess.Popen(
            way.ssh("echo; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert client.stdout is not None
        assert client.stdout.read(1) == b"\n"
        clients.append(client)
    grown = {role: processors.resident(pid) - before[role] for role, pid in pids.items()}
    for client in clients:
        assert client.communicate(b"y")[0] == b"y"  # all of them live
    for role in pids:
        kilobytes = grown[role] / SESSIONS / 1024
        yield Figure(name=f"{role}, for an idle session", samples=(kilobytes,), unit="KB")
