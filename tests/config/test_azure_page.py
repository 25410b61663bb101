"""docs/azure.md: the tables that people copy are good as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from hoopgw.config import check, check_agent_file
from tests.config.test_load import LEAST, FileCase

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs" / "azure.md").read_text()
TABLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
AGENT = 'state = "state"\nname = "local"\n[gateway]\nlink = "gateway.example:7443"\n'


class AzurePageTests(FileCase):
    """What people copy."""

    def faults(self, text: str) -> list[str]:
        """Return what keeps a gateway from starting with this, its protocols' parts included."""
        return [str(f) for f in check(self.written(LEAST + text)) if f.severity == "error"]

    def test_the_gateway(self) -> None:
        """Each whole target of a gateway is right, and so are the rules of a REST service."""
        ours = [text for text in TABLES if 'agent = "local"' in text]
        self.assertGreaterEqual(len(ours), 3)
        for text in ours:
            self.assertEqual(self.faults(text), [])

    def test_the_agent(self) -> None:
        """And the agent's."""
        (text,) = (text for text in TABLES if "[[floor]]" in text)
        self.assertEqual(check_agent_file(self.written(AGENT + text)), [])

    def test_azures_own_names(self) -> None:
        """The page's table and the example are right; and what they lack would be told."""
        (table,) = (text for text in TABLES if 'mode = "transparent"' in text)
        targets = "".join(text for text in TABLES if 'service = "keyvault"' in text)
        _, _, targets = targets.partition("[[targets]]")
        self.assertEqual(self.faults(f"{table}[[targets]]{targets}"), [])
        example = (TOP / "conf" / "transparent.toml").read_text()
        found = check(self.written(example))
        self.assertEqual([str(each) for each in found if each.severity == "error"], [])
        lacking = example.replace('"management.azure.com", ', "")
        (said,) = [f for f in check(self.written(lacking)) if f.severity == "error"]
        self.assertIn("interception.names: does not cover management.azure.com", str(said))

    def test_a_wrong_option(self) -> None:
        """Is told by `check`, and not only when the gateway starts."""
        wrong = '[[targets]]\nname="arm"\nprotocol="azure"\nagent="local"\nservice="armx"\n'
        (said,) = self.faults(wrong)
        self.assertIn("targets[0]: options.service must be one of", said)
