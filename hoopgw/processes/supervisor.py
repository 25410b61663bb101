"""The supervisor's part of ``twistd hoopgw``: the gateway's processes, kept up and ended in order.

A process that ends is started again, a little later each time. One that ends with `REFUSED` says
that its configuration or its state cannot be used: then the whole gateway stops, and says so with
its own exit status. Stopping goes from the callers inwards: the worker first, which ends its
sessions; then control; the recorder last, so that it takes what the others have still written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.ipc import Peer
from hoopgw.processes import lifeline

log = Logger()

ROLES: Final = ("recorder", "control", "worker")
"""In the order of starting; they are stopped the other way round."""
FIRST_DELAY: Final = 0.5
LAST_DELAY: Final = 30.0
"""Seconds before a process that ended is started again; they double, and are forgotten after
`STEADY` seconds of life."""
STEADY: Final = 30.0
STOP_PATIENCE: Final = 10.0
"""Seconds between SIGTERM and SIGKILL, for each process."""
REFUSED: Final = 2
"""An exit status that says: the configuration or the state cannot be used."""
_RELOAD_PATIENCE: Final = 10.0


@define(eq=False)
class Child(Service):
    """One of the gateway's processes, started again whenever it ends."""

    role: str
    path: Path
    _reactor: Any
    _refused: Callable[[str], None]
    """Called with the role when the process refuses its configuration."""
    _transport: Any = field(default=None, init=False)
    _delay: float = field(default=FIRST_DELAY, init=False)
    _started: float = field(default=0.0, init=False)
    _waiting: IDelayedCall | None = field(default=None, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    def startService(self) -> None:
        """Start the process."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._spawn()

    def stopService(self) -> Deferred[None]:
        """Ask the process to end, and kill it if it does not; fires when it has ended."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._stop_waiting()
        if self._transport is None:
            return succeed(None)
        self._stopped = Deferred()
        self._signal("TERM")
        self._waiting = self._reactor.callLater(STOP_PATIENCE, self._kill)
        return self._stopped

    def ended(self, reason: Failure) -> None:
        """Start it again, a little later each time."""
        self._transport = None
        if self._stopped is not None:
            self._stop_waiting()
            log.info("{role} has ended", role=self.role)
            self._stopped.callback(None)
        elif getattr(reason.value, "exitCode", None) == REFUSED:
            self._refused(self.role)
        else:
            self._again(reason.getErrorMessage())

    def _again(self, why: str) -> None:
        if self._reactor.seconds() - self._started > STEADY:
            self._delay = FIRST_DELAY
        log.error(
            "{role} ended ({why}); it is started again in {delay} s",
            role=self.role,
            why=why,
            delay=self._delay,
        )
        self._waiting = self._reactor.callLater(self._delay, self._spawn)
        self._delay = min(self._delay * 2, LAST_DELAY)

    def _spawn(self) -> None:
        self._started = self._reactor.seconds()
        command = [sys.executable, "-m", f"hoopgw.processes.{self.role}", "--config"]
        try:
            self._transport = self._reactor.spawnProcess(
                _Watch(self),
                sys.executable,
                [*command, str(self.path)],
                env={**os.environ, lifeline.VARIABLE: "1"},
                childFDs={0: "w", 1: 1, 2: 2},
            )
        except OSError as error:  # no process or no memory is to be had just now
            self._again(str(error))
            return
        log.info("{role} is process {pid}", role=self.role, pid=self._transport.pid)

    def _kill(self) -> None:
        log.error("{role} does not end, so it is killed", role=self.role)
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        if self._transport is not None:
            self._transport.signalProcess(name)

    def _stop_waiting(self) -> None:
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()


class _Watch(ProcessProtocol):
    def __init__(self, child: Child) -> None:
        self._child = child

    def processEnded(self, reason: Failure) -> None:
        self._child.ended(reason)


@define(eq=False, kw_only=True)
class Supervisor(Service):
    """All of the gateway's processes.

    Args:
        path: of the configuration.
        control_socket: where control takes local commands.
        reactor: starts processes.
        end_with: called with an exit status when the gateway must stop by itself.

    """

    path: Path
    control_socket: Path
    reactor: Any
    end_with: Callable[[int], None]
    children: Sequence[Child] = field(init=False)
    _reloading: Deferred[None] | None = field(default=None, init=False)
    _before: Any = field(default=signal.SIG_DFL, init=False)

    def __attrs_post_init__(self) -> None:
        self.children = [Child(role, self.path, self.reactor, self._refused) for role in ROLES]

    def startService(self) -> None:
        """Start all, and take SIGHUP."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self._before = signal.signal(
            signal.SIGHUP, lambda _signal, _frame: self.reactor.callFromThread(self.reload)
        )
        for child in self.children:
            child.startService()

    def stopService(self) -> Deferred[None]:
        """Stop one after the other; fires when all have ended."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        signal.signal(signal.SIGHUP, self._before)
        if self._reloading is not None:
            self._reloading.cancel()
        return Deferred.fromCoroutine(self._stop_all())

    def reload(self) -> None:
        """Let the processes look at policy and certificates now, as SIGHUP asks."""
        if self._reloading is None:
            self._reloading = Deferred.fromCoroutine(self._reload())
            self._reloading.addErrback(self._not_reloaded).addCallback(self._reloaded)

    async def _stop_all(self) -> None:
        for child in reversed(self.children):
            await child.stopService()

    async def _reload(self) -> None:
        endpoint = UNIXClientEndpoint(self.reactor, str(self.control_socket))
        peer: Peer = await connectProtocol(endpoint, Peer({}, self.reactor))
        try:
            answer = await peer.call("local_reload", _RELOAD_PATIENCE)
        finally:
            peer.close()
        log.info("told to look at policy and certificates: {workers}", workers=answer["workers"])

    def _not_reloaded(self, failure: Failure) -> None:
        if self.running:
            log.error("nothing could be reloaded: {why}", why=failure.getErrorMessage())

    def _reloaded(self, _result: None) -> None:
        self._reloading = None

    def _refused(self, role: str) -> None:
        log.critical(
            "{role} cannot use its configuration or state, for the reason that it gave above; "
            "the gateway stops",
            role=role,
        )
        self.end_with(REFUSED)
