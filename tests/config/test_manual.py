"""hoopgw.toml(5) describes each key, and nothing else; its example loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs

from hoopgw.config import (
    ControlSettings,
    GatewayConfig,
    IdentitySettings,
    InterceptionSettings,
    LimitSettings,
    LinkSettings,
    ListenerSettings,
    PolicySettings,
    RecordingSettings,
    ReviewSettings,
    TlsSettings,
)
from hoopgw.identity.settings import GraphSettings, IssuerSettings, PersonRule
from hoopgw.spi import TargetSettings
from tests.config.test_load import FileCase

PAGE = Path(__file__).resolve().parents[2] / "man" / "hoopgw.toml.5"
TABLES = {
    "TOP LEVEL": GatewayConfig,
    "[control]": ControlSettings,
    "[[listeners]]": ListenerSettings,
    "[tls]": TlsSettings,
    "[interception]": InterceptionSettings,
    "[link]": LinkSettings,
    "[identity]": IdentitySettings,
    "[[identity.issuers]]": IssuerSettings,
    "[identity.issuers.persons]": PersonRule,
    "[identity.issuers.graph]": GraphSettings,
    "[policy]": PolicySettings,
    "[reviews]": ReviewSettings,
    "[limits]": LimitSettings,
    "[recording]": RecordingSettings,
    "[[targets]]": TargetSettings,
}


def keys_of(cls: Any) -> set[str]:
    """Name the keys of a table that hold values; tables in it have sections of their own."""
    tables = {"listeners", "targets", "issuers", "persons", "graph", "options", "path"}
    inner = {a.name for a in attrs.fields(cls) if attrs.has(a.default.__class__)}
    more = {"link", "policy"} if cls is GatewayConfig else set()
    return {a.name for a in attrs.fields(cls)} - tables - inner - more


class ManualTests(FileCase):
    """The page and the classes agree."""

    def test_every_key(self) -> None:
        """Each table's section has a paragraph for each key of its class, and no other.

        What a protocol adds stands in sections inside of it.
        """
        sections = re.split(r"^\.SH ", PAGE.read_text(), flags=re.MULTILINE)
        described = {section.splitlines()[0]: section for section in sections[1:]}
        for title, cls in TABLES.items():
            with self.subTest(title):
                own, *_options = described[title].split("\n.SS ")
                heads = re.findall(r"^\.TP\n\.BR (.*)$", own, re.MULTILINE)
                keys = {
                    key for head in heads for key in re.findall(r"[a-z_]+", head.split(' " = ')[0])
                }
                keys = {re.sub(r'[",]', "", key) for key in keys}
                self.assertEqual(keys, keys_of(cls))

    def test_the_example(self) -> None:
        """It loads."""
        text = PAGE.read_text().split(".nf\n")[1].split(".fi\n")[0]
        config = self.loaded(text.replace(r"\(dq", '"').replace(r"\-", "-"))
        self.assertEqual(config.targets[0].environment, "prod")
