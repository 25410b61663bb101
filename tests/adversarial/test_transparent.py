"""Attacks on the listener for Azure's own names: other hosts, other callers, what is inside.

In memory: that TLS itself holds client, SNI and certificate together is in
``tests/control/test_leaves.py`` and ``tests/integration/test_azure_transparent.py``.
"""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any, Final, cast

from attrs import define, evolve, field
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Node
from hoopgw.http.callers import Callers
from hoopgw.http.doors import DoorLimits
from hoopgw.http.server import TURN
from hoopgw.http.transparent import (
    OPENING,
    REFUSED_BURST,
    TransparentFactory,
    TunnelCallers,
    TunnelConnection,
)
from hoopgw.recording.records import SessionStarted
from tests.adversarial.azure_gateway import ALICE, Gateway
from tests.azure.world import GROUP
from tests.http.fakes import FakeTransport

ARM: Final = "management.azure.com"
VAULT: Final = "shop-kv.vault.azure.net"
LOGIN: Final = "login.microsoftonline.com"
GROUPS: Final = f"{GROUP}?api-version=2021-04-01"
OPENED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_HELLO: Final = b"\x16\x03\x01"


@define(eq=False)
class Leaf:
    """Stands for the TLS of one host."""

    host: str


class Leaves:
    """Has one for every host that it is asked for: who asks is to know which there are."""

    authorities = "PEM"

    def context(self, host: str) -> Leaf:
        """Return it."""
        return Leaf(host)


@define(eq=False)
class Pipe(FakeTransport):
    """A client's transport, whose TLS is a note of who was shown."""

    shown: list[Any] = field(factory=list)
    tls: Any = None

    def startTLS(self, context: Any, *, server_side: bool, received: bytes = b"") -> None:
        """Note what is served from now on; the handshake is over at once."""
        assert server_side
        self.shown.append(context)
        self.tls = SimpleNamespace(context=context, getpeercert=lambda binary_form: None)

    def getPeer(self) -> Any:
        """Return the client's address."""
        return SimpleNamespace(host="192.0.2.1")

    def lose(self, reason: Exception | None = None) -> None:
        """Tell the protocol that the connection is gone."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason or ConnectionError()))


@define(eq=False)
class Client:
    """One client."""

    world: World
    wire: Pipe

    def send(self, data: bytes) -> bytes:
        """Send bytes; return what came back at once."""
        self.wire.protocol.dataReceived(memoryview(bytearray(data)))
        self.world.clock.advance(0)
        self.world.clock.advance(0)
        return self.wire.take()

    def open(self, host: str = ARM, password: str = "", user: str = "-") -> bytes:
        """Ask for a host."""
        shown = ""
        if password:
            text = base64.b64encode(f"{user}:{password}".encode()).decode()
            shown = f"Proxy-Authorization: Basic {text}\r\n"
        return self.send(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{shown}\r\n".encode())

    def ask(
        self, path: str = GROUPS, *, token: str = "", host: str = ARM, method: str = "GET"
    ) -> bytes:
        """Ask for something within the tunnel."""
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        return self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{shown}\r\n".encode())


@define(eq=False)
class World(Gateway):
    """The listener among fakes."""

    @property
    def proxy(self) -> TransparentFactory:
        """The listener."""
        return cast("TransparentFactory", self.factory)

    @classmethod
    def make(cls, **listener: Any) -> World:
        """Start one."""
        tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
        told = {"mode": "transparent", "tenant": tenant, "direct": True, **listener}
        return cls(listener=told, leaves=Leaves())

    def client(self, *, tls: bool = True, address: str = "192.0.2.1") -> Client:
        """Connect a client; with ``tls`` it has come to the gateway's own name."""
        opening = self.factory.buildProtocol(cast("Any", SimpleNamespace(host=address)))
        wire = Pipe(opening)
        if tls:
            wire.tls = SimpleNamespace(context=None, getpeercert=lambda binary_form: None)
        assert opening is not None
        cast("Any", opening).makeConnection(wire)
        return Client(self, wire)


