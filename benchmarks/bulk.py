"""A million rows of eight texts, by SELECT and by COPY: how much of a direct connection is left.

The server has one processor, all that is between and the client the other. The client speaks TLS
in each case and only drains; a server that is spared TLS, because the gateway speaks it, can make
more than 1.0 of that. Where something is masked, it is one text column, in plain Python.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from attrs import field, frozen
from rich.progress import Progress

from benchmarks import pooler, processors
from benchmarks.figures import Figure, Section, Target, at_least, ratios
from benchmarks.processors import ONE, OTHER
from tests.support import gateway, postgres
from tests.support.processes import Processes
from tests.support.raw_postgres import RawClient, query, startup, through

ROWS: Final = 1_000_000
COLUMNS: Final = 8
STATEMENTS: Final = {"SELECT": "SELECT * FROM wide", "COPY": "COPY wide TO STDOUT"}
MASKS: Final = ("redact", "last4")
_TARGETS: Final[dict[str, Target]] = {
    "hoopgw": at_least(0.95),
    **{f"hoopgw, {mask}": at_least(0.45) for mask in MASKS},
}
_READY: Final = b"Z\0\0\0\5I"
_PIECE: Final = 2**18


@frozen(kw_only=True)
class Way:
    """One way to the rows."""

    name: str
    log_in: Callable[[], RawClient] = field(repr=False)
    processes: Mapping[str, tuple[int, ...]] = field(factory=dict)
    masked: bool = False


@frozen
class Transfer:
    """One run."""

    seconds: float
    cost: Mapping[str, float]
    """Microseconds of processor time that each process used for a row."""


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure. ``seconds`` does not matter here."""
    with opened() as ways:
        task = progress.add_task("bulk", total=rounds * len(ways) * len(STATEMENTS))
        found: dict[tuple[str, str], list[Transfer]] = {}
        clients = {way.name: way.log_in() for way in ways}
        for way in ways:
            transfer(way, clients[way.name], "SELECT", plain=0)
        for _ in range(rounds):
            for statement in STATEMENTS:
                plain = 0  # bytes that come if nothing is masked: the first way is direct
                for way in ways:
                    one, size = transfer(way, clients[way.name], statement, plain)
                    plain = plain or size
                    found.setdefault((statement, way.name), []).append(one)
                    progress.advance(task)
        for client in clients.values():
            client.close()
    method = f"{rounds} rounds, TLS to the client, server on one processor, all else on another"
    return [
        Section(
            name=f"{ROWS:,} rows of {COLUMNS} texts by {statement}",
            method=method,
            figures=[*_figures({w.name: found[statement, w.name] for w in ways})],
        )
        for statement in STATEMENTS
    ]


def _figures(found: Mapping[str, list[Transfer]]) -> Iterator[Figure]:
    speeds = {name: [ROWS / one.seconds / 1e6 for one in ones] for name, ones in found.items()}
    for name, speed in speeds.items():
        yield Figure(name=name, samples=tuple(speed), unit="Mrows/s")
    for name, speed in speeds.items():
        if name != "direct":
            yield Figure(
                name=f"{name} / direct",
                samples=ratios(speed, speeds["direct"]),
                target=_TARGETS.get(name),
            )
    for name, ones in found.items():
        for role in ones[0].cost:
            cost = tuple(one.cost[role] for one in ones)
            yield Figure(name=f"processor time of a row: {name} {role}", samples=cost, unit="us")


