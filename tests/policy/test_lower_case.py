"""Capitals in policies where what they are compared with never has one."""

from __future__ import annotations

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.lower_case import LowerCase
from hoopgw.policy.schema import Schema
from hoopgw.policy.schema_types import Declared
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile
from tests.policy.world import SHOP_SCHEMA

MARKED: Final = SHOP_SCHEMA.replace("entity Shelf", '@case("lower") entity Shelf').replace(
    "bulk: Bool, count: Long, words: Set<String>",
    'bulk: Bool, count: Long, @case("lower") words: Set<String>',
)
"""The schema with marks."""


def checked(scope: str, clause: str) -> str:
    """Return what is said of a forbid; nothing if it is taken."""
    text = f'@id("p") forbid (principal, action, resource {scope}) {clause};'
    try:
        PolicySet.from_files([SourceFile(name="p.cedar", text=text)], Schema.load({"shop": MARKED}))
    except PolicyError as error:
        return str(error)
    return ""


class LowerCaseTests(SynchronousTestCase):
    """Tests for `LowerCase` and `capitals`."""

    def test_marks_are_read(self) -> None:
        """With the namespace of types; and what reads the schema does not stumble over them."""
        schema = Schema.load({"shop": MARKED})
        self.assertEqual(schema.lower, LowerCase(frozenset({"Shop::Shelf"}), frozenset({"words"})))
        plain = Schema.load({"shop": SHOP_SCHEMA})
        self.assertEqual(plain.lower, LowerCase())
        self.assertEqual(Declared.of(schema), Declared.of(plain))
        self.assertEqual(schema.attributes, plain.attributes)

    def test_capitals_are_found(self) -> None:
        """In the scope, in conditions, on either side; the text says what to write."""
        for scope, clause, wanted in (
            ('== Shop::Shelf::"Top"', "", 'Shop::Shelf::"top"'),
            ('in Shop::Shelf::"Top"', "", 'Shop::Shelf::"top"'),
            ("", 'when { resource in Shop::Shelf::"TOP" }', 'Shop::Shelf::"top"'),
            ("", 'when { context.words.contains("Sale") }', '"sale"'),
            ("", 'when { context.words.containsAny(["new", "Old"]) }', '"old"'),
            ("", 'when { ["A"].containsAll(context.words) }', '"a"'),
        ):
            self.assertIn(f"write {wanted}", checked(scope, clause), clause or scope)

    def test_the_rest_is_left_alone(self) -> None:
        """Lower case, other types, other attributes."""
        for scope, clause in (
            ('in Shop::Shelf::"top"', ""),
            ('in Hoopgw::Target::"Shop"', ""),
            ("", 'unless { principal in Hoopgw::Group::"DBA" }'),
        ):
            self.assertEqual(checked(scope, clause), "")
