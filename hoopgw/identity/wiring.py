"""Puts the configured issuers together with what fetches their keys and asks for groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.threads import deferToThreadPool

from hoopgw.identity.fetch import make_ask, make_fetch
from hoopgw.identity.graph import GraphDirectory
from hoopgw.identity.graph_tokens import GraphTokens
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.keys import IssuerKeys
from hoopgw.identity.settings import IssuerSettings


def make_issuers(
    configured: Iterable[IssuerSettings], reactor: Any, now: Callable[[], float]
) -> Issuers:
    """Return the issuers.

    Args:
        configured: their settings.
        reactor: clock, connections and threads.
        now: seconds since the epoch.

    Raises:
        ConfigError: a CA file cannot be read, or two issuers could be mixed up.

    """
    return Issuers.of([_issuer(settings, reactor) for settings in configured], now)


def _issuer(settings: IssuerSettings, reactor: Any) -> Issuer:
    keys = IssuerKeys(settings, make_fetch(settings, reactor), reactor)
    graph = settings.graph
    if graph is None:
        return Issuer(settings, keys)

    def run(work: Callable[[], Any]) -> Any:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    tokens = GraphTokens(graph, settings.tenant, run, reactor)
    return Issuer(settings, keys, GraphDirectory(graph, tokens, make_ask(graph, reactor), reactor))
