"""How a request stands that is held and goes on without its client: what is said where it asks.

Values only. A worker that does not keep the request itself is told by the one that does, so a
`Standing` can be sent between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from hoopgw.http.messages import Headers, RequestHead, Response, ResponseHead
from hoopgw.sessions.refusals import Refusal

State: TypeAlias = Literal["waiting", "running", "answered", "refused"]
STATES: Final[tuple[State, ...]] = ("waiting", "running", "answered", "refused")


@frozen(kw_only=True)
class Poll:
    """A question after a request that is held."""

    request: str
    """The review's id."""
    worker: str
    """That keeps it."""
    is_result: bool
    """Whether the result is wanted, and not only how it stands."""


@frozen(kw_only=True)
class Standing:
    """How such a request stands."""

    request: str
    """The review's id."""
    state: State
    method: str = ""
    target: str = field(default="", repr=False)
    """Path and query, as they are sent."""
    text: str = ""
    """What to tell the caller, unless it was answered."""
    hint: str = ""
    outcome: str = ""
    """How it ended if nothing was sent: ``denied``, ``expired``, ``withdrawn``, ``failed``."""
    answer: Response | None = field(default=None, repr=False)
    """The target's, as the caller may see it."""
    is_whole: bool = True
    """Whether all of the answer's body was kept."""

    @property
    def refusal(self) -> Refusal:
        """Why it was not sent, for who asks for the result."""
        return Refusal(kind="denied", text=self.text, hint=self.hint, request=self.request)

    def to_body(self) -> dict[str, Any]:
        """Return it as another process is told it."""
        answer = self.answer
        return {
            "request": self.request,
            "state": self.state,
            "method": self.method,
            "target": self.target,
            "text": self.text,
            "hint": self.hint,
            "outcome": self.outcome,
            "answer": None
            if answer is None
            else [answer.status, [list(pair) for pair in answer.headers], answer.body],
            "whole": self.is_whole,
        }

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Standing:
        """Read what another process told.

        Raises:
            KeyError, TypeError, ValueError: it is none.

        """
        answer = None
        if body["answer"] is not None:
            status, pairs, data = body["answer"]
            headers = Headers.of((bytes(name), bytes(value)) for name, value in pairs)
            answer = Response(ResponseHead(int(status), headers), bytes(data))
        state: State = next(each for each in STATES if each == body["state"])
        return cls(
            request=str(body["request"]),
            state=state,
            method=str(body["method"]),
            target=str(body["target"]),
            text=str(body["text"]),
            hint=str(body["hint"]),
            outcome=str(body["outcome"]),
            answer=answer,
            is_whole=body["whole"] is True,
        )


@frozen
class Onward:
    """A poll is answered by the target itself: by what it says at another address."""

    head: RequestHead
    """A GET for it, as the caller would ask it."""
    read: Callable[[Response], Response | Onward] | None = None
    """What to make of the answer; None: it is given as it is."""
