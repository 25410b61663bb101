"""Files over SSH, through gateway and agent, to a real sshd: decided by path, recorded by hash."""

from __future__ import annotations

import filecmp
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.notes import Verifier
from hoopgw.recording.verification import verify
from tests.cli.support import run
from tests.integration.test_recording import records_of
from tests.support import gateway, openssh
from tests.support.gateway import GatewayRig
from tests.support.processes import Processes, wait_until
from tests.support.ssh_gateway import SshClient, SshTarget

POLICY = """
@id("all")
permit (principal in Hoopgw::Group::"developers", action, resource);
@id("kept")
forbid (principal, action in Ssh::Action::"writes", resource in Ssh::Path::"{root}/kept");
@id("secret")
forbid (principal, action == Ssh::Action::"read", resource in Ssh::Path::"{root}/secret");
@id("asked")
@approval("dba")
forbid (principal, action == Ssh::Action::"remove", resource in Ssh::Path::"{root}/asked")
unless {{ context.approvals.contains("asked") }};
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Make a folder that the policy speaks of."""
    with tempfile.TemporaryDirectory(prefix="hg-files-") as made:
        folder = Path(made).resolve()
        for name in ("open", "kept", "secret", "asked"):
            (folder / name).mkdir()
            (folder / name / "file").write_bytes(name.encode())
        yield folder


@pytest.fixture(scope="module")
def rig(root: Path) -> Iterator[GatewayRig]:
    """Start a gateway with a server behind it."""
    with openssh.running() as server:
        web1 = SshTarget(name="web1", server=server)
        keeping = SshTarget(name="keeping", server=server, options='keep_files = "all"')
        running = gateway.start(ssh=[web1, keeping], policy=POLICY.format(root=root))
        yield running
        running.stop()


@pytest.fixture
def here() -> Iterator[Path]:
    """Make a folder for files of the client."""
    with tempfile.TemporaryDirectory(prefix="hg-here-") as made:
        yield Path(made)


def moved(records: list[dict[str, Any]]) -> list[tuple[str, bool, int, str, str]]:
    """Return what records say was moved."""
    return [
        (each["path"], each["upload"], each["size"], each["digest"], each["extent"])
        for each in records
        if each["kind"] == "file.moved"
    ]


def batch(client: SshClient, here: Path, *lines: str) -> bytes:
    """Run sftp; return what it said on standard error."""
    (here / "batch").write_text("".join(f"{line}\n" for line in lines))
    return client.run("sftp", "-b", here / "batch", "web1").stderr


def test_moved(rig: GatewayRig, root: Path, here: Path) -> None:
    """Both ways by sftp: each file is in the records, with its hash."""
    dora = rig.ssh_client("web1", name="dora-moves")
    content = os.urandom(1_000_000)
    (here / "a").write_bytes(content)
    batch(
        dora, here, f"put {here}/a {root}/open/a", f"get {root}/open/a {here}/b", f"ls {root}/open"
    )
    assert filecmp.cmp(here / "a", here / "b", shallow=False)
    records = records_of(rig, "dora-moves")
    digest = sha256(content).hexdigest()
    where = f"{root}/open/a"
    assert moved(records) == [
        (where, True, 1_000_000, digest, "whole"),
        (where, False, 1_000_000, digest, "whole"),
    ]
    intents = [each for each in records if each["kind"] == "intent"]
    assert {"subsystem", "write", "read", "list"} <= {each["action"] for each in intents}
    results = {each["intent"]: each for each in records if each["kind"] == "result"}
    assert {each["sequence"] for each in intents} == results.keys()


