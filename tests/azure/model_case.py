"""Models of three targets, and requests to them."""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.messages import Headers, RequestHead, ResponseHead
from hoopgw.http.model import Caller, Plan, Shown
from hoopgw.policy.decision import Hidden, Sights
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from tests.azure.world import ARM, BLOBS, GROUP, HOST, VAULT

STORAGE: Final = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/shopdata"
KEYS: Final = f"{STORAGE}/listKeys?api-version=2023-01-01"
AZURE: Final = "https://management.azure.com"
CALLER: Final = Caller(
    account="deployer", chain=("corp|alice",), session="s-1", authority=HOST, seal=b"s" * 32
)


class ModelCase(SynchronousTestCase):
    """Models of three targets."""

    def setUp(self) -> None:
        self.arm = AzureModel(ARM, Links(frozenset({"management.azure.com"})))
        self.vault = AzureModel(VAULT, Links(frozenset({"shop-kv.vault.azure.net"})))
        self.blobs = AzureModel(BLOBS, Links(frozenset({"shopdata.blob.core.windows.net"})))

    def plan(
        self,
        method: str,
        target: str,
        body: Any = None,
        model: AzureModel | None = None,
        caller: Caller = CALLER,
        **fields: str,
    ) -> Plan:
        """Read a request."""
        if body is not None:
            fields["Content_Type"] = "application/json"
        sent = b"" if body is None else json.dumps(body).encode()
        return (model or self.arm).plan(self.head(method, target, **fields), sent, caller)

    def head(self, method: str, target: str, **fields: str) -> RequestHead:
        """Return a request's head; underscores in names are hyphens."""
        given = [(b"Host", HOST.encode())]
        given += [(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()]
        return RequestHead(method, target, Headers.of(given))

    def show(
        self,
        plan: Plan,
        body: Any = None,
        status: int = 200,
        sights: Sights | None = None,
        model: AzureModel | None = None,
        caller: Caller = CALLER,
        content_type: str = "application/json",
        **fields: str,
    ) -> tuple[Shown, Any]:
        """Show an answer; returns its head too."""
        given = [(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()]
        given.append((b"Content-Type", content_type.encode()))
        hidden: Sights = {each.id: Hidden(reason="no") for each in plan.fields}
        head = ResponseHead(status, Headers.of(given))
        shown = (model or self.arm).show(plan, head, hidden if sights is None else sights, caller)
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        if shown.transform is None:
            return shown, sent
        shown.transform.receive_data(sent)
        shown.transform.receive_end()
        pieces = []
        while (piece := shown.transform.next_piece()) is not None:
            pieces.append(piece)
        return shown, json.loads(b"".join(pieces))

    def refused(self, *arguments: Any, **options: Any) -> Refusal:
        """Return why something is not shown."""
        error = self.assertRaises(RefusedError, self.show, *arguments, **options)
        refusal: Refusal = error.refusal
        return refusal
