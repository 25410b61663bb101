"""Children of `hoopgw delegate` that want more than they were given.

Three cases are told apart. As another user (``--user``, root only) the child is contained, and the
hop says ``isolated``. As the same user, not root, it cannot read the broker, but can read what its
user can, the parent's log-in for one: the hop says ``isolated=false``, and docs/threat-model.md
calls it attribution. Whatever the user, each identity's sockets answer its own processes only.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import pwd
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hoopgw.client import Identity
from hoopgw.identity.jose import parse
from tests.support.delegating import PATIENCE, Person
from tests.support.gateway import READER, GatewayRig
from tests.support.processes import SOON, Processes

NOBODY = pwd.getpwnam("nobody")
CAPS = ("--allow", "pg15:Postgres::read", "--account", READER)
DELEGATE = (sys.executable, "-m", "hoopgw.cli", "delegate")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

PRELUDE = """
import ctypes, errno, json, os, socket, subprocess, sys, time
from pathlib import Path
BROKER = os.environ.get("HOOPGW_BROKER", "")
PARENT = os.getppid()

def tried(what):
    try:
        return what()
    except Exception as error:
        return type(error).__name__

def ask(op, path=BROKER, **values):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(str(path))
        s.sendall(json.dumps({"op": op, **values}).encode() + b"\\n")
        answer = json.loads(s.makefile().readline())
        return answer.get("ok") or answer["error"]

def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        start = int(next(line for line in maps if " rw-p " in line).split("-")[0], 16)
        mem.seek(start)
        return len(mem.read(16))

def attach(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) == 0:  # PTRACE_ATTACH
        libc.ptrace(17, pid, 0, 0)
        return "attached"
    return errno.errorcode[ctypes.get_errno()]

def terms(**more):
    return {"name": "more", "expires": time.time() + 60, "caps": None, "nest": None, "budget": None,
            "purpose": "", "isolated": False, "kind": "agent", **more}

def say(**values):
    print(json.dumps(values), flush=True)
"""
"""What every attacker knows."""


PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
"""One that every user may run; ours can be in somebody's home."""


def attacker(code: str, *arguments: str, python: str = PYTHON) -> tuple[str, ...]:
    """Return a command that runs an attacker's code."""
    return (python, "-c", PRELUDE + textwrap.dedent(code), *arguments)


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what an attacker has said."""
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def hops_of(token: str) -> list[dict[str, Any]]:
    """Return the claims of the hops in a chain with a proof."""
    return [dict(parse(part).claims) for part in token.split("~")[1:-1]]


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


@pytest.fixture
def commoner(rig: GatewayRig) -> Iterator[Person]:
    """Log alice in, on a machine where she is an ordinary user."""
    home = Path(tempfile.mkdtemp(prefix="hg-commoner-"))
    person = Person.log_in(rig, home / "login")
    ca = home / "ca.pem"
    shutil.copy(rig.ca, ca)  # the rig's own folder is root's
    kept = json.loads((home / "login" / "login.json").read_text())
    (home / "login" / "login.json").write_text(json.dumps({**kept, "ca": str(ca)}))
    for path in (home, *home.rglob("*")):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    yield person
    shutil.rmtree(home)


def as_nobody(person: Person, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``hoopgw delegate`` as an ordinary user."""
    become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    return subprocess.run(
        [*become, sys.executable, "-m", "hoopgw.cli", "delegate", *arguments],
        env=person.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def secrets_of(person: Person) -> tuple[str, str]:
    """Return a person's token and key."""
    kept = json.loads((person.home / "login.json").read_text())
    return kept["token"], kept["key"]["d"]


class TestWhatIsInherited:
    """Nothing that was the parent's comes along."""

    def test_environment(self, alice: Person) -> None:
        """Neither in the variables nor in what ``/proc`` shows of them, nor in arguments."""
        code = """
            everything = dict(os.environ)
            for name in ("environ", "cmdline"):
                everything[name] = Path(f"/proc/self/{name}").read_bytes().decode()
            say(**everything)
        """
        env = {"HOOPGW_ID_TOKEN": "issuers-token", "PGPASSWORD": "hers", "AZURE_CLIENT_ID": "hers"}
        done = alice.delegate("--to", "planner", *CAPS, "--", *attacker(code), env=env)
        text = done.stdout
        for secret in (*secrets_of(alice), "issuers-token", "hers", str(alice.home)):
            assert secret not in text

    def test_open_files(self, alice: Person) -> None:
        """A file that the parent had open for itself is not open in the child."""
        code = "say(open=sorted(os.listdir('/proc/self/fd')))"
        with (alice.home / "login.json").open() as hers:
            os.set_inheritable(hers.fileno(), True)
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "hoopgw.cli",
                    "delegate",
                    "--to",
                    "p",
                    "--",
                    *attacker(code),
                ],
                env=alice.environment(),
                pass_fds=[hers.fileno()],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            opened = {str(n) for n in range(3)} | {"3"}  # 3 lists the folder
            assert set(said(done)["open"]) == opened, hers.fileno()

    def test_what_is_asked_for_is_not_ours(self, alice: Person) -> None:
        """Not even with ``--keep-env``."""
        keep = ("--keep-env", "HOOPGW_HOME", "--keep-env", "HOOPGW_ID_TOKEN")
        env = {"HOOPGW_ID_TOKEN": "issuers-token"}
        code = "say(home=os.environ['HOOPGW_HOME'], token=os.environ.get('HOOPGW_ID_TOKEN'))"
        found = said(alice.delegate("--to", "p", *keep, "--", *attacker(code), env=env))
        assert found["home"] != str(alice.home)
        assert found["token"] is None


