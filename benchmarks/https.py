"""HTTPS through gateway and agent, through nginx, and direct: small answers, large, and masked.

``python -m benchmarks https``. The server is nginx with TLS; the yardstick is another nginx, whose
``proxy_pass`` has TLS on both sides; hoopgw is a gateway and an agent, which adds a credential,
every request decided and recorded. All processes are pinned to one processor, wrk with them, so a
rate is a ratio of total processor time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen
from rich.progress import Progress

from benchmarks import processors, upstream
from benchmarks.figures import Figure, Section, Target, at_least, ratios
from benchmarks.processors import ONE, OTHER
from tests.support import gateway
from tests.support.certificates import Authority
from tests.support.gateway import AGENT
from tests.support.processes import Processes, free_port

DOMAIN: Final = "gw.example"
POLICY: Final = """
@id("everybody")
permit (principal, action, resource)
unless { action == Rest::Action::"see" };
"""
_MASKED: Final = at_least(30.0)
"""MB/s, with TLS on both sides, decided and recorded."""
_TOKEN: Final = "bearer-that-only-the-agent-has"
_UNITS: Final = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


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


CASES: Final = (
    Case(
        name="1 KB",
        path=upstream.SMALL,
        size=upstream.SMALL_SIZE,
        connections=16,
        target=at_least(0.12),
    ),
    Case(
        name="1 MB",
        path=upstream.LARGE,
        size=upstream.LARGE_SIZE,
        connections=4,
        target=at_least(0.5),
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
class Way:
    """One way to the files."""

    name: str
    port: int
    processes: Mapping[str, tuple[int, ...]]
    """Process ids between wrk and the server, by what they do."""
    fields: Callable[[], Mapping[str, str]] = field(repr=False)
    """Returns what a request says besides; tokens are new for each sample."""


@frozen(kw_only=True)
class Sample:
    """One run of wrk."""

    rate: float
    """Answers per second."""
    late: float
    """Microseconds: the 99th percentile."""
    middle: float
    """Microseconds: the median."""
    cost: Mapping[str, float]
    """Microseconds of processor time that each process used for an answer."""


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`."""
    found: dict[tuple[str, str], list[Sample]] = {}
    with opened() as ways:
        task = progress.add_task("https", total=rounds * len(CASES) * len(ways))
        for case in CASES:
            for way in ways:
                check(way, case)
                load(way, case, 1.0)
        for _ in range(rounds):
            for case in CASES:
                for way in ways:
                    found.setdefault((case.name, way.name), []).append(load(way, case, seconds))
                    progress.advance(task)
    method = f"{rounds} rounds of {seconds:.0f} s, one processor for all, TLS on both sides"
    return [
        Section(
            name=f"HTTPS: {case.name}, {case.connections} connections",
            method=method,
            figures=[*_figures(case, {way.name: found[case.name, way.name] for way in ways})],
        )
        for case in CASES
    ]


def load(way: Way, case: Case, seconds: float) -> Sample:
    """Run wrk once.

    Raises:
        RuntimeError: it failed, not all answers were good, or the way was not used.

    """
    command = ["wrk", "-t", "1", "-c", str(case.connections), "-d", f"{max(1, round(seconds))}s"]
    for name, value in way.fields().items():
        command += ["-H", f"{name}: {value}"]
    before = {role: processors.used(pids) for role, pids in way.processes.items()}
    command += ["--latency", "--timeout", "20s", f"https://127.0.0.1:{way.port}{case.path}"]
    done = processors.run_on(ONE, command, {})
    said = done.stdout
    count = re.search(r"(\d+) requests in ", said)
    rate = re.search(r"Requests/sec: +([0-9.]+)", said)
    late = re.search(r" 99% +([0-9.]+)(us|ms|s|m)\b", said)
    middle = re.search(r" 50% +([0-9.]+)(us|ms|s|m)\b", said)
    if done.returncode or not (count and rate and late and middle) or int(count[1]) == 0:
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
        late=float(late[1]) * _UNITS[late[2]],
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
    body = fetch(f"https://127.0.0.1:{way.port}{case.path}", way.fields())
    if body != expected:
        raise RuntimeError(f"{way.name}: {case.path} was answered {body[:500]!r}")


