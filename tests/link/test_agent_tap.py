"""Tests for `hoopgw.agent_tap`: from a file to a service, and the renewal of its certificate."""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from joserfc.jwk import OKPKey
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from hoopgw import agent_tap, config
from hoopgw.errors import ConfigError
from hoopgw.link import identity
from hoopgw.link.certificates import issue_agent, moment
from hoopgw.link.identity import Identity
from hoopgw.link.tickets import public_keys
from tests.link.test_enrol import Gateway
from tests.link.world import Authority, new_key, pem
from tests.support.waiting import eventually

TEXT = """
state = "state"
name = "local"
[gateway]
link = "unix:/nowhere/link.sock"
url = "https://127.0.0.1:1"
[[targets]]
name = "orders"
protocol = "postgres"
address = "db.example:5432"
[targets.accounts.reader]
source = "file:secret"
[targets.accounts.cloud]
source = "entra:"
[[targets]]
name = "near"
protocol = "postgres"
address = "unix:/nowhere/.s.PGSQL.5432"
[targets.accounts.me]
auth = "peer"
[[floor]]
targets = ["orders"]
accounts = ["reader"]
"""


class AgentCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(tempfile.mkdtemp(prefix="hgwtap"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority.new()

    def write(self, text: str = TEXT) -> Path:
        path = self.folder / "agent.toml"
        path.write_text(text)
        return path

    def identity(self, name: str = "local", age: float = 0.0) -> identity.Identity:
        """Return an identity whose certificate was issued a while ago."""
        authority, key = self.authority, new_key()
        then = moment(time.time() - age)
        issued = issue_agent(authority.certificate, authority.key, name, key.public_key(), then)
        enrolment = identity.Enrolment(
            name=name,
            url="https://127.0.0.1:1",
            gateway_ca="",
            certificate=pem(issued).decode(),
            key=identity.key_pem(key),
            link_ca=pem(authority.certificate).decode(),
            ticket_keys=public_keys([OKPKey.generate_key("Ed25519")]),
        )
        return identity.Identity.of(enrolment, time.time())

    def make(self, text: str = TEXT, **options: Any) -> agent_tap.AgentService:
        settings = config.load_agent(self.write(text))
        return agent_tap.make_agent(self.reactor, settings, self.identity(**options))

    def start(self, found: Identity) -> agent_tap.AgentService:
        settings = config.load_agent(self.write())
        identity.save(settings.state, found.enrolment)
        agent = agent_tap.make_agent(self.reactor, settings, found)
        agent.startService()
        self.addCleanup(agent.stopService)
        return agent

    def gateway(self) -> tuple[Gateway, str]:
        """Serve renewals; return the server and its URL."""
        gateway = Gateway(self.folder)
        gateway.link = self.authority
        thread = threading.Thread(target=gateway.serve_forever, args=(0.02,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(gateway.server_close)
        self.addCleanup(gateway.shutdown)
        return gateway, gateway.token.url


class MakeTests(AgentCase):
    async def test_targets_are_as_configured(self) -> None:
        agent = self.make()
        orders, near = agent.targets["orders"], agent.targets["near"]
        self.assertEqual(orders.address, "db.example:5432")
        self.assertEqual(orders.options["auth"], {"reader": "password", "cloud": "token"})
        self.assertEqual(near.options["auth"], {"me": "peer"})
        self.assertEqual(await near.accounts["me"](), b"")
        secret = self.folder / "secret"
        secret.write_bytes(b"s3cret\n")
        secret.chmod(0o600)
        self.assertEqual(await orders.accounts["reader"](), b"s3cret")
        self.assertNotIn("s3cret", repr(agent))

    def test_an_agent_has_the_name_that_it_is_enrolled_as(self) -> None:
        with self.assertRaisesRegex(ConfigError, "enrolled as 'remote'"):
            self.make(name="remote")

    def test_a_targets_options_are_checked_before_anything_is_opened(self) -> None:
        wrong = TEXT.replace('address = "db', 'channel_binding = "never"\naddress = "db')
        with self.assertRaisesRegex(ConfigError, "channel_binding"):
            self.make(wrong)

    def test_a_reference_that_makes_no_sense_is_told_at_once(self) -> None:
        with self.assertRaises(ConfigError):
            self.make(TEXT.replace("entra:", "keyvault:https://evil.example/secrets/x"))

    def test_what_is_wrong_is_told_on_the_command_line(self) -> None:
        options = agent_tap.Options()
        options.parseOptions(["--config", str(self.write())])
        with self.assertRaisesRegex(UsageError, "hoopgw agent join"):
            agent_tap.makeService(options)
        identity.save(self.folder / "state", self.identity().enrolment)
        self.addCleanup(gc.unfreeze)
        service = agent_tap.makeService(options)
        self.assertEqual(len(service.services), 1)
        self.assertGreater(gc.get_freeze_count(), 10_000)  # no collection goes through these


class RenewalTests(AgentCase):
    async def test_after_half_its_life_the_certificate_is_renewed(self) -> None:
        gateway, url = self.gateway()
        old = self.identity(age=timedelta(hours=13).total_seconds())
        changed = evolve(old.enrolment, url=url, gateway_ca=gateway.ca.decode())
        agent = self.start(identity.Identity.of(changed, time.time()))
        key = agent.link.key()
        await eventually(self.reactor, lambda: agent.link.key() is not key)
        self.assertGreater(agent.found.ends, time.time() + 23 * 3600)
        self.assertEqual(agent.verifier.keys, agent.found.ticket_keys)
        kept = identity.load(agent.settings.state, time.time())
        self.assertEqual(kept.enrolment, agent.found.enrolment)

    async def test_before_that_nothing_is_asked(self) -> None:
        gateway, url = self.gateway()
        fresh = self.identity(age=timedelta(hours=11).total_seconds())
        changed = evolve(fresh.enrolment, url=url, gateway_ca=gateway.ca.decode())
        agent = self.start(identity.Identity.of(changed, time.time()))
        self.assertIsNone(agent._renewing)

    async def test_a_renewal_that_fails_is_tried_again(self) -> None:
        agent = self.start(self.identity(age=timedelta(hours=13).total_seconds()))
        await eventually(self.reactor, lambda: agent._renewing is None)
        agent._looking.cancel()  # type: ignore[union-attr]  # it is waiting
        agent._look()
        self.assertIsNotNone(agent._renewing)
        await eventually(self.reactor, lambda: agent._renewing is None)


class PluginTests(SynchronousTestCase):
    def test_twistd_knows_the_agent(self) -> None:
        found = {plugin.tapname: plugin for plugin in getPlugins(IServiceMaker)}
        self.assertIs(found["hoopgw-agent"].options, agent_tap.Options)
