"""Connections to targets that are used again, each for one principal only.

A connection belongs to a `Key`: a target, the account whose credential stands behind it, and the
principal. It never serves another key. It comes back by itself when its exchange is whole, and only
if `hoopgw.http.client` has no doubt about it; else it is closed.

Everything has a limit: connections of a key and together, how long one is kept idle and at all, how
many wait for one, and how long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from attrs import define, field, frozen
from attrs.validators import ge, gt
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime

from hoopgw.http.client import ANSWER_LIMITS, UpstreamConnection
from hoopgw.http.errors import UpstreamBusyError, UpstreamLostError, UpstreamTimeoutError
from hoopgw.http.messages import Limits
from hoopgw.http.timing import Timeouts
from hoopgw.transport import DataTransport


@frozen(cache_hash=True)
class Key:
    """Whom a connection serves: nobody else."""

    target: str
    account: str
    """Whose credential opens it."""
    principal: str
    """Stands for the principal: the id of its session."""


@frozen(kw_only=True)
class PoolLimits:
    """How many connections there may be, and how long. Times are seconds."""

    of_key: int = field(default=16, validator=gt(0))
    total: int = field(default=1_000, validator=gt(0))
    waiting: int = field(default=64, validator=ge(0))
    """Requests of a key that wait for one."""
    patience: float = field(default=30.0, validator=gt(0))
    """For one, or until it is open."""
    idle: float = field(default=60.0, validator=gt(0))
    """Azure's front ends close after 100 to 240."""
    age: float = field(default=600.0, validator=gt(0))
    """After which one is not used again."""


Open = Callable[[], Coroutine[Deferred[Any], Any, DataTransport]]
"""Opens a transport to a target; paused."""


@define(eq=False)
class _Place:
    """What there is of one key."""

    idle: list[UpstreamConnection] = field(factory=list)
    busy: set[UpstreamConnection] = field(factory=set)
    opening: int = 0
    taking: int = 0
    """Who is about to take one."""
    dropped: bool = False
    waiting: deque[Deferred[UpstreamConnection | None]] = field(factory=deque)

    @property
    def count(self) -> int:
        return len(self.idle) + len(self.busy) + self.opening

    @property
    def is_empty(self) -> bool:
        return not (self.count or self.taking or self.waiting)


