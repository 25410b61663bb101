"""The leg that faces an API server, in the agent.

The credential is a token of a service account (``auth = "bearer"``), a client certificate
(``cert``), or a token of Entra for AKS (``token``); the options are those of `hoopgw.http.agent`.
Whatever a request says of whom it is for never goes on: the server honours ``Impersonate-User``
from whoever has the right to impersonate, which a powerful credential has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hoopgw.http.agent import HttpsTargetLeg
from hoopgw.spi import AgentContext

_SCOPE: Final = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
"""Of the server application of AKS, the same in each tenant of the public cloud."""
_STRIPS: Final = frozenset(
    {
        *(b"impersonate-user", b"impersonate-group", b"impersonate-uid"),
        *(b"x-remote-user", b"x-remote-group", b"x-remote-uid"),
    }
)
"""Besides those that begin with `_STRIPPED`, which the gateway's allow-list never passes on."""


class KubernetesTargetLeg(HttpsTargetLeg):
    """Opens API servers. Implements `hoopgw.spi.TargetLeg` and `TokenScope`."""

    def token_scope(self, options: Mapping[str, Any]) -> str:
        """Return what tokens of Entra are for."""
        return _SCOPE


def make_target_leg(context: AgentContext) -> KubernetesTargetLeg:
    """Make the leg; for `hoopgw.spi.ProtocolSpec`."""
    return KubernetesTargetLeg(context, strips=_STRIPS)