def fetch(url: str, fields: Mapping[str, str]) -> bytes:
    """Return the body of an answer, whatever the certificate: as wrk, which verifies none."""
    command = ["curl", "-sS", "-k", "--max-time", "60", url]
    for name, value in fields.items():
        command += ["-H", f"{name}: {value}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@contextmanager
def opened() -> Iterator[list[Way]]:
    """Start the server, nginx before it, and hoopgw before it, all on one processor.

    Raises:
        NotInstalledError: a program is not there; the text says which.

    """
    for name, package in (upstream.NGINX, ("wrk", "wrk"), ("curl", "curl")):
        upstream.program(name, package)
    processors.here(ONE)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        processes = Processes(folder)
        stack.callback(processes.stop)
        authority = Authority.make("bench CA")
        ca = authority.write(folder / "ca.crt")
        pair = authority.issue(folder, "web", (upstream.NAME, "127.0.0.1"))
        server = upstream.start_server(processes, folder, pair)
        proxy = upstream.start_proxy(processes, folder, pair, server.port, ca)
        secret = folder / "token"
        secret.touch(mode=0o600)
        secret.write_text(_TOKEN)
        port = free_port()
        rig = gateway.start(
            policy=POLICY,
            link="unix",
            extra=_gateway_toml(port),
            agent_extra=_agent_toml(server.port, ca, secret),
        )
        stack.callback(rig.stop)

        def fields() -> Mapping[str, str]:
            return {
                "Host": f"shop.{DOMAIN}:{port}",
                "Authorization": f"Bearer {rig.token('shop', lifetime=7200.0)}",
            }

        processors.here(OTHER)
        yield [
            Way(name="direct", port=server.port, processes={}, fields=dict),
            Way(
                name="nginx",
                port=proxy.port,
                processes={"proxy": (proxy.running.pid,)},
                fields=dict,
            ),
            Way(name="hoopgw", port=port, processes=_roles(rig), fields=fields),
        ]


def _roles(rig: gateway.GatewayRig) -> Mapping[str, tuple[int, ...]]:
    roles = processors.roles(rig)
    return {role: roles[role] for role in ("worker", "agent", "recorder")}


def _gateway_toml(port: int) -> str:
    rules = "".join(
        f"""
[[targets.operations]]
name = "{path.rpartition("/")[2]}"
method = "GET"
path = "{path}"
{f'secrets = ["**.{upstream.FIELD}"]' if path == upstream.SECRET else ""}
"""
        for path in (upstream.SMALL, upstream.LARGE, upstream.SECRET)
    )
    return f"""
[tls]
names = ["127.0.0.1", "*.{DOMAIN}"]
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{port}"
domain = "{DOMAIN}"
authority = "{DOMAIN}:{port}"
[[targets]]
name = "shop"
protocol = "azure"
agent = "{AGENT}"
service = "rest"
account = "reader"
{rules}"""


def _agent_toml(port: int, ca: Path, secret: Path) -> str:
    return f"""
[[targets]]
name = "shop"
protocol = "azure"
address = "127.0.0.1:{port}"
host = "{upstream.NAME}"
ca = "{ca}"
service = "rest"
[targets.accounts.reader]
source = "file:{secret}"
auth = "bearer"
[[floor]]
targets = ["shop"]
accounts = ["reader"]
mode = "read-only"
"""


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
    if case.path == upstream.SECRET:
        speed = tuple(case.size / sample.cost["worker"] for sample in found["hoopgw"])
        name = "masked in a second of the worker's time"
        yield Figure(name=name, samples=speed, unit="MB/s", target=_MASKED)
    for name, samples in found.items():
        yield Figure(name=f"p50: {name}", samples=tuple(s.middle for s in samples), unit="us")
        yield Figure(name=f"p99: {name}", samples=tuple(s.late for s in samples), unit="us")
    for name, samples in found.items():
        for role in samples[0].cost:
            cost = tuple(sample.cost[role] for sample in samples)
            yield Figure(name=f"processor time: {name} {role}", samples=cost, unit="us")