@define(eq=False, kw_only=True)
class Pool:
    """All connections of this process to targets over HTTP."""

    clock: IReactorTime = field(repr=False)
    limits: PoolLimits = field(factory=PoolLimits)
    messages: Limits = ANSWER_LIMITS
    timeouts: Timeouts = field(factory=Timeouts)
    _places: dict[Key, _Place] = field(factory=dict, init=False, repr=False)
    _count: int = field(default=0, init=False)
    """Of connections, open and opening."""
    _stopped: bool = field(default=False, init=False)

    @property
    def size(self) -> int:
        """Connections that there are, and that are being opened."""
        return self._count

    async def take(self, key: Key, open_transport: Open) -> UpstreamConnection:
        """Return a connection that is free, for one exchange.

        It comes back by itself after it; whoever gives the exchange up calls `Call.close`, and who
        sends nothing `give_back`.

        Args:
            key: whom it serves.
            open_transport: makes a transport if none is free.

        Raises:
            UpstreamBusyError: too many are in use, or wait.
            UpstreamTimeoutError: none was free, or open, in time.
            LinkError: as ``open_transport`` raises.

        """
        if self._stopped:
            raise UpstreamBusyError("the gateway stops")
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place()
        place.taking += 1
        try:
            while not place.dropped:
                found = self._free(place)
                if found is not None:
                    found.wait_idle(self.limits.patience)  # `Call` has deadlines of its own
                    return found
                if place.count < self.limits.of_key and self._has_room():
                    return await self._open(key, place, open_transport)
                given = await self._wait(place)
                if given is not None:
                    return given
            raise UpstreamLostError("the session has ended")
        finally:
            place.taking -= 1
            self._tidy(key, place)

    def take_free(self, key: Key) -> UpstreamConnection | None:
        """Take a connection that is free at this moment, as `take`; None if there is none."""
        place = self._places.get(key)
        if place is None or place.dropped or place.waiting or self._stopped:
            return None
        return self._free(place)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Give a connection back over which nothing was sent."""
        for key, place in self._places.items():
            if connection in place.busy:
                self._came_back(key, place, connection)
                return

    def drop(self, matches: Callable[[Key], bool]) -> None:
        """Close every connection of some keys, also those in use; who waits for one is refused."""
        for key in [key for key in self._places if matches(key)]:
            place = self._places.pop(key)
            place.dropped = True  # for what is just being opened
            while place.waiting:
                waiter = place.waiting.popleft()
                if not waiter.called:
                    waiter.errback(UpstreamLostError("the session has ended"))
            for connection in [*place.idle, *place.busy]:
                connection.abort()

    def stop(self) -> None:
        """Close everything."""
        self._stopped = True
        self.drop(lambda key: True)

    # Inside

    def _free(self, place: _Place) -> UpstreamConnection | None:
        """Take an idle connection that is still good: the one that was used last."""
        while place.idle:
            connection = place.idle.pop()
            place.busy.add(connection)
            if connection.is_usable and not self._is_old(connection):
                return connection
            connection.abort()
        return None

    def _has_room(self) -> bool:
        """Say whether one more may be opened; an idle one of another key may have to go."""
        if self._count < self.limits.total:
            return True
        for place in self._places.values():
            if place.idle:
                place.idle[0].abort()
                return self._count < self.limits.total
        return False

    async def _open(self, key: Key, place: _Place, open_transport: Open) -> UpstreamConnection:
        place.opening += 1
        self._count += 1
        opening = Deferred.fromCoroutine(open_transport())
        opening.addTimeout(self.limits.patience, self.clock)
        try:
            transport = await opening
        except DeferredTimeoutError as error:
            raise UpstreamTimeoutError("the target could not be reached in time") from error
        finally:
            place.opening -= 1
            self._count -= 1
        connection = UpstreamConnection(
            self.clock,
            self.messages,
            self.timeouts,
            lambda connection: self._came_back(key, place, connection),
            lambda connection: self._went(key, place, connection),
        )
        if place.dropped:
            transport.abortConnection()
            raise UpstreamLostError("the session has ended")
        place.busy.add(connection)
        self._count += 1
        transport.protocol = connection
        cast("Any", connection).makeConnection(transport)
        if not transport.connected:
            self._went(key, place, connection)
            raise UpstreamLostError("the target closed the connection at once")
        transport.resumeProducing()
        connection.wait_idle(self.limits.patience)
        return connection

    async def _wait(self, place: _Place) -> UpstreamConnection | None:
        """Wait for one that comes back, or for room: then None."""
        if len(place.waiting) >= self.limits.waiting:
            raise UpstreamBusyError("too many requests wait for the target")
        waiter: Deferred[UpstreamConnection | None] = Deferred()
        waiter.addTimeout(self.limits.patience, self.clock)
        place.waiting.append(waiter)
        try:
            return await waiter
        except DeferredTimeoutError as error:
            raise UpstreamBusyError("no connection to the target was free in time") from error
        finally:
            if waiter in place.waiting:
                place.waiting.remove(waiter)

    def _came_back(self, key: Key, place: _Place, connection: UpstreamConnection) -> None:
        if connection not in place.busy:
            return
        if self._stopped or self._is_old(connection) or not connection.is_usable:
            connection.close()
            return
        while place.waiting:
            waiter = place.waiting.popleft()
            if not waiter.called:
                connection.wait_idle(self.limits.patience)
                waiter.callback(connection)
                return
        place.busy.discard(connection)
        place.idle.append(connection)
        connection.wait_idle(self.limits.idle)

    def _went(self, key: Key, place: _Place, connection: UpstreamConnection) -> None:
        if connection in place.busy:
            place.busy.discard(connection)
        elif connection in place.idle:
            place.idle.remove(connection)
        else:
            return
        self._count -= 1
        for hungry in (place, *self._places.values()):
            if self._feed(hungry):
                break
        self._tidy(key, place)

    def _feed(self, place: _Place) -> bool:
        """Tell one who waits that there is room."""
        while place.waiting:
            waiter = place.waiting.popleft()
            if not waiter.called:
                waiter.callback(None)
                return True
        return False

    def _tidy(self, key: Key, place: _Place) -> None:
        if place.is_empty and self._places.get(key) is place:
            del self._places[key]

    def _is_old(self, connection: UpstreamConnection) -> bool:
        return self.clock.seconds() - connection.made > self.limits.age