class OtherHostsTests(SynchronousTestCase):
    """Nothing but the hosts of the list is connected to, or served."""

    def test_no_other_host_is_let_through(self) -> None:
        """Not even one that has a certificate: who decides is the list."""
        world = World.make()
        for host in (
            *("example.com", "other.vault.azure.net", "graph.microsoft.com", "arm.gw.example"),
            *("169.254.169.254", "localhost", "management.azure.com.evil.example"),
        ):
            with self.subTest(host=host):
                client = world.client()
                self.assertIn(b" 403 ", client.open(host))
                self.assertEqual((client.wire.ended, client.wire.shown), ("closed", []))
        self.assertEqual(world.targets, [])

    def test_the_host_of_the_tunnel_is_the_only_one(self) -> None:
        """Whoever was let through to one does not reach another by its name."""
        for host in (VAULT, LOGIN, "example.com", "management.azure.com:8443", "arm.gw.example"):
            with self.subTest(host=host):
                world = World.make()
                client = world.client()
                self.assertEqual(client.open(ARM, "alice"), OPENED)
                self.assertIn(b" 421 ", client.ask("/secrets/x?api-version=7.4", host=host))
                self.assertEqual(client.wire.ended, "closed")
                self.assertEqual(world.sent(), b"")

    def test_the_certificate_is_of_the_host_that_was_asked_for(self) -> None:
        world = World.make()
        for host in (ARM, VAULT, LOGIN):
            client = world.client()
            self.assertEqual(client.open(host), OPENED)
            self.assertEqual([leaf.host for leaf in client.wire.shown], [host])

    def test_a_proxy_in_the_proxy(self) -> None:
        world = World.make()
        client = world.client()
        client.open(ARM, "alice")
        said = client.send(f"CONNECT {ARM}:443 HTTP/1.1\r\nHost: {ARM}:443\r\n\r\n".encode())
        self.assertIn(b" 405 ", said)
        self.assertEqual(client.wire.ended, "closed")

    def test_names_lead_here_only_where_that_is_wanted(self) -> None:
        for direct, shown in ((True, VAULT), (False, None)):
            proxy = World.make(direct=direct).proxy
            connection = SimpleNamespace(context=None)
            proxy._choose(connection, VAULT.upper(), None)
            self.assertEqual(getattr(connection.context, "host", None), shown)
        for name in ("other.vault.azure.net", "example.com", None):
            connection = SimpleNamespace(context=None)
            World.make().proxy._choose(connection, name, None)
            self.assertIsNone(connection.context)

    def test_who_has_come_by_name_is_held_to_it(self) -> None:
        """SNI is the host, as if it had been asked for."""
        world = World.make()
        client = world.client(tls=False)
        client.send(_HELLO)
        client.wire.tls.context = Leaf(VAULT)  # as `_choose` does within the handshake
        client.wire.protocol.handshakeCompleted()
        self.assertIsInstance(client.wire.protocol, TunnelConnection)
        self.assertIn(b" 421 ", client.ask(token="alice"))


