"""docs/callers.md and conf/callers.toml: what people copy is good as it stands."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import click
import yaml

from hoopgw import registry
from hoopgw.cli.ambient import NAMES, PROJECTED
from hoopgw.cli.login import login
from hoopgw.config import check
from hoopgw.identity.issuers import confusion
from hoopgw.identity.presets import IssuerType
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile
from tests.config.test_load import LEAST, FileCase

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs" / "callers.md").read_text()
TYPES = set(typing.get_args(IssuerType))


def blocks(kind: str) -> list[str]:
    """Return the page's blocks of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class CallersTests(FileCase):
    """What people copy."""

    def test_the_example(self) -> None:
        """It has an issuer of every type, and loads."""
        config = self.loaded((TOP / "conf" / "callers.toml").read_text())
        self.assertEqual({issuer.type for issuer in config.identity.issuers}, TYPES)

    def test_the_tables(self) -> None:
        """Each loads; and so do all together, but for the tenant's two."""
        tables = blocks("toml")
        found = [self.loaded(LEAST + table).identity.issuers[0] for table in tables]
        self.assertEqual({issuer.type for issuer in found}, TYPES)
        self.loaded(LEAST + "\n".join(tables))
        pairs = [(one, other) for one in found for other in found if one is not other]
        self.assertEqual([clash for pair in pairs for clash in confusion(*pair)], [])

    def test_the_policies(self) -> None:
        """Each is valid by the schema, alone and with the others."""
        specs = registry.load(["postgres", "azure"])
        schema = Schema.load({name: spec.cedar_schema for name, spec in specs.items()})
        texts = blocks("cedar")
        self.assertEqual(len(texts), 9)
        for text in texts:
            PolicySet.from_files([SourceFile(name="one.cedar", text=text)], schema)
        together = [
            SourceFile(name=f"{number}.cedar", text=text) for number, text in enumerate(texts)
        ]
        PolicySet.from_files(together, schema)

    def test_the_commands(self) -> None:
        """Each option and each source of `hoopgw login` that the page has is there."""
        options = {o for p in login.params if isinstance(p, click.Option) for o in p.opts}
        for line in re.findall(r"hoopgw [^\n|`]*login([^\n`#)]*)", PAGE):
            for word in re.findall(r"--[a-z-]+", line):
                self.assertIn(word, options)
        for source in re.findall(r"--ci --from ([a-z-]+)", PAGE):
            self.assertIn(source, NAMES)

    def test_the_manifests(self) -> None:
        """They are YAML, and the pod's token is where `--ci` looks for it."""
        azure, github, vault, step, pod = (yaml.safe_load(text) for text in blocks("yaml"))
        self.assertIn("SYSTEM_ACCESSTOKEN", azure["steps"][0]["env"])
        for pipeline in (github, vault):
            self.assertEqual(pipeline["permissions"]["id-token"], "write")
        self.assertIn("ACTIONS_ID_TOKEN_REQUEST_URL", step[0]["run"])
        (container,), (volume,) = pod["spec"]["containers"], pod["spec"]["volumes"]
        (token,) = volume["projected"]["sources"]
        mounted = Path(container["volumeMounts"][0]["mountPath"])
        self.assertEqual(mounted / token["serviceAccountToken"]["path"], PROJECTED)
        self.assertEqual(token["serviceAccountToken"]["audience"], "hoopgw")

    def test_what_is_probably_not_meant(self) -> None:
        """Jobs whose actor is nobody here, and people with more groups than a token takes."""
        warned = {f.where for f in check(self.written((TOP / "conf" / "callers.toml").read_text()))}
        self.assertEqual({place for place in warned if "issuers" in place}, set())
        text = (TOP / "conf" / "callers.toml").read_text()
        for table in ("persons", "graph"):
            start = text.index(f"[identity.issuers.{table}]")
            text = text[:start] + text[text.index("[[identity.issuers]]", start) :]
        warned = {finding.where for finding in check(self.written(text))}
        self.assertLessEqual({"identity.issuers[0].graph", "identity.issuers[2].persons"}, warned)
