"""The public keys of one issuer: found by discovery, cached, refreshed, never made worse.

Rules, each with a test in ``tests/identity/test_keys.py``:

- One fetch at a time; whoever needs a key meanwhile waits for that one.
- A key is used for `FRESH` seconds before a refresh is tried. A failed refresh, a broken set and an
  empty one change nothing; what is there serves for `STALE` seconds, and then nothing does.
- An unknown ``kid`` leads to at most one fetch in `PAUSE` seconds, however many tokens come.
- The discovery document must name exactly the configured issuer, and keys over https. An issuer
  without one has its key set at a URL or in a file that the configuration names.

References: OpenID Connect Discovery 4, RFC 7517 section 5.
"""

from __future__ import annotations

import os
import stat
import typing
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import AuthenticationError, HoopgwError, UnavailableError
from hoopgw.identity.jose import KeySet, PublicKey, parse_object, read_key_set
from hoopgw.identity.settings import IssuerSettings, url_problem

log = Logger()

FRESH: Final = 600.0
"""Seconds that a key is used before a refresh is tried."""
STALE: Final = 86_400.0
"""Seconds that a key is used while every refresh fails."""
PAUSE: Final = 30.0
"""Seconds between two fetches."""
DEADLINE: Final = 5.0
"""Seconds for one document."""
DOCUMENT_LIMIT: Final = 256 * 1024
_WAITERS_LIMIT: Final = 1000
_DISCOVERY: Final = "/.well-known/openid-configuration"


class Fetch(typing.Protocol):
    """Gets a document: no redirect is followed, and no more than `DOCUMENT_LIMIT` is read."""

    def __call__(self, url: str, /) -> Deferred[bytes]:
        """Return the body of a 200 answer; anything else is a failure."""
        ...


@define(eq=False)
class IssuerKeys:
    """The cache. One for each issuer; `find` is what others call."""

    settings: IssuerSettings
    _fetch: Fetch
    _clock: IReactorTime
    _keys: KeySet = field(factory=dict, init=False, repr=False)
    _fetched: float | None = field(default=None, init=False)
    """When the keys that we have were got."""
    _tried: float | None = field(default=None, init=False)
    """When a fetch was last begun."""
    _keys_url: str | None = field(default=None, init=False)
    """From the discovery document; forgotten when a fetch fails."""
    _running: Deferred[None] | None = field(default=None, init=False, repr=False)
    _waiters: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    async def find(self, kid: str) -> PublicKey:
        """Return the key of that name.

        Raises:
            AuthenticationError: the issuer has no such key.
            UnavailableError: its keys could not be got, and there are none or too old ones.

        """
        age = self._age()
        if age >= FRESH or kid not in self._keys:
            await self._refresh()
            age = self._age()
        if age >= STALE:
            raise UnavailableError(f"the keys of issuer {self.settings.alias!r} cannot be had")
        key = self._keys.get(kid)
        if key is None:
            raise AuthenticationError(f"issuer {self.settings.alias!r} has no key {kid!r}")
        return key

    def stop(self) -> None:
        """End a fetch under way; who waits for it goes on with what is there."""
        if self._running is not None:
            self._running.cancel()

    def _age(self) -> float:
        """Return the seconds since the keys were got; infinite if there are none."""
        if self._fetched is None:
            return float("inf")
        age = self._clock.seconds() - self._fetched
        return age if age >= 0 else FRESH  # the clock was set back: nobody knows, so look again

    async def _refresh(self) -> None:
        """Fetch, or wait for the fetch under way; not at all if the last was just now."""
        if self._running is None:
            if self._tried is not None and 0 <= self._clock.seconds() - self._tried < PAUSE:
                return
            self._tried = self._clock.seconds()
            self._running = Deferred.fromCoroutine(self._load())
            self._running.addErrback(self._load_failed)
            self._running.addBoth(self._done)
        if self._running is None:
            return  # the fetch answered at once
        if len(self._waiters) >= _WAITERS_LIMIT:
            raise UnavailableError(f"too many wait for the keys of {self.settings.alias!r}")
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiters.append(waiter)
        await waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        """Drop a waiter that was cancelled; the fetch goes on for the others."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _done(self, _result: object) -> None:
        self._running = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:  # one that went before may have cancelled it
                waiter.callback(None)

    def _load_failed(self, failure: Failure) -> None:
        """Keep what we have. Discovery is done again next time: the keys may have moved."""
        self._keys_url = None
        if failure.check(CancelledError) is not None:
            return
        alias = self.settings.alias
        if failure.check(HoopgwError, DeferredTimeoutError) is None:
            log.failure("fetching the keys of issuer {alias} broke", failure, alias=alias)
            return
        reason = failure.getErrorMessage() or f"no answer in {DEADLINE:.0f} s"
        log.warn("the keys of issuer {alias} were not got: {why}", alias=alias, why=reason)

    async def _load(self) -> None:
        begun = self._clock.seconds()
        document = parse_object(await self._document())
        self._keys = read_key_set(document, self.settings.key_uses)
        self._fetched = begun

    async def _document(self) -> bytes:
        """Get the key set from the file or the URL that is configured, or from discovery's."""
        settings = self.settings
        if settings.jwks_file is not None:
            return read_file(settings.jwks_file)
        if self._keys_url is None:
            self._keys_url = settings.jwks_url or await self._discover()
        return await self._get(self._keys_url)

    async def _discover(self) -> str:
        settings = self.settings
        document = parse_object(await self._get(settings.issuer.removesuffix("/") + _DISCOVERY))
        if document.get("issuer") != settings.issuer:
            raise AuthenticationError("the discovery document is of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise AuthenticationError("the discovery document has no jwks_uri")
        if problem := url_problem(url, allow_http=settings.allow_http):
            raise AuthenticationError(f"jwks_uri: {problem}")
        return url

    def _get(self, url: str) -> Deferred[bytes]:
        return self._fetch(url).addTimeout(DEADLINE, self._clock)


def read_file(path: Path) -> bytes:
    """Return a key set that is kept in a file.

    Raises:
        UnavailableError: it cannot be read, is too long, or every user may write it.

    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                # Whoever writes it says whose signatures count.
                raise UnavailableError(f"{path} may be written by every user: chmod o-w {path}")
            data = file.read(DOCUMENT_LIMIT + 1)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > DOCUMENT_LIMIT:
        raise UnavailableError(f"{path} is longer than {DOCUMENT_LIMIT} bytes")
    return data
