"""Count what is recorded, for ``/metrics``: each protocol's operations pass here alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.records import Intent, Record, SessionRefused
from hoopgw.spi import Recorder
from hoopgw.transport import accelerated


@define(eq=False)
class CountingRecorder:
    """Implements `hoopgw.spi.Recorder` on another one; what that refuses is not counted."""

    _inner: Recorder
    counters: Counter[str]
    """Gets ``operations_allow``, ``operations_review``, ``operations_deny`` and
    ``sessions_refused_total``."""
    write_allowed: Callable[[bytes], None] = field(init=False, repr=False)
    """Keeps an encoded intent that is allowed, and counts it."""
    put_off_encoded: Callable[[bytes], None] = field(init=False, repr=False)
    """Keeps an encoded record with the next one: nothing of it is counted."""

    def __attrs_post_init__(self) -> None:
        inner = self._inner
        self.write_allowed, self.put_off_encoded = self._write_allowed, inner.put_off_encoded
        if isinstance(inner, SpoolRecorder) and accelerated.is_wanted("hoopgw.recording._keep"):
            from hoopgw.recording._keep import Keeper

            keeper = Keeper(inner, self.counters)
            self.write_allowed = keeper.write_allowed
            self.put_off_encoded = keeper.put_off_encoded

    def write(self, record: Record) -> None:
        """Keep a record, and count an intent by its decision."""
        self._inner.write(record)
        if type(record) is Intent:
            self.counters["operations_" + record.decision] += 1

    def put_off(self, record: Record) -> None:
        """Keep a record with the next one, and count a refused log-in."""
        self._inner.put_off(record)
        if type(record) is SessionRefused:
            self.counters["sessions_refused_total"] += 1

    def _write_allowed(self, record: bytes) -> None:
        self._inner.write_allowed(record)
        self.counters["operations_allow"] += 1

    def sync(self) -> Deferred[None]:
        """Fire when all that was written so far survives a power loss."""
        return self._inner.sync()
