"""Ansible: two hundred connections, fifty at a time, through one worker: is one refused, or lost?

All hosts of the inventory are one target; each has a connection of its own, which Ansible leaves
open (``ControlPersist``), so that in the end all of them live at one time.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

from rich.progress import Progress

from benchmarks import processors
from benchmarks.figures import Figure, Section, at_least, at_most
from benchmarks.ssh_ways import TARGET, opened
from benchmarks.upstream import NotInstalledError
from tests.support.ansible import NAME, Ansible
from tests.support.ssh_programs import is_there

HOSTS: Final = 200
FORKS: Final = 50
_PATIENCE: Final = 1_200.0


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Play once. Raises `NotInstalledError`: Ansible is not there."""
    if not is_there(NAME):
        raise NotInstalledError("Ansible is not installed: python -m tests.support.ssh_programs")
    task = progress.add_task("ansible", total=1)
    figures = []
    with opened() as ways, tempfile.TemporaryDirectory(prefix="hg-a-") as folder:
        client = ways.rig.ssh_client(TARGET, lifetime=7_200.0)
        ansible = Ansible(Path(folder) / "ansible", client, TARGET, HOSTS)
        before = {role: processors.used(p) for role, p in ways.hoopgw.processes.items()}
        begin = time.monotonic()
        try:
            played = ansible.play(
                "- raw: echo {{ inventory_hostname }}",
                "- raw: echo again",
                forks=FORKS,
                patience=_PATIENCE,
            )
            elapsed = time.monotonic() - begin
            alive = len(ways.rig.api("GET", "/v1/sessions?live=true&limit=500")["sessions"])
        finally:
            ansible.leave(client.argv("ssh"))
        done = sum(ok == 2 for ok in played.ok.values())
        figures = [
            Figure(name="hosts whose tasks were all done", samples=(done,), target=at_least(HOSTS)),
            Figure(name="hosts lost", samples=(len(played.lost),), target=at_most(0)),
            Figure(name="sessions that live at the end", samples=(alive,)),
            Figure(name="elapsed", samples=(elapsed,), unit="s"),
        ]
        for role, pids in ways.hoopgw.processes.items():
            cost = (processors.used(pids) - before[role]) / HOSTS * 1e3
            figures.append(
                Figure(name=f"processor time of a host: {role}", samples=(cost,), unit="ms")
            )
    progress.advance(task)
    method = f"once; {FORKS} forks, 2 tasks each, a connection for each host"
    return [Section(name=f"Ansible with {HOSTS} hosts", method=method, figures=figures)]
