"""Tests for the commands that need no gateway: `init`, `config`, `policy`, `sessions verify`."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw import config as configuration
from tests.cli.support import run

POLICIES = Path(__file__).parents[2] / "conf" / "policies"


class FolderTestCase(SynchronousTestCase):
    """Runs in a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        before = Path.cwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)


class InitTests(FolderTestCase):
    """Tests for ``hoopgw init``."""

    def test_a_new_gateway(self) -> None:
        """What it makes loads, checks, and is for us only."""
        result = run("init", "--host", "gw.example", "--name", "gw7")
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("Next", result.output)
        config = configuration.load(Path("hoopgw.toml"))
        self.assertEqual(config.name, "gw7")
        self.assertEqual(config.tls.names, ("127.0.0.1", "localhost", "gw.example"))
        self.assertTrue(config.paths.ca_certificate.exists())
        self.assertEqual(stat.S_IMODE(config.state.stat().st_mode), 0o700)
        self.assertEqual(run("policy", "check").status, 0)

    def test_keys_are_never_overwritten(self) -> None:
        """A second run changes nothing and says why."""
        run("init")
        key = Path("state/keys/token.key").read_bytes()
        result = run("init")
        self.assertEqual(result.status, 1)
        self.assertIn("never overwritten", result.errors)
        self.assertEqual(Path("state/keys/token.key").read_bytes(), key)

    def test_a_state_folder_of_an_earlier_release(self) -> None:
        """What it lacks is made, and nothing else is touched."""
        run("init")
        keys = Path("state/keys")
        before = {path.name: path.read_bytes() for path in keys.iterdir()}
        for name in ("callers-ca.key", "callers-ca.crt", "ssh-users.key", "ssh-hosts.key"):
            (keys / name).unlink()
        result = run("init", "--upgrade", "--json")
        self.assertEqual(len(result.json["made"]), 3)
        after = {path.name: path.read_bytes() for path in keys.iterdir()}
        self.assertEqual(after.keys(), before.keys())
        changed = {name for name in before if after[name] != before[name]}
        self.assertEqual(
            changed, {"callers-ca.key", "callers-ca.crt", "ssh-users.key", "ssh-hosts.key"}
        )
        self.assertEqual(run("init", "--upgrade", "--json").json["made"], [])

    def test_an_existing_configuration_is_kept(self) -> None:
        """Only what is missing is made."""
        run("init", "mine.toml", "--state", "one")
        text = Path("mine.toml").read_text().replace('"one"', '"two"')
        Path("mine.toml").write_text(text)
        self.assertEqual(run("init", "mine.toml").status, 0)
        self.assertEqual(Path("mine.toml").read_text(), text)
        self.assertTrue(Path("two/keys").is_dir())

    def test_a_renewed_certificate(self) -> None:
        """A new certificate from the same CA."""
        run("init")
        before = Path("state/tls/gateway.crt").read_bytes()
        authority = Path("state/keys/ca.crt").read_bytes()
        self.assertEqual(run("init", "--renew-certificate").status, 0)
        self.assertNotEqual(Path("state/tls/gateway.crt").read_bytes(), before)
        self.assertEqual(Path("state/keys/ca.crt").read_bytes(), authority)

    def test_json(self) -> None:
        """Says what it made, as one document."""
        made = run("init", "--json").json
        self.assertTrue(made["ca"].endswith("ca.crt"))


class ConfigTests(FolderTestCase):
    """Tests for ``hoopgw config check``."""

    def test_right(self) -> None:
        """What init writes has no errors."""
        run("init")
        result = run("config", "check")
        self.assertEqual(result.status, 0, result.output)
        self.assertIn("hoopgw.toml is right", result.output)

    def test_wrong(self) -> None:
        """Each fault is named; the status is 1."""
        run("init")
        text = Path("hoopgw.toml").read_text()
        Path("hoopgw.toml").write_text(text.replace("[control]", "[contro1]"))
        result = run("config", "check")
        self.assertEqual(result.status, 1)
        self.assertIn("contro1", result.output)
        as_json = run("config", "check", "--json")
        self.assertFalse(as_json.json["ok"])
        self.assertEqual(as_json.status, 1)

    def test_what_a_protocol_knows_of_its_tables(self) -> None:
        """Of a listener of SSH, and of a target; and what is right is right."""
        run("init")
        path, listener = (
            Path("hoopgw.toml"),
            '[[listeners]]\nprotocol = "ssh"\nlisten = "[::1]:1"\n',
        )
        target = '[[targets]]\nname = "web1"\nprotocol = "ssh"\nagent = "local"\n'
        start = path.read_text()
        path.write_text(start + listener + "attempts = 3\n" + target + 'forwards = ["db1:5432"]\n')
        self.assertEqual(run("config", "check").status, 0)
        path.write_text(start + listener + "attempts = 99\n" + target + "host_keys = []\n")
        said = run("config", "check").output
        self.assertIn("listeners[1]: attempts: expected a number from 1 to 20", said)
        self.assertIn("targets.web1.host_keys: the gateway knows no such option", said)

    def test_an_agent(self) -> None:
        """Each target's protocol is asked too, as when the agent starts."""
        example = (POLICIES.parent / "agent.toml").read_text()
        path = Path("agent.toml")
        path.write_text(example)
        self.assertEqual(run("config", "check", "--agent", path).status, 0)
        path.write_text(example.replace("[targets.accounts", "tls_ca = 5\n[targets.accounts", 1))
        result = run("config", "check", "--agent", path)
        self.assertEqual(result.status, 1, result.output)
        self.assertIn("targets[0]", result.output)

    def test_missing(self) -> None:
        """A file that is not there."""
        result = run("config", "check", "nowhere.toml")
        self.assertEqual(result.status, 1)
        self.assertIn("cannot be read", result.output)


class PolicyTests(FolderTestCase):
    """Tests for ``hoopgw policy``."""

    def test_check(self) -> None:
        """The example policies are right; a broken one is told with its line."""
        self.assertEqual(run("policy", "check", POLICIES).status, 0)
        Path("bad").mkdir()
        Path("bad/a.cedar").write_text('@id("x")\npermit (principal, action, resource) when {')
        result = run("policy", "check", "bad")
        self.assertEqual(result.status, 1)
        self.assertIn("a.cedar:1", result.output)

    def test_cases(self) -> None:
        """The example's cases pass."""
        result = run("policy", "test", POLICIES)
        self.assertEqual(result.status, 0, result.output)
        self.assertIn("cases passed", result.output)
        self.assertTrue(run("policy", "test", POLICIES, "--json").json["ok"])

    def test_a_failing_case(self) -> None:
        """Is named, with why, and the status is 1."""
        for file in POLICIES.iterdir():
            Path(file.name).write_bytes(file.read_bytes())
        cases = Path("orders.cases.yaml")
        cases.write_text(cases.read_text().replace("expect: allow", "expect: deny", 1))
        result = run("policy", "test", ".")
        self.assertEqual(result.status, 1)
        self.assertIn("expected deny, got allow", result.output)

    def test_no_cases(self) -> None:
        """Nothing tested is not a success."""
        run("init")
        self.assertEqual(run("policy", "test").status, 1)

    def test_explain(self) -> None:
        """Hop by hop; an ambiguous name is told what there is."""
        result = run("policy", "explain", "a developer connects", POLICIES)
        self.assertEqual(result.status, 0, result.errors)
        self.assertIn("allowed by sessions", result.output)
        self.assertEqual(run("policy", "explain", "no such case", POLICIES).status, 1)
