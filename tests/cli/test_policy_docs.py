"""docs/policy-tools.md and hoopgw(1) name commands and options that are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli.failure import INVALID
from hoopgw.cli.policies import policy
from hoopgw.policy import strict_yaml
from tests.policy.world import ROOT

DOCS = (ROOT / "docs" / "policy-tools.md").read_text("utf-8")
PAGE = (ROOT / "man" / "hoopgw.1").read_text("utf-8").replace("\\-", "-")


def options(command: click.Command) -> set[str]:
    """Name the options of a command."""
    return {name for parameter in command.params for name in parameter.opts if name[0] == "-"}


class DocsTests(SynchronousTestCase):
    """Tests for the documentation."""

    def test_commands_and_options_exist(self) -> None:
        found = re.findall(r"hoopgw policy ([a-z-]+)([^\n`]*)", DOCS)
        self.assertGreater(len(found), 10)
        for name, rest in found:
            command = policy.commands[name]
            for option in re.findall(r"--[a-z][a-z-]*", rest):
                self.assertIn(option, options(command), name)

    def test_all_commands_are_told(self) -> None:
        """In both."""
        for name, command in policy.commands.items():
            self.assertIn(f"hoopgw policy {name}", DOCS)
            (line,) = re.findall(rf'\n\.BR "policy {name}[ "].*', PAGE)
            told = set(re.findall(r"--[a-z][a-z-]*", line))
            self.assertLessEqual(told, options(command), name)
            left_out = options(command) - told
            self.assertLessEqual(left_out, {"--json", "--config", "--name", "--key", "--log"}, name)

    def test_the_pipeline_is_yaml(self) -> None:
        """And its commands are those of the text."""
        (snippet,) = re.findall(r"(?s)```yaml\n(name: policy.*?)```", DOCS)
        found, _ = strict_yaml.load(snippet, "snippet")
        runs = [step["run"] for step in found["jobs"]["policy"]["steps"] if "run" in step]
        self.assertEqual(sum("hoopgw policy" in run for run in runs), 4)

    def test_statuses(self) -> None:
        self.assertIn(f"**{INVALID}** the files or the log are not valid", DOCS)
        self.assertIn(f".B {INVALID}\nPolicies, cases, queries or a log", PAGE)

    def test_links(self) -> None:
        """To files that are there."""
        for target in re.findall(r"\]\(([^)#]+)\)", DOCS):
            self.assertTrue((ROOT / "docs" / Path(target)).resolve().exists(), target)
