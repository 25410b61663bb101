"""One logged-in connection of an SSH client: all that its judge and its inspectors may know of it.

The client leg (`hoopgw_ssh.gateway`) makes it when policy has let the connection in and the target
is open. The order is: log-in; policy on ``connect``; the link; the journal; `Visit`;
``SessionJudge(visit)``; `hoopgw_ssh.joined.Joined`.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from hoopgw.events import Principal
from hoopgw.identity.ssh_certificates import Restrictions
from hoopgw.sessions.journal import SessionJournal
from hoopgw.sessions.purses import Purse
from hoopgw.spi import GatewayContext, TargetSettings


@frozen(kw_only=True, eq=False)
class Visit:
    """What is known of one connection."""

    context: GatewayContext = field(repr=False)
    session: str
    """The gateway session's id."""
    principal: Principal
    restrictions: Restrictions
    """Of the certificate. The client leg has looked at its addresses; the judge enforces its
    command and its permissions, whatever policy says."""
    target: TargetSettings
    account: str
    """On the target."""
    address: str
    """The client's."""
    agent: str
    """The name of the agent that opened the target."""
    server: str
    """The version line of the target's server, ``SSH-2.0-...``; empty if it told none."""
    journal: SessionJournal = field(repr=False)
    """Of the connection; the session's start is written already, its end is written by
    the client leg."""
    purse: Purse | None = field(default=None, repr=False)
    """What it may use, if some hop of its chain was given a budget; the client leg closes it."""
    end: Callable[[str], None] = field(repr=False)
    """Ends the connection; the client is told why."""
