"""Azure as it was recorded: what answers as Resource Manager and Key Vault did.

It stands behind the gateway, so it gives the genuine absolute URLs of Azure, and believes nobody
who does not bring the access token that the test's agent holds. What it was asked is kept.

The recordings are VCR files of the real Azure CLI (``tests/azure/recordings``). A request matches
by method, host and path, whatever its case; each recorded answer is given once, in order, and
then the last one again. Names in headers were not always replaced when the recordings were made:
where nothing matches, the chain of resource types and the last segment decide; for PUT, whose name
the client may have made up, the types alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import yaml
from attrs import define, evolve, field, frozen

from tests.support.lookalike import Asked, Told

FOLDER: Final = Path(__file__).resolve().parents[1] / "azure" / "recordings"
_DROPPED: Final = frozenset(
    {
        "content-length",
        "transfer-encoding",
        "connection",
        "content-encoding",
        "server",
        "date",
    }
)


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


SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000000"
TENANT: Final = "54826b22-38d6-4fb2-bad9-b7b93a3e9c5a"


def answer_to(
    method: str, path: str, body: Any, status: int = 200, host: str = "management.azure.com"
) -> Exchange:
    """Return an exchange that was not recorded: what `az` asks besides, or a stand-in."""
    return Exchange(
        method=method,
        url=f"https://{host}{path}",
        status=status,
        headers=(("Content-Type", "application/json; charset=utf-8"),),
        body=json.dumps(body).encode(),
    )


LOGGED_IN: Final = (
    answer_to(
        "GET",
        "/subscriptions",
        {
            "value": [
                {
                    "id": f"/subscriptions/{SUBSCRIPTION}",
                    "subscriptionId": SUBSCRIPTION,
                    "tenantId": TENANT,
                    "displayName": "recorded",
                    "state": "Enabled",
                    "authorizationSource": "RoleBased",
                }
            ]
        },
    ),
    answer_to("GET", "/tenants", {"value": [{"id": f"/tenants/{TENANT}", "tenantId": TENANT}]}),
)
"""What `az login` reads."""


def load(*names: str) -> list[Exchange]:
    """Read recordings by the beginning of their names: ``storage__`` is one.

    What was refused for lack of a token, or of a principal that was not known yet, is left out.
    """
    found = []
    for name in names:
        (path,) = sorted(FOLDER.glob(f"{name}*.yaml"))
        recorded = yaml.load(path.read_text(), yaml.CSafeLoader)["interactions"]
        found += [_exchange(each["request"], each["response"]) for each in recorded]
    return [each for each in found if each.status not in (400, 401)]


def _exchange(request: Mapping[str, Any], response: Mapping[str, Any]) -> Exchange:
    headers = tuple(
        (name, value)
        for name, values in response["headers"].items()
        for value in values
        if name.lower() not in _DROPPED
    )
    return Exchange(
        method=request["method"],
        url=request["uri"],
        status=response["status"]["code"],
        headers=headers,
        body=str(response["body"]["string"] or "").encode(),
    )


def canonical(path: str) -> str:
    """Return a path as it is compared."""
    return unquote(path).lower().rstrip("/")


def shape(path: str) -> tuple[str, ...]:
    """Return the types that a path goes through, and its last segment."""
    segments = [each for each in canonical(path).split("/") if each]
    return (*segments[::2], segments[-1] if segments else "")


@define(eq=False)
class AzureReplay:
    """Gives what was recorded; a `LookAlike` of it is the server.

    Args:
        exchanges: what it answers.
        token: the access token that it believes; what brings another is answered with 401.

    """

    exchanges: Sequence[Exchange]
    token: str = field(repr=False)
    _given: dict[tuple[str, str, str], int] = field(factory=dict, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def answer(self, asked: Asked) -> Told:
        """Answer one request; many threads ask at once."""
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return Told(401, {"error": {"code": "NoToken"}}, {"WWW-Authenticate": "Bearer"})
        with self._lock:
            found = self._find(asked)
        if found is None:
            return Told(404, {"error": {"code": "NotRecorded", "message": "it was never asked"}})
        headers = {name.title(): value for name, value in found.headers}
        return Told(found.status, found.body, headers)

    def _find(self, asked: Asked) -> Exchange | None:
        host = asked.headers.get("host", "").partition(":")[0].lower()
        key = asked.method, host, canonical(asked.path.partition("?")[0])
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
