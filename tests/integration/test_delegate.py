"""`hoopgw delegate` as people use it: unmodified clients inside, through a real gateway."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.delegating import INNER, Person
from tests.support.gateway import PSQL_15, READER, WRITER, GatewayRig
from tests.support.processes import Processes, wait_until

pytestmark = pytest.mark.skipif(not Path(PSQL_15).exists(), reason="make test installs psql 15")

AS_READER = ("--to", "planner", "--allow", "pg15:*", "--allow", "pg18:*", "--account", READER)


@pytest.fixture(scope="module")
def alice(rig: GatewayRig) -> Iterator[Person]:
    """Log alice in."""
    with Person.logged_in(rig) as person:
        yield person


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Give a place for processes, and stop them."""
    with Processes.for_a_while() as made:
        yield made


def python(code: str) -> list[str]:
    """Return a command that runs Python code."""
    return [sys.executable, "-c", textwrap.dedent(code)]


def sessions_of(rig: GatewayRig, path: str) -> list[dict[str, Any]]:
    """Return the sessions of chains that begin so."""
    listed = rig.api("GET", "/v1/sessions?limit=200")["sessions"]
    return [session for session in listed if session["path"].startswith(path)]


class TestClients:
    """Inside, they just work."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ["service=pg15"],
            ["-d", "pg18", "-U", WRITER],
            ["dbname=pg15 user=app_writer sslmode=require"],
            ["postgresql:///pg18?user=app_reader"],
        ],
    )
    def test_psql(self, alice: Person, arguments: list[str]) -> None:
        """However it is told where to go."""
        sql = "SELECT count(*) FROM customers"
        done = alice.delegate(*AS_READER, "--", PSQL_15, "-XAtc", sql, *arguments)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
        assert "alice / planner until" in done.stderr
        assert "not isolated" in done.stderr

    def test_psycopg_again_and_again(self, alice: Person) -> None:
        """One after the other, and many at once."""
        code = """
            import concurrent.futures, psycopg
            def ask(n):
                with psycopg.connect("service=pg15") as connection:
                    return connection.execute("SELECT count(*) FROM customers").fetchone()[0]
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                print(sum(pool.map(ask, range(36))))
        """
        done = alice.delegate(*AS_READER, "-q", "--", *python(code))
        assert (done.returncode, done.stdout) == (0, "108\n"), done.stderr

    def test_asyncpg_pool(self, alice: Person) -> None:
        """A pool of ten, with what the environment says."""
        code = """
            import asyncio, asyncpg
            async def main():
                async with asyncpg.create_pool(database="pg18", min_size=10, max_size=10) as pool:
                    rows = await asyncio.gather(
                        *(pool.fetchval("SELECT count(*) FROM customers") for _ in range(40)))
                    print(sum(rows))
            asyncio.run(main())
        """
        done = alice.delegate(*AS_READER, "-q", "--", *python(code))
        assert (done.returncode, done.stdout) == (0, "120\n"), done.stderr

    def test_pg8000(self, alice: Person) -> None:
        """A client that knows neither libpq nor its variables."""
        code = """
            import os, pg8000.native
            socket = os.environ["PGHOST"] + "/.s.PGSQL." + os.environ["PGPORT"]
            with pg8000.native.Connection("app_reader", database="pg15", unix_sock=socket) as c:
                print(c.run("SELECT count(*) FROM customers"))
        """
        done = alice.delegate(*AS_READER, "-q", "--", *python(code))
        assert (done.returncode, done.stdout) == (0, "[[3]]\n"), done.stderr

    def test_much(self, alice: Person) -> None:
        """Both ways, with a reader that is slow to begin."""
        code = """
            import psycopg, time
            with psycopg.connect("service=pg15", user="app_writer") as c:
                with c.cursor().copy("COPY numbers TO STDOUT") as copy:
                    time.sleep(0.3)
                    rows = sum(bytes(piece).count(b"\\n") for piece in copy)
                c.execute("CREATE TEMP TABLE mine (t text)")
                with c.cursor().copy("COPY mine FROM STDIN") as copy:
                    for _ in range(200):
                        copy.write("x" * 100_000 + "\\n")
                print(rows, c.execute("SELECT sum(length(t)) FROM mine").fetchone()[0])
        """
        done = alice.delegate(*AS_READER, "-q", "--", *python(code))
        assert (done.returncode, done.stdout) == (0, "100000 20000000\n"), done.stderr

    def test_cancel(self, alice: Person) -> None:
        """A request to cancel finds its session."""
        code = """
            import psycopg, threading
            with psycopg.connect("service=pg15", autocommit=True) as c:
                over = threading.Event()
                def cancel():
                    while not over.wait(0.1):  # until it has begun there is nothing to cancel
                        c.cancel()
                thread = threading.Thread(target=cancel)
                thread.start()
                try:
                    c.execute("SELECT count(*) FROM numbers a, numbers b, numbers c")
                except psycopg.errors.QueryCanceled as error:
                    print("cancelled")
                over.set()
                thread.join()
        """
        done = alice.delegate(*AS_READER, "-q", "--", *python(code))
        assert done.stdout == "cancelled\n", done.stderr

    def test_what_was_not_delegated(self, alice: Person) -> None:
        """The door says so, in PostgreSQL's words, with what there is."""
        done = alice.delegate(
            *("--to", "planner", "--allow", "pg15:*", "-q", "--"),
            *(PSQL_15, "-Xc", "SELECT 1", "-d", "pg18", "-U", READER),
        )
        assert done.returncode == 2
        assert "nothing on 'pg18' was delegated" in done.stderr
        assert "delegated are: pg15" in done.stderr


