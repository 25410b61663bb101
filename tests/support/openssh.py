"""Real OpenSSH servers, for tests: as the user who runs them, on a port of their own.

Who runs the tests is the only account that such a server can open, so it is also the account on
the target.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from attrs import define, field

from tests.support.processes import Processes, Running, children_of, free_port

ACCOUNT: Final = getpass.getuser()
_SFTP: Final = "/usr/lib/openssh/sftp-server"


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """Make a key pair without a passphrase; return the private key's file."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)], check=True
    )
    return path


def public(path: Path) -> str:
    """Return the public key of a pair: kind and base64."""
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


@define(eq=False)
class SshServer:
    """A running sshd."""

    folder: Path
    port: int
    running: Running = field(repr=False)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def host_key(self) -> str:
        """Its Ed25519 key, as a pinned line."""
        return public(self.folder / "host")

    @property
    def user_key(self) -> bytes:
        """A private key that logs in."""
        return (self.folder / "user").read_bytes()

    @property
    def user_ca(self) -> bytes:
        """The private key of the CA that it trusts for users."""
        return (self.folder / "user_ca").read_bytes()

    def crash(self) -> None:
        """Kill it at once, with all that runs in its sessions."""
        found = [self.running.pid]
        for pid in found:
            found += children_of(pid)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        """What it said."""
        return self.running.output


@contextmanager
def running(*more: str) -> Iterator[SshServer]:
    """Run a server; ``more`` are lines of its configuration, before ours."""
    with Processes.for_a_while() as processes:
        yield _start(processes, more)


def _start(processes: Processes, more: tuple[str, ...]) -> SshServer:
    folder = processes.folder
    for name, kind in (("host", "ed25519"), ("host_rsa", "rsa"), ("user", "ed25519")):
        make_key(folder / name, kind)
    for name in ("user_ca", "host_ca"):
        make_key(folder / name)
    (folder / "authorized").write_text(public(folder / "user") + "\n")
    port = free_port()
    lines = [
        *more,
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host",
        f"HostKey {folder}/host_rsa",
        f"AuthorizedKeysFile {folder}/authorized",
        f"TrustedUserCAKeys {folder}/user_ca.pub",
        f"PidFile {folder}/pid",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "PermitRootLogin yes",
        "MaxStartups 200",
        "AcceptEnv LANG LC_* HG_*",
        f"Subsystem sftp {_SFTP}",
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it wants this as root, and makes it only at boot
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
    assert program is not None, "sshd is not installed"
    started = processes.start("sshd", [program, "-D", "-e", "-f", str(folder / "config")])
    started.wait_for_line(r"Server listening on 127\.0\.0\.1")
    return SshServer(folder, port, started)
