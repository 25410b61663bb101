"""hoopgw-policy(7) says what is so: its policies load, its cases pass, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.masking import KINDS
from hoopgw.policy import text
from hoopgw.policy.annotations import _READERS, OFFER_ANNOTATIONS
from hoopgw.policy.cases import Expected, run_cases
from hoopgw.policy.check import check
from hoopgw.policy.prove import Prover
from hoopgw.policy.queries import Never, Who, read_queries
from hoopgw.policy.questions import BATCH_LIMIT
from hoopgw.policy.sets import PolicySet
from tests.policy.world import ROOT

PAGE = (ROOT / "man" / "hoopgw-policy.7").read_text("utf-8")
SCHEMAS = {"postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")}


class ManualTests(SynchronousTestCase):
    """Tests for the manual page."""

    def test_its_examples_work(self) -> None:
        """The page's own policies pass the page's own cases."""
        blocks = [
            block.replace("\\-", "-") for block in re.findall(r"(?s)\n\.EX\n(.*?)\n\.EE", PAGE)
        ]
        place = Path(self.mktemp())
        place.mkdir()
        first, second, offer, cases, queries = blocks
        (place / "page.cedar").write_text(f"{first}\n{second}\n{offer}\n")
        (place / "page.cases.yaml").write_text(cases)
        self.assertEqual(check(place, SCHEMAS), ())
        made = PolicySet.load(place, SCHEMAS)
        (result,) = run_cases(made, place)
        self.assertEqual(result.problems, ())
        (place / "queries.yaml").write_text(queries)
        asked = read_queries(place / "queries.yaml", made.schema)
        self.assertEqual([p.result for p in map(Prover(made).prove, asked)], ["proved"] * 3)

    def test_it_lists_all(self) -> None:
        """Annotations, masks, outcomes, actions."""
        plain = PAGE.replace("\\-", "-")
        for name in ("id", *_READERS, *OFFER_ANNOTATIONS):
            self.assertIn(f".BI @{name}(", plain)
        for word in (*KINDS, *get_args(Expected), *get_args(Never), *get_args(Who)):
            self.assertRegex(plain, rf"\b{word}\b")
        for line in re.findall(
            r"(?m)^  action (.*?)(?: in .*)?(?: appliesTo .*)?;?$", SCHEMAS["postgres"]
        ):
            for action in line.removesuffix(" appliesTo {").split(", "):
                self.assertRegex(plain, rf"\b{action}\b")

    def test_its_limits_are_ours(self) -> None:
        self.assertIn(
            f"more than {text._DEPTH_LIMIT} open brackets, or {text._NESTING_LIMIT} ", PAGE
        )
        self.assertIn(
            f"{text.FILE_LIMIT >> 20} MiB a file, {text._FILES_LIMIT} files, "
            f"{text._TOTAL_LIMIT >> 20} MiB and {text._POLICIES_LIMIT} policies",
            PAGE,
        )
        self.assertIn(f"more than {BATCH_LIMIT} such questions", PAGE)
