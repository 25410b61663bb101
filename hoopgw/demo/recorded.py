"""Azure as it was recorded: which answer belongs to a request. Pure, but for counting.

A request matches by method, host and path, whatever its case; each recorded answer is given once,
in order, and then the last one again. Names in headers were not always replaced when recordings
were made: where nothing matches, the chain of resource types and the last segment decide; for PUT,
whose name the client may have made up, the types alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from attrs import define, evolve, field, frozen

_JSON: Final = (("Content-Type", "application/json"),)
NO_TOKEN: Final = b'{"error":{"code":"NoToken","message":"this is not the token that was given"}}'
NOT_RECORDED: Final = b'{"error":{"code":"NotRecorded","message":"it was never asked"}}'


@frozen(kw_only=True)
class Exchange:
    """One recorded request with its answer."""

    method: str
    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """Method, host and path, as they are compared."""
        parts = urlsplit(self.url)
        return self.method, (parts.hostname or "").lower(), canonical(parts.path)

    def renamed(self, old: str, new: str) -> Exchange:
        """Return the same with another name wherever it stands."""
        return evolve(
            self,
            url=self.url.replace(old, new),
            headers=tuple((name, value.replace(old, new)) for name, value in self.headers),
            body=self.body.replace(old.encode(), new.encode()),
        )


def canonical(path: str) -> str:
    """Return a path as it is compared."""
    return unquote(path).lower().rstrip("/")


def shape(path: str) -> tuple[str, ...]:
    """Return the types that a path goes through, and its last segment."""
    segments = [each for each in canonical(path).split("/") if each]
    return (*segments[::2], segments[-1] if segments else "")


@define(eq=False)
class Replay:
    """Gives what was recorded; many threads may ask at once.

    Args:
        exchanges: what it answers.
        token: the access token that it believes; what brings another is answered with 401.

    """

    exchanges: Sequence[Exchange]
    token: str = field(repr=False)
    _given: dict[tuple[str, str, str], int] = field(factory=dict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def find(self, method: str, host: str, path: str, authorization: str | None) -> Exchange:
        """Return the answer to a request.

        Args:
            method: of HTTP.
            host: as the request has it, with its port or without.
            path: with its query or without.
            authorization: the header field.

        """
        plain = path.partition("?")[0]
        if authorization != f"Bearer {self.token}":
            challenge = (("WWW-Authenticate", "Bearer"), *_JSON)
            return Exchange(method=method, url=plain, status=401, headers=challenge, body=NO_TOKEN)
        with self._lock:
            found = self._find((method, host.partition(":")[0].lower(), canonical(plain)))
        if found is None:
            return Exchange(method=method, url=plain, status=404, headers=_JSON, body=NOT_RECORDED)
        return found

    def _find(self, key: tuple[str, str, str]) -> Exchange | None:
        here = [each for each in self.exchanges if each.key[:2] == key[:2]]
        found = [each for each in here if each.key == key]
        if not found:
            alike = shape(key[2])
            found = [each for each in here if shape(each.key[2]) == alike]
        if not found:  # of a name that the client has made up
            types = shape(key[2])[:-1]
            found = [each for each in here if shape(each.key[2])[:-1] == types]
            found = found if key[0] == "PUT" else []
        if not found:
            return None
        number = self._given.get(key, 0)
        self._given[key] = number + 1
        return found[min(number, len(found) - 1)]
