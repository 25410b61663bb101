"""Ansible, as it reaches hosts behind the gateway: an inventory, and plays that are run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.openssh import ACCOUNT
from tests.support.ssh_gateway import SshClient
from tests.support.ssh_programs import command, environment

NAME: Final = "ansible-core"
_CONFIG: Final = """[defaults]
host_key_checking = True
retry_files_enabled = False
interpreter_python = /usr/bin/python3
gathering = explicit
stdout_callback = ansible.builtin.default
nocows = 1
[ssh_connection]
pipelining = False
ssh_args = -o ControlMaster=auto -o ControlPersist=600s
"""
_RECAP: Final = re.compile(r"^(\S+)\s+: ok=(\d+)\s.*unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@frozen
class Played:
    """How a play went."""

    ok: dict[str, int]
    """Host to how many of its tasks were done."""
    lost: tuple[str, ...]
    """Hosts that were not reached, or where something failed."""
    output: str


@frozen
class Ansible:
    """A control node.

    Args:
        folder: of its own.
        client: who comes.
        target: that all hosts of the inventory are.
        hosts: how many there are; each has a connection of its own.

    """

    folder: Path
    client: SshClient
    target: str
    hosts: int

    def play(self, *tasks: str, forks: int, patience: float) -> Played:
        """Run tasks, which are lines of YAML below ``tasks:``, on all hosts."""
        names = [f"h{number:03}" for number in range(self.hosts)]
        self.folder.mkdir(exist_ok=True)
        (self.folder / "ansible.cfg").write_text(_CONFIG)
        every = (
            f"ansible_host={self.target}",
            f"ansible_user={ACCOUNT}+{self.target}",
            f"ansible_ssh_common_args='-F {self.client.folder}/config'",
            f"ansible_control_path={self.folder}/c-{{{{ inventory_hostname }}}}",
        )
        inventory = [*names, "[all:vars]", *every]
        (self.folder / "hosts").write_text("\n".join(inventory) + "\n")
        lines = ["- hosts: all", "  tasks:", *(f"    {line}" for line in tasks)]
        (self.folder / "play.yml").write_text("\n".join(lines) + "\n")
        main = "import sys; from ansible.cli.playbook import main; sys.exit(main())"
        done = subprocess.run(
            [*command("-c", main), "-i", "hosts", "-f", str(forks), "play.yml"],
            cwd=self.folder,
            env=environment(NAME, self.folder, ANSIBLE_CONFIG=str(self.folder / "ansible.cfg")),
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        found = _RECAP.findall(done.stdout)
        if not found:
            raise AssertionError(done.stdout[-2000:] + done.stderr[-2000:])
        return Played(
            {host: int(ok) for host, ok, _, _ in found},
            tuple(host for host, _, away, failed in found if int(away) or int(failed)),
            done.stdout + done.stderr,
        )

    def leave(self, ssh: Sequence[str]) -> None:
        """End the connections that it has left open for the next play."""
        for path in self.folder.glob("c-*"):
            subprocess.run(
                [*ssh, "-o", f"ControlPath={path}", "-O", "exit", self.target],
                capture_output=True,
                check=False,
            )
