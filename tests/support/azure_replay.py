"""Azure as it was recorded: what answers as Resource Manager and Key Vault did.

It stands behind the gateway, so it gives the genuine absolute URLs of Azure, and believes nobody
who does not bring the access token that the test's agent holds. What it was asked is kept.

The recordings are VCR files of the real Azure CLI (``tests/azure/recordings``);
`hoopgw.demo.recorded` says which answer belongs to a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import define, field

from hoopgw.demo.recorded import Exchange as Exchange  # as tests import it from here
from hoopgw.demo.recorded import Replay
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


@define(eq=False)
class AzureReplay:
    """Gives what was recorded; a `LookAlike` of it is the server.

    Args:
        exchanges: what it answers.
        token: the access token that it believes; what brings another is answered with 401.

    """

    exchanges: Sequence[Exchange]
    token: str = field(repr=False)
    _replay: Replay = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._replay = Replay(self.exchanges, self.token)

    def answer(self, asked: Asked) -> Told:
        """Answer one request; many threads ask at once."""
        found = self._replay.find(
            asked.method,
            asked.headers.get("host", ""),
            asked.path,
            asked.headers.get("authorization"),
        )
        headers = {name.title(): value for name, value in found.headers}
        return Told(found.status, found.body, headers)
