"""Tests for `hoopgw.documents.json_masker`: what comes out, whatever went in."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import (
    Count,
    Detect,
    Drop,
    Mask,
    MaskStrings,
    Refuse,
    Rewrite,
    Rule,
    compile_rules,
)
from hoopgw.errors import DocumentError, DocumentLimitError
from hoopgw.transport import accelerated
from tests.documents.reference import KEY, Reference, read, run
from tests.documents.strategies import cuts, documents, rule_lists, write


def rewritten(path: str, text: str) -> str:
    """Rewrite a text, so that the order of rewriting shows."""
    return f"<{path}:{text}>"


def masker(
    rules: Sequence[Rule],
    *,
    fold: bool = False,
    limits: Limits | None = None,
    plain: bool = False,
) -> JsonMasker:
    """Return a masker."""
    return JsonMasker(
        rules=compile_rules(rules, fold_case=fold),
        key=KEY,
        rewrite=rewritten,
        limits=limits or Limits(),
        plain=plain,
    )


def masked(document: str | bytes, *rules: Rule, fold: bool = False) -> str:
    """Mask a document at once, with the compiled twin and without."""
    whole = document.encode() if isinstance(document, str) else document
    out = run(masker(rules, fold=fold, plain=True), [whole]).decode()
    assert out == run(masker(rules, fold=fold), [whole]).decode()
    return out


class PropertyTests(SynchronousTestCase):
    """Anything that is JSON, any rules, any cut."""

    @given(documents, rule_lists, st.booleans(), st.randoms(use_true_random=False), st.data())
    def test_as_the_reference(
        self,
        document: object,
        rules: list[Rule],
        fold: bool,
        chance: random.Random,
        data: st.DataObject,
    ) -> None:
        """What comes out says what a recursion over the value says, and nothing is invalid."""
        whole = write(document, chance).encode()
        reference = Reference(rules, fold, rewritten)
        wanted = reference.mask(read(whole))
        pieces = data.draw(cuts(whole))
        plain, compiled = masker(rules, fold=fold, plain=True), masker(rules, fold=fold)
        out = run(plain, pieces)
        self.assertEqual(read(out), wanted)
        self.assertEqual(plain.counts, reference.counts)
        self.assertEqual(run(compiled, pieces), out)
        self.assertEqual((compiled.masked, compiled.counts), (plain.masked, plain.counts))

    @given(documents, rule_lists, st.randoms(use_true_random=False))
    def test_what_is_no_json_is_refused(
        self, document: object, rules: list[Rule], chance: random.Random
    ) -> None:
        """A document with something wrong in it is taken if and only if ``json.loads`` takes it."""
        whole = bytearray(write(document, chance).encode())
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(whole) + 1)
            whole[at : at + chance.randint(0, 2)] = chance.choice(WRONG)
        whole = whole or bytearray(b" ")  # nothing at all is taken
        try:
            read(bytes(whole).decode("utf-8"))
            json.dumps(json.loads(whole), ensure_ascii=False).encode(
                "utf-8"
            )  # not if a surrogate is alone
        except (ValueError, RecursionError):
            for plain in (True, False):
                one = masker(rules, plain=plain)
                self.assertRaises(DocumentError, run, one, [bytes(whole)])
        else:
            out = run(masker(rules, plain=True), [bytes(whole)])
            self.assertEqual(run(masker(rules), [bytes(whole)]), out)

    @given(documents, st.randoms(use_true_random=False))
    def test_without_a_rule_for_it_each_byte_is_kept(
        self, document: object, chance: random.Random
    ) -> None:
        """Numbers, escapes and space come out as they were written."""
        whole = write(document, chance)
        self.assertEqual(masked(whole, Rule("not.there", Mask())), whole)


WRONG = (b"", b'"', b"\\", b"\\u", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".",
         b"e", b"+", b"\x00", b"\x1f", b"\x80", b"\xff", b"nul", b"NaN", b"//", b"'", b" ", b"\xc3",
         b"\xed\xa0\x80", b"\xc0\xaf", b"\xef\xbb\xbf", b"\x0b", b"\xc2\xa0")  # fmt: skip

HOSTILE = (
    b" ",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b"\x00{\x00}",
    b"{}{}",
    b"{} x",
    b"[] ,",
    b"[1,]",
    b"[,1]",
    b"[1 2]",
    b"{,}",
    b'{"a":1,}',
    b'{"a"}',
    b'{"a":}',
    b'{"a" 1}',
    b'{"a":1 "b":2}',
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b'{"a":1]',
    b'["a":1]',
    b"[}",
    b"]",
    b"}",
    b":",
    b",",
    b"[",
    b'{"a":',
    b'"a',
    b'"a\\',
    b'"\\x41"',
    b'"\\u12"',
    b'"\\u12g4"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\ud800\\u0041"',
    b'{"\\ud800":1}',
    b'"\n"',
    b'"\x00"',
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b'"\xc0\xa2"',
    b"01",
    b"+1",
    b"-",
    b"-01",
    b"1.",
    b".5",
    b"1e",
    b"1e+",
    b"0x10",
    b"1_000",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"True",
    b"nulll",
    b"nul",
    b"tru e",
    b"/**/1",
    b"1//",
    b"#1",
    b"\x0c1",
    b"1\x00",
    b"[" * 129 + b"]" * 129,
    b'{"a":' * 129 + b"1" + b"}" * 129,
    b"1" * 1001,
    b"[1." + b"0" * 1001 + b"]",
    b'{"' + b"n" * 5000 + b'":1}',
)


class HostileTests(SynchronousTestCase):
    """Documents that are none."""

    rules = (
        (),
        (Rule("$", MaskStrings()),),
        (Rule("$", Mask()),),
        (Rule("**.a", Mask("last4")), Rule("**.b", Drop())),
        (Rule("$", Detect(("jwt", "card"))),),
    )

    def test_each_is_refused_however_it_is_cut(self) -> None:
        """With any rules, at once or byte by byte; and again, when it is asked again."""
        for document in HOSTILE:
            for rules in self.rules:
                for size, plain in itertools.product((len(document), 1), (True, False)):
                    one = masker(rules, plain=plain)
                    cut = [document[at : at + size] for at in range(0, len(document), size)]
                    with self.subTest(document=document[:20], rules=rules, size=size):
                        self.assertRaises(DocumentError, run, one, cut)
                        self.assertRaises(DocumentError, one.next_piece)

    def test_nothing_is_a_document(self) -> None:
        """Answers without content say JSON, too."""
        self.assertEqual(masked(b"", Rule("$", Mask())), "")

    def test_an_error_says_where_and_not_what(self) -> None:
        """The byte is named, in whichever piece it was."""
        one = masker([])
        with self.assertRaisesRegex(DocumentError, "at byte 70003") as caught:
            run(one, [b'["' + b"x" * 70000, b'"!secret"]'])
        self.assertNotIn("secret", str(caught.exception))

    def test_a_limit_of_bytes(self) -> None:
        """A document may be as long as the limit."""
        limits = Limits(total=5)
        run(masker([], limits=limits), [b"[", b"123]"])
        self.assertRaises(DocumentError, run, masker([], limits=limits), [b"[", b"1234]"])


class RulesTests(SynchronousTestCase):
    """What rules do, shown one by one."""

    def test_mask(self) -> None:
        """A value is replaced, whatever it is; its type stays where it can."""
        document = '{"a": "x", "b": 1.5e3, "c": true, "d": null, "e": [1, {"f": 2}], "g": {"h": 1}}'
        self.assertEqual(
            masked(document, Rule("*", Mask())),
            '{"a": "***", "b": 0, "c": false, "d": null, "e": [], "g": {}}',
        )
        self.assertEqual(
            masked(document, Rule("*", Mask("null"))),
            '{"a": null, "b": null, "c": null, "d": null, "e": null, "g": null}',
        )
        self.assertEqual(masked('["0123456789"]', Rule("[*]", Mask("last4"))), '["****6789"]')

    def test_all_strings_but_some(self) -> None:
        """As for list*Keys: names of members and what is kept are shown."""
        document = (
            '{"keys": [{"keyName": "key1", "value": "s3cr3t", "permissions": "FULL", "n": 1}]}'
        )
        rule = Rule("$", MaskStrings(), keep=("keys[*].keyName", "keys[*].permissions"))
        self.assertEqual(masked(document, rule), document.replace("s3cr3t", "***"))

    def test_what_is_spared_is_spared_alone(self) -> None:
        """A text at that place is shown; what is below it is masked as all the rest."""
        rule = Rule("$", MaskStrings(), spare=("**.name",))
        document = '{"name":"a","x":{"name":"b","name2":"c"},"y":[{"name":{"name":"d","v":["e"]}}]}'
        shown = document
        for secret in "ce":
            shown = shown.replace(f'"{secret}"', '"***"')
        self.assertEqual(masked(document, rule), shown)
        self.assertEqual(masked('{"name":["a"]}', rule), '{"name":["***"]}')
        self.assertEqual(masked('{"name":"a","name":"b"}', rule), '{"name":"a","name":"***"}')

    def test_what_one_rule_keeps_another_masks(self) -> None:
        """Rules of several policies add up, and the one that shows least counts."""
        kept = Rule("$", MaskStrings("last4"), keep=("a",))
        self.assertEqual(masked('{"a":"0123456789"}', kept), '{"a":"0123456789"}')
        self.assertEqual(masked('{"a":"0123456789"}', kept, Rule("a", Mask())), '{"a":"***"}')

    def test_names_are_compared_as_they_read(self) -> None:
        """Escapes are decoded; case is folded only if it should be."""
        rule = Rule("value", Mask())
        for name in ('"value"', '"\\u0076alue"', '"v\\u0061l\\u0075e"'):
            self.assertEqual(masked(f'{{{name}:"x"}}', rule), f'{{{name}:"***"}}')
        for name in ('"Value"', '"VALUE"', '"\\u0056alue"'):
            self.assertEqual(masked(f'{{{name}:"x"}}', rule), f'{{{name}:"x"}}')
            self.assertEqual(masked(f'{{{name}:"x"}}', rule, fold=True), f'{{{name}:"***"}}')
        long_s = '{"\u017fecret":"x"}'  # Go's encoding/json reads it into a field "secret"
        self.assertEqual(
            masked(long_s, Rule("secret", Mask()), fold=True), long_s.replace("x", "***")
        )

    def test_a_repeated_member_is_redacted(self) -> None:
        """Whichever of the two a reader takes; also where the first is only counted."""
        rule = Rule("value", Count("items"))
        self.assertEqual(
            masked('{"value":[1],"x":1,"x":2,"v\\u0061lue":["secret"]}', rule),
            '{"value":[1],"x":1,"x":2,"v\\u0061lue":[]}',
        )

    def test_drop(self) -> None:
        """Commas go with what is left out."""
        for before, after in (
            ('{"a":1,"s":2,"b":3}', '{"a":1,"b":3}'),
            ('{"s":2,"b":3}', '{"b":3}'),
            ('{"a":1,"s":{"x":[]}}', '{"a":1}'),
            ('{"s":2,"s":"again"}', '{"s":"***"}'),
            ('{"s":2}', "{}"),
        ):
            self.assertEqual(masked(before, Rule("s", Drop())), after)
        self.assertEqual(masked('[1,"a",{}]', Rule("[*]", Drop())), "[]")

    def test_refuse(self) -> None:
        """The answer breaks off where the value begins; elsewhere nothing happens."""
        rule = Rule("kubeconfigs[*].value", Refuse("it holds a kubeconfig"))
        self.assertEqual(masked('{"value":1}', rule), '{"value":1}')
        with self.assertRaisesRegex(DocumentError, "holds a kubeconfig, at byte 25"):
            masked('{"kubeconfigs":[{"value":"x"}]}', rule)

    def test_rewrite(self) -> None:
        """Strings go through the caller's function, others do not."""
        document = '{"nextLink":"https:\\/\\/x","value":[{"id":"/a"},{"id":5}]}'
        self.assertEqual(
            masked(document, Rule("nextLink", Rewrite()), Rule("value[*].id", Rewrite())),
            '{"nextLink":"<nextLink:https://x>","value":[{"id":"<value[*].id:/a>"},{"id":5}]}',
        )

    def test_detect(self) -> None:
        """Only what is found is replaced, escaped or not; a number that is a card is replaced."""
        rule = Rule("$", Detect(("card", "email"), "last4"))
        self.assertEqual(
            masked('{"a":"card 4111111111111111!","b":"a\\u0040b.example","c":"none"}', rule),
            '{"a":"card ****1111!","b":"****mple","c":"none"}',
        )
        self.assertEqual(
            masked("[4111111111111111,4111111111111112]", rule), "[null,4111111111111112]"
        )

    def test_counts_end_the_document_in_time(self) -> None:
        """The value beyond the limit does not come out."""
        rules = [Rule("value[*]", Count("items"))]
        document = b'{"value":[%s]}' % b",".join(b'{"n":%d}' % n for n in range(20000))
        one = masker(rules, limits=Limits(counts={"items": 20000}))
        run(one, [document])
        self.assertEqual(one.counts, {"items": 20000})
        one, out = masker(rules, limits=Limits(counts={"items": 19999})), list[bytes]()
        one.receive_data(document)
        with self.assertRaisesRegex(DocumentLimitError, "more than 19999 items"):
            out += iter(one.next_piece, None)
        self.assertNotIn(b"19999", b"".join(out))
        self.assertGreater(len(b"".join(out)), len(document) / 2)


