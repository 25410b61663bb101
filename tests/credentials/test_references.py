"""Tests for `hoopgw.credentials.references`."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.credentials import EntraIdentity, SecretSource, SourceContext, make_source
from hoopgw.credentials.azure import KeyVaultSource, TokenSource
from hoopgw.credentials.sources import EnvironmentSource, FileSource, SystemdSource
from hoopgw.errors import ConfigError, PluginError
from tests.credentials.test_azure import at_once

SCOPE = "https://management.azure.com/.default"
DEPLOYER = EntraIdentity(tenant="contoso.example", client="app-1", secret=Path("/secret"))


class Sealed:
    """A third party's source."""

    async def fetch(self) -> bytes:
        """Return a secret."""
        return b"sealed"


def make_sealed(rest: str, context: SourceContext) -> SecretSource:
    """As a plug-in announces it."""
    return Sealed()


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "hoopgw.secrets")


class MakeSourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.context = SourceContext(
            environment={},
            base=Path("/etc/hoopgw"),
            run_in_thread=at_once,
            clock=Clock(),
            identities={"deployer": DEPLOYER},
            scope=SCOPE,
        )

    def make(self, reference: str, *installed: EntryPoint) -> SecretSource:
        return make_source(reference, self.context, installed)

    def test_each_kind_makes_its_source(self) -> None:
        self.assertEqual(self.make("env:A"), EnvironmentSource("A", {}))
        self.assertEqual(self.make("file:/a/b"), FileSource(Path("/a/b")))
        self.assertEqual(self.make("file:b"), FileSource(Path("/etc/hoopgw/b")))
        self.assertEqual(self.make("systemd:a"), SystemdSource("a", {}))
        vault = self.make("keyvault:https://a.vault.azure.net/secrets/b")
        self.assertIsInstance(vault, KeyVaultSource)
        tokens = self.make("entra:")
        self.assertIsInstance(tokens, TokenSource)
        assert isinstance(tokens, TokenSource)
        self.assertEqual(tokens.scope, SCOPE)
        named = self.make("entra:deployer")
        assert isinstance(named, TokenSource)
        self.assertEqual(named.make_credential, DEPLOYER.credential())

    def test_a_target_that_takes_no_token(self) -> None:
        self.context = evolve(self.context, scope="")
        self.assertIn("no token", str(self.assertRaises(ConfigError, self.make, "entra:")))

    def test_what_makes_no_sense_is_refused(self) -> None:
        for reference in (
            "env:",
            "env:A=B",
            "file:",
            "systemd:../a",
            "keyvault:https://a/secrets/b",
            "entra:me",
            "vault:x",
        ):
            with self.subTest(reference=reference):
                self.assertRaises(ConfigError, self.make, reference)

    def test_an_inline_password_is_not_shown(self) -> None:
        error = self.assertRaises(ConfigError, self.make, "hunter2")
        self.assertNotIn("hunter2", str(error))
        error = self.assertRaises(ConfigError, self.make, "hunter2:x")
        self.assertNotIn("hunter2", str(error))

    def test_a_plug_in_adds_a_kind(self) -> None:
        source = self.make("sealed:x", entry("sealed", f"{__name__}:make_sealed"))
        fetched = Deferred.fromCoroutine(source.fetch())
        self.assertEqual(self.successResultOf(fetched), b"sealed")

    def test_a_plug_in_that_does_not_load_is_named(self) -> None:
        broken = entry("sealed", "no.such.module:x")
        self.assertIn("sealed", str(self.assertRaises(PluginError, self.make, "sealed:x", broken)))

    def test_two_plug_ins_for_one_kind_are_refused(self) -> None:
        both = entry("sealed", f"{__name__}:make_sealed"), entry("sealed", "other:x")
        self.assertRaises(PluginError, self.make, "sealed:x", *both)

    def test_a_plug_in_cannot_replace_a_built_in_kind(self) -> None:
        source = self.make("env:A", entry("env", f"{__name__}:make_sealed"))
        self.assertIsInstance(source, EnvironmentSource)
