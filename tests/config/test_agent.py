"""The agent's configuration."""

from __future__ import annotations

from pathlib import Path

from hoopgw.config import check_agent_file, load_agent
from hoopgw.errors import ConfigError
from hoopgw.transport import Address
from tests.config.test_load import FileCase

EXAMPLE = Path(__file__).resolve().parents[2] / "conf" / "agent.toml"

GOOD = """
state = "state"
name = "local"
[gateway]
link = "unix:link.sock"
url = "https://127.0.0.1:8443"
ca = "ca.crt"
[[targets]]
name = "orders"
protocol = "postgres"
address = "127.0.0.1:5432"
tls = "disable"
ca = "pg.crt"
schemas = ["public"]
[targets.accounts.reader]
source = "file:reader.password"
[targets.accounts.owner]
source = "env:OWNER"
auth = "cert"
[[floor]]
targets = ["orders"]
accounts = ["reader"]
mode = "read-only"
"""


class AgentFileTests(FileCase):
    """Tests for `load_agent`."""

    def refused(self, text: str | bytes) -> str:
        """Load a bad configuration, and return what was said of it."""
        error = self.assertRaises(ConfigError, load_agent, self.written(text), {"postgres"})
        return str(error)

    def test_identities(self) -> None:
        """Each proves what it is in exactly one way, and no secret stands here."""
        table = '[identities.deployer]\ntenant = "t"\nclient = "c"\n'
        good = load_agent(self.written(GOOD + table + 'secret_file = "s"\n'), {"postgres"})
        self.assertEqual(good.identities["deployer"].secret_file, good.path.parent / "s")
        self.assertIn("identities.deployer", self.refused(GOOD + table))
        both = 'secret_file = "s"\ntoken_file = "t"\n'
        self.assertIn("one of secret_file", self.refused(GOOD + table + both))
        self.assertIn("identities.deployer", self.refused(GOOD + table + 'secret = "s"\n'))

    def test_good(self) -> None:
        """Everything is read."""
        config = load_agent(self.written(GOOD), {"postgres"})
        folder = config.path.parent
        self.assertEqual(config.gateway.link, Address(path=str(folder / "link.sock")))
        self.assertEqual(config.gateway.ca, folder / "ca.crt")
        (target,) = config.targets
        self.assertEqual(target.address, Address("127.0.0.1", 5432))
        self.assertEqual((target.tls, target.ca), ("disable", folder / "pg.crt"))
        self.assertEqual(target.options, {"schemas": ["public"]})
        self.assertEqual(
            target.all_options,
            {
                "schemas": ["public"],
                "tls": "disable",
                "ca": str(folder / "pg.crt"),
                "auth": {"reader": "password", "owner": "cert"},
            },
        )
        self.assertEqual(target.accounts["reader"].source, "file:reader.password")
        self.assertEqual(target.accounts["owner"].auth, "cert")
        self.assertEqual(config.floor[0].accounts, {"reader"})
        self.assertEqual(config.protocols, {"postgres"})

    def test_sources_are_not_shown(self) -> None:
        """A password in the place of its source is refused, and never repeated."""
        for wrong in ("hunter2", "Hunter:2", ":hunter2", "hunter2hunter2hunter2hunter2hunter2:"):
            with self.subTest(wrong):
                said = self.refused(GOOD.replace("env:OWNER", wrong))
                self.assertIn("targets[0].accounts.owner.source: found a string (not shown)", said)
                self.assertIn("expected where the credential is, never itself", said)
                self.assertNotIn(wrong, said)
        self.assertNotIn("OWNER", repr(load_agent(self.written(GOOD), {"postgres"})))

    def test_unknown_scheme(self) -> None:
        """A source has a scheme that somebody serves."""
        said = self.refused(GOOD.replace("env:OWNER", "hunter:2"))
        self.assertIn("has a scheme that is not known here; expected one of entra:, env:", said)
        self.assertNotIn("hunter", said)

    def test_the_floor_names_what_is_there(self) -> None:
        """A rule for a target or account that is misspelt protects nothing, so it is refused."""
        said = self.refused(GOOD.replace('["orders"]', '["order"]'))
        self.assertIn("floor[0].targets: names 'order'; did you mean 'orders'?", said)
        said = self.refused(GOOD.replace('["reader"]', '["writer", "nobody"]'))
        self.assertIn("floor[0].accounts: names 'nobody'; these are there: owner, reader", said)
        said = self.refused(GOOD.replace('["reader"]', "[]"))
        self.assertIn("floor[0].accounts: is empty", said)
        said = self.refused(GOOD.replace('"read-only"', '"write"'))
        self.assertIn(
            "floor[0].mode: found 'write' (a string); expected one of \"read-only\"", said
        )

    def test_a_target_without_accounts(self) -> None:
        """Could never be opened."""
        start, end = GOOD.index("[targets.accounts.reader]"), GOOD.index("[[floor]]")
        said = self.refused(GOOD[:start] + GOOD[end:])
        self.assertIn("targets[0].accounts: is empty", said)

    def test_warnings(self) -> None:
        """What works, but is hardly meant."""
        path = self.written(
            GOOD[: GOOD.index("[[floor]]")].replace("127.0.0.1:5432", "db.example:5432")
        )
        found = {finding.where for finding in check_agent_file(path, {"postgres"})}
        self.assertEqual(found, {"floor", "targets[0].tls"})
