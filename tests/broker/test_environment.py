"""What a command inherits."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.broker.environment import CLEAN, NAMES, PASSED, PREFIXES, scrubbed, withheld

GIVEN = {
    "PATH": "/bin",
    "HOME": "/srv/alice",
    "LC_ALL": "C",
    "EDITOR": "vi",
    "PGPASSWORD": "secret",
    "PGPASSFILE": "/srv/alice/.pgpass",
    "PGTZ": "UTC",
    "HOOPGW_HOME": "/srv/alice/.config/hoopgw",
    "HOOPGW_BROKER": "/run/user/1/hoopgw-x/1/broker.sock",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "AZURE_CLIENT_SECRET": "secret",
    "IDENTITY_HEADER": "secret",
    "KUBECONFIG": "/srv/alice/.kube/config",
    "GITHUB_TOKEN": "secret",
    "ANTHROPIC_API_KEY": "the agent's own",
}


class ScrubbingTests(SynchronousTestCase):
    """`scrubbed`."""

    def test_credentials_stay_behind(self) -> None:
        """What is left is what says nothing about who or where."""
        left = {"PATH", "HOME", "LC_ALL", "EDITOR", "PGTZ", "ANTHROPIC_API_KEY"}
        self.assertEqual(set(scrubbed(GIVEN)), left)
        self.assertEqual(set(withheld(GIVEN)), set(GIVEN) - left)

    def test_what_is_asked_for_passes(self) -> None:
        """But for ours: they would make the child its parent."""
        kept = scrubbed(GIVEN, ["SSH_AUTH_SOCK", "HOOPGW_BROKER", "HOOPGW_HOME", "NOT_THERE"])
        self.assertEqual(kept["SSH_AUTH_SOCK"], "/tmp/agent")
        self.assertNotIn("HOOPGW_BROKER", kept)
        self.assertNotIn("HOOPGW_HOME", kept)

    def test_from_nothing(self) -> None:
        """Only what every program needs, and what is named."""
        kept = scrubbed(GIVEN, ["ANTHROPIC_API_KEY"], clean=True)
        self.assertEqual(set(kept), {"PATH", "HOME", "LC_ALL", "ANTHROPIC_API_KEY"})

    def test_the_manual_has_the_list(self) -> None:
        """hoopgw-delegate(1) names every one."""
        page = Path(__file__).parents[2] / "man" / "hoopgw-delegate.1"
        words = set(re.findall(r"[A-Z][A-Z0-9_]+", page.read_text()))
        for name in (*PREFIXES, *NAMES, *PASSED, *CLEAN):
            self.assertIn(name, words)