def test_refused(rig: GatewayRig, root: Path, here: Path) -> None:
    """By the path that a link leads to; the reason is printed, and the rest goes on."""
    erik = rig.ssh_client("web1", name="erik-tries")
    (here / "a").write_bytes(b"other")
    (root / "open" / "link").symlink_to("../secret/file")
    said = batch(
        erik,
        here,
        f"-put {here}/a {root}/kept/file",
        f"-get {root}/secret/file {here}/b",
        f"-get {root}/open/link {here}/b",
        f"-rename {root}/kept/file {root}/open/x",
        f"-ln -s {root}/kept/file {root}/open/l",
        f"get {root}/open/file {here}/c",
    )
    assert said.count(b"Permission denied") + said.count(b"permission denied") >= 3, said
    assert (root / "kept" / "file").read_bytes() == b"kept"
    assert not (here / "b").exists()
    assert (here / "c").read_bytes() == b"open"
    denied = [
        each
        for each in records_of(rig, "erik-tries")
        if each["kind"] == "intent" and each["decision"] == "deny"
    ]
    assert [each["action"] for each in denied] == ["write", "read", "read", "rename", "link"]
    assert f"{root}/secret/file" in denied[2]["resources"]


def test_held(rig: GatewayRig, root: Path, here: Path) -> None:
    """A removal waits for people; who waits is told so."""
    fred = rig.ssh_client("web1", name="fred-waits")
    (here / "batch").write_text(f"rm {root}/asked/file\n")
    with Processes.for_a_while() as processes:
        running = fred.start(processes, "sftp", "sftp", "-b", here / "batch", "web1")
        running.wait_for_line("To approve: hoopgw requests approve")
        assert (root / "asked" / "file").exists()
        (asked,) = rig.api("GET", "/v1/requests?state=requested")["requests"]
        assert f"{root}/asked/file" in asked["text"]
        rig.api("POST", f"/v1/requests/{asked['id']}/approve", {}, name="olga", groups=["dba"])
        wait_until("the file is removed", lambda: not (root / "asked" / "file").exists())
        assert running.process.wait(60) == 0


def test_old_scp(rig: GatewayRig, root: Path, here: Path) -> None:
    """Is decided file by file, and recorded so; what is refused reaches nothing."""
    gina = rig.ssh_client("web1", name="gina-copies")
    (here / "a").write_bytes(b"a" * 100_000)
    gina.run("scp", "-Oq", here / "a", f"web1:{root}/open/scp")
    gina.run("scp", "-Oq", f"web1:{root}/open/scp", here / "b")
    assert filecmp.cmp(here / "a", here / "b", shallow=False)
    assert b"refused" in gina.run("scp", "-Oq", here / "a", f"web1:{root}/kept/", status=1).stderr
    gina.run("scp", "-Oq", f"web1:{root}/secret/file", here / "c", status=1)
    digest = sha256(b"a" * 100_000).hexdigest()
    found = [(up, size, hashed, how) for _, up, size, hashed, how in moved(records_of_all(rig))]
    assert (True, 100_000, digest, "whole") in found
    assert (False, 100_000, digest, "whole") in found
    assert not (here / "c").exists()


def test_kept(rig: GatewayRig, root: Path, here: Path) -> None:
    """Where the target says so, what files hold is kept, and exported as it was."""
    content = os.urandom(5_000_000)
    (here / "a").write_bytes(content)
    up, down = f"keeping:{root}/open/kept", here / "back"
    ways: list[tuple[list[str], str | Path, str | Path]] = [
        ([], here / "a", up),
        ([], up, down),
        (["-O"], here / "a", up),
        (["-O"], up, down),
    ]
    for number, (how, source, target) in enumerate(ways):
        name = f"iris-keeps-{number}"
        iris = rig.ssh_client("keeping", name=name)
        iris.run("scp", *how, "-q", source, target)
        records = records_of(rig, name)
        (told,) = [each for each in records if each["kind"] == "file.moved"]
        assert (told["upload"], told["extent"], told["content"]) == (target == up, "whole", 0)
        again = here / f"again-{number}"
        done = run(
            "sessions", "export", records[0]["session"], "--log", rig.settings.paths.log,
            "--channel", "0", "--format", "file", "-o", again,
        )  # fmt: skip
        assert (done.status, done.errors) == (0, ""), done.errors
        assert again.read_bytes() == content
    paths = rig.settings.paths
    verifier = Verifier.decode((paths.log / "verifier").read_text())
    report = verify(paths.log, verifier, ContentFolder(paths.contents))
    assert not report.problems, report.problems


