"""The target leg against servers, for its tests."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from hoopgw.errors import LinkError
from hoopgw.spi import AgentContext, AgentTarget, Opened
from hoopgw.transport import DataTransport
from hoopgw_postgres import wire
from hoopgw_postgres.agent import PostgresTargetLeg, make_target_leg
from tests.link.world import Collector
from tests.support.postgres import PASSWORD, SUPERUSER, Server
from tests.support.waiting import eventually


def giving(secret: bytes) -> Callable[[], Any]:
    """Return a secret source."""

    async def fetch() -> bytes:
        return secret

    return fetch


class LegTestCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(tempfile.mkdtemp(prefix="hgwagent"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.leg: PostgresTargetLeg = make_target_leg(AgentContext(reactor=reactor, clock=reactor))

    def target(
        self, address: str, accounts: Mapping[str, bytes] | None = None, **options: Any
    ) -> AgentTarget:
        found = accounts or {SUPERUSER: PASSWORD.encode()}
        return AgentTarget(
            name="orders",
            protocol="postgres",
            address=address,
            accounts={name: giving(secret) for name, secret in found.items()},
            options=options,
        )

    def target_at(self, server: Server, **options: Any) -> AgentTarget:
        """Return a server as a target, with TLS if it has any."""
        if server.authority is None:
            return self.target(f"127.0.0.1:{server.port}", tls="disable", **options)
        ca = server.authority.write(self.folder / "ca.pem")
        return self.target(f"127.0.0.1:{server.port}", **{"ca": str(ca), **options})

    async def open(self, target: AgentTarget, account: str = SUPERUSER, **wishes: Any) -> Opened:
        opened = await self.leg.open(target, account, {"database": "postgres", **wishes})
        self.addCleanup(opened.transport.abortConnection)
        return opened

    async def refused(self, target: AgentTarget, account: str = SUPERUSER, **wishes: Any) -> str:
        with self.assertRaises(LinkError) as caught:
            await self.open(target, account, **wishes)
        self.assertNotIn(PASSWORD, str(caught.exception))
        return str(caught.exception)

    async def ask(self, opened: Opened, text: str) -> bytes:
        """Send a Query, and return all that is answered up to ReadyForQuery."""
        answers = Answers()
        answers.take(opened.transport)
        opened.transport.write(wire.query(text.encode()))
        await eventually(self.reactor, lambda: answers.is_done)
        opened.transport.pauseProducing()
        return answers.data


class Answers(Collector):
    @property
    def is_done(self) -> bool:
        return self.data[-6:-1] == b"Z\0\0\0\5"


class Scripted(Protocol):
    """A server that answers the n-th thing it hears with the n-th answer."""

    def __init__(self, answers: list[bytes | ssl.SSLContext]) -> None:
        self.answers = answers

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, ssl.SSLContext):
            transport.write(b"S")
            transport.startTLS(answer, server_side=True)
        else:
            transport.write(answer)


class ScriptedServers(Factory):
    noisy = False

    def __init__(self, *answers: bytes | ssl.SSLContext) -> None:
        self.answers = answers
        self.made: list[DataTransport] = []

    def buildProtocol(self, addr: object) -> Protocol:
        return Scripted(list(self.answers))
