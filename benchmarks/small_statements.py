"""``pgbench -S`` through hoopgw, pgbouncer, and direct: ratios of rates and latencies in one run.

All processes are pinned to one core, so a rate is a ratio of total CPU cost. Clients speak TLS in
all three cases; hoopgw is a gateway and an agent, every statement decided and recorded. Candidates
are interleaved in rounds; medians and the spread are shown.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.support import gateway, postgres
from tests.support.processes import Processes, free_port

PGBENCH: Final = "/usr/lib/postgresql/15/bin/pgbench"
SCALE: Final = 10
COLD_SCRIPT: Final = """\\set aid random(1, 100000 * :scale)
\\set one random(1, 1000000000)
SELECT abalance AS c:one FROM pgbench_accounts WHERE aid = :aid;
"""
MODES: Final = ("simple", "extended", "prepared", "cold simple")


@frozen
class Candidate:
    """Where pgbench connects."""

    name: str
    environment: dict[str, str] = field(repr=False)


@define
class Sample:
    """One run of pgbench."""

    tps: float
    latencies: list[float]
    """Microseconds, sorted."""


def pgbench(candidate: Candidate, mode: str, clients: int, seconds: float, cold: Path) -> Sample:
    """Run pgbench once."""
    with tempfile.TemporaryDirectory() as folder:
        script = ["-f", str(cold), "-D", f"scale={SCALE}"] if mode == "cold simple" else ["-S"]
        done = subprocess.run(
            [PGBENCH, "-n", *script, "-M", mode.split()[-1], "-c", str(clients), "-j", "1"]
            + ["-T", str(int(seconds)), "--log", "--log-prefix", f"{folder}/log"],
            env={**os.environ, **candidate.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        match = re.search(r"tps = ([0-9.]+)", done.stdout)
        if done.returncode or match is None:
            raise RuntimeError(f"{candidate.name}: {done.stderr[-2000:]}")
        latencies: list[float] = []
        for log in Path(folder).glob("log*"):
            latencies += [float(line.split()[2]) for line in log.read_text().splitlines()]
    return Sample(float(match[1]), sorted(latencies))


@contextmanager
def candidates(console: Console) -> Iterator[list[Candidate]]:
    """Start PostgreSQL 15, pgbouncer and hoopgw on one core."""
    os.sched_setaffinity(0, {0})
    server = postgres.start(15, tls=True)
    folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
    folder.chmod(0o755)
    processes = Processes(folder)
    target = gateway.RigTarget.make("bench", server)
    rig = gateway.start(target, link="unix")
    try:
        local = {"PGHOST": "127.0.0.1", "PGCONNECT_TIMEOUT": "20", "PGSSLMODE": "require"}
        direct = {
            **local,
            "PGPORT": str(server.port),
            "PGDATABASE": target.database,
            "PGUSER": gateway.WRITER,
            "PGPASSWORD": target.passwords[gateway.WRITER],
        }
        console.print("filling the database")
        subprocess.run(
            [PGBENCH, "-i", "-q", "-s", str(SCALE)],
            env={**os.environ, **direct},
            check=True,
            capture_output=True,
        )
        bouncer = pgbouncer(processes, folder, server, target)
        yield [
            Candidate("direct", direct),
            Candidate("pgbouncer", {**direct, "PGPORT": str(bouncer)}),
            Candidate("hoopgw", rig.environment("bench", lifetime=7200.0)),
        ]
    finally:
        processes.stop()
        rig.stop()
        server.stop()


def pgbouncer(
    processes: Processes, folder: Path, server: postgres.Server, target: gateway.RigTarget
) -> int:
    """Start pgbouncer with TLS to its clients; return its port."""
    assert server.authority is not None
    port = free_port()
    key, certificate = folder / "b.key", folder / "b.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    password = target.passwords[gateway.WRITER]
    (folder / "users.txt").write_text(f'"{gateway.WRITER}" "{password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
{target.database} = host=127.0.0.1 port={server.port} dbname={target.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = session
server_tls_sslmode = disable
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
ignore_startup_parameters = extra_float_digits
"""
    )
    user = postgres.unprivileged_user()
    for path in folder.iterdir():
        if user is not None and path.is_file():
            os.chown(path, *user)
    running = processes.start("pgbouncer", ["/usr/sbin/pgbouncer", folder / "pgbouncer.ini"], user=user)
    running.wait_for_port(port)
    return port


def run(console: Console, rounds: int = 5, seconds: float = 3.0) -> dict[str, float]:
    """Measure, print a table, and return the figures."""
    samples: dict[tuple[str, str, int], list[Sample]] = {}
    with candidates(console) as found, Progress(console=console) as progress:
        cold = Path(tempfile.mkdtemp(prefix="hg-bench-")) / "cold.sql"
        cold.write_text(COLD_SCRIPT)
        plan = [
            (mode, clients) for clients, modes in ((8, MODES), (1, ("simple",))) for mode in modes
        ]
        task = progress.add_task("pgbench", total=rounds * len(plan) * len(found))
        for _ in range(rounds):
            for mode, clients in plan:
                for candidate in found:
                    sample = pgbench(candidate, mode, clients, seconds, cold)
                    samples.setdefault((mode, candidate.name, clients), []).append(sample)
                    progress.advance(task)
                    time.sleep(0)
    return _report(console, samples)


def _report(
    console: Console, samples: dict[tuple[str, str, int], list[Sample]]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    table = Table(title="pgbench -S over TLS, 8 clients, one core: transactions/s")
    for heading in ("mode", "direct", "pgbouncer", "hoopgw", "min..max", "/ pgbouncer"):
        table.add_column(heading, justify="right")
    for mode in MODES:
        rates = {
            name: [sample.tps for sample in samples[mode, name, 8]]
            for name in ("direct", "pgbouncer", "hoopgw")
        }
        medians = {name: statistics.median(found) for name, found in rates.items()}
        ratio = medians["hoopgw"] / medians["pgbouncer"]
        figures[f"{mode}: rate / pgbouncer"] = ratio
        ours = rates["hoopgw"]
        table.add_row(
            mode,
            *(f"{medians[name]:,.0f}" for name in medians),
            f"{min(ours):,.0f}..{max(ours):,.0f}",
            f"{ratio:.2f}",
        )
    console.print(table)
    table = Table(title="one client, simple: added latency, microseconds")
    for heading in ("", "p50", "p99", "p50 / pgbouncer's", "p99 / pgbouncer's"):
        table.add_column(heading, justify="right")
    added: dict[str, dict[float, float]] = {}
    for name in ("pgbouncer", "hoopgw"):
        added[name] = {
            share: statistics.median(
                _quantile(one, share) - _quantile(base, share)
                for one, base in zip(
                    samples["simple", name, 1], samples["simple", "direct", 1], strict=True
                )
            )
            for share in (0.5, 0.99)
        }
    ratios = {share: added["hoopgw"][share] / added["pgbouncer"][share] for share in (0.5, 0.99)}
    for name, values in added.items():
        shown = [f"{ratios[share]:.1f}" if name == "hoopgw" else "" for share in (0.5, 0.99)]
        table.add_row(name, f"{values[0.5]:.1f}", f"{values[0.99]:.1f}", *shown)
    console.print(table)
    figures["added p50 / pgbouncer's"] = ratios[0.5]
    figures["added p99 / pgbouncer's"] = ratios[0.99]
    return figures


def _quantile(sample: Sample, share: float) -> float:
    return sample.latencies[int(len(sample.latencies) * share)]


if __name__ == "__main__":
    run(Console())
