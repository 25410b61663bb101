"""A worker's certificates for hosts of others: asked of control, with a key that stays here.

There are as many as the listener has hosts, and no more: which these are is configured. All are
asked for when control is connected, and again long before they end; until there are any, nobody
can connect. The key is made for each round and never written down.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from typing import Any, Final

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.control.intercepted import CALL_LIMIT
from hoopgw.errors import UnavailableError
from hoopgw.identity.authority import request
from hoopgw.identity.interception import LEAF_LIFETIME, permits
from hoopgw.identity.private_files import key_pem
from hoopgw.ipc import Body
from hoopgw.link.tls import load_chain

log = Logger()

RENEW_AFTER: Final = LEAF_LIFETIME.total_seconds() / 24
"""Seconds after which they are asked for anew, with the CAs that clients are told."""
RETRY: Final = 30.0
"""Seconds after which it is tried again, where control did not give them."""


class LeafContext(ssl.SSLContext):
    """Serves one host, and clients that ask for it by name only."""

    host: str

    @classmethod
    def make(cls, host: str, pem: bytes) -> LeafContext:
        """Make one of a key and a certificate. Raises `ssl.SSLError`."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context.host = host
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # A session that is resumed was made elsewhere, perhaps for another name.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        load_chain(context, pem)

        def check(_connection: Any, name: str | None, _context: Any) -> int | None:
            wanted = "" if name is None else name.lower()
            return None if wanted == host else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = check
        return context


@define(eq=False)
class ControlLeaves:
    """Implements `hoopgw.spi.Leaves`. `start` it once; `look` at it now and then."""

    _control: ControlClient
    _clock: IReactorTime
    _hosts: Collection[str]
    authorities: str = field(default="", init=False)
    _contexts: dict[str, LeafContext] = field(factory=dict, init=False, repr=False)
    _due: float = field(default=0.0, init=False)
    """When to ask for them again."""
    _asking: Deferred[None] | None = field(default=None, init=False)

    def start(self) -> None:
        """Ask as soon as control is there."""
        self._control.on_connected(self.renew)

    def context(self, host: str) -> LeafContext | None:
        """Return the context of one host; None if it is not one of the listener's, or not yet."""
        return self._contexts.get(host)

    def look(self) -> None:
        """Renew what is due."""
        if self._clock.seconds() >= self._due:
            self.renew()

    def renew(self) -> None:
        """Ask for all of them."""
        if self._asking is not None or not self._hosts:
            return
        self._due = self._clock.seconds() + RETRY
        self._asking = asking = Deferred.fromCoroutine(self._renew())
        asking.addErrback(self._failed)
        asking.addCallback(self._asked)

    def _asked(self, _none: None) -> None:
        self._asking = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(UnavailableError) is None:
            log.failure("certificates for hosts of others could not be made", failure)
        else:
            log.warn(
                "there are no new certificates for hosts of others: {why}",
                why=failure.getErrorMessage(),
            )

    async def _renew(self) -> None:
        key, hosts = ec.generate_private_key(ec.SECP256R1()), sorted(self._hosts)
        csr, found, authorities = request(key, "hoopgw worker"), dict[str, LeafContext](), ""
        for start in range(0, len(hosts), CALL_LIMIT):
            wanted = hosts[start : start + CALL_LIMIT]
            answer: Body = await self._control.call("interception_leaves", hosts=wanted, csr=csr)
            authorities = str(answer["authorities"])
            for host, leaf in answer["leaves"].items():
                if host in wanted:
                    found[host] = LeafContext.make(host, key_pem(key) + str(leaf).encode())
        _check(authorities, found)
        missing = len(hosts) - len(found)
        self._contexts, self.authorities = found, authorities
        self._due = self._clock.seconds() + (RETRY if missing else RENEW_AFTER)
        if missing:
            log.error("{count} hosts of others have no certificate", count=missing)


def _check(authorities: str, found: Collection[str]) -> None:
    """See that the CA which is told to clients is one that may issue for these hosts only."""
    told = x509.load_pem_x509_certificates(authorities.encode())
    for host in found:
        if not any(permits(each, host) for each in told):
            raise UnavailableError(f"no CA of interception is for {host}")
