"""Whether policy lets a principal open a session, by itself or by what it was granted."""

from __future__ import annotations

from collections.abc import Callable

from hoopgw.errors import HoopgwError
from hoopgw.events import Operation, Principal
from hoopgw.policy.cures import Cure
from hoopgw.policy.decision import Deny, Review, Verdict
from hoopgw.spi import GatewayContext


class ConnectRefusedError(HoopgwError):
    """Policy does not let the principal open a session; the text is for the caller."""

    def __init__(self, text: str, cure: Cure | None = None) -> None:
        super().__init__(text)
        self.cure = cure


async def admit(
    context: GatewayContext,
    principal: Principal,
    operation: Operation,
    session: str,
    on_claimed: Callable[[], None] = lambda: None,
) -> Verdict:
    """Return the verdict that lets a session begin; a grant for one session is claimed by it.

    Args:
        context: of the gateway.
        principal: who connects.
        operation: the connecting.
        session: its id.
        on_claimed: called when a grant was: what policy said of other things may have changed.

    Raises:
        ConnectRefusedError: it may not begin.

    """
    verdict = context.policy.decide(principal, operation, session)
    decision = verdict.decision
    uses = decision.uses if isinstance(decision, Deny) else ()
    for use in uses:
        if use.digest is None and await context.grants.use(use, session, operation.digest):
            verdict = context.policy.decide(principal, operation, session)
            on_claimed()
            break
    match verdict.decision:
        case Deny(reason=reason):
            cure = Cure.of(verdict, operation.target, context.grants.url)
            raise ConnectRefusedError(reason, cure)
        case Review():
            raise ConnectRefusedError("nobody can be asked to approve a session as a whole")
    if verdict.grants:
        context.grants.used(verdict.grants, session)
    return verdict
