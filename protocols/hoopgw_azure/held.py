"""Long operations that are held, told to clients as Resource Manager tells of its own. Pure.

A client that begins a long operation gets 202 (or 201, where it takes nothing else) and two
addresses: ``Azure-AsyncOperation`` says how it stands, ``Location`` gives its result. While people
think, both are answered by the gateway. Once the operation was sent, its own addresses answer; what
the target says in one of these ways only is said in the other one, too. An address has a seal, for
that request and that principal only.

References: Azure Resource Manager, "Track asynchronous Azure operations"; ``azure.core.polling``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from attrs import frozen

from hoopgw.http.messages import Pair, RequestHead, Response
from hoopgw.http.model import Caller, status_of
from hoopgw.http.path import LocatorError, locate
from hoopgw.http.standing import Onward, Poll, Standing
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw_azure import refusals
from hoopgw_azure.arm import ruled
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import parse
from hoopgw_azure.known import lasting

PREFIX: Final = "/hoopgw/held/"
PARAMETER: Final = "hoopgw-held"
AGAIN: Final = 5
"""Seconds after which a client is to ask again."""
_STATE, _RESULT = "state", "result"
_MAC: Final = 16
_SEAL_LIMIT: Final = 256
_ENDED: Final[Mapping[str, tuple[str, str]]] = {
    "denied": ("Failed", "ApprovalDenied"),
    "expired": ("Canceled", "ApprovalExpired"),
    "withdrawn": ("Canceled", "RequestWithdrawn"),
}
"""Status and code by how a request ended that was not sent; else the outcome is not known."""
_UNKNOWN: Final = ("Failed", "OutcomeUnknown")
_OVER: Final = frozenset({"succeeded", "failed", "canceled"})
_TRANSIENT: Final = frozenset({401, 408, 429, 500, 502, 503, 504})
"""Statuses that say nothing of the operation: the client asks again, or sees them."""


def begins(method: str, path: str) -> int | None:
    """Return the status with which clients let an operation begin; None: it is short for them."""
    try:
        read = parse(locate(path).segments)
    except (LocatorError, UnclearRequestError):
        return None
    if method not in ("PUT", "PATCH", "POST", "DELETE"):
        return None
    found = lasting().get((method, ruled(method, read).lower()))
    if found is None and method == "DELETE" and read.parts and not read.parts[-1].is_open:
        return 202  # of a type that only clients delete that know none, as `az resource delete`
    return found or None


def follow(head: RequestHead, caller: Caller) -> Poll | None:
    """Return what a request asks after, if it does. Raises `RefusedError`."""
    if not head.target.startswith(PREFIX):
        return None
    try:
        place = locate(head.target)
        seal = place.parameter(PARAMETER) or ""
        request, what = place.segments[2:]
        raw = base64.urlsafe_b64decode(seal + "=" * (-len(seal) % 4))
        worker = raw[_MAC:].decode()
        known = hmac.compare_digest(raw[:_MAC], _mac(caller.seal, request, worker, what))
    except (LocatorError, ValueError, binascii.Error):
        known = False
    if not known or head.method != "GET" or len(seal) > _SEAL_LIMIT:
        text = "this is no address of a request of yours that is held"
        raise RefusedError(Refusal(kind="denied", text=text, status=404))
    return Poll(request=request, worker=worker, is_result=what == _RESULT)


def _mac(seal: bytes, request: str, worker: str, what: str) -> bytes:
    if what not in (_STATE, _RESULT):
        raise ValueError(what)
    about = b"hoopgw/azure/held/v1\0" + msgspec.json.encode([request, worker, what])
    return hmac.digest(seal, about, hashlib.sha256)[:_MAC]


def address(request: str, worker: str, what: str, caller: Caller) -> bytes:
    """Return where to ask after a request."""
    raw = _mac(caller.seal, request, worker, what) + worker.encode()
    seal = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    path = f"{PREFIX}{quote(request, safe='')}/{what}"
    return f"https://{caller.authority}{path}?{PARAMETER}={seal}".encode("latin-1")


def begun(status: int, path: str, standing: Standing, worker: str, caller: Caller) -> Response:
    """Return the answer to a request that is held.

    Args:
        status: of `begins`.
        path: of the request.
        standing: how it stands.
        worker: that keeps it.
        caller: who gets the answer.

    """
    request = standing.request
    fields: tuple[Pair, ...] = (
        (b"Azure-AsyncOperation", address(request, worker, _STATE, caller)),
        *_again(request),
    )
    if status == 202:
        location = address(request, worker, _RESULT, caller)
        body = _in_progress(standing)
        return Response.of_json(202, body, ((b"Location", location), *fields))
    # As the resource will be, for clients that read it at once.
    return Response.of_json(
        status,
        {
            "id": path,
            "name": path.rpartition("/")[2],
            "type": parse(locate(path).segments).parts[-1].type,
            "properties": {"provisioningState": "Accepted"},
        },
        fields,
    )


@frozen
class Asking:
    """One poll, and what it is about."""

    poll: Poll
    standing: Standing
    head: RequestHead
    """Of the poll."""
    caller: Caller

    def answer(self) -> Response | Onward:
        """Say how the request stands, or where the target says it."""
        match self.standing.state:
            case "waiting" | "running":
                return self._wait()
            case "refused":
                return self._refused()
            case "answered":
                answer = self.standing.answer
                if answer is None:
                    raise AssertionError("what was answered has an answer")
                return self._result(answer) if self.poll.is_result else self._state(answer)

    def _wait(self, after: bytes | None = None) -> Response:
        """Tell the client to ask again."""
        fields = _again(self.standing.request, after)
        body = _in_progress(self.standing)
        if not self.poll.is_result:
            return Response.of_json(200, body, fields)
        poll = self.poll
        here = address(poll.request, poll.worker, _RESULT, self.caller)
        return Response.of_json(202, body, ((b"Location", here), *fields))

    def _refused(self) -> Response:
        standing = self.standing
        status, code = _ENDED.get(standing.outcome, _UNKNOWN)
        error = {"code": code, "message": refusals.message(standing.refusal)}
        if self.poll.is_result:
            fields = refusals.fields(standing.refusal)
            return Response.of_json(status_of(standing.refusal), {"error": error}, fields)
        return self._ended(status, error)

    def _ended(self, status: str, error: Any = None) -> Response:
        body = {"status": status} if error is None else {"status": status, "error": error}
        request = self.standing.request
        return Response.of_json(200, body, ((b"X-Hoopgw-Request", request.encode()),))

    def _state(self, answer: Response) -> Response | Onward:
        """Say how it stands, as the target's answer tells."""
        if answer.status >= 400:
            return self._ended("Failed", _error(answer))
        own = _link(answer, b"azure-asyncoperation")
        if own:
            return self._onward(own)
        location = _link(answer, b"location")
        if answer.status == 202 and location:
            return self._onward(location, self._state_of_location)
        if self.standing.method in ("PUT", "PATCH") and not _is_over(_provisioning(answer)):
            return self._onward(self.standing.target, self._state_of_resource)
        return self._ended("Succeeded")

    def _state_of_location(self, answer: Response) -> Response:
        if answer.status in _TRANSIENT:
            return answer
        if answer.status >= 400:
            return self._ended("Failed", _error(answer))
        if answer.status == 202:
            return self._wait(answer.headers.get(b"retry-after"))
        return self._ended("Succeeded")

    def _state_of_resource(self, answer: Response) -> Response:
        if answer.status >= 400:
            return answer
        said = _provisioning(answer)
        if not _is_over(said):
            return self._wait(answer.headers.get(b"retry-after"))
        error = {"code": said, "message": "the resource says so"}
        return self._ended(said.capitalize(), None if said.lower() == "succeeded" else error)

    def _result(self, answer: Response) -> Response | Onward:
        """Give the result, as the target's answer tells."""
        if answer.status >= 400:
            return answer
        location = _link(answer, b"location")
        if location and answer.status in (201, 202):
            return self._onward(location)
        own = _link(answer, b"azure-asyncoperation")
        if own:
            return self._onward(own, self._result_of_state)
        if not self.standing.is_whole:
            text = "it was done, and its answer is longer than what is kept: ask for the resource"
            refusal = Refusal(kind="withheld", text=text, request=self.standing.request)
            return refusals.of_arm(refusal)
        return answer if answer.status != 202 else Response.of(204)

    def _result_of_state(self, answer: Response) -> Response | Onward:
        if answer.status >= 400:
            return answer
        state = _json(answer)
        said = str(state.get("status", ""))
        if not _is_over(said):
            return self._wait(answer.headers.get(b"retry-after"))
        if said.lower() != "succeeded":
            return Response.of_json(409, {"error": _error(answer)})
        match self.standing.method:
            case "PUT" | "PATCH":
                return self._onward(self.standing.target)
            case "DELETE":
                return Response.of(204)
            case _:
                return answer

    def _onward(
        self, target: str, read: Callable[[Response], Response | Onward] | None = None
    ) -> Onward:
        return Onward(RequestHead("GET", target, self.head.headers), read)


