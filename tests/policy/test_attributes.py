"""What an issuer says of a root, as policy sees it."""

from __future__ import annotations

import re

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Attributes, Hop
from hoopgw.policy.decision import Allow, Deny
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.schema import core_schema
from tests.policy.world import operation, policies, principal, shelf

JOB = Hop(id="ci|42", name="acme/orders", kind="workload")
TEXT = """
@id("main") permit (principal is Hoopgw::Workload, action, resource)
  when { principal has repositoryId && principal.repositoryId == "42" &&
         principal has ref && principal.ref == "refs/heads/main" };
@id("role") permit (principal is Hoopgw::Workload, action, resource)
  when { principal has roles && principal.roles.contains("Migrate") };
"""


class AttributeTests(SynchronousTestCase):
    """Tests of `hoopgw.events.Hop.attributes` in questions."""

    def setUp(self) -> None:
        self.policy = CedarPolicy(policies(TEXT), Clock().seconds)

    def ask(self, *attributes: tuple[str, str | tuple[str, ...]]) -> object:
        given: Attributes = tuple(sorted(attributes))
        hop = evolve(JOB, attributes=given)
        verdict = self.policy.decide(principal(hop), operation("take", shelf("a")))
        return verdict.decision if not verdict.errors else verdict.errors

    def test_policy_reads_them(self) -> None:
        """And a verdict for one branch is none for another."""
        mine = ("repositoryId", "42")
        self.assertIsInstance(self.ask(mine, ("ref", "refs/heads/main")), Allow)
        self.assertIsInstance(self.ask(mine, ("ref", "refs/heads/evil")), Deny)
        self.assertIsInstance(self.ask(mine, ("ref", "refs/heads/main")), Allow)
        self.assertIsInstance(self.ask(mine), Deny)
        self.assertIsInstance(self.ask(("roles", ("Read", "Migrate"))), Allow)
        self.assertIsInstance(self.ask(("roles", ("Read",))), Deny)

    def test_one_that_is_not_declared_denies(self) -> None:
        """Cedar takes none that the schema does not know: an error, never an allowance."""
        good = (("repositoryId", "42"), ("ref", "refs/heads/main"))
        self.assertNotIsInstance(self.ask(*good, ("other", "x")), Allow)
        self.assertNotIsInstance(self.ask(*good, ("roles", "Migrate")), Allow)

    def test_an_agent_has_all_that_a_workload_has(self) -> None:
        """An issuer of workloads may say that some of them are agents."""
        declared = {
            kind: set(re.findall(r"(\w+)\?:", body))
            for kind, body in re.findall(
                r"entity (\w+) in \[Group[^]]*\] = \{(.*?)\n  \};", core_schema(), re.DOTALL
            )
        }
        self.assertLessEqual(declared["Person"], declared["Workload"])
        self.assertLessEqual(declared["Workload"], declared["Agent"])
