"""What the agent does with a ticket: check it, look at the floor, log in at the target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import evolve, frozen
from twisted.logger import Logger

from hoopgw.errors import LinkError, TicketError
from hoopgw.link.floor import Floor
from hoopgw.link.tickets import Ticket, TicketVerifier
from hoopgw.spi import AgentTarget, Opened, TargetLeg, UsualPlace

log = Logger()

READ_ONLY: Final = "read_only"
"""The wish that only the agent may make: a gateway's wish of that name is overwritten."""


async def _at_once() -> None:
    """Be ready."""


@frozen(kw_only=True)
class TargetOpener:
    """Opens targets for tickets."""

    verifier: TicketVerifier
    floor: Floor
    targets: Mapping[str, AgentTarget]
    legs: Mapping[str, TargetLeg]
    """Each protocol's, by the protocol's name."""
    ready: Callable[[], Awaitable[None]] = _at_once
    """Waits, not for long, until targets may be opened at all; raises `LinkError` if they may
    not."""

    def accounts(self) -> dict[str, dict[str, str]]:
        """Return what can be opened: each target's accounts, and where each usually is."""
        return {
            target.name: {
                account: self._usual_place(target, account)
                for account in target.accounts
                if self.floor.opens(target.name, account)
            }
            for target in self.targets.values()
        }

    def _usual_place(self, target: AgentTarget, account: str) -> str:
        leg = self.legs.get(target.protocol)
        return leg.usual_place(target, account) if isinstance(leg, UsualPlace) else ""

    def check(self, text: str, nonce: bytes) -> Ticket:
        """Return the ticket for a data connection.

        Raises:
            LinkError: it is not good. The log says why; the other side is told nothing more.

        """
        try:
            ticket = self.verifier.verify(text, nonce)
        except TicketError as error:
            log.warn("a ticket was refused: {error}", error=error)
            raise LinkError("the agent refused the gateway's ticket") from error
        if ticket.digest is not None:
            # A one-shot ticket promises that the agent compares the operation with the digest.
            # Carrying bytes, it cannot: so it does not open what it was told to watch.
            raise LinkError("this agent cannot keep a session to one approved operation")
        return ticket

    async def open(self, ticket: Ticket, wishes: Mapping[str, Any]) -> Opened:
        """Open the ticket's target with the account's credential.

        Raises:
            LinkError: it may not or could not be opened; the text is for the caller.

        """
        await self.ready()
        mode = self.floor.mode(ticket.target, ticket.account)
        target = self.targets.get(ticket.target)
        if target is None or target.protocol not in self.legs:
            raise LinkError(f"the agent knows no target {ticket.target}")
        if ticket.account not in target.accounts:
            raise LinkError(f"the agent has no account {ticket.account} on {ticket.target}")
        target = evolve(target, caller=ticket.principal)
        personal = target.personal.get(ticket.account)
        if personal is not None:
            own = partial(personal, ticket.principal, ticket.text)
            target = evolve(target, accounts={**target.accounts, ticket.account: own})
        asked = {**wishes, READ_ONLY: mode == "read-only"}
        return await self.legs[target.protocol].open(target, ticket.account, asked)
