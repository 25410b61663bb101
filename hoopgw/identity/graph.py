"""The groups of people, asked of Microsoft Graph with the gateway's own credential.

For tokens of Entra ID that leave the groups out because there are too many, and for each refresh of
such a log-in. A person who was deleted or disabled is refused. Whatever does not come to an answer
is a failure, and whoever asked refuses.

- The URL is the configuration's. What a token or an answer names is called only if it is below it.
- Answers are kept for `KEPT` seconds. Who asks for the same person meanwhile waits for one request.
- `PATIENCE` seconds for all of it, waits that Graph asks for (429) included; while it wants to be
  left alone, nobody asks.

References: https://learn.microsoft.com/graph/api/directoryobject-getmemberobjects,
https://learn.microsoft.com/graph/throttling, https://learn.microsoft.com/graph/paging.
"""

from __future__ import annotations

import json
import math
import re
import typing
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.jose import parse_object
from hoopgw.identity.settings import GraphSettings

log = Logger()

KEPT: Final = 300.0
"""Seconds that an answer is good for."""
PATIENCE: Final = 10.0
"""Seconds for one person's groups."""
GROUPS_LIMIT: Final = 11_000
"""What Graph gives at most; beyond it, it refuses."""
_PAGES_LIMIT: Final = 24
_KEPT_LIMIT: Final = 10_000
_RUNNING_LIMIT: Final = 64
_ATTEMPTS: Final = 3
_PAUSE: Final = 0.5
"""Seconds before an attempt after a fault, where Graph does not say how long."""
_SUBJECT: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BUSY: Final = frozenset({429, 500, 502, 503, 504})


@frozen
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None
    """Seconds that the other side wants to be left alone."""


class Ask(typing.Protocol):
    """Sends one request: no redirect is followed, and a body over a limit fails."""

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /
    ) -> Deferred[Reply]:
        """Return the answer, or fail with `UnavailableError`."""
        ...


class AccessTokens(typing.Protocol):
    """The gateway's own credential for Graph."""

    async def token(self) -> str:
        """Return a token; raises `UnavailableError`."""
        ...

    def forget(self) -> None:
        """Get another next time: this one was not taken."""
        ...


@frozen
class _Known:
    groups: frozenset[str]
    until: float


