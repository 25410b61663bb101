"""``/sts/on-behalf-of``: an agent asks for what the person behind a session logged in with.

======================  ==========================================================================
``client_assertion``    says which agent asks: `hoopgw.link.assertion`
``ticket``              that the agent was given for the session, of the last half minute
======================  ==========================================================================

The answer has ``assertion``, the issuer's access token, and ``expires_in``. It goes from control to
the agent and nowhere else: no worker and no file sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen
from joserfc.jwk import OKPKey
from twisted.logger import Logger

from hoopgw.control.token_site import AgentCallers
from hoopgw.errors import AuthenticationError, TicketError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.forms import FormCall
from hoopgw.identity.kept_proofs import KeptProofs
from hoopgw.identity.refusals import ExchangeError
from hoopgw.link.assertion import ASSERTION_TYPE
from hoopgw.link.tickets import Ticket, TicketVerifier, key_id

log = Logger()

_KNOWN: Final = frozenset({"client_assertion", "client_assertion_type", "ticket"})


@frozen(kw_only=True)
class OnBehalfCalls:
    """Answers agents."""

    agents: AgentCallers
    kept: KeptProofs
    ticket_keys: Callable[[], tuple[OKPKey, ...]] = field(repr=False)
    """Gives the keys whose tickets are good now."""
    is_ended: Callable[[Principal], bool]
    now: Callable[[], float]

    async def give(self, call: FormCall) -> Mapping[str, Any]:
        """Give what the root of a ticket's chain logged in with. Raises `ExchangeError`."""
        values = call.values
        if unknown := values.keys() - _KNOWN:
            shown = ", ".join(sorted(unknown))[:200]
            raise ExchangeError("invalid_request", f"not supported: {shown}")
        try:
            agent = self._agent(values)
            ticket = self._ticket(agent, values.get("ticket", ""))
            if self.is_ended(ticket.principal):
                raise ExchangeError("invalid_grant", "the log-in was ended")
        except UnavailableError as error:
            raise ExchangeError("temporarily_unavailable", str(error)) from error
        try:
            token, expires = self.kept.give(ticket.principal, agent)
        except AuthenticationError as error:
            raise ExchangeError("invalid_grant", str(error)) from error
        log.info(
            "agent {agent} acts on behalf of {who} in session {session}",
            agent=agent,
            who=ticket.principal.root.id,
            session=ticket.session,
        )
        return {"assertion": token, "expires_in": int(expires - self.now())}

    def _agent(self, values: Mapping[str, str]) -> str:
        if values.get("client_assertion_type") != ASSERTION_TYPE:
            raise ExchangeError("invalid_client", "only agents may ask")
        try:
            return self.agents.identify(values.get("client_assertion", ""))
        except AuthenticationError as error:
            log.info("an agent was refused: {why}", why=str(error))
            raise ExchangeError("invalid_client", "the assertion is not good") from error

    def _ticket(self, agent: str, text: str) -> Ticket:
        keys = {key_id(key): key for key in self.ticket_keys()}
        try:
            return TicketVerifier(agent, keys, self.now).read(text)
        except TicketError as error:
            log.warn("agent {agent} showed a ticket: {why}", agent=agent, why=str(error))
            raise ExchangeError("invalid_grant", "the ticket is not good") from error