class TestCommand:
    """What the command is to the terminal and to scripts."""

    @pytest.mark.parametrize(
        ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)]
    )
    def test_status(self, alice: Person, script: str, status: int) -> None:
        """As a shell has it."""
        done = alice.delegate(*AS_READER, "-q", "--", "sh", "-c", script)
        assert done.returncode == status, done.stderr

    def test_what_cannot_be_run(self, alice: Person, tmp_path: Path) -> None:
        """127 and 126, as a shell has it."""
        assert alice.delegate(*AS_READER, "-q", "--", "no-such-program").returncode == 127
        plain = tmp_path / "plain"
        plain.touch()
        done = alice.delegate(*AS_READER, "-q", "--", plain)
        assert done.returncode == 126
        assert "Permission denied" in done.stderr

    def test_pipes(self, alice: Person) -> None:
        """Standard input, output and error are the command's; no other file is open."""
        done = alice.delegate(
            *AS_READER, "-q", "--", "sh", "-c", "cat; echo err >&2; ls /proc/self/fd", text="in\n"
        )
        lines = done.stdout.splitlines()
        assert (lines[0], done.stderr) == ("in", "err\n")
        assert set(lines[1:]) == {"0", "1", "2", "3"}  # 3 is how ls reads the folder

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_signals(self, alice: Person, processes: Processes, number: signal.Signals) -> None:
        """What is sent to us reaches it; how it ends is how we end."""
        script = f"trap 'echo got; exit 5' {number.name.removeprefix('SIG')}; echo on; "
        running = alice.start(
            *(processes, "delegate", "delegate", *AS_READER, "-q", "--"),
            *("bash", "-c", script + "while :; do sleep 0.05; done"),
        )
        running.wait_for_line("^on$")
        running.process.send_signal(number)
        running.wait_for_line("^got$")
        assert running.process.wait(60) == 5

    def test_terminal(self, alice: Person) -> None:
        """Ctrl-C reaches the command once, and us not at all."""
        script = "trap 'echo got; exit 6' INT; test -t 0 && echo tty; while :; do sleep 0.05; done"
        terminal, inner = pty.openpty()
        # The terminal must be the one that controls the session: Ctrl-C is the kernel's work.
        command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "hoopgw.cli", "delegate"]
        with subprocess.Popen(
            [*command, *AS_READER, "-q", "--", "bash", "-c", script],
            env=alice.environment(),
            stdin=inner,
            stdout=inner,
            stderr=inner,
        ) as process:
            os.close(inner)
            seen = b""
            while b"tty" not in seen:
                seen += os.read(terminal, 1000)
            os.write(terminal, b"\x03")
            assert process.wait(60) == 6
        os.close(terminal)

    def test_environment(self, alice: Person) -> None:
        """Credentials stay behind, as the manual says."""
        secret = {"PGPASSWORD": "x", "AZURE_CLIENT_SECRET": "x", "SSH_AUTH_SOCK": "/x", "OWN": "1"}
        done = alice.delegate(*AS_READER, "-q", "--", "env", env=secret)
        names = {line.partition("=")[0] for line in done.stdout.splitlines()}
        assert names.isdisjoint({"PGPASSWORD", "AZURE_CLIENT_SECRET", "SSH_AUTH_SOCK"})
        assert names >= {"OWN", "PGHOST", "PGSERVICEFILE", "HOOPGW_BROKER"}
        assert str(alice.home) not in done.stdout

    def test_nothing_is_run_if_refused(self, alice: Person, tmp_path: Path) -> None:
        """Bad terms, no log-in: the status says which, and the command did not begin."""
        mark = tmp_path / "mark"
        for status, arguments in (
            (1, ("--to", "Planner")),
            (1, ("--to", "p", "--allow", "orders")),
            (1, ("--to", "p", "--ttl", "soon")),
            (1, ("--to", "p", "--budget", "cpu=1")),
            (1, ("--to", "p", "--user", "nobody-of-that-name")),
            (2, ("--to", "p", "--nest", "9")),
        ):
            done = alice.delegate(*arguments, "--", "touch", mark)
            assert (done.returncode, mark.exists()) == (status, False), done.stderr
        env = {"HOOPGW_HOME": str(tmp_path)}
        done = alice.delegate("--to", "p", "--", "touch", mark, env=env)
        assert (done.returncode, mark.exists()) == (3, False)