def transfer(way: Way, client: RawClient, statement: str, plain: int) -> tuple[Transfer, int]:
    """Read all rows once, and return how it went and how many bytes came.

    Args:
        way: which.
        client: logged in there.
        statement: which.
        plain: bytes that come where nothing is masked; 0 if that is not known.

    Raises:
        RuntimeError: not all rows came, or they were masked where they should not be, or not where
            they should.

    """
    before = {role: processors.used(pids) for role, pids in way.processes.items()}
    start = time.perf_counter()
    client.send(query(STATEMENTS[statement]))
    size, end = drain(client)
    took = time.perf_counter() - start
    if f"{statement} {ROWS}\0".encode() not in end:
        raise RuntimeError(f"{way.name}: not all rows came: {end!r}")
    if plain and (size != plain) != way.masked:
        raise RuntimeError(f"{way.name}: {size} bytes came, {plain} would be plain")
    cost = {
        role: (processors.used(pids) - before[role]) / ROWS * 1e6
        for role, pids in way.processes.items()
    }
    return Transfer(took, cost), size


def drain(client: RawClient) -> tuple[int, bytes]:
    """Read up to ReadyForQuery; return the number of bytes and the last of them."""
    buffer = bytearray(_PIECE)
    view, end, size = memoryview(buffer), b"", 0
    receive = client.socket.recv_into
    while True:
        count = receive(view)
        if count == 0:
            raise RuntimeError(f"the connection was closed: {end!r}")
        size += count
        end = bytes(view[:count]) if count >= 100 else end[-100:] + bytes(view[:count])
        if end.endswith(_READY):
            return size, end[-100:]


@contextmanager
def opened() -> Iterator[list[Way]]:
    """Start the server on one processor, and the rest on the other."""
    with ExitStack() as stack:
        processors.here(ONE)
        settings = {"shared_buffers": "512MB", "max_parallel_workers_per_gather": "0"}
        server = postgres.start(15, tls=True, **settings)
        stack.callback(server.stop)
        processors.here(OTHER)
        columns = ", ".join(
            f"substr(md5(g::text || '/{n}'), 1, 12) AS c{n}" for n in range(1, COLUMNS + 1)
        )
        table = f"CREATE TABLE wide AS SELECT {columns} FROM generate_series(1, {ROWS}) g"
        plain = gateway.RigTarget.make("plain", server, table)
        masked = [
            gateway.RigTarget(
                name=mask,
                server=server,
                database=plain.database,
                passwords=plain.passwords,
                labels={"public.wide.c4": [f"mask.{mask}"]},
            )
            for mask in MASKS
        ]
        with server.connect(plain.database) as connection:
            connection.execute("VACUUM (FREEZE, ANALYZE) wide")
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        processes = Processes(folder)
        stack.callback(processes.stop)
        bouncer, port = pooler.start(processes, folder, plain)
        rig = gateway.start(plain, *masked, policy=_policy(), link="unix")
        stack.callback(rig.stop)
        roles = processors.roles(rig)
        ours = {role: roles[role] for role in ("worker", "agent")}
        assert server.authority is not None
        ca = str(server.authority.write(folder / "ca.crt"))
        yield [
            Way(name="direct", log_in=lambda: _direct(server.port, ca, plain)),
            Way(
                name="pgbouncer",
                log_in=lambda: _direct(port, str(folder / "pooler.crt"), plain),
                processes={"": (bouncer.pid,)},
            ),
            Way(name="hoopgw", log_in=lambda: through(rig, "plain"), processes=ours),
            *(
                Way(
                    name=f"hoopgw, {mask}",
                    log_in=partial(through, rig, mask),
                    processes=ours,
                    masked=True,
                )
                for mask in MASKS
            ),
        ]


def _policy() -> str:
    masks = "".join(
        f"""
@id("{mask}") @mask("{mask}")
forbid (principal, action == Postgres::Action::"see", resource)
when {{ resource.labels.contains("mask.{mask}") }};
"""
        for mask in MASKS
    )
    return f"""
@id("developers")
permit (principal in Hoopgw::Group::"developers", action, resource);
{masks}"""


def _direct(port: int, ca: str, target: gateway.RigTarget) -> RawClient:
    client = RawClient(port).start_tls(ca)
    client.send(startup(user=gateway.WRITER, database=target.database))
    return client.log_in(target.passwords[gateway.WRITER])
