"""SSH behind a whole gateway for tests: real sshd as targets, and real clients with certificates.

Only the log-in is left out: certificates are signed with the gateway's own CA of SSH users, as
control would after one.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from hoopgw import config
from hoopgw.events import Hop, Principal
from hoopgw.identity.certified import Certified
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.ssh_certificates import Restrictions, issue_user, public_line
from tests.support.openssh import ACCOUNT, SshServer, make_key
from tests.support.processes import PATIENCE, Processes, Running

AGENT: Final = "local"
ALL: Final = Restrictions(
    permissions=frozenset({"permit-pty", "permit-port-forwarding", "permit-agent-forwarding"})
)
"""What a certificate usually permits."""


@frozen(kw_only=True)
class SshTarget:
    """An sshd behind the gateway."""

    name: str
    server: SshServer
    environment: str = "test"
    durability: Literal["grouped", "strict"] = "grouped"
    options: str = ""
    """More lines of its table on the gateway's side."""
    host_key: str = ""
    """That the agent expects, if it is not the server's."""

    def in_gateway(self) -> str:
        """Return its table of ``hoopgw.toml``."""
        return f"""
[[targets]]
name = "{self.name}"
protocol = "ssh"
agent = "{AGENT}"
environment = "{self.environment}"
durability = "{self.durability}"
{self.options}
"""

    def in_agent(self, folder: Path) -> str:
        """Return its tables of ``agent.toml``; its credential is put into a folder."""
        path = folder / f"{self.name}.key"
        path.touch(mode=0o600)
        path.write_bytes(self.server.user_key)
        return f"""
[[targets]]
name = "{self.name}"
protocol = "ssh"
address = "{self.server.address}"
host_keys = ["{self.host_key or self.server.host_key}"]
[targets.accounts.{ACCOUNT}]
source = "file:{path}"
auth = "key"
[targets.accounts.keyless]
source = "file:{folder}/nothing"
auth = "key"
[targets.accounts.nobody]
source = "file:{path}"
auth = "key"
[[floor]]
targets = ["{self.name}"]
accounts = ["{ACCOUNT}", "keyless", "nobody"]
mode = "any"
"""


@define(eq=False)
class SshClient:
    """Somebody with a certificate, and the real programs with which they come."""

    folder: Path
    settings: config.GatewayConfig
    port: int
    principal: Principal
    serial: int = field(default=0, init=False)
    """Of the certificate."""

    @classmethod
    def make(
        cls,
        folder: Path,
        settings: config.GatewayConfig,
        port: int,
        targets: Iterable[str],
        *,
        name: str = "alice",
        groups: Iterable[str] = ("developers",),
        accounts: Iterable[str] = (ACCOUNT,),
        lifetime: float = 600.0,
        restrictions: Restrictions = ALL,
        age: float = 0.0,
    ) -> SshClient:
        """Make a key, a certificate and a configuration in a new folder.

        Args:
            folder: where; it must not exist.
            settings: of the gateway.
            port: where it listens for SSH.
            targets: that the certificate is for.
            name: the person's.
            groups: the person's.
            accounts: that the certificate is for.
            lifetime: seconds until its sessions end.
            restrictions: that the certificate says.
            age: seconds since it was issued.

        """
        folder.mkdir()
        now = time.time() - age
        principal = Principal(
            chain=(Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset(groups)),),
            session=f"login-{name}-{secrets.token_hex(4)}",
            expires=now + lifetime,
        )
        made = cls(folder, settings, port, principal)
        made._certify(tuple(targets), tuple(accounts), now, restrictions)
        return made

    def _certify(
        self,
        targets: tuple[str, ...],
        accounts: tuple[str, ...],
        now: float,
        restrictions: Restrictions,
    ) -> None:
        paths = self.settings.paths
        key = load_ssh_private_key(make_key(self.folder / "id").read_bytes(), None)
        ca = load_signing_key(paths.ssh_users_key).private_key
        hosts = load_signing_key(paths.ssh_hosts_key).private_key
        assert isinstance(key, Ed25519PrivateKey)
        assert isinstance(ca, Ed25519PrivateKey)
        assert isinstance(hosts, Ed25519PrivateKey)
        certified = Certified(
            issuer=self.settings.control.url.rstrip("/"),
            principal=self.principal,
            targets=frozenset(targets),
        )
        text, self.serial = issue_user(ca, certified, key.public_key(), accounts, now, restrictions)
        (self.folder / "id-cert.pub").write_text(f"{text}\n")
        line = f"@cert-authority * {public_line(hosts.public_key())}\n"
        (self.folder / "known").write_text(line)
        lines = [
            *(line for each in targets for line in (f"Host {each}", f"User {accounts[0]}+{each}")),
            "Host *",
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"IdentityFile {self.folder}/id",
            f"CertificateFile {self.folder}/id-cert.pub",
            f"UserKnownHostsFile {self.folder}/known",
            "GlobalKnownHostsFile /dev/null",
            "StrictHostKeyChecking yes",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            "BatchMode yes",
            "ControlMaster no",
        ]
        (self.folder / "config").write_text("\n".join(lines) + "\n")

    def argv(self, *argv: str | Path) -> list[str]:
        """Return a command of one of OpenSSH's programs with our configuration."""
        program, *rest = map(str, argv)
        return [program, "-F", str(self.folder / "config"), *rest]

    def run(
        self, *argv: str | Path, stdin: bytes = b"", status: int | None = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of OpenSSH's programs to its end.

        Args:
            argv: the program and what it is told, after our configuration.
            stdin: its input.
            status: that it must end with; None is any.

        """
        done = subprocess.run(
            self.argv(*argv), input=stdin, capture_output=True, timeout=PATIENCE * 2, check=False
        )
        if status is not None and done.returncode != status:
            said = done.stderr.decode(errors="replace")[-2000:]
            raise AssertionError(f"{argv} ended with {done.returncode}: {said}")
        return done

    def ssh(self, *argv: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ssh to its end."""
        return self.run("ssh", *argv, **options)

    def start(self, processes: Processes, name: str, *argv: str | Path) -> Running:
        """Start a program that goes on for a while; what it says to standard error is kept too."""
        return processes.start(name, self.argv(*argv))