class TestEnd:
    """How it ends."""

    def test_nothing_is_left(self, alice: Person) -> None:
        """No folder."""
        script = f"echo $PGHOST; exec {PSQL_15} -XAtc 'SELECT 1' -d pg15"
        done = alice.delegate(*AS_READER, "-q", "--", "sh", "-c", script)
        place, answer = done.stdout.splitlines()
        assert answer == "1"
        assert not Path(place).parent.exists()

    def test_a_killed_one_leaves_no_way_in(
        self, rig: GatewayRig, alice: Person, processes: Processes
    ) -> None:
        """The sockets are gone with the process; what lived through them ends."""
        code = """
            import os, psycopg, time
            c = psycopg.connect("service=pg15", autocommit=True)
            print("on", os.environ["PGHOST"], flush=True)
            try:
                while True:
                    c.execute("SELECT 1")
                    time.sleep(0.05)
            except psycopg.OperationalError:
                print("lost", flush=True)
            try:
                psycopg.connect("service=pg15")
            except psycopg.OperationalError:
                print("closed", flush=True)
        """
        running = alice.start(
            processes, "delegate", "delegate", *AS_READER, "-q", "--", *python(code)
        )
        place = Path(running.wait_for_line("^on (.+)$")[1])
        running.process.kill()
        running.wait_for_line("^lost$")
        running.wait_for_line("^closed$")
        running.process.wait()
        with contextlib.suppress(FileNotFoundError):  # the next one sweeps it away
            left = {path.name for path in place.iterdir()}
            assert left == {"broker.sock", ".s.PGSQL.5432", "pg_service.conf"}
            shutil.rmtree(place.parent)

    def test_its_end(self, alice: Person) -> None:
        """After its time nothing is opened any more, though the command goes on.

        What was being opened just then is ended by the gateway; the next is not even begun.
        """
        code = """
            import psycopg, time
            ends = time.monotonic() + 60
            while time.monotonic() < ends:
                try:
                    psycopg.connect("service=pg15").close()
                except psycopg.OperationalError as error:
                    print(error)
                    if "is over" in str(error):
                        break
                time.sleep(0.05)
        """
        done = alice.delegate(*AS_READER, "--ttl", "3s", "-q", "--", *python(code))
        assert "the delegation to planner is over" in done.stdout


