"""Whole files: the example, what is refused, and that everything wrong is told at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.config import Address, GatewayConfig, load
from hoopgw.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "conf" / "hoopgw.toml"

LEAST = """
state = "state"
name = "gw1"
[link]
listen = "127.0.0.1:7443"
[policy]
directory = "policies"
"""


class FileCase(SynchronousTestCase):
    """Something that writes a file and loads it."""

    def written(self, text: str | bytes) -> Path:
        """Write a configuration file."""
        folder = TemporaryDirectory(prefix="hoopgw-")
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "hoopgw.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def loaded(self, text: str) -> GatewayConfig:
        """Load a good configuration."""
        return load(self.written(text), {"postgres"})

    def refused(self, text: str | bytes) -> str:
        """Load a bad configuration, and return what was said of it."""
        path = self.written(text)
        error = self.assertRaises(ConfigError, load, path, {"postgres"})
        self.assertTrue(str(error).startswith(f"{path}: "), error)
        return str(error)


class GoodFileTests(FileCase):
    """What is read from good files."""

    def test_the_example(self) -> None:
        """The example loads, and says what it says."""
        config = load(EXAMPLE, {"postgres", "ssh"})
        self.assertEqual(config.name, "gw1")
        self.assertEqual(config.listeners[0].listen, Address("127.0.0.1", 6432))
        self.assertEqual(config.link.listen, Address(path="/run/hoopgw/link.sock"))
        self.assertEqual(config.link.agent_uids, {1001})
        self.assertEqual(config.identity.issuers[0].audiences, {"hoopgw"})
        agents = config.identity.issuers[0].agents
        assert agents is not None
        self.assertEqual(agents.values, {"planner"})
        self.assertEqual(config.policy.directory, EXAMPLE.parent / "policies")
        self.assertEqual(config.targets[0].labels, {"public.customers.email": ("pii.email",)})
        self.assertEqual(config.control.admins, {"platform"})
        self.assertEqual(config.paths.ticket_key, Path("/var/lib/hoopgw/keys/ticket.key"))

    def test_the_least(self) -> None:
        """What may be left out has a value, and relative paths are relative to the file."""
        config = self.loaded(LEAST)
        self.assertEqual(config.state, config.path.parent / "state")
        self.assertTrue(config.state.is_absolute())
        self.assertEqual(config.control.listen, Address("127.0.0.1", 8443))
        self.assertEqual(config.identity.token_lifetime, 900.0)
        self.assertEqual(config.identity.chain_certificate_lifetime, 900.0)
        self.assertEqual(config.reviews.patience, 900.0)
        self.assertEqual(config.limits.sessions, 2000)
        self.assertEqual(config.certificate_file, config.state / "tls/gateway.crt")

    def test_options_of_a_protocol(self) -> None:
        """What only the protocol understands is kept for it."""
        config = self.loaded(
            LEAST
            + '[[targets]]\nname="orders"\nprotocol="postgres"\nagent="local"\nschemas=["public"]\n'
        )
        self.assertEqual(config.targets[0].options, {"schemas": ["public"]})

    def test_names(self) -> None:
        """Of the certificate, of listeners, and of control: by all of them clients may come."""
        listener = 'protocol = "postgres"\nlisten = "127.0.0.1:1"\nnames = ["ssh.example"]\n'
        config = self.loaded(f"{LEAST}[[listeners]]\n{listener}")
        self.assertEqual(config.names, {"127.0.0.1", "localhost", "ssh.example"})
