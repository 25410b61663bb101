"""Ask parser processes for the facts of a text, from a Twisted process.

A parser works on one text at a time and may use so much of a processor for it; one that takes more,
dies or answers nonsense is killed and started anew, and its text is answered with
`UnavailableError`, so that the operation is refused. What counts is the processor's time: on a busy
machine a parser waits through no fault of its text, and killing it would make all of that worse.
Texts that wait are limited in number and in time.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import UnavailableError
from hoopgw.transport import adopt
from hoopgw_postgres.statements import Facts, decode

log = Logger()

TEXT_LIMIT: Final = 2**20
"""As `grammar.TEXT_LIMIT`; that module loads the grammar, which does not belong here."""
ANSWER_LIMIT: Final = 16 * 2**20
SHORT: Final = 16_384
"""Bytes of a short text."""
QUEUE_LIMIT: Final = 1000
"""Short texts that may wait, and long ones."""
QUEUE_PATIENCE: Final = 5.0
"""Seconds that a text may wait for a parser."""
START_PATIENCE: Final = 15.0
"""Seconds that a new process may take until it is ready."""
PATIENCE: Final = 0.25
"""Seconds of a processor that a short text may take."""
PATIENCE_PER_MIB: Final = 2.0
"""Seconds of it that a MiB may take besides: a bulk INSERT has as many nodes as bytes / 4."""
STARVED: Final = 20.0
"""Times as long as that a text may take by the clock, whatever is the matter."""
_PROCESS_CLOCK: Final = 2
"""The kernel's clock of the processor time of a whole process (``CPUCLOCK_SCHED``)."""
FIRST_BACKOFF: Final = 0.05
LAST_BACKOFF: Final = 5.0
"""Seconds before a process that died is started again; each death doubles them."""
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_LENGTH: Final = 4


@define(eq=False)
class _Request:
    text: bytes = field(repr=False)
    answer: Deferred[Facts]
    deadline: float
    """When it is looked at again."""
    used_up: float = 0.0
    """What the processor time of its parser must not reach."""
    last: float = 0.0
    """When it is given up in any case."""


class ParserPool:
    """Parser processes, and the texts that wait for them.

    Args:
        reactor: starts processes and reads from them.
        clock: for deadlines.
        size: how many processes; of several, one takes short texts only, so that long ones, which
            may take seconds, hold nobody else up.
        command: what to run; another one only in tests.
        on_ended: called when a process has ended and another is started in its place.

    """

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        size: int = 2,
        command: tuple[str, ...] = (sys.executable, "-m", "hoopgw_postgres.parser_process"),
        on_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.clock = clock
        self.command = command
        self.on_ended = on_ended
        self._short: deque[_Request] = deque()
        self._long: deque[_Request] = deque()
        others = [_Worker(self, (self._short, self._long)) for _ in range(size - 1)]
        lanes = (self._short,) if others else (self._short, self._long)
        self._workers = [_Worker(self, lanes), *others]
        self._stopped = False
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Start the processes."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Kill the processes; whoever waits gets `UnavailableError`."""
        self._stopped = True
        for worker in self._workers:
            worker.stop()
        waiting = [*self._short, *self._long]
        self._short.clear()
        self._long.clear()
        for request in waiting:
            if not request.answer.called:
                request.answer.errback(UnavailableError("the parser was stopped"))
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def classify(self, text: bytes) -> Deferred[Facts]:
        """Return the facts of a text.

        A text that the grammar does not allow gives facts with an error. The Deferred fails with
        `UnavailableError` if no parser could answer.
        """
        if len(text) > TEXT_LIMIT:
            return succeed(Facts(error=f"the statement is longer than {TEXT_LIMIT} bytes"))
        lane = self._short if len(text) <= SHORT else self._long
        if self._stopped or len(lane) >= QUEUE_LIMIT:
            return fail(UnavailableError("the parser is not available"))
        request = _Request(text, Deferred(lambda _: None), self.clock.seconds() + QUEUE_PATIENCE)
        lane.append(request)
        for worker in self._workers:
            if worker.idle and any(lane is each for each in worker.lanes):
                self.next(worker)
                break
        self._watch()
        return request.answer

    def next(self, worker: _Worker) -> None:
        """Give a worker that became idle its next text."""
        for lane in worker.lanes:
            while lane and worker.idle:
                request = lane.popleft()
                if not request.answer.called:  # else it was cancelled meanwhile
                    worker.take(request)

    def _watch(self) -> None:
        """Keep one timer while there is something to wait for."""
        if not self._stopped and (self._timer is None or not self._timer.active()):
            self._timer = self.clock.callLater(PATIENCE / 2, self._check)

    def _check(self) -> None:
        now = self.clock.seconds()
        for worker in self._workers:
            worker.check(now)
        for lane in (self._short, self._long):
            while lane and lane[0].deadline <= now:
                late = lane.popleft()
                if not late.answer.called:
                    late.answer.errback(UnavailableError("no parser was free in time"))
        if self._short or self._long or any(worker.busy for worker in self._workers):
            self._watch()