@root_only
class TestAnotherUser:
    """With ``--user`` the child is contained."""

    def isolated(self, alice: Person, code: str, *arguments: str) -> dict[str, Any]:
        """Run an attacker as nobody."""
        options = ("--to", "planner", *CAPS, "--user", "nobody")
        return said(alice.delegate(*options, "--", *attacker(code, *arguments)))

    def test_the_broker(self, alice: Person) -> None:
        """Its memory, environment and files are closed, and it cannot be traced or stopped."""
        found = self.isolated(
            alice,
            """
            say(uid=os.getuid(), memory=tried(lambda: memory(PARENT)), attach=attach(PARENT),
                environ=tried(lambda: Path(f"/proc/{PARENT}/environ").read_bytes().hex()),
                files=tried(lambda: os.listdir(f"/proc/{PARENT}/fd")),
                kill=tried(lambda: os.kill(PARENT, 9)),
                privileges=Path("/proc/self/status").read_text())
            """,
        )
        assert found["uid"] == NOBODY.pw_uid
        for name in ("memory", "environ", "files", "kill"):
            assert found[name] == "PermissionError", name
        assert found["attach"] == "EPERM"
        assert "NoNewPrivs:\t1" in found["privileges"]

    def test_the_log_in(self, alice: Person) -> None:
        """The file with the parent's key cannot be read; the hop says isolated."""
        code = """
            token = ask("prove", audience="hoopgw:target:pg15")["token"]
            say(file=tried(lambda: Path(sys.argv[1]).read_text()), token=token,
                isolated=ask("standing")["isolated"])
        """
        found = self.isolated(alice, code, str(alice.home / "login.json"))
        assert found["file"] == "PermissionError"
        assert found["isolated"] is True
        assert [hop["isolated"] for hop in hops_of(found["token"])] == [True]

    def test_a_log_in_that_it_can_read(self, alice: Person) -> None:
        """Is said: the hop is not isolated then."""
        (alice.home / "login.json").chmod(0o644)
        alice.home.chmod(0o755)
        try:
            found = self.isolated(alice, "say(isolated=ask('standing')['isolated'])")
        finally:
            alice.home.chmod(0o700)
            (alice.home / "login.json").chmod(0o600)
        assert found["isolated"] is False

    def test_the_folder(self, alice: Person) -> None:
        """Nothing in it can be replaced, added or listed; a grandchild is not isolated from it."""
        found = self.isolated(
            alice,
            """
            folder = Path(BROKER).parent
            say(
                list=tried(lambda: os.listdir(folder)),
                write=tried(lambda: (folder / "x").touch()),
                link=tried(lambda: (folder / "y").symlink_to("/etc")),
                unlink=tried(lambda: os.unlink(BROKER)),
                rename=tried(lambda: os.rename(folder, "/tmp/mine")),
                service=tried(lambda: (folder / "pg_service.conf").write_text("")),
                works=Path(os.environ["PGSERVICEFILE"]).read_text()[:6],
            )
            """,
        )
        assert found.pop("works") == "[pg15]"
        assert set(found.values()) == {"PermissionError"}

    def test_the_terminal(self, alice: Person) -> None:
        """One that has it could type into it: not isolated. One that has not cannot open it."""
        code = """
            say(isolated=ask("standing")["isolated"],
                terminal=tried(lambda: os.close(os.open("/dev/tty", os.O_RDWR))))
        """
        assert self.isolated(alice, code) == {"isolated": True, "terminal": "OSError"}
        terminal, inner = pty.openpty()
        options = ("--to", "planner", *CAPS, "--user", "nobody", "-q", "--", *attacker(code))
        with subprocess.Popen(
            ["setsid", "--ctty", "--wait", *DELEGATE, *options],
            env=alice.environment(),
            stdin=inner,
            stdout=inner,
            stderr=inner,
        ) as process:
            os.close(inner)
            assert process.wait(PATIENCE) == 0
            seen = os.read(terminal, 4096)
        os.close(terminal)
        assert json.loads(seen) == {"isolated": False, "terminal": None}

    def test_clients_work(self, alice: Person) -> None:
        """As they do for anybody."""
        code = """
            psql = ["psql", "-XAtc", "SELECT count(*) FROM t", "service=pg15"]
            say(rows=subprocess.run(psql, capture_output=True, text=True).stdout)
        """
        assert self.isolated(alice, code)["rows"] == "5\n"

    def test_only_root_becomes_another(self, commoner: Person) -> None:
        """And nobody becomes root."""
        done = as_nobody(commoner, "--to", "p", "--user", "daemon", "--", "true")
        assert (done.returncode, "needs root" in done.stderr) == (1, True)
        done = commoner.delegate("--to", "p", "--user", "root", "--", "true")
        assert (done.returncode, "isolated from nothing" in done.stderr) == (1, True)


