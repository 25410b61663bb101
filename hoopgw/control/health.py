"""Whether the gateway is ready: its parts, each with what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from hoopgw.control.fleet import Fleet
from hoopgw.control.recorder_watch import RecorderWatch
from hoopgw.errors import UnavailableError
from hoopgw.spi import TargetSettings
from hoopgw.store.rows import Store

FRESH: Final = 1.0
"""Seconds that an answer is given again: asking costs a disk write."""


@define(eq=False)
class Health:
    """Looks at the parts."""

    _store: Store
    _recorder: RecorderWatch
    _fleet: Fleet
    _targets: Sequence[TargetSettings]
    _now: Callable[[], float]
    _last: Mapping[str, Any] | None = field(default=None, init=False)
    _looked: float = field(default=0.0, init=False)

    def report(self) -> Mapping[str, Any]:
        """Return ``{ready, parts: {store, recorder, worker, agents}}``."""
        now = self._now()
        if self._last is None or not 0 <= now - self._looked < FRESH:
            self._last, self._looked = self._look(), now
        return self._last

    def _look(self) -> Mapping[str, Any]:
        problems = {
            "store": self._store_problem(),
            "recorder": self._recorder.problem,
            "worker": "" if self._fleet.workers else "no worker is connected",
            "agents": self._agents_problem(),
        }
        return {
            "ready": not any(problems.values()),
            "parts": {
                name: {"ok": not problem, "detail": problem} for name, problem in problems.items()
            },
        }

    def _store_problem(self) -> str:
        try:
            self._store.check_writable()
        except UnavailableError as error:
            return str(error)
        return ""

    def _agents_problem(self) -> str:
        agents = self._fleet.agents()
        missing = {
            target.agent
            for target in self._targets
            if target.agent not in agents or not agents[target.agent].connected
        }
        return f"not connected: {', '.join(sorted(missing))}" if missing else ""
