"""Policies that never make a difference are found, and no others are called so."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.policy.lint import Finding
from hoopgw.policy.reach import unreachable
from hoopgw.policy.sets import PolicySet
from tests.policy.world import ROOT, policies

TAKE = 'action == Shop::Action::"take"'
DEV = f'@id("dev") permit (principal in Hoopgw::Group::"dev", {TAKE}, resource)'


class ReachTests(SynchronousTestCase):
    """Tests for `unreachable`."""

    def found(self, text: str) -> list[str]:
        return [each.text for each in unreachable(policies(text), 30.0)]

    def test_conditions_that_exclude_each_other(self) -> None:
        (said,) = self.found(DEV + " when { context.count > 3 && context.count < 2 };")
        self.assertIn("no request can satisfy", said)

    def test_agents_are_in_no_group(self) -> None:
        """A child has no groups of its own."""
        text = f'@id("x") forbid (principal is Hoopgw::Agent, {TAKE}, resource) when'
        group = 'principal in Hoopgw::Group::"dev"'
        below = " && context.chain.hop > 0"
        self.assertEqual(len(self.found(f"{text} {{ {group}{below} }};")), 1)
        self.assertEqual(self.found(f"{text} {{ {group} }};"), [])

    def test_a_permit_that_is_always_refused(self) -> None:
        never = f'@id("never") @deny("no") forbid (principal, {TAKE}, resource);'
        self.assertEqual(
            self.found(DEV + ";" + never), ["whatever this permits, some forbid refuses for good"]
        )
        held = f'@id("never") @approval("dba") forbid (principal, {TAKE}, resource) unless'
        lifted = ' { context.approvals.contains("never") };'
        self.assertEqual(self.found(DEV + ";" + held + lifted), [])

    def test_what_has_no_formula_may_be_anything(self) -> None:
        self.assertEqual(self.found(DEV + " when { context.words == context.words };"), [])

    def test_the_examples(self) -> None:
        schemas = {
            "postgres": (ROOT / "protocols/hoopgw_postgres/schema.cedarschema").read_text("utf-8")
        }
        made = PolicySet.load(ROOT / "conf" / "policies", schemas)
        self.assertEqual(list(unreachable(made, 30.0)), [])

    def test_too_little_time(self) -> None:
        """Is told."""
        (said,) = unreachable(policies(DEV + ";"), -1.0)
        self.assertIsInstance(said, Finding)
        self.assertIn("1 policies were not looked at", said.text)
