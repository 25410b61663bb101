"""What is held by this gateway's other workers, as a client leg asks after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed


class Elsewhere(Protocol):
    """What is held in this gateway's other workers."""

    @property
    def worker(self) -> str:
        """The name of this one."""
        ...

    def serve(self, find: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Let others ask this worker: ``find`` says how a request stands, None if it is not here.

        What it raises of `UnavailableError` is told.
        """
        ...

    def ask(self, worker: str, request: str) -> Deferred[Mapping[str, Any]]:
        """Ask how a request stands that another worker held.

        The Deferred gives ``{"standing": ...}``, as that worker found it; or ``{"state", "note"}``
        of the request's review, if no worker has it any more. It fails with `UnavailableError`.
        """
        ...


class NothingElsewhere:
    """Where there is one worker, which holds all there is. Implements `Elsewhere`."""

    worker: Final = ""

    def serve(self, find: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Do nothing: nobody asks."""

    def ask(self, worker: str, request: str) -> Deferred[Mapping[str, Any]]:
        """Say that it is not there."""
        return succeed({"state": "withdrawn", "note": ""})
