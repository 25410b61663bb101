"""What people logged in with, kept so that an agent can act on behalf of them. In memory only.

Where an issuer's settings name agents (``on_behalf_of``), the access token that a log-in began with
stays here until it ends, and goes to these agents alone, for a session of that log-in that they
were given a ticket for. It is never written down: after a restart people log in again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field, frozen

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal

KEPT_LIMIT: Final = 5_000
"""Tokens that are kept; the oldest goes."""


@frozen
class _Kept:
    root: str
    token: str = field(repr=False)
    expires: float


@define(eq=False)
class KeptProofs:
    """Keeps them.

    Args:
        agents: an issuer's alias to the agents that may act for its people.
        now: seconds since the epoch.

    """

    _agents: Mapping[str, frozenset[str]]
    _now: Callable[[], float]
    _kept: OrderedDict[str, _Kept] = field(factory=OrderedDict, init=False, repr=False)
    """By the log-in's id."""

    def keep(self, principal: Principal, token: str, expires: float) -> None:
        """Keep what a log-in began with, if some agent may have it."""
        if principal.root.kind != "person" or not self._agents.get(_alias(principal)):
            return
        now = self._now()
        for login in [each for each, kept in self._kept.items() if kept.expires <= now]:
            del self._kept[login]
        self._kept[principal.session] = _Kept(principal.root.id, token, expires)
        while len(self._kept) > KEPT_LIMIT:
            self._kept.popitem(last=False)

    def give(self, principal: Principal, agent: str) -> tuple[str, float]:
        """Return what the root of a chain logged in with, and its end.

        Raises:
            AuthenticationError: there is none, or not for this agent; the text is for the caller.

        """
        who = principal.root.name
        if agent not in self._agents.get(_alias(principal), frozenset()):
            raise AuthenticationError(
                f"agent {agent} may not act on behalf of {who}: on_behalf_of of the issuer"
            )
        kept = self._kept.get(principal.session)
        if kept is None or kept.root != principal.root.id or kept.expires <= self._now():
            raise AuthenticationError(
                f"what {who} logged in with is over, or was no access token: log in again"
            )
        return kept.token, kept.expires


def _alias(principal: Principal) -> str:
    return principal.root.id.partition("|")[0]
