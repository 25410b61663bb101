"""The leg that faces an API server, in the agent.

The credential is a token of a service account (``auth = "bearer"``), a client certificate
(``cert``), or a token of Entra for AKS (``token``). A target's options, besides those of
`hoopgw.http.agent`:

``impersonate``   accounts whose requests are made in the caller's name, so that the cluster's own
                  RBAC and audit log know who asks; their credential needs the right to impersonate
``user_prefix``   put before the caller's id (``hoopgw:``)
``group_prefix``  put before each of the caller's groups (``hoopgw:``)

Whatever a request itself says of whom it is for never goes on: the server honours
``Impersonate-User`` from whoever has the right to impersonate, which a powerful credential has. The
names are the ticket's, so no gateway that is taken over can make up others without control.

Reference: Kubernetes, "User impersonation".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hoopgw.errors import ConfigError, LinkError
from hoopgw.events import Principal
from hoopgw.http.agent import HttpsTargetLeg
from hoopgw.http.messages import Pair
from hoopgw.spi import AgentContext, AgentTarget

PREFIX: Final = "hoopgw:"
GROUPS_LIMIT: Final = 100
"""Groups of a caller that a server is told; who has more is refused, as some might matter."""
_RESERVED: Final = "system:"
_SCOPE: Final = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
"""Of the server application of AKS, the same in each tenant of the public cloud."""
_OWN: Final = frozenset({"impersonate", "user_prefix", "group_prefix"})
_CHAIN: Final = b"Impersonate-Extra-Hoopgw-Chain"
_STRIPS: Final = frozenset(
    {
        *(b"impersonate-user", b"impersonate-group", b"impersonate-uid", _CHAIN.lower()),
        *(b"x-remote-user", b"x-remote-group", b"x-remote-uid"),
    }
)
"""Other fields of these kinds are never passed on by the gateway, which has a list of what is."""


class KubernetesTargetLeg(HttpsTargetLeg):
    """Opens API servers. Implements `hoopgw.spi.TargetLeg` and `TokenScope`."""

    def check(self, target: AgentTarget) -> None:
        """Check a target's options before anything is opened. Raises `ConfigError`."""
        super().check(target)
        where, named = f"targets.{target.name}", target.options.get("impersonate", [])
        if not isinstance(named, list) or not set(named) <= target.accounts.keys():
            raise ConfigError(f"{where}.impersonate: expected names of the target's accounts")
        for name in ("user_prefix", "group_prefix"):
            prefix = target.options.get(name, PREFIX)
            if not isinstance(prefix, str) or not prefix or prefix.startswith(_RESERVED):
                raise ConfigError(f'{where}.{name}: expected a prefix such as "{PREFIX}"')

    def token_scope(self, options: Mapping[str, Any]) -> str:
        """Return what tokens of Entra are for."""
        return _SCOPE

    def said_of(self, target: AgentTarget, account: str) -> tuple[Pair, ...]:
        """Return in whose name requests are made. Raises `LinkError`."""
        if account not in target.options.get("impersonate", []):
            return ()
        if target.caller is None:
            raise LinkError("the agent was not told for whom it opens the cluster")
        options = target.options
        user = options.get("user_prefix", PREFIX)
        return _impersonating(target.caller, user, options.get("group_prefix", PREFIX))


def _impersonating(caller: Principal, user: str, group: str) -> tuple[Pair, ...]:
    """Return the fields: the root's name and groups, and the whole chain besides."""
    root = caller.root
    if len(root.groups) > GROUPS_LIMIT:
        raise LinkError(f"a caller with more than {GROUPS_LIMIT} groups is not impersonated")
    fields = [(b"Impersonate-User", _value(user + root.id))]
    fields += [(b"Impersonate-Group", _value(group + each)) for each in sorted(root.groups)]
    fields += [(_CHAIN, _value(hop.id)) for hop in caller.chain]
    return tuple(fields)


def _value(text: str) -> bytes:
    if not text.isprintable() or text != text.strip():
        raise LinkError("a name of the caller cannot be told to the cluster")
    return text.encode()


def make_target_leg(context: AgentContext) -> KubernetesTargetLeg:
    """Make the leg; for `hoopgw.spi.ProtocolSpec`."""
    return KubernetesTargetLeg(context, own=_OWN, strips=_STRIPS)
