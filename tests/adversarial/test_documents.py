"""Answers that are made to carry a secret past a mask, or to take the gateway with them.

Each is first shown to work against what is commonly done: a regular expression over the text, or a
mask between ``json.loads`` and ``json.dumps``.
"""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.limits import Limits
from hoopgw.documents.opening import MaskingOrder, open_document
from hoopgw.documents.rules import Detect, Mask, MaskStrings, Rule, compile_rules
from hoopgw.errors import DocumentError
from tests.documents.reference import run

SECRET = "s3cr3t-s3cr3t"


def masked(document: bytes, *rules: Rule, fold: bool = False, coding: str = "") -> str:
    """Mask an answer that says that it is JSON."""
    order = MaskingOrder(rules=compile_rules(rules, fold_case=fold))
    return run(open_document(order, "application/json", coding), [document]).decode()


def by_expression(document: str) -> str:
    """Mask as a rule pack of regular expressions does."""
    return re.sub(r'("value"\s*:\s*)"[^"]*"', r'\1"***"', document)


def by_loading(document: bytes) -> str:
    """Mask what was loaded, with what the loader kept of it."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: "***" if k == "value" else walk(v) for k, v in value.items()}
        return [walk(each) for each in value] if isinstance(value, list) else value

    return json.dumps(walk(json.loads(document)))


class DocumentAttackTests(SynchronousTestCase):
    """What a hostile target, or who may write into an honest one, can try."""

    def test_names_in_escapes(self) -> None:
        """A name that is written otherwise is the same name."""
        document = f'{{"v\\u0061lue": "{SECRET}"}}'
        self.assertIn(SECRET, by_expression(document))
        self.assertNotIn(SECRET, masked(document.encode(), Rule("value", Mask())))

    def test_values_behind_an_escaped_quote(self) -> None:
        """A quote in a string does not end it."""
        document = f'{{"value": "\\"{SECRET}"}}'
        self.assertIn(SECRET, by_expression(document))
        self.assertNotIn(SECRET, masked(document.encode(), Rule("value", Mask())))

    def test_other_types(self) -> None:
        """A secret in a list, an object or a number is masked as well."""
        for value in (f'["{SECRET}"]', f'{{"{SECRET}": 1}}', "4711"):
            document = f'{{"value": {value}}}'
            self.assertEqual(by_expression(document), document)
            shown = masked(document.encode(), Rule("value", Mask()))
            self.assertNotRegex(shown, f"{SECRET}|4711")

    def test_other_case(self) -> None:
        """Clients of Resource Manager read names without regard to case, and Go's beyond ASCII."""
        for name in ("VALUE", "Value", "\u017fecret"):
            document = json.dumps({name: SECRET}, ensure_ascii=False)
            self.assertIn(SECRET, by_loading(document.encode()))
            rules = (Rule("value", Mask()), Rule("secret", Mask()))
            self.assertNotIn(SECRET, masked(document.encode(), *rules, fold=True))

    def test_one_name_twice(self) -> None:
        """Readers differ in which they take, so rules that tell by a name must not be given two."""
        document = b'{"keyName": "%s", "keyName": "key1"}' % SECRET.encode()
        rule = Rule("$", MaskStrings(), keep=("keyName",))
        self.assertEqual(masked(document, rule), f'{{"keyName": "{SECRET}", "keyName": "***"}}')
        self.assertIn("key1", by_loading(document))

    def test_numbers_are_not_written_anew(self) -> None:
        """A reader and writer in between changes what the client gets, or makes it no JSON."""
        document = b'{"a": 1e400, "b": 12345678901234567890.123456789, "value": 1}'
        self.assertIn("Infinity", by_loading(document))
        self.assertEqual(
            masked(document, Rule("value", Mask())), document.decode().replace(": 1}", ": 0}")
        )

    def test_other_encodings_of_text(self) -> None:
        """``json.loads`` takes UTF-16 and UTF-32; clients may, and the patterns do not."""
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
            document = json.dumps({"x": f"AccountKey={SECRET}"}).encode(encoding)
            self.assertIn(SECRET, by_loading(document))
            with self.assertRaises(DocumentError):
                masked(document, Rule("$", Detect(("connection_string",))))

    def test_patterns_behind_escapes(self) -> None:
        """Detectors look at what a text says, not at how it is written."""
        document = json.dumps({"x": f"AccountKey={SECRET}"}).replace("Account", "\\u0041ccount")
        self.assertIsNone(re.search("AccountKey=", document))
        shown = masked(document.encode(), Rule("$", Detect(("connection_string",))))
        self.assertEqual(json.loads(shown), {"x": "AccountKey=***"})

    def test_a_second_document(self) -> None:
        """What follows the end is not passed unseen."""
        document = b'{"value": "x"}{"value": "%s"}' % SECRET.encode()
        self.assertEqual(json.JSONDecoder().raw_decode(document.decode())[0], {"value": "x"})
        self.assertRaises(DocumentError, masked, document, Rule("value", Mask()))

    def test_deep_nesting(self) -> None:
        """It would end a recursive reader; here it is refused."""
        document = b"[" * 100_000
        self.assertRaises(RecursionError, json.loads, document)
        self.assertRaises(DocumentError, masked, document, Rule("value", Mask()))

    def test_a_bomb(self) -> None:
        """50 MB in 50 KB: refused long before it is unpacked."""
        bomb = gzip.compress(b'["' + b" " * 50_000_000 + b'"]')
        self.assertLess(len(bomb), 60_000)
        order = MaskingOrder(rules=compile_rules([Rule("[*]", Mask())]), limits=Limits())
        document = open_document(order, "application/json", "gzip")
        self.assertRaises(DocumentError, run, document, [bomb])
        self.assertLess(document.received, 2**21)
