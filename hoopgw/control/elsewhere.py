"""What a worker's neighbours keep: asked, and told, through control.

Workers do not know each other. Control passes a question on to the worker that it names, and says
how the request's review stands if that worker is gone, or does not know it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.control.client import ControlClient
from hoopgw.ipc import Body

CALL: Final = "held_standing"
_Find = Callable[[str], Mapping[str, Any] | None]


@define(eq=False)
class ControlElsewhere:
    """Implements `hoopgw.sessions.elsewhere.Elsewhere`."""

    _control: ControlClient
    _finders: list[_Find] = field(factory=list, init=False)
    """Of the worker's listeners."""

    def __attrs_post_init__(self) -> None:
        self._control.on_call(CALL, self._asked)

    @property
    def worker(self) -> str:
        """The name of this worker."""
        return self._control.worker

    def serve(self, find: _Find) -> None:
        """Let others ask what a listener keeps."""
        self._finders.append(find)

    def ask(self, worker: str, request: str) -> Deferred[Mapping[str, Any]]:
        """Ask how a request stands that another worker held."""
        asked = self._control.call(CALL, worker=worker, request=request)
        return asked.addCallback(_mapping)

    def _asked(self, body: Body) -> Body:
        for find in self._finders:
            found = find(str(body["request"]))
            if found is not None:
                return {"standing": found}
        return {}


def _mapping(answer: Body) -> Mapping[str, Any]:
    return answer
