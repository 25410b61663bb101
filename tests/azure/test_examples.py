"""The policies of ``conf/policies-azure``, alone and with requests of the real Azure CLI."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Hop, Operation, Principal
from hoopgw.policy.cases import run_cases, untested
from hoopgw.policy.check import check
from hoopgw.policy.decision import Allow, Deny, Review, Verdict
from hoopgw.policy.explain import explain
from hoopgw.policy.prove import Prover
from hoopgw.policy.queries import read_queries
from hoopgw.policy.sets import PolicySet
from hoopgw_azure.operations import Service
from tests.azure.world import asked, target, template
from tests.policy.world import ROOT

DIRECTORY: Final = ROOT / "conf" / "policies-azure"
SCHEMAS: Final = {"azure": (ROOT / "protocols/hoopgw_azure/schema.cedarschema").read_text("utf-8")}
ORDERS: Final = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/Orders"
READER: Final = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
OWNER: Final = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
WHO: Final = "22222222-2222-2222-2222-222222222222"


@cache
def policies() -> PolicySet:
    """Return the set."""
    return PolicySet.load(DIRECTORY, SCHEMAS)


def judged(group: str, operation: Operation, *approvals: str) -> Verdict:
    """Return the verdict on an operation of somebody in a group."""
    hop = Hop(id=f"corp|{group}", name=group, kind="person", groups=frozenset({group}))
    principal = Principal(chain=(hop,), session="s", expires=9e9)
    outcome = explain(policies(), principal, operation, 0, frozenset(approvals)).outcome
    assert isinstance(outcome, Verdict)
    return outcome


def operation(method: str, url: str, body: object = None) -> Operation:
    """Return the operation that a request to the target ``azure`` is."""
    service = Service.of(evolve(target("arm"), name="azure"))
    one = asked(method, url, body)
    return service.operation(one, service.call(one), "deployer")


class ExampleTests(SynchronousTestCase):
    """The files themselves."""

    def test_nothing_is_found(self) -> None:
        """Neither errors nor warnings."""
        self.assertEqual(check(DIRECTORY, SCHEMAS), ())

    def test_all_cases_pass_and_cover_all(self) -> None:
        results = run_cases(policies(), DIRECTORY)
        self.assertEqual([(r.name, r.problems) for r in results if not r.is_passed], [])
        self.assertEqual(untested(policies(), results), ())


class QueriesTests(SynchronousTestCase):
    """What is proved of the files, whatever is asked."""

    def test_all_are_proved(self) -> None:
        """By the solver, over types of resources that may be in one another at any depth."""
        prover = Prover(policies())
        asked_of = read_queries(DIRECTORY / "queries.yaml", policies().schema)
        self.assertGreater(len(asked_of), 4)
        proofs = [prover.prove(query) for query in asked_of]
        self.assertEqual([p.query.name for p in proofs if not p.is_proved], [])

    def test_what_does_not_hold_is_found(self) -> None:
        """With a request that the engine confirms."""
        place = Path(self.mktemp())
        place.write_text("queries: [{name: nobody reads, action: [Azure::read]}]")
        (query,) = read_queries(place, policies().schema)
        self.assertEqual(Prover(policies()).prove(query).result, "refuted")


class DocumentTests(SynchronousTestCase):
    """docs/azure.md names what there is."""

    PAGE = (ROOT / "docs" / "azure.md").read_text("utf-8")

    def test_it_names_all(self) -> None:
        """Actions, entities, the context, and what may be opaque."""
        schema = SCHEMAS["azure"].partition("namespace Rest")[0]
        actions = re.findall(r"(?m)^  action ([\w, ]+?)(?: in .*)?(?: appliesTo .*)?[;{]$", schema)
        entities = re.findall(r"(?m)^  entity (\w+)", schema)
        context = schema.partition("type Request = {")[2].partition("};")[0]
        ours = {"chain", "approvals", "breakglass", "now"}
        attributes = set(re.findall(r"(?m)^ +(\w+): ", context)) - ours
        self.assertGreater(len(actions) + len(attributes), 20)
        words = {word.strip() for line in actions for word in line.split(",")}
        for word in words | set(entities) | attributes:
            self.assertRegex(self.PAGE, rf"\b{word}\b")
        for rule in (ROOT / "protocols" / "hoopgw_azure").glob("*.py"):
            for word in re.findall(r'\.hide\("(\w+)"', rule.read_text("utf-8")):
                self.assertIn(f'"{word}"', schema, rule.name)


class RequestTests(SynchronousTestCase):
    """What requests come to, from their bytes to the verdict."""

    def assignment(self, role: str) -> Operation:
        """Return a role assignment as az sends it."""
        provider = f"{ORDERS}/providers/Microsoft.Authorization"
        url = f"{provider}/roleAssignments/{WHO}?api-version=2022-04-01"
        definition = f"{provider}/roleDefinitions/{role}"
        properties = {"roleDefinitionId": definition, "principalId": WHO, "principalType": "User"}
        return operation("PUT", url, {"properties": properties})

    def test_a_role_assignment_is_held(self) -> None:
        verdict = judged("platform", self.assignment(READER))
        self.assertIsInstance(verdict.decision, Review)
        self.assertEqual(verdict.because, ("approve-grants",))
        approved = judged("platform", self.assignment(READER), "approve-grants")
        self.assertIsInstance(approved.decision, Allow)
        owner = judged("platform", self.assignment(OWNER), "approve-grants")
        self.assertEqual(owner.because, ("no-owners",))

    def test_it_is_held_inside_of_a_template_as_well(self) -> None:
        """However deep."""
        inner = {
            "type": "Microsoft.Authorization/roleAssignments",
            "name": "[guid('a')]",
            "properties": {"roleDefinitionId": READER, "principalId": WHO},
        }
        nested = {
            "type": "Microsoft.Resources/deployments",
            "name": "n",
            "properties": {"template": template(inner)},
        }
        url = f"{ORDERS}/providers/Microsoft.Resources/deployments/d"
        for resource in (inner, nested):
            found = operation("PUT", url, {"properties": {"template": template(resource)}})
            self.assertEqual(judged("platform", found).because, ("approve-grants",))
            self.assertIsInstance(judged("developers", found).decision, Deny)

    def test_deletion_of_a_group_is_held(self) -> None:
        """By its own request, and by a template that is complete."""
        verdict = judged("platform", operation("DELETE", f"{ORDERS}?api-version=2021-04-01"))
        self.assertEqual(verdict.because, ("approve-group-deletion",))
        body = {"properties": {"mode": "Complete", "template": template()}}
        url = f"{ORDERS}/providers/Microsoft.Resources/deployments/d"
        self.assertEqual(
            judged("platform", operation("PUT", url, body)).because, ("approve-group-deletion",)
        )

    def test_developers_deploy_into_their_group(self) -> None:
        """And not into another, by nesting."""
        account = {"type": "Microsoft.Storage/storageAccounts", "name": "a"}
        url = f"{ORDERS}/providers/Microsoft.Resources/deployments/d"
        found = operation("PUT", url, {"properties": {"template": template(account)}})
        self.assertIsInstance(judged("developers", found).decision, Allow)
        elsewhere = {
            "type": "Microsoft.Resources/deployments",
            "name": "n",
            "resourceGroup": "billing",
            "properties": {"template": template(account)},
        }
        outside = operation("PUT", url, {"properties": {"template": template(elsewhere)}})
        self.assertIsInstance(judged("developers", outside).decision, Deny)
