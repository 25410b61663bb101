"""Pass a request on that was decided, for a client or without one, and record how it came out."""

from __future__ import annotations

import time

from attrs import frozen
from twisted.internet.defer import CancelledError

from hoopgw.errors import LinkError, UnavailableError
from hoopgw.http.answering import Answering
from hoopgw.http.errors import MessageError
from hoopgw.http.exchange import Exchange
from hoopgw.http.model import Caller, ExceededError, Plan
from hoopgw.http.sessions import Client, HttpSession, Running
from hoopgw.http.straight import Straight
from hoopgw.policy.decision import Deny, Sights
from hoopgw.sessions.deciding import Permission
from hoopgw.sessions.journal import NOT_SENT, Answered
from hoopgw.sessions.refusals import RefusedError
from hoopgw.spi import GatewayContext


@frozen(kw_only=True)
class Passing:
    """One request on its way."""

    context: GatewayContext
    session: HttpSession
    exchange: Exchange
    """Where its answer goes."""
    client: Client
    """Who is cut if it may not go on."""
    plan: Plan
    caller: Caller
    body: bytes | None
    """All of it, if it was collected."""

    async def run(self, permission: Permission, way: Straight | None = None) -> bool:
        """Send it, and show its answer; say whether that has what others do not see.

        Args:
            permission: to do so.
            way: by which it is under way already.

        Raises:
            RefusedError: the answer may not be shown.
            LinkError, UnavailableError: the target cannot be reached, or not now.
            MessageError: the client's body is not as it should be.

        """
        session = self.session
        started = time.time_ns() if way is None else way.started
        answering = None
        try:
            answering = self._answering(permission)
            session.running[permission.intent] = Running(
                self.plan, self.client, answering.sights, permission.once
            )
            await answering.run(None if way is None else way.call)
        except BaseException as error:
            if answering is not None:
                answering.broke_off(_why(error))
            raise
        finally:
            session.running.pop(permission.intent, None)
            answered = Answered(outcome=NOT_SENT) if answering is None else answering.answered()
            session.journal.finished(permission.intent, started, answered)
        return answering.is_clear

    def _answering(self, permission: Permission) -> Answering:
        """Ask what of the answer is shown, and write that down."""
        session, fields = self.session, self.plan.fields
        sights: Sights = {}
        if fields:
            sights = self.context.policy.sights(session.principal, fields, session.id)
            see = fields[0].type.partition("::")[0] + "::see"
            session.journal.shown(
                see, {each: sights[each.id] for each in fields}, permission.verdict
            )
        decision = permission.verdict.decision
        max_items = None if isinstance(decision, Deny) else decision.max_rows
        return Answering(
            session, self.exchange, self.plan, sights, self.caller, self.body, max_items
        )


def _why(error: BaseException) -> str:
    """Return why an answer was not given whole; for the recording."""
    if isinstance(error, CancelledError | MessageError):
        return "LOST: the client left"
    if isinstance(error, ExceededError):
        return f"CUT: {error}"
    if isinstance(error, LinkError | UnavailableError | RefusedError):
        return f"FAILED: {error}"
    return "FAILED: the gateway could not go on"
