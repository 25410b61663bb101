"""A `ControlService` on the real reactor, with real sockets, TLS and files."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from attrs import evolve, frozen
from joserfc.jwk import OKPKey
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from hoopgw import config
from hoopgw.control.service import ControlService
from hoopgw.events import Principal
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.keyfiles import create_state
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from hoopgw.ipc import Peer
from tests.fakes import FakeRecorder
from tests.store.values import hop, person, principal
from tests.support.processes import free_port

TOML = """
state = "state"
name = "gw1"
[control]
listen = "127.0.0.1:{port}"
url = "https://127.0.0.1:{port}"
admins = ["admins"]
auditors = ["auditors"]
[[listeners]]
protocol = "postgres"
listen = "127.0.0.1:6432"
[link]
listen = "unix:link.sock"
agent_uids = [0]
[policy]
directory = "policies"
[[targets]]
name = "orders"
protocol = "postgres"
agent = "local"
environment = "prod"
"""

POLICY = """
@id("developers")
permit (principal in Hoopgw::Group::"dev", action, resource);
@id("approve-delete") @approval("dba")
forbid (principal, action == Postgres::Action::"delete", resource)
unless { context.approvals.contains("approve-delete") };
"""


@frozen
class Reply:
    """An HTTP answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


class GatewayCase(TestCase):
    """One control process's service, in this process."""

    toml = TOML
    policy = POLICY

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-control-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "test.cedar").write_text(self.policy)
        (self.folder / "hoopgw.toml").write_text(self.toml.format(port=self.port))
        self.config = self.configured()
        create_state(self.config.paths, self.config.tls.names, datetime.now(UTC))
        self.stopped: Deferred[Any] | None = None
        self.recorder = FakeRecorder()
        self.service = ControlService(self.config, reactor, self.recorder)
        self.addCleanup(self.stop)
        self.service.start()
        self.store, self.docket = self.service.store, self.service.board.docket

    def configured(self) -> config.GatewayConfig:
        """Return the configuration."""
        return config.load(self.folder / "hoopgw.toml")

    def stop(self) -> Deferred[Any]:
        """Stop the service, once."""
        if self.stopped is None:
            self.stopped = self.service.stop()
        return self.stopped

    def token(self, who: Principal, audience: str = GATEWAY, key: OKPKey | None = None) -> str:
        """Sign a token, as after a log-in."""
        now = time.time()
        bound = None if key is None else {"jkt": key.thumbprint()}
        return self.service.signer.sign(
            GatewayToken(
                principal=who,
                audience=audience,
                issued=now,
                expires=now + 60.0,
                confirmation=bound,
            )
        )

    async def call(
        self,
        method: str,
        path: str,
        who: Principal | str | None = None,
        body: object = None,
        key: OKPKey | None = None,
        **options: Any,
    ) -> Reply:
        """Call the API as somebody, or with a token."""
        headers = dict(options.pop("headers", {}))
        if isinstance(who, Principal):
            who = self.token(who, key=key)
        if who is not None:
            headers["Authorization"] = f"Bearer {who}"
        if key is not None and who is not None:
            headers["DPoP"] = make_proof(key, method, self.url + path, time.time(), who)
        answer = await deferToThread(
            requests.request,
            method,
            self.url + path,
            json=body,
            headers=headers,
            verify=str(self.config.paths.ca_certificate),
            timeout=60,
            allow_redirects=False,
            **options,
        )
        kind = answer.headers.get("content-type", "")
        content = answer.json() if kind == "application/json" else answer.text
        return Reply(answer.status_code, content, answer.headers)

    async def peer(self, **handlers: Callable[[Any], Any]) -> Peer:
        """Connect to the control socket, as a worker would."""
        endpoint = UNIXClientEndpoint(reactor, str(self.config.paths.control_socket))
        handlers = {"trust": lambda _body: {}, **handlers}
        peer: Peer = await connectProtocol(endpoint, Peer(handlers, reactor))
        self.addCleanup(peer.close)
        return peer

    async def raw(self, data: bytes) -> bytes:
        """Send bytes over TLS, and return what comes until the end."""
        return await deferToThread(self._raw, data)

    def _raw(self, data: bytes) -> bytes:
        context = ssl.create_default_context(cafile=str(self.config.paths.ca_certificate))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            received = b""
            with contextlib.suppress(OSError):  # the other side may close before we are done
                secured.sendall(data)
            with contextlib.suppress(OSError):
                while more := secured.recv(65536):
                    received += more
            return received


def keeping(told: list[Any]) -> Callable[[Any], dict[str, Any]]:
    """Return what keeps all that is told."""

    def keep(body: Any) -> dict[str, Any]:
        told.append(body)
        return {}

    return keep


def soon(who: Principal, seconds: float = 3600.0) -> Principal:
    """Return a principal whose log-in ends in real time."""
    return evolve(who, expires=time.time() + seconds)


ALICE = soon(person("alice", "dev"))
CAROL = soon(person("carol", "dba"))
DAVE = soon(person("dave", "dba"))
ROOT = soon(person("root", "admins"))
AUDITOR = soon(person("otto", "auditors"))
AGENT = soon(principal(ALICE.root, hop("planner", kind="agent")))
ROOTS_AGENT = soon(principal(ROOT.root, hop("bot", kind="agent")))