class TestRecords:
    """What is kept of it."""

    def test_the_chain(self, rig: GatewayRig, alice: Person) -> None:
        """Sessions are the chain's, not alice's."""
        name = f"recorded-{secrets.token_hex(4)}"
        done = alice.delegate(
            *("--to", name, "--purpose", "nightly report", "-q", "--"),
            *(PSQL_15, "-Xc", "SELECT 1", f"dbname=pg15 user={READER}"),
        )
        assert done.returncode == 0, done.stderr
        wait_until("the session is listed", lambda: bool(sessions_of(rig, f"alice/{name}#")))


def test_no_process_is_left(alice: Person) -> None:
    """A command that leaves processes behind: they have no identity any more."""
    done = alice.delegate(
        *(*AS_READER, "-q", "--", "bash", "-c"),
        f"(while [ -e $PGHOST ]; do sleep 0.05; done; {PSQL_15} -Xc 'SELECT 1' -d pg15) & exit 0",
    )
    assert done.returncode == 0
    assert "No such file or directory" in done.stderr


class TestCommandsInside:
    """`hoopgw` itself, inside: it acts as the child."""

    def hoopgw(self, alice: Person, *arguments: str, **more: Any) -> Any:
        """Run a command inside, and return what it printed as JSON."""
        inner = (sys.executable, "-m", "hoopgw.cli", *arguments, "--json")
        done = alice.delegate(*AS_READER, "-q", "--", *inner, **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def test_who_it_is(self, alice: Person) -> None:
        """The chain, as the gateway sees it."""
        who = self.hoopgw(alice, "whoami")
        assert [hop["name"] for hop in who["chain"]] == ["alice", "planner"]

    def test_what_opens_a_target(self, rig: GatewayRig, alice: Person) -> None:
        """A session password of the child's own, that dies with it."""
        given = self.hoopgw(alice, "token", "pg15", "--account", READER, "--password")
        assert given["user"].startswith(f"{READER}~")
        psql = [PSQL_15, "-XAtc", "SELECT 1"]
        env = {"PATH": os.environ["PATH"], **given["env"]}
        done = subprocess.run(psql, env=env, capture_output=True, text=True, check=False)
        assert "password authentication failed" in done.stderr  # the delegation has ended

    def test_no_log_in_of_its_own(self, alice: Person) -> None:
        """What needs a person is refused as for every agent."""
        inner = (sys.executable, "-m", "hoopgw.cli", "agent", "token", "other")
        done = alice.delegate(*AS_READER, "-q", "--", *inner)
        assert done.returncode == 1
        assert "only administrators" in done.stderr

    def test_a_certificate(self, alice: Person, tmp_path: Path) -> None:
        """With it a client goes to the gateway itself; the child holds a key then, of its own."""
        hoopgw = f"{sys.executable} -m hoopgw.cli"
        certificate = f"{hoopgw} certificate pg15 --account {READER} --out {tmp_path}/c"
        script = f"""
            where=$({certificate} | tail -n 1 | cut -d '"' -f 2)
            {PSQL_15} -XAtc 'SELECT count(*) FROM customers' "$where"
        """
        done = alice.delegate(*AS_READER, "-q", "--", "bash", "-c", script)
        assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_budget(alice: Person) -> None:
    """What a child may spend is its own and its children's together."""
    sql = ("-c", "SELECT 1", "-c", "SELECT 2", "-c", "SELECT 3")
    inner = (*INNER, "--to", "migrator", "-q", "--", PSQL_15, "-XAt", *sql, "-d", "pg15")
    spent = ("--budget", "operations=2", "-q")
    done = alice.delegate(*AS_READER, *spent, "--", *inner)
    assert done.stdout == "1\n2\n", done.stderr
    assert "budget" in done.stderr