def records_of_all(rig: GatewayRig) -> list[dict[str, Any]]:
    """Return the records of all sessions of who copies."""
    sessions: list[dict[str, Any]] = []

    def ended() -> bool:
        found = rig.api("GET", "/v1/sessions", groups=["auditors"])["sessions"]
        sessions[:] = [each for each in found if each["path"].startswith("gina-copies")]
        return len(sessions) >= 4 and all(each["ended"] is not None for each in sessions)

    wait_until("the sessions are in the log", ended)
    return [
        record
        for each in sessions
        for record in rig.api("GET", f"/v1/sessions/{each['id']}/records", groups=["auditors"])[
            "records"
        ]
    ]


def test_rsync(rig: GatewayRig, root: Path, here: Path) -> None:
    """A tree both ways; into a kept folder it does not come."""
    hugo = rig.ssh_client("web1", name="hugo-syncs")
    tree = here / "tree"
    for name in ("a", "b/c"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(os.urandom(100_000))
    shell = shlex.join(hugo.argv("ssh"))
    rsync = ["rsync", "-a", "--delete", "-e", shell]
    subprocess.run([*rsync, f"{tree}/", f"web1:{root}/open/tree"], check=True, timeout=120)
    subprocess.run([*rsync, f"web1:{root}/open/tree/", here / "back"], check=True, timeout=120)
    assert filecmp.cmp(tree / "b/c", here / "back" / "b/c", shallow=False)
    refused = subprocess.run(
        [*rsync, f"{tree}/", f"web1:{root}/kept/tree"],
        check=False,
        timeout=120,
        capture_output=True,
    )
    assert refused.returncode
    assert b"hoopgw: " in refused.stderr
    assert not (root / "kept" / "tree").exists()


def test_git(rig: GatewayRig, root: Path, here: Path) -> None:
    """Push and clone; the stream is in the records with its hash."""
    ines = rig.ssh_client("web1", name="ines-pushes")
    environment = {
        **os.environ,
        "GIT_SSH_COMMAND": shlex.join(ines.argv("ssh")),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{
            f"GIT_{who}_{what}": "ines@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def git(*argv: str | Path, status: int = 0) -> bytes:
        done = subprocess.run(
            ["git", *map(str, argv)],
            env=environment,
            cwd=here,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) is (status == 0), done.stderr
        return done.stderr

    for name in ("open", "secret", "kept"):
        git("init", "-q", "--bare", root / name / "repo.git")
    git("init", "-q", "work")
    (here / "work" / "file").write_text("content")
    git("-C", "work", "add", "file")
    git("-C", "work", "commit", "-q", "-m", "one")
    git("-C", "work", "push", "-q", f"web1:{root}/open/repo.git", "HEAD:refs/heads/main")
    assert b"hoopgw: " in git(
        "-C", "work", "push", "-q", f"web1:{root}/kept/repo.git", "HEAD:main", status=1
    )
    assert b"hoopgw: " in git("clone", "-q", f"web1:{root}/secret/repo.git", "no", status=1)
    jana = rig.ssh_client("web1", name="jana-clones")
    environment["GIT_SSH_COMMAND"] = shlex.join(jana.argv("ssh"))
    git("clone", "-q", "-b", "main", f"web1:{root}/open/repo.git", "back")
    assert (here / "back" / "file").read_text() == "content"
    up, down = moved(records_of(rig, "jana-clones"))
    assert (up[0], up[1], up[4]) == (f"{root}/open/repo.git", True, "stream")
    assert down[1] is False
    assert down[2] > 0
