"""The leg that faces Azure, in the agent: access tokens for what the target is, or fixed secrets.

A target's options, besides those of `hoopgw.http.agent`:

``service``  what tokens are for: ``arm``, ``keyvault``, ``storage``, or ``rest``, which has none
             unless ``scope`` says what
``scope``    their OAuth 2 scope, where it is not the public cloud's
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hoopgw.errors import ConfigError
from hoopgw.http.agent import HttpsTargetLeg
from hoopgw.spi import AgentContext, AgentTarget

SCOPES: Final[Mapping[str, str]] = {
    "arm": "https://management.azure.com/.default",
    "keyvault": "https://vault.azure.net/.default",
    "storage": "https://storage.azure.com/.default",
    "rest": "",
}
_OWN: Final = frozenset({"service", "scope"})
_SCOPE: Final = re.compile(r"(https|api)://[A-Za-z0-9._/-]{1,200}/\.default")
_STRIPS: Final = frozenset({b"x-ms-authorization", b"x-ms-cluster-authorization-token"})


class AzureTargetLeg(HttpsTargetLeg):
    """Opens Azure's services. Implements `hoopgw.spi.TargetLeg` and `TokenScope`."""

    def check(self, target: AgentTarget) -> None:
        """Check a target's options before anything is opened. Raises `ConfigError`."""
        super().check(target)
        try:
            scope = self.token_scope(target.options)
        except ConfigError as error:
            raise ConfigError(f"targets.{target.name}.{error}") from error
        if not scope and "token" in target.options.get("auth", {}).values():
            raise ConfigError(
                f"targets.{target.name}.scope: an account with tokens of Entra needs one"
            )

    def token_scope(self, options: Mapping[str, Any]) -> str:
        """Return what tokens are for. Raises `ConfigError`."""
        service = options.get("service", "arm")
        if service not in SCOPES:
            raise ConfigError(f"service: expected one of {', '.join(SCOPES)}")
        scope = str(options.get("scope", SCOPES[service]))
        if scope and not _SCOPE.fullmatch(scope):
            raise ConfigError("scope: expected one such as " + SCOPES["arm"])
        return scope


def make_target_leg(context: AgentContext) -> AzureTargetLeg:
    """Make the leg; for `hoopgw.spi.ProtocolSpec`."""
    return AzureTargetLeg(context, own=_OWN, strips=_STRIPS)
