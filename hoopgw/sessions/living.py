"""The live sessions of a worker, as protocols see them, and what stops one without ending it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hoopgw.events import Principal


class Freeze(Protocol):
    """Stops all that goes through a session, either way, or lets it go on."""

    def __call__(self, *, frozen: bool, by: str, by_id: str, reason: str) -> None:
        """Do so; harmless if it is so already.

        Args:
            frozen: whether it is to be stopped.
            by: who wants that: the names of its chain.
            by_id: the id of the last of them.
            reason: what is said of it; may be empty.

        Raises:
            RecorderError: it could not be recorded; the session must end.

        """
        ...


class Sessions(Protocol):
    """The live sessions of this worker: counted, limited, and cut when their time is over."""

    def opened(
        self,
        session: str,
        principal: Principal,
        target: str,
        cut: Callable[[str], None],
        account: str = "",
        address: str = "",
        reconsider: Callable[[], str | None] | None = None,
        credential: str = "",
        freeze: Freeze | None = None,
    ) -> None:
        """Announce a session. ``cut`` is called with a reason at expiry, revocation or shutdown.

        ``reconsider`` is called when what the principal was granted has changed; it says why the
        session must end by that, or None. ``credential`` is what may be revoked besides the
        principal's lineage, if there is anything. ``freeze`` is there where the protocol
        `hoopgw.spi.ProtocolSpec.freezes`.

        Raises:
            UnavailableError: there are too many, for the gateway or for this principal.

        """
        ...

    def closed(self, session: str, reason: str = "") -> None:
        """Announce its end; harmless if it is not known."""
        ...
