"""Certificates for hosts of others, for the listeners that answer for these: given to workers.

Control has the CA and decides by the configuration which hosts there are: a worker that was taken
over gets a certificate for no other. Nothing is issued where ``[interception]`` is not configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from attrs import define
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from hoopgw.config import GatewayConfig
from hoopgw.config.intercepting import intercepted_hosts
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.trust import pem
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.authority import requested_key
from hoopgw.identity.interception import issue_leaf
from hoopgw.identity.key_kinds import INTERCEPTION
from hoopgw.ipc import Body, Handler
from hoopgw.spi import ProtocolSpec

log = Logger()

CALL_LIMIT: Final = 100
"""Hosts in one call; each takes a signature."""


@define(eq=False)
class InterceptedHosts:
    """Issues the certificates."""

    _config: GatewayConfig
    _protocols: Mapping[str, ProtocolSpec]
    _keys: KeyKeeper
    _now: Callable[[], datetime]

    def handlers(self) -> Mapping[str, Handler]:
        """Return what workers may call, by name."""
        return {"interception_leaves": self._leaves}

    def _leaves(self, body: Body) -> Body:
        """``{hosts, csr}`` to ``{leaves, authorities}``; a host that is not ours is left out."""
        wanted = body.get("hosts")
        if not isinstance(wanted, list) or len(wanted) > CALL_LIMIT:
            raise UnavailableError(f"expected {CALL_LIMIT} hosts at most")
        allowed = intercepted_hosts(self._config, self._protocols)
        if not allowed:
            raise UnavailableError("no listener answers for hosts of others")
        key, authority, now = (
            requested_key(str(body.get("csr"))),
            self._keys.interception,
            self._now(),
        )
        leaves: dict[str, str] = {}
        for host in map(str, wanted):
            if host not in allowed:
                log.error("a worker asked for the certificate of a host that is not configured")
                continue
            try:
                leaf = issue_leaf(authority, host, key, now)
            except ConfigError as error:
                log.error("no certificate for {host}: {error}", host=host, error=error)
                continue
            leaves[host] = leaf.public_bytes(Encoding.PEM).decode()
        return {"leaves": leaves, "authorities": pem(self._keys.accepted(INTERCEPTION))}
