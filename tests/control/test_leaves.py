"""Tests for `hoopgw.control.leaves` and `intercepted`: who gets a certificate for which host."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any, Final, cast

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config.gateway import GatewayConfig, InterceptionSettings, ListenerSettings
from hoopgw.control.client import ControlClient
from hoopgw.control.intercepted import CALL_LIMIT, InterceptedHosts
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.leaves import RENEW_AFTER, RETRY, ControlLeaves, LeafContext
from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.identity.authority import Authority, request
from hoopgw.identity.interception import issue_leaf, make_ca
from hoopgw.identity.private_files import key_pem
from hoopgw.spi import ProtocolSpec

NAMES: Final = ("management.azure.com", "*.vault.azure.net")
ARM: Final = "management.azure.com"
VAULT: Final = "kv.vault.azure.net"
NOW: Final = datetime.now(UTC)


def authority(names: tuple[str, ...] = NAMES) -> Authority:
    """Return a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(make_ca(key, names, NOW), key)


@define(eq=False)
class Keys:
    """Control's keys."""

    interception: Authority = field(factory=authority)

    def accepted(self, _name: str) -> tuple[x509.Certificate, ...]:
        """Return the CA."""
        return (self.interception.certificate,)


def intercepted(keys: Keys, hosts: set[str], names: tuple[str, ...] = NAMES) -> InterceptedHosts:
    """Return control's part, for one listener with these hosts."""
    spec = cast(
        "ProtocolSpec",
        type("Spec", (), {"intercepts": staticmethod(lambda *_more: frozenset(hosts))}),
    )
    listener = cast("ListenerSettings", type("Listener", (), {"protocol": "azure", "options": {}}))
    config: Any = type(
        "Config",
        (),
        {
            "interception": InterceptionSettings(names=names),
            "listeners": (listener,),
            "targets": (),
        },
    )
    return InterceptedHosts(
        cast("GatewayConfig", config), {"azure": spec}, cast("KeyKeeper", keys), lambda: NOW
    )


@define(eq=False)
class Control:
    """A worker's connection to control."""

    hosts: InterceptedHosts
    is_away: bool = False
    calls: list[list[str]] = field(factory=list)
    announce: list[Any] = field(factory=list)

    def call(self, name: str, **body: Any) -> Deferred[Any]:
        """Call control."""
        if self.is_away:
            return fail(UnavailableError("away"))
        self.calls.append(body["hosts"])
        return succeed(cast("Any", self.hosts.handlers()[name](body)))

    def on_connected(self, announce: Any) -> None:
        """Keep it."""
        self.announce.append(announce)


class IssuingTests(SynchronousTestCase):
    """What control gives."""

    def setUp(self) -> None:
        self.csr = request(ec.generate_private_key(ec.SECP256R1()), "hoopgw worker")

    def ask(self, hosts: InterceptedHosts, *wanted: str) -> dict[str, Any]:
        """Ask as a worker."""
        answer = hosts.handlers()["interception_leaves"]({"hosts": list(wanted), "csr": self.csr})
        return cast("dict[str, Any]", answer)

    def test_a_worker_gets_none_but_those_that_are_configured(self) -> None:
        """Also if it was taken over, and asks for what the CA could issue."""
        hosts = intercepted(Keys(), {ARM, VAULT})
        given = self.ask(hosts, ARM, "other.vault.azure.net", "login.microsoftonline.com", "x")
        self.assertEqual(list(given["leaves"]), [ARM])
        self.assertIn("BEGIN CERTIFICATE", given["authorities"])

    def test_none_without_a_listener_or_its_names(self) -> None:
        self.assertRaises(UnavailableError, self.ask, intercepted(Keys(), set()), ARM)
        hosts = intercepted(Keys(), {ARM}, ("*.vault.azure.net",))
        self.assertRaises(ConfigError, self.ask, hosts, ARM)

    def test_a_ca_that_was_made_for_other_names(self) -> None:
        """The configuration says more by now: another CA is needed, and nothing is issued."""
        hosts = intercepted(Keys(authority(("*.vault.azure.net",))), {ARM, VAULT})
        self.assertEqual(list(self.ask(hosts, ARM, VAULT)["leaves"]), [VAULT])

    def test_malformed_calls(self) -> None:
        hosts = intercepted(Keys(), {ARM})
        give = hosts.handlers()["interception_leaves"]
        for body in ({}, {"hosts": "x"}, {"hosts": ["x"] * (CALL_LIMIT + 1)}):
            self.assertRaises(UnavailableError, give, body)
        self.assertRaises(AuthenticationError, give, {"hosts": [ARM], "csr": "none"})


