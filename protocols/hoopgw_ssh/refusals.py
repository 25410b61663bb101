"""What a client is told in the gateway's own name: refusals, and what it waits for. Pure."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from hoopgw.errors import ProtocolViolationError, RecorderError
from hoopgw.sessions.held import Held, not_recorded
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw_ssh.rulings import Ruling


def waiting(held: Held) -> str:
    """Say what a client waits for, and what would end that."""
    request = held.pending.request
    return (
        f"hoopgw: {held.standing}\n"
        f"To approve: hoopgw requests approve {request}    (Ctrl-C withdraws the request)"
    )


def told(refusal: Refusal) -> str:
    """Say a refusal to a client."""
    return "\n".join(filter(None, (f"hoopgw: {refusal.text}", refusal.hint)))


def refused(failure: Failure) -> Ruling:
    """Return a ruling that tells the client why; what is no refusal is raised again."""
    error = failure.value
    if isinstance(error, CancelledError):
        return no("hoopgw: the request was withdrawn; nothing was done")
    if isinstance(error, RefusedError):
        return no(told(error.refusal))
    if isinstance(error, RecorderError):
        return no(told(not_recorded(error)))
    if isinstance(error, ProtocolViolationError):
        return no(f"hoopgw: {error}")
    failure.raiseException()
    raise AssertionError


def no(reason: str) -> Ruling:
    """Return a refusal."""
    return Ruling(allowed=False, reason=reason)
