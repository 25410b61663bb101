"""The workers that are connected, and what they last said of agents and of themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from hoopgw.ipc import Body

STATUS_AGE: Final = 15.0
"""Seconds after which what a worker said of agents does not count any more."""
COUNTERS_LIMIT: Final = 500
"""Counters that are taken from one worker."""
AGENTS_LIMIT: Final = 10_000
_COUNTER: Final = re.compile(r"[a-z][a-z0-9_]{0,79}")


class Worker(Protocol):
    """A connected worker."""

    @property
    def worker(self) -> str:
        """Its name."""
        ...

    def tell(self, name: str, body: Body) -> None:
        """Tell it something."""
        ...

    async def call(self, name: str, body: Body) -> bool:
        """Tell it something and wait; say whether it has taken it. If not, it is disconnected."""
        ...

    async def ask(self, name: str, body: Body) -> Body:
        """Ask it something. Raises `UnavailableError`: it does not answer, or cannot say."""
        ...


@frozen(kw_only=True)
class AgentStatus:
    """What one worker says of one agent."""

    name: str
    connected: bool
    idle: int
    """Data connections that wait for use."""
    targets: tuple[str, ...]
    trust: str = ""
    """What it says that it trusts; see `hoopgw.control.trust.AgentTrust`."""
    accounts: Mapping[str, Mapping[str, str]] = field(factory=dict)
    """Each target's accounts, and where inside it each usually is."""


@define(eq=False)
class _Report:
    worker: Worker
    agents: dict[str, AgentStatus] = field(factory=dict)
    agents_at: float = float("-inf")
    counters: dict[str, float] = field(factory=dict)


@define(eq=False)
class Fleet:
    """All workers, by name."""

    _now: Callable[[], float]
    on_joined: Callable[[Worker], None] = field(default=lambda _worker: None, init=False)
    """Called with each worker that connects."""
    _reports: dict[str, _Report] = field(factory=dict, init=False)

    @property
    def workers(self) -> list[str]:
        """The names of those connected."""
        return sorted(self._reports)

    def joined(self, worker: Worker) -> None:
        """Note a worker; one of the same name is its earlier connection."""
        self._reports[worker.worker] = _Report(worker)
        self.on_joined(worker)

    def find(self, name: str) -> Worker | None:
        """Return the worker of a name, if it is connected."""
        report = self._reports.get(name)
        return None if report is None else report.worker

    def members(self) -> list[Worker]:
        """Return those connected."""
        return [report.worker for report in self._reports.values()]

    def left(self, worker: Worker) -> bool:
        """Note that a connection is gone; say whether its worker has no newer one."""
        report = self._reports.get(worker.worker)
        if report is None or report.worker is not worker:
            return False
        del self._reports[worker.worker]
        return True

    def tell_all(self, name: str, body: Body) -> None:
        """Tell every worker."""
        for report in list(self._reports.values()):
            report.worker.tell(name, body)

    async def call_all(self, name: str, body: Body) -> list[str]:
        """Tell every worker, and wait until each has taken it or is disconnected.

        Returns:
            The names of those that have.

        """
        workers = [report.worker for report in list(self._reports.values())]
        calls = [Deferred.fromCoroutine(worker.call(name, body)) for worker in workers]
        taken = [await call for call in calls]
        return [worker.worker for worker, done in zip(workers, taken, strict=True) if done]

    def tell_one(self, worker: str, name: str, body: Body) -> bool:
        """Tell a worker, if it is connected; say whether it is."""
        report = self._reports.get(worker)
        if report is not None:
            report.worker.tell(name, body)
        return report is not None

    def report_agents(self, worker: Worker, agents: Iterable[Mapping[str, Any]]) -> None:
        """Take what a worker says of its agents."""
        report = self._reports.get(worker.worker)
        if report is None or report.worker is not worker:
            return
        said = [
            AgentStatus(
                name=str(agent["name"]),
                connected=agent["connected"] is True,
                idle=int(agent.get("idle", 0)),
                targets=tuple(map(str, agent.get("targets", ()))),
                trust=str(agent.get("trust", "")),
                accounts={
                    str(target): {str(name): str(place) for name, place in accounts.items()}
                    for target, accounts in agent.get("accounts", {}).items()
                },
            )
            for agent in list(agents)[:AGENTS_LIMIT]
        ]
        report.agents = {agent.name: agent for agent in said}
        report.agents_at = self._now()

    def report_counters(self, worker: Worker, counters: Mapping[str, Any]) -> None:
        """Take a worker's counters."""
        report = self._reports.get(worker.worker)
        if report is None or report.worker is not worker:
            return
        report.counters = {
            name: float(value)
            for name, value in list(counters.items())[:COUNTERS_LIMIT]
            if _COUNTER.fullmatch(name) and isinstance(value, int | float)
        }

    def agents(self) -> dict[str, AgentStatus]:
        """Return the agents that some worker has just spoken of; connected wins."""
        oldest, found = self._now() - STATUS_AGE, dict[str, AgentStatus]()
        for report in self._reports.values():
            if report.agents_at < oldest:
                continue
            for name, agent in report.agents.items():
                if name not in found or agent.connected:
                    found[name] = agent
        return found

    def counters(self) -> dict[str, Mapping[str, float]]:
        """Return each worker's counters."""
        return {name: report.counters for name, report in self._reports.items()}
