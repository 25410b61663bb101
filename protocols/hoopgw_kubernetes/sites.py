"""What a listener for Kubernetes serves, by path: ``https://gw.example:6443/clusters/NAME``.

That is what a kubeconfig names as its ``server``; every client of Kubernetes puts its own paths
behind it. So a cluster needs no host name of its own, nor a certificate for one.
"""

from __future__ import annotations

from typing import Any, Final

from hoopgw.http.gateway import HttpsFactory, Page
from hoopgw.http.messages import RequestHead, Response
from hoopgw.http.sessions import Site
from hoopgw.sessions.refusals import Refusal
from hoopgw.spi import GatewayContext, TargetSettings
from hoopgw_kubernetes import refusals
from hoopgw_kubernetes.model import PREFIX, KubernetesModel
from hoopgw_kubernetes.operations import PROTOCOL, Cluster

ACCOUNT: Final = "default"
"""The account that is meant where neither the caller nor the target says one."""


class Clusters:
    """Implements `hoopgw.http.gateway.Sites`.

    Args:
        context: of the gateway.

    """

    def __init__(self, context: GatewayContext) -> None:
        self._sites = {name: _site(context, target) for name, target in context.targets.items()}

    def find(self, head: RequestHead) -> Site | Page | None:
        """Return what a request is for."""
        words = head.target.partition("?")[0].split("/", 3)
        if len(words) < 3 or words[:2] != ["", PREFIX]:
            return None
        return self._sites.get(words[2])

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal where no target is known."""
        return refusals.refused(refusal)


def make_factory(context: GatewayContext) -> HttpsFactory:
    """Build the client leg; see `hoopgw.spi.ProtocolSpec`."""
    return HttpsFactory(context, Clusters(context))


def _site(context: GatewayContext, target: TargetSettings) -> Site:
    cluster = Cluster.of(target)
    return Site(
        target=target,
        model=KubernetesModel(cluster, context.mask_key()),
        protocol=PROTOCOL,
        account=str(target.options.get("account", ACCOUNT)),
        connecting=cluster.connecting,
    )


def connecting(target: TargetSettings, account: str, _place: str) -> Any:
    """Return the operation that using a target is; for `hoopgw.spi.ProtocolSpec`."""
    return Cluster.of(target).connecting(account)
