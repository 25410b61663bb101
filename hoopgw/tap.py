"""``twistd hoopgw``: the supervisor, which starts the gateway's processes and keeps them up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar, Final

from attrs import define, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from hoopgw import config
from hoopgw.errors import ConfigError
from hoopgw.processes import lifeline

log = Logger()

ROLES: Final = ("recorder", "control", "worker")
_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 30.0
"""Seconds before a process that ended is started again; they double, and are forgotten after
`_STEADY` seconds of life."""
_STEADY: Final = 30.0
_STOP_PATIENCE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_REFUSED: Final = 2
"""A process's exit status that says: the configuration cannot be used."""


class Options(usage.Options):
    """Options of ``twistd hoopgw``."""

    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "/etc/hoopgw/hoopgw.toml", "Configuration file."],
    ]


def makeService(options: Options) -> MultiService:
    """Build the gateway's service tree; nothing is started yet."""
    from twisted.internet import reactor

    path = Path(options["config"])
    try:
        settings = config.load(path)
    except ConfigError as error:
        raise usage.UsageError(str(error)) from error
    log.info("gateway {name}, state in {state}", name=settings.name, state=str(settings.state))
    service = MultiService()
    for role in ROLES:
        service.addService(Child(role, path.resolve(), reactor))
    return service


@define(eq=False)
class Child(Service):
    """One of the gateway's processes, started again whenever it ends."""

    role: str
    path: Path
    _reactor: Any
    _transport: Any = field(default=None, init=False)
    _delay: float = field(default=_FIRST_DELAY, init=False)
    _started: float = field(default=0.0, init=False)
    _waiting: IDelayedCall | None = field(default=None, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    def startService(self) -> None:
        """Start the process."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._spawn()

    def stopService(self) -> Deferred[None] | None:
        """Ask the process to end; kill it if it does not."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        if self._transport is None:
            return None
        self._stopped = Deferred()
        self._signal("TERM")
        self._waiting = self._reactor.callLater(_STOP_PATIENCE, self._signal, "KILL")
        return self._stopped

    def ended(self, reason: Failure) -> None:
        """Start it again, a little later each time."""
        self._transport = None
        if self._stopped is not None:
            if self._waiting is not None and self._waiting.active():
                self._waiting.cancel()
            self._stopped.callback(None)
            return
        if getattr(reason.value, "exitCode", None) == _REFUSED:
            log.error("{role} refuses its configuration; the gateway stops", role=self.role)
            self._reactor.callLater(0, self._give_up)
            return
        if self._reactor.seconds() - self._started > _STEADY:
            self._delay = _FIRST_DELAY
        log.error(
            "{role} ended ({reason}); it is started again in {delay} s",
            role=self.role,
            reason=reason.getErrorMessage(),
            delay=self._delay,
        )
        self._waiting = self._reactor.callLater(self._delay, self._spawn)
        self._delay = min(self._delay * 2, _LAST_DELAY)

    def _give_up(self) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def _spawn(self) -> None:
        self._started = self._reactor.seconds()
        command = [sys.executable, "-m", f"hoopgw.processes.{self.role}", "--config"]
        self._transport = self._reactor.spawnProcess(
            _Watch(self),
            sys.executable,
            [*command, str(self.path)],
            env={**os.environ, lifeline.VARIABLE: "1"},
            childFDs={0: "w", 1: 1, 2: 2},
        )
        log.info("{role} is process {pid}", role=self.role, pid=self._transport.pid)

    def _signal(self, name: str) -> None:
        if self._transport is not None:
            self._transport.signalProcess(name)


class _Watch(ProcessProtocol):
    def __init__(self, child: Child) -> None:
        self._child = child

    def processEnded(self, reason: Failure) -> None:
        self._child.ended(reason)
