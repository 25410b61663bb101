"""Cedar's traps: each attack shown to succeed against Cedar alone, and to fail here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cedarpy
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, ContextValue, Operation, Resource
from hoopgw.policy.decision import Allow, Deny, Hidden, Review
from hoopgw.policy.judging import judge, judge_sights
from hoopgw.policy.questions import Inquiry
from tests.policy import world
from tests.policy.world import ALICE, CONTEXT, PERMIT_ALL, operation, policies, principal, shelf

OVERFLOW = """
@id("limit") forbid (principal, action == Shop::Action::"take", resource)
  when { context.count * 9000000000000000000 > 5 };
"""


def inquire(asked: Operation, **more: Any) -> Inquiry:
    return Inquiry(
        chain=principal(ALICE).chain,
        accesses=asked.accesses,
        context=asked.context,
        now=0,
        **more,
    )


def raw(
    text: str,
    context: Mapping[str, ContextValue] = CONTEXT,
    action: str = "take",
    entities: cedarpy.Entities | str = "[]",
    schema: cedarpy.Schema | None = None,
) -> cedarpy.AuthzResult:
    """Ask Cedar without any of our code."""
    own = {
        "chain": {"depth": 0, "hop": 0, "kinds": ["person"], "proved": False},
        "approvals": [],
        "breakglass": False,
        "now": 0,
    }
    return cedarpy.is_authorized(
        {
            "principal": {"type": "Hoopgw::Person", "id": ALICE.id},
            "action": {"type": "Shop::Action", "id": action},
            "resource": {"type": "Shop::Shelf", "id": "shop/books"},
            "context": {**context, **own},
        },
        text,
        entities,
        schema,
    )


def raw_entities(schema: cedarpy.Schema | None = None) -> cedarpy.Entities:
    books = {
        "uid": {"type": "Shop::Shelf", "id": "shop/books"},
        "attrs": {"labels": ["secret"]},
        "parents": [],
    }
    return cedarpy.Entities.from_json_str(json.dumps([books]), schema)


class ErringForbidTests(SynchronousTestCase):
    """Cedar skips a forbid that errs."""

    def test_an_overflow_opens_cedar_and_not_us(self) -> None:
        """The attacker chooses a number that the forbid's arithmetic cannot bear."""
        text = PERMIT_ALL + OVERFLOW
        context = {**CONTEXT, "count": 9}
        attack = raw(text, context, schema=world.schema().handle, entities=raw_entities())
        self.assertTrue(attack.allowed)
        self.assertIn("overflow", attack.diagnostics.errors[0])
        verdict = judge(policies(text), inquire(operation("take", context=context)))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertIn("overflow", verdict.errors[0])

    def test_the_validator_does_not_see_it(self) -> None:
        """So no check of policies can replace the check of answers."""
        result = cedarpy.validate_policies(PERMIT_ALL + OVERFLOW, world.schema().handle)
        self.assertTrue(result.validation_passed)

    def test_a_missing_entity_opens_cedar_and_not_us(self) -> None:
        """We always give the entities asked for, and a type that we cannot give is an error."""
        text = (
            PERMIT_ALL
            + '@id("secret") forbid (principal, action == Shop::Action::"take", resource)'
            ' when { resource.labels.contains("secret") };'
        )
        attack = raw(text, schema=world.schema().handle)
        self.assertTrue(attack.allowed)
        self.assertIn("does not exist", attack.diagnostics.errors[0])
        verdict = judge(policies(text), inquire(operation("take", shelf("books", "secret"))))
        self.assertEqual(verdict.because, ("secret",))
        unknown = Resource(type="Shop::Cellar", id="x")
        asked = inquire(operation("take", unknown))
        self.assertIsInstance(judge(policies(text), asked).decision, Deny)

    def test_a_mask_that_errs_hides(self) -> None:
        """The same for what may be seen."""
        text = PERMIT_ALL + (
            '@id("m") @mask("redact") forbid (principal, action == Shop::Action::"see", resource)'
            " when { (context.now + 1) * 9223372036854775807 > 0 };"
        )
        field = world.place("price", "money")
        asked = Inquiry(
            chain=(ALICE,), accesses=(Access(action="Shop::see", resource=field),), now=9
        )
        (verdict,) = judge_sights(policies(text), asked)
        self.assertIsInstance(verdict.sight, Hidden)
        self.assertIn("overflow", verdict.errors[0])


