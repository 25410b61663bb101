"""What statements are sent through: a server, pgbouncer and hoopgw, as candidates for pgbench."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from benchmarks import pooler, processors
from benchmarks.processors import ONE, OTHER
from hoopgw.transport import accelerated
from tests.support import gateway, postgres
from tests.support.processes import Processes, wait_until

PGBENCH: Final = Path("/usr/lib/postgresql/15/bin/pgbench")
SCALE: Final = 10
_LOG_PATIENCE: Final = 20.0
"""Seconds until the recorder has signed what was written: it does so every 10 s."""


@frozen(kw_only=True)
class Candidate:
    """Where pgbench connects."""

    name: str
    environment: Mapping[str, str] = field(repr=False)
    processes: Mapping[str, tuple[int, ...]] = field(factory=dict)
    """Process ids between the client and the server, by what they do."""
    roots: tuple[int, ...] = ()
    """Of these and of all that they have started: what runs for this candidate alone."""
    log: Path | None = None
    """Of the gateway that records here."""


@frozen(kw_only=True)
class Sample:
    """One run of pgbench."""

    rate: float
    """Transactions per second."""
    transactions: int
    latencies: tuple[float, ...]
    """Microseconds, sorted; only with one client."""
    cost: Mapping[str, float]
    """Microseconds of processor time that each process used for a transaction."""

    def quantile(self, share: float) -> float:
        """Return the latency that this share of transactions did not exceed."""
        return self.latencies[int(len(self.latencies) * share)]


@define(eq=False)
class Arena:
    """Candidates that are running."""

    folder: Path
    candidates: dict[str, Candidate]
    statements: int = 0
    """That went through hoopgw."""
    _signed: int = field(default=0, init=False)
    """Records in the log before anything was run."""

    def __attrs_post_init__(self) -> None:
        self._signed = self._log_size()

    def run(self, name: str, mode: str, clients: int, seconds: float) -> Sample:
        """Run pgbench once.

        Args:
            name: of the candidate.
            mode: a protocol of pgbench's, or ``cold simple``: each statement's text is a new one.
            clients: at once.
            seconds: how long.

        Raises:
            RuntimeError: it failed, or the candidate did nothing for it.

        """
        candidate = self.candidates[name]
        self._make_way(name)
        script = ["-f", self.cold, "-D", f"scale={SCALE}"] if mode == "cold simple" else ["-S"]
        with tempfile.TemporaryDirectory() as logs:
            log = ["--log", "--log-prefix", f"{logs}/log"] if clients == 1 else []
            before = {role: processors.used(pids) for role, pids in candidate.processes.items()}
            command = [PGBENCH, "-n", *script, "-M", mode.split()[-1], "-c", str(clients)]
            done = processors.run_on(
                ONE, [*command, "-j", "1", "-T", f"{seconds:.0f}", *log], candidate.environment
            )
            rate = re.search(r"tps = ([0-9.]+)", done.stdout)
            count = re.search(r"actually processed: (\d+)", done.stdout)
            if done.returncode or rate is None or count is None:
                raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
            latencies = [
                float(line.split()[2])
                for path in Path(logs).glob("log*")
                for line in path.read_text().splitlines()
            ]
        transactions = int(count[1])
        cost = {
            role: (processors.used(pids) - before[role]) / transactions * 1e6
            for role, pids in candidate.processes.items()
        }
        if candidate.processes and max(cost.values()) < 1.0:
            raise RuntimeError(f"{name} was not on the way of its statements")
        if candidate.log is not None:
            self.statements += transactions
        return Sample(
            rate=float(rate[1]),
            transactions=transactions,
            latencies=tuple(sorted(latencies)),
            cost=cost,
        )

    def _make_way(self, name: str) -> None:
        """Leave the processor that is measured to one candidate, and to the server.

        What the others do while they are idle would be in everybody's 99th percentile, and the
        more so the longer a statement takes.
        """
        for other in self.candidates.values():
            processors.move(other.roots, ONE if other.name == name else OTHER)

    @property
    def cold(self) -> Path:
        """A script whose every statement has another text, also without its literals."""
        path = self.folder / "cold.sql"
        if not path.exists():
            path.write_text(
                "\\set aid random(1, 100000 * :scale)\n\\set one random(1, 1000000000)\n"
                "SELECT abalance AS c:one FROM pgbench_accounts WHERE aid = :aid;\n"
            )
        return path

    def check_records(self) -> None:
        """Wait until each statement's intent and result are in the signed log.

        Raises:
            AssertionError: they are not.

        """
        least = self._signed + 2 * self.statements
        wait_until("all in the log", lambda: self._log_size() >= least, _LOG_PATIENCE)

    def _log_size(self) -> int:
        sizes = [0]
        for candidate in self.candidates.values():
            if candidate.log is not None:
                head = candidate.log / "checkpoint"
                sizes.append(int(head.read_text().splitlines()[1]) if head.exists() else 0)
        return max(sizes)


@contextmanager
def plain_python(wanted: bool) -> Iterator[None]:
    """Let processes that are started here use nothing compiled, if that is wanted."""
    before = os.environ.get(accelerated.VARIABLE)
    if wanted:
        os.environ[accelerated.VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(accelerated.VARIABLE, None)
        if before is not None:
            os.environ[accelerated.VARIABLE] = before


@contextmanager
def opened(*, unrecorded: bool = True, plain: bool = False) -> Iterator[Arena]:
    """Start PostgreSQL 15, pgbouncer and hoopgw; one at a time is on the server's processor.

    Args:
        unrecorded: also a hoopgw that keeps no records of statements.
        plain: also one that uses nothing compiled.

    """
    processors.here(ONE)
    with ExitStack() as stack:
        server = postgres.start(15, tls=True)
        stack.callback(server.stop)
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        processes = Processes(folder)
        stack.callback(processes.stop)
        target = gateway.RigTarget.make("bench", server)
        direct = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(server.port),
            "PGCONNECT_TIMEOUT": "20",
            "PGSSLMODE": "require",
            "PGDATABASE": target.database,
            "PGUSER": gateway.WRITER,
            "PGPASSWORD": target.passwords[gateway.WRITER],
        }
        filled = processors.run_on(OTHER, [PGBENCH, "-i", "-q", "-s", str(SCALE)], direct)
        if filled.returncode:
            raise RuntimeError(filled.stderr[-2000:])
        running, port = pooler.start(processes, folder, target)
        found = [
            Candidate(name="direct", environment=direct),
            Candidate(
                name="pgbouncer",
                environment={**direct, "PGPORT": str(port)},
                processes={"pgbouncer": (running.pid,)},
                roots=(running.pid,),
            ),
        ]
        programs: dict[str, list[str]] = {"hoopgw": []}
        if unrecorded:
            programs["unrecorded"] = ["-m", "benchmarks.unrecorded"]
        if plain:
            programs["plain"] = []
        for name, program in programs.items():
            with plain_python(name == "plain"):
                rig = gateway.start(target, link="unix", program=program)
            stack.callback(rig.stop)
            assert rig.agent is not None
            log = rig.settings.paths.log if name == "hoopgw" else None
            found.append(
                Candidate(
                    name=name,
                    environment=rig.environment("bench", lifetime=7200.0),
                    processes=processors.roles(rig),
                    roots=(rig.gateway.pid, rig.agent.pid),
                    log=log,
                )
            )
        processors.here(OTHER)
        yield Arena(folder, {candidate.name: candidate for candidate in found})
