"""What a relay asks who decides, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw_ssh.channels import Opening, Request
from hoopgw_ssh.inspector import Inspector

if TYPE_CHECKING:
    from hoopgw_ssh.relay import Pair

log = Logger()


@frozen(kw_only=True)
class Ruling:
    """What a judge says."""

    allowed: bool
    reason: str = ""
    """For the client, if it is refused: a sentence, perhaps several lines."""
    inspector: Inspector | None = None
    """Sees the channel from now on, instead of one that did so before."""
    ends_input: bool = False
    """Whether what it starts gets no input: its standard input ends at once."""
    begins: Callable[[Pair], None] | None = None
    """What the gateway itself begins on the channel; the request is not passed on then."""


class Judge(Protocol):
    """Decides, and knows who asks. Its Deferreds are cancelled when nobody waits any more."""

    def opening(self, opening: Opening, *, by_target: bool) -> Deferred[Ruling]:
        """Say whether a channel may be opened: a session, a forward."""
        ...

    def request(self, channel: Pair, request: Request) -> Deferred[Ruling]:
        """Say whether a request of a client may be passed on to the target's channel."""
        ...

    def for_connection(self, request: Request) -> Deferred[Ruling]:
        """Say whether a request of a client may be passed on that is for no channel."""
        ...


def ruled(result: Ruling | Failure) -> Ruling:
    """Return what a judge said; what it failed to say is a refusal."""
    if not isinstance(result, Failure):
        return result
    if result.check(CancelledError) is None:
        log.failure("deciding failed", result)
    return Ruling(allowed=False, reason="hoopgw could not decide on this; it was not done.")