class NoDecisionTests(SynchronousTestCase):
    """With a schema, what does not fit it gets neither Allow nor Deny."""

    WRONG: Mapping[str, Mapping[str, Any]] = {
        "a key is missing": {"bulk": False, "words": ()},
        "a key too many": {**CONTEXT, "colour": "red"},
        "a wrong type": {**CONTEXT, "count": "1"},
        "truth for a number": {**CONTEXT, "count": True},
        "a number that does not fit": {**CONTEXT, "count": 2**70},
    }

    def test_cedar_denies_nothing(self) -> None:
        """Code that looks for Deny lets these pass."""
        handle = world.schema().handle
        for name, context in self.WRONG.items():
            result = raw(PERMIT_ALL, context, entities=raw_entities(), schema=handle)
            self.assertIs(result.decision, cedarpy.Decision.NoDecision, name)

    def test_we_do(self) -> None:
        """And say what was wrong to the operator, not to the principal."""
        made = policies(PERMIT_ALL)
        for name, context in self.WRONG.items():
            verdict = judge(made, inquire(operation("take", context=context)))
            self.assertIsInstance(verdict.decision, Deny, name)
            self.assertNotEqual(verdict.errors, (), name)
        self.assertIsInstance(judge(made, inquire(operation("take"))).decision, Allow)

    def test_an_action_that_is_not_known(self) -> None:
        """A protocol newer than its schema."""
        result = raw(PERMIT_ALL, action="burn", schema=world.schema().handle)
        self.assertIs(result.decision, cedarpy.Decision.NoDecision)
        verdict = judge(policies(PERMIT_ALL), inquire(operation("burn")))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertNotEqual(verdict.errors, ())

    def test_values_that_are_none_of_ours(self) -> None:
        """Lists, floats and our own keys are refused before Cedar is asked."""
        made = policies(PERMIT_ALL)
        wrong: list[dict[str, Any]] = [
            {"count": 1.5},
            {"words": ["a"]},
            {"words": (1,)},
            {"words": None},
            {"approvals": ("x",)},
            {"chain": "root"},
            {"now": 0},
            {"words": ("\ud800",)},
        ]
        for values in wrong:
            verdict = judge(made, inquire(operation("take", context={**CONTEXT, **values})))
            self.assertIsInstance(verdict.decision, Deny, repr(values))
            self.assertNotEqual(verdict.errors, (), repr(values))


class NamesTests(SynchronousTestCase):
    """Decisions name policies by position; annotations come from the tree."""

    def test_cedar_gives_positions(self) -> None:
        """Only @id comes along."""
        result = raw('@id("a") @max_rows("5") permit (principal, action, resource);')
        self.assertEqual(result.diagnostics.reasons, ["policy0"])
        self.assertEqual(result.diagnostics.id_annotations_by_reason, {"policy0": "a"})

    def test_we_give_ids_and_their_annotations(self) -> None:
        """Over several files, in whatever order."""
        made = policies(
            '@id("b") @max_rows("7") permit (principal, action, resource);',
            later='@id("a") @max_rows("5") permit (principal, action, resource);',
        )
        verdict = judge(made, inquire(operation("take")))
        self.assertEqual(verdict.because, ("b", "a"))
        self.assertEqual(verdict.decision, Allow(max_rows=5))

    def test_cedar_takes_two_policies_with_one_id(self) -> None:
        """We refuse them: see `tests.policy.test_sets`."""
        twice = '@id("a") permit (principal, action, resource);' * 2
        self.assertEqual(len(cedarpy.PolicySet.from_str(twice)), 2)


class HiddenGrantTests(SynchronousTestCase):
    """On a refusal Cedar names only the forbids, so a curable one hides a missing permit."""

    TEXT = """
    @id("readers") permit (principal, action == Shop::Action::"take", resource);
    @id("ask") @approval("clerks") forbid (principal, action == Shop::Action::"put", resource)
      unless { context.approvals.contains("ask") };
    """

    def test_cedar_looks_as_if_an_approval_would_help(self) -> None:
        """One set alone cannot tell."""
        result = raw(self.TEXT, action="put")
        self.assertEqual(result.diagnostics.id_annotations_by_reason, {"policy1": "ask"})

    def test_we_say_that_there_is_no_grant(self) -> None:
        """Nobody is asked in vain."""
        verdict = judge(policies(self.TEXT), inquire(operation("put")))
        assert isinstance(verdict.decision, Deny)
        self.assertIn("no policy permits alice to put shop/books", verdict.decision.reason)

    def test_with_a_grant_the_remedy_is_offered(self) -> None:
        """So that the test above can fail."""
        text = self.TEXT + '@id("w") permit (principal, action == Shop::Action::"put", resource);'
        self.assertIsInstance(judge(policies(text), inquire(operation("put"))).decision, Review)


class ActionGroupTests(SynchronousTestCase):
    """Cedar knows the groups of actions only from entities that were made with the schema."""

    TEXT = PERMIT_ALL + '@id("no") forbid (principal, action in Shop::Action::"write", resource);'

    def test_entities_without_schema_drop_the_forbid(self) -> None:
        """Silently: there is no error, though the schema is there when asking."""
        handle = world.schema().handle
        attack = raw(self.TEXT, action="put", entities=raw_entities(), schema=handle)
        self.assertTrue(attack.allowed)
        self.assertEqual(attack.diagnostics.errors, [])
        held = raw(self.TEXT, action="put", entities=raw_entities(handle), schema=handle)
        self.assertFalse(held.allowed)

    def test_ours_have_them(self) -> None:
        verdict = judge(policies(self.TEXT), inquire(operation("put")))
        self.assertEqual(verdict.because, ("no",))


class AbsurdConditionTests(SynchronousTestCase):
    """The validator is content with ``has`` of an attribute that no schema has."""

    TEXT = PERMIT_ALL + (
        '@id("typo") forbid (principal, action, resource) when { context has bulkk };'
    )

    def test_cedar_validates_a_forbid_that_never_applies(self) -> None:
        self.assertTrue(cedarpy.validate_policies(self.TEXT, world.schema().handle))

    def test_we_refuse_it(self) -> None:
        with self.assertRaisesRegex(Exception, "no schema declares an attribute `bulkk`"):
            policies(self.TEXT)


class LinkedTemplateTests(SynchronousTestCase):
    """A template is inert until it is linked."""

    def test_a_template_grants_nothing(self) -> None:
        made = policies('@id("t") permit (principal == ?principal, action, resource);')
        verdict = judge(made, inquire(operation("take")))
        self.assertIsInstance(verdict.decision, Deny)
        self.assertEqual(verdict.errors, ())
        self.assertEqual(list(made.rules), [])