class LinesTests(SynchronousTestCase):
    """A document in each line."""

    def lines(self, whole: bytes, *rules: Rule) -> bytes:
        """Mask lines."""
        one = JsonMasker(rules=compile_rules(rules), lines=True)
        return run(one, [whole])

    def test_each_is_masked(self) -> None:
        """Also without an end of the last line, and with empty lines."""
        self.assertEqual(
            self.lines(b'{"a":"x"}\n\n{"a":"y"}\r\n5', Rule("a", Mask())),
            b'{"a":"***"}\n\n{"a":"***"}\r\n5',
        )

    def test_two_in_one_line_are_refused(self) -> None:
        """Readers differ in what they make of it."""
        self.assertRaises(DocumentError, self.lines, b"{} {}")

    def test_a_line_is_passed_when_it_is_there(self) -> None:
        """A watch is not held until the next event."""
        one = JsonMasker(rules=compile_rules([Rule("a", Mask())]), lines=True)
        one.receive_data(b'{"a":"x"')
        self.assertEqual(b"".join(iter(one.next_piece, None)), b'{"a":"***"')
        one.receive_data(b"}\n")
        self.assertEqual(b"".join(iter(one.next_piece, None)), b"}\n")


class BoundsTests(SynchronousTestCase):
    """Nothing is unbounded."""

    def test_memory_does_not_grow(self) -> None:
        """Of a long document nothing is kept but what is open."""
        one = masker([Rule("value[*].key", Mask()), Rule("value[*].id", Rewrite())])
        item = b'{"id":"/x","key":"abc","other":[1,2,3,"%s"]},' % (b"t" * 900)
        one.receive_data(b'{"value":[')
        size = 0
        for _ in range(300):
            one.receive_data(item * 50)
            size += sum(map(len, iter(one.next_piece, None)))
            self.assertLess(one.held, 2 * len(item))
        self.assertGreater(size, 14 * 10**6)

    def test_strings_that_are_passed_or_replaced_are_not_held(self) -> None:
        """Only what must be known as a whole is, and is limited."""
        for rule, ends in (
            (Rule("a", Mask()), b'{"a":"***"}'),
            (Rule("b", Mask()), b'{"a":"' + b"x" * 2_000_000 + b'"}'),
        ):
            one, out = masker([rule]), list[bytes]()
            one.receive_data(b'{"a":"')
            for _ in range(200):
                one.receive_data(b"x" * 10_000)
                out += iter(one.next_piece, None)
                self.assertLess(one.held, 100)
            self.assertEqual(b"".join(out) + run(one, [b'"}']), ends)
        one = masker([Rule("a", Mask("last4"))])
        self.assertRaises(DocumentError, run, one, [b'{"a":"', b"x" * 300_000])

    def test_one_piece_is_some_of_the_work(self) -> None:
        """A slice that is dear to read is given in several pieces."""
        one = masker([Rule("$", MaskStrings("hash"))])
        one.receive_data(b"[" + b'"",' * 20000 + b'""]')
        pieces = list(iter(one.next_piece, None))
        self.assertGreater(len(pieces), 8)