@root_only
class TestTheSameUser:
    """An ordinary user's child: it cannot read the broker, and can read the log-in."""

    def test_the_broker(self, commoner: Person) -> None:
        """What works on any other process of the user does not on the broker."""
        code = """
            other = subprocess.Popen(["sleep", "60"])
            say(uid=os.getuid(), memory=tried(lambda: memory(PARENT)), attach=attach(PARENT),
                environ=tried(lambda: Path(f"/proc/{PARENT}/environ").read_bytes().hex()),
                files=tried(lambda: os.listdir(f"/proc/{PARENT}/fd")),
                others=tried(lambda: memory(other.pid)))
            other.kill()
        """
        found = said(as_nobody(commoner, "--to", "planner", *CAPS, "--", *attacker(code)))
        assert found["uid"] == NOBODY.pw_uid
        assert found["others"] == 16  # the attack works where nothing is hidden
        for name in ("memory", "environ", "files"):
            assert found[name] == "PermissionError", name
        assert found["attach"] == "EPERM"

    def test_the_log_in_is_not_out_of_reach_and_that_is_said(self, commoner: Person) -> None:
        """Attribution, not containment: in the hop, on the terminal and in the documentation."""
        code = """
            token = ask("prove", audience="hoopgw:target:pg15")["token"]
            say(key="key" in json.loads(Path(sys.argv[1]).read_text()), token=token)
        """
        file = str(commoner.home / "login.json")
        done = as_nobody(commoner, "--to", "planner", *CAPS, "--", *attacker(code, file))
        found = said(done)
        assert found["key"] is True
        assert ["isolated" in hop for hop in hops_of(found["token"])] == [False]
        assert "not isolated" in done.stderr
        text = " ".join(
            (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text().split()
        )
        assert "attribution, not containment" in text


class TestSockets:
    """Each identity's sockets answer its own processes."""

    def test_from_outside(self, alice: Person, processes: Processes) -> None:
        """Another process of the same user gets nothing, at the broker's socket or PostgreSQL's."""
        code = "say(broker=BROKER, host=os.environ['PGHOST']); sys.stdin.read(); time.sleep(600)"
        running = alice.start(
            processes, "in", "delegate", "--to", "p", *CAPS, "--", *attacker(code)
        )
        found = json.loads(running.wait_for_line(r"^\{.*\}$")[0])
        with pytest.raises(Exception, match="not below the command") as refused:
            Identity.from_environment({"HOOPGW_BROKER": found["broker"]}).password("pg15", READER)
        assert refused.value.code == "not_yours"  # type: ignore[attr-defined]  # it is a Refused
        with pytest.raises(psycopg.OperationalError, match="not below the command"):
            psycopg.connect(host=found["host"], dbname="pg15", user=READER)

    def test_a_grandchild_is_not_its_parent(self, alice: Person) -> None:
        """Its parent's sockets refuse it, also when it has killed what stands between them."""
        inner = attacker(
            """
            outer = sys.argv[1]
            before = tried(lambda: ask("standing", outer)["path"])
            refused = tried(lambda: ask("prove", outer, audience="hoopgw:target:pg15"))
            os.kill(PARENT, 9)
            while os.getppid() == PARENT:
                pass
            say(before=before, refused=refused, path=tried(lambda: ask("standing", outer)),
                own=tried(lambda: ask("standing")))
            """,
            "OUTER",
        )
        delegate = (*DELEGATE, "--to", "m", "-q", "--")
        outer = attacker(
            f"""
            command = {[*delegate, *inner]!r}
            command[-1] = BROKER
            done = subprocess.run(command, capture_output=True, text=True)
            print(done.stdout, done.stderr)
            """
        )
        done = alice.delegate("--to", "planner", *CAPS, "-q", "--", *outer)
        found = json.loads(done.stdout.splitlines()[0])
        assert found["before"] == "TypeError"  # a refusal has no path
        assert found["refused"] == "not_yours"
        assert found["path"] == "not_yours"
        assert found["own"] in ("not_yours", "FileNotFoundError", "ConnectionRefusedError")

    def test_more_than_it_has(self, alice: Person) -> None:
        """Another target, wider caps, a longer life, another kind: refused by code."""
        code = """
            cap = lambda target, *actions: [{"target": target, "actions": list(actions)}]
            x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
            mint = lambda **more: ask("mint", jwk=jwk, terms=terms(**more))
            say(target=ask("prove", audience="hoopgw:target:pg18"),
                other=mint(caps=cap("pg18", "Postgres::read")),
                all=mint(caps=cap("*", "*")), wider=mint(caps=cap("pg15", "*")),
                longer=mint(expires=time.time() + 86400), person=mint(kind="person"),
                name=mint(name="a~b"), isolated=mint(isolated=True)["standing"]["isolated"])
        """
        found = said(alice.delegate("--to", "p", *CAPS, "--ttl", "10m", "--", *attacker(code)))
        assert found == {
            "target": "not_in_caps",
            "other": "not_in_caps",
            "all": "not_in_caps",
            "wider": "not_in_caps",
            "longer": "outlives",
            "person": "bad_request",
            "name": "bad_request",
            "isolated": False,
        }

    def test_caps_that_the_broker_cannot_compare(self, alice: Person) -> None:
        """An action beside the parent's own: the gateway asks every hop."""
        delegate = (*DELEGATE, "--to", "m", "-q")
        psql = ("psql", "-XAtc", "INSERT INTO t VALUES (99, 'x')", "-d", "pg15")
        inner = (*delegate, "--allow", "pg15:Postgres::insert,Postgres::read", "--", *psql)
        done = alice.delegate("--to", "planner", *CAPS, "-q", "--", *inner)
        assert done.returncode == 1
        assert "caps that alice gave planner do not cover Postgres::insert" in done.stderr


class TestAfterwards:
    """What a child carried away is good for nothing, or soon."""

    def test_a_proof_that_was_kept(self, alice: Person, rig: GatewayRig) -> None:
        """Unused, it dies with the delegation; without the delegation's end it would let one in."""
        code = """say(token=ask("prove", audience="hoopgw:target:pg15")["token"])"""
        for keep, gets_in in ((("--keep",), True), ((), False)):
            done = alice.delegate("--to", "p", *CAPS, *keep, "--", *attacker(code))
            options = {**rig.options("pg15", READER, token=said(done)["token"]), "autocommit": True}
            opened = False
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(**options):
                opened = True
            assert opened is gets_in

    def test_a_live_session_ends_with_its_time(self, alice: Person) -> None:
        """Though the command goes on."""
        code = """
            import psycopg
            begun = time.monotonic()
            try:
                c = psycopg.connect("service=pg15", autocommit=True)
                while time.monotonic() < begun + 60:
                    c.execute("SELECT 1")
                    time.sleep(0.05)
            except psycopg.OperationalError:
                say(lived=time.monotonic() - begun)
        """
        ours = attacker(code, python=sys.executable)
        done = alice.delegate("--to", "p", *CAPS, "--ttl", "3s", "--", *ours)
        assert said(done)["lived"] < SOON

    def test_links_in_the_folder(self, alice: Person, tmp_path: Path) -> None:
        """A child of the same user can put them there; the end follows none."""
        (tmp_path / "file").touch()
        code = """
            folder = Path(BROKER).parent
            (folder / "link").symlink_to(sys.argv[1])
            os.rename(folder / "pg_service.conf", folder / "old")
            (folder / "pg_service.conf").symlink_to(sys.argv[1] + "/file")
            (folder.parent / "lock2").symlink_to(sys.argv[1])
            say(folder=str(folder.parent))
        """
        done = alice.delegate("--to", "p", *CAPS, "--", *attacker(code, str(tmp_path)))
        assert not Path(said(done)["folder"]).exists()
        assert (tmp_path / "file").exists()

    def test_a_squatter_fools_only_itself(self, alice: Person) -> None:
        """A socket in the place of the broker's is asked by nobody else, and takes nothing over."""
        code = """
            os.unlink(BROKER)
            mine = socket.socket(socket.AF_UNIX)
            mine.bind(BROKER)
            mine.listen()
            say(mine=True)
        """
        done = alice.delegate("--to", "p", *CAPS, "--", *attacker(code))
        assert said(done) == {"mine": True}
        again = alice.delegate(
            "--to", "p", *CAPS, "--", *attacker("say(path=ask('standing')['path'])")
        )
        assert said(again)["path"] == "alice / p"