class WhoTests(SynchronousTestCase):
    """Who asks: by the proxy's credential, by what is shown inside, and by both."""

    def test_by_the_proxys_credential(self) -> None:
        world = World.make()
        client = world.client()
        self.assertEqual(client.open(ARM, "alice", "deployer"), OPENED)
        client.ask()
        (started,) = world.recorder.of(SessionStarted)
        self.assertEqual(
            ([hop.name for hop in started.chain], started.account), (["alice"], "deployer")
        )

    def test_both_must_agree(self) -> None:
        world = World.make()
        client = world.client()
        client.open(ARM, "alice")
        self.assertIn(b"different callers", client.ask(token="bob"))
        self.assertEqual(world.sent(), b"")
        client.ask(token="alice")
        self.assertIn(b"GET ", world.sent())

    def test_without_the_comparison_somebody_else_would_be_served(self) -> None:
        """Takes the check away: the attack of the test before succeeds then."""
        world = World.make()
        client = world.client()
        client.open(ARM, "alice")
        self.patch(TunnelCallers, "_check", lambda _callers, _login: None)
        client.ask(token="bob")
        self.assertIn(b"GET ", world.sent())

    def test_a_child_is_not_its_parent(self) -> None:
        """Whoever has the same root, and another chain, is somebody else."""
        hop = Hop(id="corp|alice~planner", name="planner", kind="agent")
        child = evolve(ALICE, chain=(*ALICE.chain, hop), nodes=(Node(id="n"),))
        callers = TunnelCallers(
            cast("Callers", None),
            cast("Any", SimpleNamespace(account="")),
            cast("Any", SimpleNamespace(principal=ALICE)),
            False,
        )
        login: Any = SimpleNamespace(principal=child, account="")
        with self.assertRaisesRegex(Exception, "different callers"):
            callers._check(login)

    def test_nothing_at_all(self) -> None:
        """Without a credential the tunnel stands, and serves nobody."""
        world = World.make()
        client = world.client()
        self.assertEqual(client.open(), OPENED)
        self.assertIn(b" 401 ", client.ask())

    def test_where_a_credential_is_demanded(self) -> None:
        world = World.make(require_credential=True)
        said = world.client().open()
        self.assertIn(b" 407 ", said)
        self.assertIn(b'Proxy-Authenticate: Basic realm="hoopgw"', said)
        clear = world.client(tls=False).open()
        self.assertIn(b" 403 ", clear)
        self.assertNotIn(b"Proxy-Authenticate", clear)  # nobody is asked to send it in clear

    def test_a_token_in_clear(self) -> None:
        """Good or not: it is not taken, and the client is told what that means."""
        said = World.make().client(tls=False).open(ARM, "alice")
        self.assertIn(b" 403 ", said)
        self.assertIn(b"revoke it", said)

    def test_a_bad_credential(self) -> None:
        world = World.make()
        said = world.client().open(ARM, "mallory")
        self.assertIn(b" 407 ", said)
        self.assertNotIn(b"mallory", said)

    def test_an_account_that_the_header_names_otherwise(self) -> None:
        world = World.make()
        client = world.client()
        client.open(ARM, "alice", "reader")
        said = client.send(
            f"GET {GROUPS} HTTP/1.1\r\nHost: {ARM}\r\nX-Hoopgw-Account: owner\r\n\r\n".encode()
        )
        self.assertIn(b" 403 ", said)
        self.assertEqual(world.sent(), b"")

    def test_a_vaults_client_that_asks_first_how_to_log_in(self) -> None:
        """Without token and body: what it means to write is not in it, so it is not done."""
        world = World.make()
        client = world.client()
        client.open(VAULT, "alice")
        head = f"PUT /secrets/db?api-version=7.4 HTTP/1.1\r\nHost: {VAULT}\r\n"
        said = client.send(f"{head}Content-Length: 0\r\n\r\n".encode())
        self.assertIn(b" 401 ", said)
        self.assertIn(b'WWW-Authenticate: Bearer authorization="https://login.micro', said)
        self.assertEqual(world.sent(), b"")
        body = '{"value":"x"}'
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        client.send(f"{head}{fields}\r\n{body}".encode())
        self.assertIn(b"PUT /secrets/db", world.sent())

    def test_what_is_good_once(self) -> None:
        """It opens one tunnel, which serves as long as its session lives; and no second one."""
        world = World.make()
        client = world.client()
        self.assertEqual(client.open(ARM, "root~hop~pop"), OPENED)
        for _ in range(3):
            client.ask()
            self.assertIn(b"GET ", world.sent())
            world.target.answer_json({})
            client.wire.take()
            for each in world.targets:
                each.wire.take()
        self.assertIn(b" 407 ", world.client().open(ARM, "root~hop~pop"))

    def test_a_tunnel_ends_with_its_credential(self) -> None:
        world = World.make()
        world.clock.advance(1e9 - 100)
        client = world.client()
        client.open(ARM, "alice")
        world.clock.advance(94)
        self.assertEqual(client.wire.ended, "")
        world.clock.advance(2)
        self.assertEqual(client.wire.ended, "closed")


class InsideTests(SynchronousTestCase):
    """What is in the tunnel is read as strictly as anywhere."""

    def test_smuggling(self) -> None:
        for head in (
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Content-Length: 4\r\nContent-Length: 5",
            "Transfer-Encoding: identity",
            f"Host: {VAULT}",
            "Proxy-Authorization : Basic YTpi",
        ):
            with self.subTest(head=head):
                world = World.make()
                client = world.client()
                client.open(ARM, "alice")
                said = client.send(
                    f"POST {GROUPS} HTTP/1.1\r\nHost: {ARM}\r\n{head}\r\n\r\n0\r\n\r\n"
                    f"DELETE {GROUPS} HTTP/1.1\r\nHost: {ARM}\r\n\r\n".encode()
                )
                self.assertTrue(said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), said)
                self.assertEqual(world.sent(), b"")

    def test_a_url_of_another_host(self) -> None:
        world = World.make()
        client = world.client()
        client.open(ARM, "alice")
        said = client.ask(f"https://{VAULT}/secrets/x?api-version=7.4")
        self.assertIn(b" 400 ", said)
        self.assertEqual(world.sent(), b"")

    def test_the_proxys_credential_goes_nowhere(self) -> None:
        """Neither it nor one that is shown inside reaches the target."""
        world = World.make()
        client = world.client()
        client.open(ARM, "alice")
        client.send(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n"
            % (GROUPS.encode(), ARM.encode())
        )
        self.assertIn(b"GET ", world.sent())
        for needle in (b"c2VjcmV0", b"alice", b"roxy"):
            self.assertNotIn(needle, world.sent())

    def test_what_is_sent_behind_connect(self) -> None:
        """It is the beginning of TLS, or nothing: no second request is read from it."""
        world = World.make()
        client = world.client()
        smuggled = f"GET {GROUPS} HTTP/1.1\r\nHost: {ARM}\r\nAuthorization: Bearer alice\r\n\r\n"
        said = client.send(f"CONNECT {ARM}:443 HTTP/1.1\r\n\r\n{smuggled}".encode())
        self.assertEqual(said, OPENED)
        self.assertEqual(world.sent(), b"")
        said = world.client().send(f"CONNECT example.com:443 HTTP/1.1\r\n\r\n{smuggled}".encode())
        self.assertEqual(said.count(b"HTTP/1.1 "), 1)