class WorkerTests(SynchronousTestCase):
    """How a worker keeps them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.keys = Keys()
        self.control = Control(intercepted(self.keys, {ARM, VAULT}))
        control = cast("ControlClient", self.control)
        self.leaves = ControlLeaves(control, self.clock, (ARM, VAULT))
        self.leaves.start()

    def test_asked_for_when_control_is_there(self) -> None:
        self.assertIsNone(self.leaves.context(ARM))
        self.control.announce[0]()
        self.assertEqual(self.control.calls, [[VAULT, ARM]])
        context = self.leaves.context(ARM)
        assert context is not None
        self.assertEqual(context.host, ARM)
        self.assertIsNone(self.leaves.context("other.vault.azure.net"))
        self.assertIn("BEGIN CERTIFICATE", self.leaves.authorities)

    def test_renewed_long_before_their_end(self) -> None:
        self.control.announce[0]()
        before = self.leaves.context(ARM)
        self.clock.advance(RENEW_AFTER - 1)
        self.leaves.look()
        self.assertIs(self.leaves.context(ARM), before)
        self.clock.advance(1)
        self.leaves.look()
        self.assertIsNot(self.leaves.context(ARM), before)

    def test_while_control_is_away_the_old_ones_are_shown(self) -> None:
        self.control.announce[0]()
        before = self.leaves.context(ARM)
        self.control.is_away = True
        self.clock.advance(RENEW_AFTER)
        self.leaves.look()
        self.assertIs(self.leaves.context(ARM), before)
        self.control.is_away = False
        self.leaves.look()
        self.assertIs(self.leaves.context(ARM), before)  # not at once again
        self.clock.advance(RETRY)
        self.leaves.look()
        self.assertIsNot(self.leaves.context(ARM), before)

    def test_many(self) -> None:
        """In several calls, each with a limit."""
        hosts = {f"kv{n}.vault.azure.net" for n in range(CALL_LIMIT + 3)}
        control = Control(intercepted(self.keys, hosts))
        leaves = ControlLeaves(cast("ControlClient", control), self.clock, hosts)
        leaves.renew()
        self.assertEqual([len(each) for each in control.calls], [CALL_LIMIT, 3])
        self.assertTrue(all(leaves.context(host) for host in hosts))


class HandshakeTests(SynchronousTestCase):
    """The certificate is shown to who asks for its host, and to nobody else."""

    def shake(self, name: str | None, trusted: x509.Certificate | None = None) -> str:
        """Let a client shake hands; return what it was shown, or what went wrong."""
        ca, key = self.ca, ec.generate_private_key(ec.SECP256R1())
        leaf = issue_leaf(ca, VAULT, key.public_key(), NOW).public_bytes(Encoding.PEM)
        served = LeafContext.make(VAULT, key_pem(key) + leaf)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = name is not None
        shown = (trusted or ca.certificate).public_bytes(Encoding.PEM).decode()
        client.load_verify_locations(cadata=shown)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client.wrap_bio(back, there, server_hostname=name),
            served.wrap_bio(there, back, server_side=True),
        )
        for _ in range(4):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLError as error:
                    return error.reason or error.args[-1]
        return "done"

    def setUp(self) -> None:
        self.ca = authority()

    def test_its_host(self) -> None:
        self.assertEqual(self.shake(VAULT), "done")
        self.assertEqual(self.shake(VAULT.upper()), "done")

    def test_another_name_or_none(self) -> None:
        """It ends before a certificate is shown."""
        for name in (ARM, "other.vault.azure.net", "vault.azure.net", None):
            with self.subTest(name=name):
                self.assertEqual(self.shake(name), "CALLBACK_FAILED")

    def test_who_trusts_another_ca(self) -> None:
        self.assertIn("CERTIFICATE", self.shake(VAULT, authority().certificate))
