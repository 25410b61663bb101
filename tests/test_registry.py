"""The registry loads what is named, and says which package is at fault."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from twisted.trial.unittest import SynchronousTestCase

from hoopgw import registry
from hoopgw.errors import PluginError
from hoopgw.spi import API, AgentContext, GatewayContext, ProtocolSpec


def spec(name: str = "good", api: int = API) -> ProtocolSpec:
    """Return a protocol that cannot do anything."""

    def never(_context: GatewayContext | AgentContext) -> None:
        raise AssertionError("nothing is made by loading")

    return ProtocolSpec(
        name=name,
        default_port=1,
        make_factory=never,  # type: ignore[arg-type]  # never called
        make_target_leg=never,  # type: ignore[arg-type]  # never called
        cedar_schema="",
        check_target=lambda _target: None,
        replay=lambda _records: (),
        api=api,
    )


good = spec()
old = spec("old", API - 1)
other = spec("somebody")
no_spec = "a string"


def entry(name: str, value: str | None = None) -> EntryPoint:
    """Return an entry point of this module."""
    return EntryPoint(name, value or f"{__name__}:{name}", registry.PROTOCOLS)


class LoadTests(SynchronousTestCase):
    """Tests for `registry.load`."""

    def assert_refused(self, entries: list[EntryPoint], name: str, *parts: str) -> None:
        """Try to load it, and look for each of the parts in what is said."""
        said = str(self.assertRaises(PluginError, registry.load, [name], entries))
        for part in parts:
            self.assertIn(part, said)

    def test_loads_what_is_named(self) -> None:
        """And nothing else: the broken one is not touched."""
        entries = [entry("good"), entry("broken", "no.such.module:x")]
        self.assertEqual(registry.load(["good"], entries), {"good": good})

    def test_not_installed(self) -> None:
        """The ones that are there are named."""
        self.assert_refused([entry("good")], "ssh", "'ssh' is not installed; these are: good")

    def test_does_not_load(self) -> None:
        """The package at fault is named, and why."""
        self.assert_refused(
            [entry("x", "no.such.module:x")], "x", "protocol 'x' (no.such.module:x) does not load"
        )
        self.assert_refused([entry("absent")], "absent", "does not load")

    def test_twice(self) -> None:
        """Two packages for one protocol: neither is taken."""
        self.assert_refused(
            [entry("good"), entry("good", "another:good")], "good", "is both", "another:good"
        )

    def test_the_same_twice(self) -> None:
        """The same value found by two paths is one."""
        self.assertEqual(registry.load(["good"], [entry("good"), entry("good")]), {"good": good})

    def test_another_api(self) -> None:
        """A package made for another version of the seam is refused."""
        self.assert_refused([entry("old")], "old", f"is made for API {API - 1}, and this is API")

    def test_no_protocol(self) -> None:
        """A value of another kind is refused, and so is one of another name."""
        self.assert_refused([entry("no_spec")], "no_spec", "is no ProtocolSpec")
        self.assert_refused([entry("other")], "other", "calls itself 'somebody'")
