"""Tests for `hoopgw_azure.genuine`: which of Azure's own names a listener answers for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, cast

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import ConfigError
from hoopgw.http.messages import Headers, RequestHead
from hoopgw.http.sessions import Site
from hoopgw.sessions.refusals import Refusal
from hoopgw.spi import GatewayContext, TargetSettings
from hoopgw_azure.genuine import intercepts
from hoopgw_azure.sites import GenuineSites
from tests.azure.world import target

TENANT: Final = "72f988bf-86f1-41af-91ab-2d7cd011db47"
TARGETS: Final = (
    target("arm", hosts=["management.azure.com:443"]),
    target("keyvault", name="Shop-KV"),
    target("storage", name="shopdata"),
)


def options(**more: Any) -> dict[str, Any]:
    """Return a listener's."""
    return {"mode": "transparent", "tenant": TENANT, **more}


class HostsTests(SynchronousTestCase):
    """What control may issue certificates for."""

    def test_those_of_the_targets_and_the_log_in(self) -> None:
        self.assertEqual(
            intercepts(options(), TARGETS),
            {
                *("login.microsoftonline.com", "management.azure.com"),
                *("shop-kv.vault.azure.net", "shopdata.blob.core.windows.net"),
            },
        )

    def test_none_for_a_door(self) -> None:
        for door in ({}, {"mode": "door"}):
            self.assertEqual(intercepts(door, TARGETS), frozenset())

    def test_some_targets_only(self) -> None:
        """And other clouds by the names that their targets have."""
        other = target("arm", hosts=["management.usgovcloudapi.net"])
        found = intercepts(options(login="login.microsoftonline.us"), [other])
        self.assertEqual(found, {"login.microsoftonline.us", "management.usgovcloudapi.net"})
        self.assertNotIn("shop-kv.vault.azure.net", intercepts(options(targets=["arm"]), TARGETS))

    def test_what_makes_no_sense(self) -> None:
        twice = TargetSettings(name="arm2", protocol="azure", agent="a", options={"service": "arm"})
        for wrong, targets in (
            (options(), (*TARGETS, twice)),
            (options(targets=["other"]), TARGETS),
            (options(targets=[]), TARGETS),
            (options(login="10.0.0.1"), TARGETS),
            (options(tenant="contoso.example"), TARGETS),
            ({"mode": "transparent"}, TARGETS),
            ({"mode": "magic"}, TARGETS),
            (options(), [target("rest", operations=[])]),
        ):
            with self.subTest(options=wrong):
                self.assertRaises(ConfigError, intercepts, wrong, targets)
        self.assertTrue(intercepts(options(targets=["arm2"]), (*TARGETS, twice)))


class SitesTests(SynchronousTestCase):
    """What is behind each name."""

    def setUp(self) -> None:
        context = SimpleNamespace(
            listener=options(),
            targets={each.name: each for each in TARGETS},
            tokens=None,
            mask_key=lambda: b"k" * 32,
        )
        self.sites = GenuineSites(cast("GatewayContext", context))

    def find(self, host: str, path: str = "/") -> Any:
        """Return what a request is for."""
        return self.sites.find(RequestHead("GET", path, Headers.of([(b"Host", host.encode())])))

    def test_names(self) -> None:
        for host, name in (
            ("management.azure.com", "arm"),
            ("management.azure.com:443", "arm"),
            ("shop-kv.vault.azure.net", "keyvault"),
        ):
            found = self.find(host)
            assert isinstance(found, Site)
            self.assertEqual(found.target.name, name)
        self.assertTrue(callable(self.find("login.microsoftonline.com")))
        for host in ("other.vault.azure.net", "arm.gw.example", "management.azure.com:80"):
            self.assertIsNone(self.find(host))

    def test_a_vaults_challenge_is_azures_own(self) -> None:
        """Clients compare the resource with the host, and the tenant with theirs."""
        found = self.find("shop-kv.vault.azure.net")
        answer = found.model.refuse(None, Refusal(kind="unauthenticated", text="log in"))
        said = answer.headers.get(b"www-authenticate") or b""
        self.assertIn(f'"https://login.microsoftonline.com/{TENANT}"'.encode(), said)
        self.assertIn(b'resource="https://vault.azure.net"', said)

    def test_what_clients_are_told(self) -> None:
        """The resources by which `az` and the SDKs ask for tokens."""
        told = self.sites.document()["hoopgw"]
        self.assertEqual(told["tenant"], TENANT)
        self.assertEqual(told["hosts"]["login.microsoftonline.com"], "")
        for resource, name in (
            ("https://management.azure.com", "arm"),
            ("https://management.core.windows.net", "arm"),
            ("https://vault.azure.net", "keyvault"),
            ("https://storage.azure.com", "storage"),
        ):
            self.assertEqual(told["resources"][resource], [name])