class FloodTests(SynchronousTestCase):
    """What strangers can make the gateway do, and for how long."""

    def test_who_says_nothing(self) -> None:
        world = World.make()
        client = world.client()
        client.send(b"CONNECT management")
        for _ in range(int(OPENING) - 1):
            world.clock.advance(1)
            client.send(b"x")
        self.assertEqual(client.wire.ended, "")
        world.clock.advance(1)
        self.assertEqual(client.wire.ended, "aborted")
        self.assertEqual(world.proxy.openings, set())

    def test_endless_heads(self) -> None:
        for data in (
            b"CONNECT " + b"a" * 5_000,
            b"CONNECT a:443 HTTP/1.1\r\n" + b"X: y\r\n" * 9_000,
        ):
            client = World.make().client()
            self.assertTrue(client.send(data).startswith(b"HTTP/1.1 4"))
            self.assertEqual(client.wire.ended, "closed")

    def test_too_many_at_once(self) -> None:
        """Openings and tunnels count together, and each that ends makes room."""
        world = World.make()
        world.proxy._doors.limits = DoorLimits(total=3, address=2)
        first, second = world.client(), world.client()
        self.assertEqual(first.open(), OPENED)
        with self.assertRaises(AssertionError):
            world.client()
        third = world.client(address="198.51.100.7")
        with self.assertRaises(AssertionError):
            world.client(address="203.0.113.9")
        for each in (first, second, third):
            each.wire.lose()
        self.assertEqual(world.proxy._doors._total, 0)
        self.assertEqual((world.proxy.openings, world.proxy.connections), (set(), set()))
        world.client()

    def test_guessing_credentials(self) -> None:
        """After some, nothing of that address is verified for a while; others go on."""
        world = World.make()
        codes = [
            world.client().open(ARM, f"guess-{n}")[9:12] for n in range(int(REFUSED_BURST) + 5)
        ]
        self.assertEqual(codes.count(b"407"), int(REFUSED_BURST))
        self.assertEqual(codes[-1], b"429")
        self.assertIn(b" 429 ", world.client().open(ARM, "alice"))
        self.assertEqual(world.client(address="198.51.100.7").open(ARM, "alice"), OPENED)
        world.clock.advance(5)
        self.assertEqual(world.client().open(ARM, "alice"), OPENED)

    def test_refused_hosts_shut_nobody_out(self) -> None:
        """A runner asks for many hosts that are not ours, and is no attacker by that."""
        world = World.make()
        for _ in range(int(REFUSED_BURST) * 2):
            world.client().open("packages.example")
        self.assertEqual(world.client().open(ARM, "alice"), OPENED)

    def test_who_leaves_while_it_is_verified(self) -> None:
        """Nothing is opened for nobody."""
        world = World.make()
        client = world.client()
        client.wire.protocol.dataReceived(f"CONNECT {ARM}:443 HTTP/1.1\r\n\r\n".encode())
        client.wire.lose()
        world.clock.advance(1)
        self.assertEqual(client.wire.take(), b"")
        self.assertEqual(world.proxy.connections, set())

    def test_many_requests_at_once_in_a_tunnel(self) -> None:
        """They wait their turn, as at any door."""
        world = World.make()
        client = world.client()
        client.open(LOGIN)
        asked = f"GET /x HTTP/1.1\r\nHost: {LOGIN}\r\n\r\n".encode() * (TURN * 4)
        said = client.send(asked)
        for _ in range(8):
            world.clock.advance(0)
            said += client.wire.take()
        self.assertEqual(said.count(b"HTTP/1.1 404"), TURN * 4)
