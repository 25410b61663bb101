"""A broker in this process, with a log-in in memory; whoever talks to it is a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from attrs import define, field

from hoopgw.broker.doors import DoorSpec
from hoopgw.broker.peers import Process
from hoopgw.broker.residents import Resident
from hoopgw.broker.running import BrokerLoop
from hoopgw.broker.service import Broker, Served
from hoopgw.client.signers import ChildSigner
from tests.client.family import Gateway
from tests.support.processes import children_of, python_environment

ASKING = """
import json, subprocess, sys
from pathlib import Path
from hoopgw.client.errors import Refused
from hoopgw.client.link import BrokerLink
held, started = {}, []
for line in sys.stdin:
    given = json.loads(line)
    link, on = BrokerLink(Path(given.pop("socket"))), given.pop("on", None)
    try:
        if on is not None and on not in held:
            held[on] = link.open()
        if given["op"] == "hang up":
            held.pop(on).close()
            answer = {}
        elif given["op"] == "start":
            started.append(subprocess.Popen(["sleep", "60"]))
            answer = {"pid": started[-1].pid}
        else:
            answer = (link if on is None else held[on]).ask(**given)
    except Refused as refused:
        answer = refused.as_dict()
    print(json.dumps(answer), flush=True)
for process in started:
    process.kill()
"""
"""A command that asks a broker what it is told to."""


@define(eq=False)
class Asker:
    """A process that asks brokers."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *before: str) -> Asker:
        """Start one; ``before`` runs it inside of something."""
        return cls(
            subprocess.Popen(
                [*before, sys.executable, "-c", ASKING],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **python_environment()},
            )
        )

    def ask(self, socket: Path | str, op: str, **values: Any) -> dict[str, Any]:
        """Have it ask; return the answer, also if it is a refusal.

        With ``on`` the connection of that name is used, and kept. ``hang up`` closes it; ``start``
        starts a process.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"socket": str(socket), "op": op, **values}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    @property
    def inner(self) -> int:
        """The id of the process that asks, if it was started inside of another."""
        (child,) = children_of(self.process.pid)
        return child

    def stop(self) -> None:
        """End it, and what it has started."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@define(eq=False)
class ServedBroker:
    """One broker with its loop and its folder."""

    gateway: Gateway = field(factory=Gateway)
    doors: Mapping[str, DoorSpec] = field(factory=dict)
    ended: list[ChildSigner] = field(factory=list, init=False)
    loop: BrokerLoop = field(factory=BrokerLoop, init=False)
    broker: Broker = field(init=False)
    _folder: tempfile.TemporaryDirectory[str] = field(
        factory=lambda: tempfile.TemporaryDirectory(prefix="hg-b-"), init=False
    )

    def __enter__(self) -> Self:
        """Start it."""
        self.broker = Broker(
            folder=Path(self._folder.name),
            uid=os.geteuid(),
            doors=self.doors,
            ended=self.ended.append,
            now=self.gateway.time,
        )
        self.loop.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it."""
        self.loop.run(self.broker.close(), 20.0)
        self.loop.__exit__(None, None, None)
        self._folder.cleanup()

    def serve(self, asker: Asker | None, **terms: Any) -> Served:
        """Serve a child of alice to a process."""
        signer = self.gateway.child(self.gateway.login(), **terms)
        served = self.loop.run(self.broker.serve(signer, {}), 20.0)
        if asker is not None:
            attach(served.resident, asker.process.pid)
        return served


def attach(resident: Resident, pid: int) -> None:
    """Say which command an identity is for."""
    resident.command = Process.of(pid)
    assert resident.command is not None