def _again(request: str, after: bytes | None = None) -> tuple[Pair, ...]:
    return (
        (b"Retry-After", after or b"%d" % AGAIN),
        (b"X-Hoopgw-Request", request.encode()),
    )


def _in_progress(standing: Standing) -> dict[str, Any]:
    """Return what says how a request stands that is not at its end."""
    said = {"request": standing.request, "message": refusals.message(standing.refusal)}
    return {"status": "InProgress", "properties": said}


def _link(answer: Response, name: bytes) -> str:
    """Return path and query of a link that leads to the gateway; nothing if there is none."""
    value = answer.headers.get(name)
    if not value:
        return ""
    parts = urlsplit(value.decode("latin-1"))
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def _json(answer: Response) -> Mapping[str, Any]:
    """Return an answer's JSON object; an empty one if it has none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _provisioning(answer: Response) -> str:
    """Return the state that a resource says; nothing said is the end of it."""
    properties = _json(answer).get("properties")
    said = properties.get("provisioningState") if isinstance(properties, dict) else None
    return said if isinstance(said, str) and said else "Succeeded"


def _is_over(said: str) -> bool:
    return said.lower() in _OVER


def _error(answer: Response) -> Any:
    """Return what an answer says went wrong."""
    found = _json(answer).get("error")
    if isinstance(found, dict) and isinstance(found.get("message"), str):
        return found
    return {"code": "Failed", "message": f"the target answered {answer.status}"}