class _Worker(ProcessProtocol):
    """One process, over its lives."""

    def __init__(self, pool: ParserPool, lanes: tuple[deque[_Request], ...]) -> None:
        self._pool = pool
        self.lanes = lanes
        self._request: _Request | None = None
        self._connection: _Connection | None = None
        self._ready = False
        self._backoff = FIRST_BACKOFF
        self._delayed: IDelayedCall | None = None
        self._alive = False
        self._stopped = False
        self._start_deadline = 0.0

    @property
    def idle(self) -> bool:
        """Whether it can take a text now."""
        return self._ready and self._request is None

    @property
    def busy(self) -> bool:
        """Whether there is a deadline to watch."""
        return self._request is not None or (self._alive and not self._ready)

    def start(self) -> None:
        """Start the process."""
        ours, theirs = socket.socketpair()
        connection: Any = _Connection(self)
        self._connection = connection
        transport = adopt(self._pool.reactor, ours, connection)
        connection.makeConnection(transport)
        transport.resumeProducing()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._start_deadline = self._pool.clock.seconds() + START_PATIENCE
        self._alive = True
        with theirs:
            self._pool.reactor.spawnProcess(
                self,
                self._pool.command[0],
                self._pool.command,
                env=environment,
                childFDs={0: theirs.fileno(), 1: 2, 2: 2},
            )
        self._pool._watch()

    def stop(self) -> None:
        """Kill the process, and start no other."""
        self._stopped = True
        if self._delayed is not None and self._delayed.active():
            self._delayed.cancel()
        self.give_up("the parser was stopped")

    def take(self, request: _Request) -> None:
        """Work on a text."""
        self._request = request
        size = len(request.text)
        allowed = PATIENCE + PATIENCE_PER_MIB * size / 2**20
        now = self._pool.clock.seconds()
        request.deadline, request.last = now + allowed, now + STARVED * allowed
        request.used_up = self._used() + allowed
        assert self._connection is not None
        self._connection.send(size.to_bytes(_LENGTH, "big") + request.text)

    def check(self, now: float) -> None:
        """Give up if a deadline has passed."""
        request = self._request
        if request is not None and request.deadline <= now:
            left = request.used_up - self._used()
            if not left > 0 or request.last <= now:  # what is gone has used up too many
                self.give_up("the statement took too long to parse")
            else:
                request.deadline = min(now + left, request.last)
        elif self._alive and not self._ready and self._start_deadline <= now:
            self.give_up("the parser did not start")

    def _used(self) -> float:
        """Return the seconds of a processor that the process has used; very many if it is gone."""
        transport: Any = self.transport
        if transport is None or transport.pid is None:
            return float("inf")
        try:
            return time.clock_gettime(~transport.pid << 3 | _PROCESS_CLOCK)
        except OSError:
            return float("inf")

    def answered(self, data: bytes) -> None:
        """Take an answer from the process."""
        try:
            facts = decode(data)
        except msgspec.MsgspecError:
            self.give_up("the parser answered nonsense")
            return
        if not self._ready:
            self._ready = True
        elif self._request is None:
            self.give_up("the parser answered unasked")
            return
        else:
            request, self._request = self._request, None
            self._backoff = FIRST_BACKOFF
            request.answer.callback(facts)
        self._pool.next(self)

    def give_up(self, reason: str) -> None:
        """Kill the process; the text that it works on is not answered."""
        self._ready = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._alive:
            if not self._stopped:
                log.warn("killing a parser: {reason}", reason=reason)
            self._kill()
        request, self._request = self._request, None
        if request is not None:
            request.answer.errback(UnavailableError(reason))

    def processEnded(self, reason: Failure) -> None:
        """Start it again, later each time."""
        self._alive = False
        self.give_up("the parser died")
        if self._stopped:
            return
        log.warn("a parser ended: {reason}", reason=reason.getErrorMessage())
        self._pool.on_ended()
        self._delayed = self._pool.clock.callLater(self._backoff, self.start)
        self._backoff = min(self._backoff * 2, LAST_BACKOFF)

    def _kill(self) -> None:
        transport: Any = self.transport
        if transport is not None and transport.pid is not None:
            transport.signalProcess("KILL")


class _Connection(Protocol):
    """The socket to one process: frames in and out."""

    def __init__(self, worker: _Worker) -> None:
        self._worker: _Worker | None = worker
        self._buffer = bytearray()

    def send(self, frame: bytes) -> None:
        """Write a frame."""
        assert self.transport is not None
        self.transport.write(frame)

    def close(self) -> None:
        """Close; nothing is reported after it."""
        self._worker = None
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Cut answers off; ``data`` is valid only now, so it is copied."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH and self._worker is not None:
            size = int.from_bytes(self._buffer[:_LENGTH], "big")
            if size > ANSWER_LIMIT:
                self._worker.give_up("the parser answered nonsense")
                return
            if len(self._buffer) < _LENGTH + size:
                return
            answer = bytes(self._buffer[_LENGTH : _LENGTH + size])
            del self._buffer[: _LENGTH + size]
            self._worker.answered(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Say that the process is gone, if nobody knows yet."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.give_up("the parser died")
