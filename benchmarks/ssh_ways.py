"""Ways to one sshd: straight, through another sshd (``ssh -J``), and through hoopgw."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal

from attrs import define, field, frozen

from benchmarks import processors
from tests.support import gateway, openssh
from tests.support.openssh import ACCOUNT, SshServer
from tests.support.ssh_gateway import SshTarget

CIPHER: Final = "aes128-gcm@openssh.com"
"""Spoken on each hop of each way: what hoopgw chooses by itself."""
TARGET: Final = "web1"
MEMORY: Final = Path("/dev/shm")  # noqa: S108  # a folder of our own is made in it


@frozen(kw_only=True)
class Way:
    """One way, as OpenSSH's programs take it."""

    name: str
    config: Path
    host: str
    processes: Mapping[str, tuple[int, ...]] = field(factory=dict)
    """Process ids between client and server, by what they do."""

    def options(self, program: str) -> list[str]:
        """Return a program and its options, without the host."""
        return [program, "-F", str(self.config), "-o", f"Ciphers={CIPHER}"]

    def ssh(self, *command: str) -> list[str]:
        """Return a command of ssh."""
        return [*self.options("ssh"), self.host, *command]

    def measured(self, command: Sequence[str]) -> Sample:
        """Run a command to its end. Raises `RuntimeError`: it failed."""
        before = {role: processors.used(pids) for role, pids in self.processes.items()}
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(f"{self.name}: {done.stderr.decode(errors='replace')[-2000:]}")
        cost = {role: processors.used(p) - before[role] for role, p in self.processes.items()}
        return Sample(seconds, cost)


@frozen
class Sample:
    """One run."""

    seconds: float
    cost: Mapping[str, float]
    """Seconds of processor time that each process used."""


@define(eq=False)
class Ways:
    """All of them, running."""

    folder: Path
    server: SshServer
    rig: gateway.GatewayRig
    direct: Way
    jump: Way
    hoopgw: Way

    @property
    def all(self) -> tuple[Way, ...]:
        """Each of them, in the order of a round."""
        return self.direct, self.jump, self.hoopgw


@contextmanager
def opened(
    link: Literal["tcp", "unix"] = "unix", extra: str = "", policy: str = gateway.POLICY
) -> Iterator[Ways]:
    """Start an sshd, and hoopgw before it.

    Args:
        link: between gateway and agent; ``tcp`` is with TLS.
        extra: more lines for ``hoopgw.toml``.
        policy: Cedar.

    """
    with ExitStack() as stack:
        server = stack.enter_context(openssh.running())
        folder = Path(tempfile.mkdtemp(prefix="hg-bench-", dir=MEMORY if MEMORY.is_dir() else None))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        target = SshTarget(name=TARGET, server=server)
        rig = gateway.start(ssh=[target], link=link, extra=extra, policy=policy)
        stack.callback(rig.stop)
        roles = processors.roles(rig)
        client = rig.ssh_client(TARGET, lifetime=7_200.0)
        plain = _plain_config(folder, server)
        yield Ways(
            folder,
            server,
            rig,
            Way(name="direct", config=plain, host="direct"),
            Way(name="ssh -J", config=plain, host="jump"),
            Way(
                name="hoopgw",
                config=client.folder / "config",
                host=TARGET,
                processes={role: roles[role] for role in ("worker", "agent", "recorder")},
            ),
        )


def _plain_config(folder: Path, server: SshServer) -> Path:
    key, known = folder / "user", folder / "known"
    key.touch(mode=0o600)
    key.write_bytes(server.user_key)
    host, _, port = server.address.partition(":")
    known.write_text(f"[{host}]:{port} {server.host_key}\n")
    every = f"""
HostName {host}
Port {port}
User {ACCOUNT}
IdentityFile {key}
UserKnownHostsFile {known}
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
IdentitiesOnly yes
IdentityAgent none
BatchMode yes
"""
    between = f"Host between{every}Ciphers {CIPHER}\n"
    text = f"Host direct{every}{between}Host jump{every}ProxyJump between\n"
    (folder / "config").write_text(text)
    return folder / "config"