@define(eq=False)
class GraphDirectory:
    """Implements `hoopgw.identity.issuers.Directory`."""

    settings: GraphSettings
    _tokens: AccessTokens = field(repr=False)
    _ask: Ask = field(repr=False)
    _clock: IReactorTime = field(repr=False)
    _known: dict[str, _Known] = field(factory=dict, init=False, repr=False)
    _running: dict[str, list[Deferred[frozenset[str]]]] = field(factory=dict, init=False)
    """By person: who waits for the answer that is under way."""
    _quiet_until: float = field(default=-math.inf, init=False)

    async def groups(self, subject: str) -> frozenset[str]:
        """Return the ids of the groups that a person is in, also through other groups.

        Raises:
            AuthenticationError: there is no such person, or not any more.
            UnavailableError: Graph does not say.

        """
        if not _SUBJECT.fullmatch(subject):
            raise AuthenticationError("oid is no id")
        known = self._known.get(subject)
        now = self._clock.seconds()
        if known is not None and now < known.until <= now + KEPT:
            return known.groups
        waiting = self._running.get(subject)
        if waiting is None:
            return await self._first(subject)
        waiter: Deferred[frozenset[str]] = Deferred()
        waiting.append(waiter)
        return await waiter

    async def _first(self, subject: str) -> frozenset[str]:
        """Ask, for all who want to know the same meanwhile."""
        if len(self._running) >= _RUNNING_LIMIT:
            raise UnavailableError("too many wait for Microsoft Graph")
        waiters = self._running[subject] = []
        answer = Deferred.fromCoroutine(self._fetch(subject)).addTimeout(PATIENCE, self._clock)
        answer.addErrback(_too_late)
        try:
            groups = await answer
        except CancelledError:
            self._tell(waiters, UnavailableError("who asked Microsoft Graph first went away"))
            raise
        except Exception as error:
            self._tell(waiters, error)
            raise
        finally:
            del self._running[subject]
        self._keep(subject, groups)
        self._tell(waiters, groups)
        return groups

    def _tell(
        self, waiters: list[Deferred[frozenset[str]]], answer: frozenset[str] | Exception
    ) -> None:
        for waiter in waiters:
            if waiter.called:
                continue
            if isinstance(answer, Exception):
                waiter.errback(answer)
            else:
                waiter.callback(answer)

    def _keep(self, subject: str, groups: frozenset[str]) -> None:
        self._known.pop(subject, None)
        while len(self._known) >= _KEPT_LIMIT:
            del self._known[next(iter(self._known))]
        self._known[subject] = _Known(groups, self._clock.seconds() + KEPT)

    async def _fetch(self, subject: str) -> frozenset[str]:
        base = self.settings.url.rstrip("/")
        person = f"{base}/users/{subject}"
        enabled = await self._json("GET", f"{person}?$select=accountEnabled")
        if enabled.get("accountEnabled") is not True:
            raise AuthenticationError("the account is disabled")
        url = f"{person}/getMemberObjects"
        body: bytes | None = json.dumps({"securityEnabledOnly": True}).encode()
        found: set[str] = set()
        for _ in range(_PAGES_LIMIT):
            page = await self._json("GET" if body is None else "POST", url, body)
            found |= _ids(page)
            following = page.get("@odata.nextLink")
            if following is None:
                return frozenset(found)
            if not isinstance(following, str) or not following.startswith(f"{base}/"):
                raise UnavailableError("Microsoft Graph goes on elsewhere")
            if len(found) > GROUPS_LIMIT:
                break
            url, body = following, None
        raise UnavailableError(f"more groups than {GROUPS_LIMIT}: nobody can say which count")

    async def _json(self, method: str, url: str, body: bytes | None = None) -> dict[str, Any]:
        """Return what Graph answers, after as many attempts as are worth it."""
        reply: Reply | None = None
        for attempt in range(_ATTEMPTS):
            if self._clock.seconds() < self._quiet_until:
                raise UnavailableError("Microsoft Graph wants to be left alone for now")
            reply = await self._ask(method, url, await self._headers(), body)
            if reply.status == 200:
                return _parsed(reply.body)
            if reply.status == 401 and attempt == 0:
                self._tokens.forget()
            elif reply.status in _BUSY:
                await self._rest(reply.retry_after)
            else:
                break
        assert reply is not None
        raise _refusal(reply)

    async def _headers(self) -> Mapping[str, str]:
        token = await self._tokens.token()
        return {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    async def _rest(self, seconds: float | None) -> None:
        """Wait as long as Graph asks; if that is too long, tell all who come meanwhile."""
        if seconds is not None and seconds >= PATIENCE:
            self._quiet_until = self._clock.seconds() + min(seconds, KEPT)
            raise UnavailableError(f"Microsoft Graph wants to be left alone for {seconds:.0f} s")
        await deferLater(self._clock, _PAUSE if seconds is None else seconds)


def _too_late(failure: Any) -> Any:
    if failure.check(DeferredTimeoutError):
        raise UnavailableError(f"Microsoft Graph did not answer in {PATIENCE:.0f} s")
    return failure


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except AuthenticationError as error:
        raise UnavailableError("Microsoft Graph answered with something unreadable") from error


def _ids(page: Mapping[str, Any]) -> set[str]:
    values = page.get("value")
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise UnavailableError("Microsoft Graph answered with something that is no list of groups")
    return set(values)


def _refusal(reply: Reply) -> Exception:
    """Say what an answer means; nothing of it is repeated but its code."""
    code = ""
    try:
        said = parse_object(reply.body).get("error")
        code = str(said.get("code", "")) if isinstance(said, dict) else ""
    except AuthenticationError:
        code = ""
    if reply.status == 404:
        return AuthenticationError("the account is not there any more")
    if reply.status in (401, 403):
        log.error(
            "Microsoft Graph refuses the gateway ({status} {code}): its registration needs the "
            "application permissions User.Read.All and GroupMember.Read.All, with consent",
            status=reply.status,
            code=code[:80],
        )
    return UnavailableError(f"Microsoft Graph answered {reply.status} {code[:80]}".rstrip())
