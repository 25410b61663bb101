"""The demonstration's SSH host: a real sshd on loopback, with whoever runs it as its only account.

It needs the program ``sshd``; where there is none, the demonstration is without SSH.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
from pathlib import Path
from typing import Final

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from hoopgw.demo.processes import Children, DemoError, is_listening

TARGET: Final = "web1"
LOG_LINES: Final = ("10:00:01 shop 1.1 started", "10:00:07 order 4711 paid")
HIDDEN: Final = "trombone-lantern-42"
"""In the shop's settings, as its database knows it."""
_START: Final = 60.0
_PROGRAMS: Final = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"

POLICY: Final = """\
// The demonstration's SSH host; conf/policies-ssh has more.

@id("ssh-developers")
permit (
  principal in Hoopgw::Group::"developers",
  action in [Ssh::Action::"connect", Ssh::Action::"subsystem", Ssh::Action::"see"],
  resource
);

@id("ssh-developers-look")
permit (
  principal in Hoopgw::Group::"developers",
  action == Ssh::Action::"run",
  resource
)
when {
  resource in
    [Ssh::Program::"cat", Ssh::Program::"echo", Ssh::Program::"ls", Ssh::Program::"rm",
     Ssh::Program::"tail", Ssh::Program::"uptime"]
};

@id("ssh-developers-read")
permit (
  principal in Hoopgw::Group::"developers",
  action in [Ssh::Action::"reads"],
  resource in Ssh::Path::"@FOLDER@"
);

// Passwords, tokens and keys that a command prints are masked for everybody.
@id("ssh-mask-secrets")
@mask("redact")
forbid (
  principal,
  action == Ssh::Action::"see",
  resource
)
when { resource.labels.contains("secret") };

@id("ssh-approve-removal")
@approval("dba")
@approval_ttl("15m")
forbid (
  principal,
  action == Ssh::Action::"run",
  resource in Ssh::Program::"rm"
)
unless { context.approvals.contains("ssh-approve-removal") };
"""


@frozen(kw_only=True)
class Web1:
    """A running host."""

    folder: Path
    """What it serves: ``shop.log``, ``shop.env``, ``releases/``."""
    port: int
    host_key: str
    """As the agent pins it."""
    account: str
    secret: str = field(repr=False)
    """A part of the key that logs in, as it stands in its file."""

    @property
    def log(self) -> Path:
        """A log to look at."""
        return self.folder / "shop.log"

    @property
    def settings(self) -> Path:
        """Settings with a password in them."""
        return self.folder / "shop.env"

    @property
    def releases(self) -> Path:
        """What can be removed."""
        return self.folder / "releases"

    @property
    def policy(self) -> str:
        """Cedar."""
        return POLICY.replace("@FOLDER@", str(self.folder))


def program() -> str | None:
    """Return the program ``sshd``, or None if it is not installed."""
    found = shutil.which("sshd", path=f"{_PROGRAMS}:{os.environ.get('PATH', '')}")
    return found if shutil.which("ssh") else None


def start(folder: Path, port: int, secret: Path, children: Children) -> Web1:
    """Make the host in ``folder``, and start it.

    Args:
        folder: where; it is made.
        port: where it listens.
        secret: where the key that logs in is written, for the agent only.
        children: takes the process.

    Raises:
        DemoError: it did not start.

    """
    found = program()
    if found is None:
        raise DemoError("sshd is not installed")
    folder.mkdir(mode=0o700)
    host, user = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    pem = _pem(user)
    _write(secret, pem)
    _write(folder / "host.key", _pem(host))
    _write(folder / "authorized_keys", _line(user).encode() + b"\n")
    made = Web1(
        folder=folder / "srv",
        port=port,
        host_key=_line(host),
        account=getpass.getuser(),
        secret=pem.decode().splitlines()[-3],
    )
    for release in ("1.0", "1.1"):
        (made.releases / release).mkdir(parents=True)
        (made.releases / release / "shop.conf").write_text(f"release = {release}\n")
    made.settings.write_text(f"NAME=shop\nDATABASE=postgresql://shop:{HIDDEN}@db.internal/shop\n")
    made.log.write_text("".join(f"{line}\n" for line in LOG_LINES))
    (folder / "sshd_config").write_text("".join(f"{line}\n" for line in _settings(folder, port)))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # root's sshd wants this, and makes it at boot only
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
    argv = [found, "-D", "-e", "-f", str(folder / "sshd_config")]
    children.start("sshd", argv, env=environment)
    children.wait_until("the start of sshd", lambda: is_listening(port), _START)
    return made


def gateway_tables(port: int, agent: str) -> str:
    """Return what the gateway's configuration says of it."""
    return f"""
[[listeners]]
protocol = "ssh"
listen = "127.0.0.1:{port}"

[[targets]]
name = "{TARGET}"
protocol = "ssh"
agent = "{agent}"
environment = "prod"
"""


def agent_tables(host: Web1, secret: Path) -> str:
    """Return what the agent's configuration says of it."""
    return f"""
[[targets]]
name = "{TARGET}"
protocol = "ssh"
address = "127.0.0.1:{host.port}"
host_keys = [{json.dumps(host.host_key)}]

[targets.accounts.{json.dumps(host.account)}]
source = {json.dumps(f"file:{secret}")}
auth = "key"

[[floor]]
targets = ["{TARGET}"]
accounts = [{json.dumps(host.account)}]
mode = "any"
"""


def _settings(folder: Path, port: int) -> tuple[str, ...]:
    return (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host.key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",  # the folder may be below one that others write to, as /tmp
        "UsePAM no",
        "PasswordAuthentication no",
        "PermitRootLogin prohibit-password",
        "Subsystem sftp internal-sftp",
    )


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
