"""``/metrics`` in Prometheus' text format, read from the parts when it is asked for.

Workers tell their counters by name. ``operations_allow``, ``operations_review`` and
``operations_deny`` become ``hoopgw_operations_total{decision=...}``; those in `_KNOWN` have metrics
of their own; any other is ``hoopgw_worker{name=...}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from attrs import define
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from hoopgw.control.fleet import Fleet
from hoopgw.control.health import FRESH
from hoopgw.errors import UnavailableError
from hoopgw.grants.alarms import Alarms
from hoopgw.store.rows import Store

log = Logger()

_OPERATIONS: Final = "operations_"
_KNOWN: Final = {
    "recorder_lag_bytes": (GaugeMetricFamily, "Written, not yet synced to the log"),
    "sessions_refused_total": (CounterMetricFamily, "Log-ins and sessions that were refused"),
    "parser_restarts_total": (CounterMetricFamily, "Parsers that ended and were started again"),
}
"""What workers tell under these names is ``hoopgw_`` and the name."""
_DECISIONS: Final = ("allow", "review", "deny")


@define(eq=False)
class GatewayCollector(Collector):
    """Reads the parts."""

    _store: Store
    _fleet: Fleet
    _version: str
    _alarms: Alarms

    def collect(self) -> Iterator[Metric]:
        """Give all metrics; what cannot be read is left out, and the store says that it is down."""
        info = GaugeMetricFamily("hoopgw_build_info", "Version", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        yield from self._of_store()
        yield from self._of_workers()

    def _of_store(self) -> Iterator[Metric]:
        up = 1.0
        grants: Mapping[str, int]
        try:
            states, live = self._store.count_states(), len(self._store.sessions())
            grants, unreviewed = self._store.grants.counts(), self._store.grants.count_unreviewed()
        except UnavailableError:
            up, states, live, grants, unreviewed = 0.0, {}, 0, {}, 0
        yield GaugeMetricFamily("hoopgw_store_up", "Whether the store can be read", up)
        yield GaugeMetricFamily("hoopgw_sessions_live", "Sessions that live now", live)
        reviews = GaugeMetricFamily("hoopgw_reviews", "Reviews by state", labels=["state"])
        for state, count in sorted(states.items()):
            reviews.add_metric([state], count)
        yield reviews
        granted = GaugeMetricFamily("hoopgw_grants", "Grants by state", labels=["state"])
        for state, count in sorted(grants.items()):
            granted.add_metric([state], count)
        yield granted
        yield CounterMetricFamily(
            "hoopgw_breakglass", "Times that glass was broken", self._alarms.raised
        )
        yield GaugeMetricFamily(
            "hoopgw_breakglass_unreviewed", "Broken glass that nobody looked at", unreviewed
        )
        tampered = CounterMetricFamily(
            "hoopgw_store_tampered", "Rows read whose seal did not hold", self._store.tampered
        )
        yield tampered

    def _of_workers(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("hoopgw_workers", "Workers connected", len(self._fleet.workers))
        agents = sum(agent.connected for agent in self._fleet.agents().values())
        yield GaugeMetricFamily("hoopgw_agents_connected", "Agents connected", agents)
        operations = CounterMetricFamily(
            "hoopgw_operations", "Operations by decision", labels=["decision", "worker"]
        )
        known = {
            name: family(f"hoopgw_{name}", text, labels=["worker"])
            for name, (family, text) in _KNOWN.items()
        }
        others = GaugeMetricFamily(
            "hoopgw_worker", "What else workers say", labels=["name", "worker"]
        )
        for worker, counters in sorted(self._fleet.counters().items()):
            for name, value in sorted(counters.items()):
                decision = name.removeprefix(_OPERATIONS)
                if decision != name and decision in _DECISIONS:
                    operations.add_metric([decision, worker], value)
                elif name in known:
                    known[name].add_metric([worker], value)
                else:
                    others.add_metric([name, worker], value)
        yield from (operations, *known.values(), others)


class MetricsResource(Resource):
    """``GET /metrics``."""

    isLeaf = True

    def __init__(self, collector: Collector, now: Callable[[], float]) -> None:
        Resource.__init__(self)
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        self._now = now
        self._text = b""
        self._made = float("-inf")

    def render_GET(self, request: Request) -> bytes:
        """Give all metrics, as they were within the last second."""
        request.setHeader(b"content-type", CONTENT_TYPE_LATEST.encode())
        request.setHeader(b"cache-control", b"no-store")
        if not 0 <= self._now() - self._made < FRESH:
            self._text, self._made = generate_latest(self._registry), self._now()
        return self._text