class TwinTests(SynchronousTestCase):
    """What the compiled twin leaves to the plain reader."""

    def setUp(self) -> None:
        """Skip where it was not built."""
        if not accelerated.is_wanted("hoopgw.documents._scan"):
            raise SkipTest("the compiled twin is not built, or not wanted")

    def test_deeper_than_it_goes(self) -> None:
        """Beyond what it has room for, the other reads alone."""
        limits = Limits(depth=3000)
        document = b'{"a":[' * 1400 + b'"x"' + b"]}" * 1400
        for path, shown in (("**.a[*].b", document), ("**.a[*]", b'{"a":[{}]}')):
            for plain in (True, False):
                one = masker([Rule(path, Mask())], limits=limits, plain=plain)
                self.assertEqual(run(one, [document]), shown)

    def test_more_names_than_it_remembers(self) -> None:
        """An object of which rules know very many names."""
        rules = [Rule(f"n{number}", Mask()) for number in range(100)]
        document = "{" + ",".join(f'"n{number}":"x"' for number in [*range(200), 99]) + "}"
        wanted = ",".join(f'"n{n}":"{"***" if n < 100 else "x"}"' for n in [*range(200), 99])
        self.assertEqual(masked(document, *rules), "{" + wanted + "}")

    def test_it_is_used(self) -> None:
        """Unless somebody objects."""
        self.assertIsNotNone(compile_rules([]).scanner(masker([])))
