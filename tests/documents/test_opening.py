"""Tests for `hoopgw.documents.opening`, and for text and XML."""

from __future__ import annotations

import gzip
import random
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.limits import Limits
from hoopgw.documents.opening import Document, MaskingOrder, open_document
from hoopgw.documents.rules import Count, Detect, Mask, Rule, compile_rules
from hoopgw.documents.text_masker import TextMasker
from hoopgw.documents.xml_masker import XmlMasker
from hoopgw.errors import DocumentError
from tests.documents.reference import run
from tests.documents.strategies import cuts

RULES = [Rule("**.secret", Mask())]


def opened(
    content_type: str | None, coding: str = "", rules: list[Rule] | None = None, **limits: int
) -> Document:
    """Open a document."""
    compiled = compile_rules(RULES if rules is None else rules)
    order = MaskingOrder(rules=compiled, limits=Limits(**limits))  # type: ignore[arg-type]  # counts is not given
    return open_document(order, content_type, coding)


class OpeningTests(SynchronousTestCase):
    """Which masker is taken."""

    def test_by_content_type(self) -> None:
        """JSON in its dialects, XML, text; and nothing else."""
        for content_type, wanted in (
            ("application/json", JsonMasker),
            ("Application/JSON; charset=UTF-8", JsonMasker),
            ('application/json; odata.metadata=minimal; charset="utf-8"', JsonMasker),
            ("application/problem+json", JsonMasker),
            ("application/x-ndjson", JsonMasker),
            ("application/json;stream=watch", JsonMasker),
            ("text/json", JsonMasker),
            ("text/plain", TextMasker),
            ("application/xml", XmlMasker),
            ("text/xml; charset=utf-16", XmlMasker),
            ("application/atom+xml", XmlMasker),
        ):
            with self.subTest(content_type):
                self.assertIsInstance(opened(content_type).masker, wanted)

    def test_lines(self) -> None:
        """A watch, and what is declared so."""
        for content_type, lines in (
            ("application/x-ndjson", True),
            ("application/json;stream=watch", True),
            ("application/json", False),
        ):
            one = opened(content_type).masker
            assert isinstance(one, JsonMasker)
            self.assertIs(one.lines, lines)

    def test_what_cannot_be_masked(self) -> None:
        """Not what it might be, but what it says that it is."""
        for content_type in (
            None,
            "",
            "application/octet-stream",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "application/json-seq",
            "multipart/mixed; boundary=x",
            "text/html",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "application/json; charset=utf-8; charset=utf-16",
            "text/plain; charset=latin-1",
        ):
            with self.subTest(content_type):
                self.assertRaises(DocumentError, opened, content_type)
        self.assertRaises(DocumentError, opened, "application/json", "br")

    def test_limits_of_what_cannot_be_counted(self) -> None:
        """An answer in another form is no way around them."""
        limits = Limits(counts={"items": 5})
        order = MaskingOrder(rules=compile_rules([Rule("[*]", Count("items"))]), limits=limits)
        for content_type in ("text/plain", "text/xml"):
            self.assertRaises(DocumentError, open_document, order, content_type)
        one = open_document(order, "text/json")
        self.assertEqual(run(one, [b"[1,2,3]"]), b"[1,2,3]")
        self.assertEqual((one.counts, one.received, one.masked), ({"items": 3}, 7, 0))

    @given(st.data())
    def test_compressed(self, data: st.DataObject) -> None:
        """The coding is taken off, in whatever pieces it came."""
        whole = gzip.compress(b'{"secret": "x"}')
        one = opened("application/json", "gzip")
        self.assertEqual(run(one, data.draw(cuts(whole))), b'{"secret": "***"}')
        self.assertEqual(one.masked, 1)

    def test_compressed_and_cut_off(self) -> None:
        """A whole document in a body that is not whole is refused too."""
        whole = gzip.compress(b'{"secret": "x"}')
        self.assertRaises(DocumentError, run, opened("text/json", "gzip"), [whole[:-1]])
        self.assertEqual(run(opened("text/json", "gzip"), []), b"")


class TextTests(SynchronousTestCase):
    """Tests for `TextMasker`."""

    def test_nothing_is_shown_where_rules_go_by_path(self) -> None:
        """Not even the length."""
        self.assertEqual(run(opened("text/plain"), [b"secret " * 10**5]), b"***")
        self.assertEqual(run(opened("text/plain"), []), b"")

    def test_detectors(self) -> None:
        """What they find is replaced, also where it was cut."""
        rules = [Rule("$", Detect(("email",))), Rule("value[*]", Count("items"))]
        one = opened("text/plain", rules=rules)
        self.assertEqual(run(one, [b"to alice@ex", b"ample.com\n"]), b"to ***\n")
        self.assertEqual((one.masked, one.received, one.counts), (1, 21, {}))

    def test_limits(self) -> None:
        """Too long, or not UTF-8."""
        rules = [Rule("$", Detect(("email",)))]
        for whole in (b"x" * 101, b"\xff"):
            one = opened("text/plain", rules=rules, text=100)
            self.assertRaises(DocumentError, run, one, [whole])
            self.assertRaises(DocumentError, one.next_piece)


XML = (
    '<?xml version="1.0" encoding="{}"?>\n<publishData xmlns="urn:x"><!-- s3cr3t --><publishProfile'
    ' userPWD="s3cr3t"\n  url="a&amp;b"><databases/><t>s3cr3t &lt; <![CDATA[ <s3cr3t> ]]> x</t>'
    "<?s3cr3t?> <t>é</t></publishProfile></publishData>\n"
)
SHOWN = (
    '<?xml version="1.0" encoding="utf-8"?><publishData xmlns="urn:x"><publishProfile userPWD="***"'
    ' url="***"><databases></databases><t>***</t> <t>***</t></publishProfile></publishData>'
)


class XmlTests(SynchronousTestCase):
    """Tests for `XmlMasker`."""

    @given(st.data(), st.sampled_from(["utf-8", "utf-16", "iso-8859-1"]))
    def test_only_the_shape_is_shown(self, data: st.DataObject, encoding: str) -> None:
        """However it was cut, and in whatever encoding expat reads."""
        whole = XML.format(encoding).encode(encoding)
        self.assertEqual(run(opened("application/xml"), data.draw(cuts(whole))).decode(), SHOWN)

    def test_what_is_refused(self) -> None:
        """Entities, other encodings, too much of anything, and what is no XML."""
        for whole in (
            b'<!DOCTYPE a [<!ENTITY b "s3cr3t">]><a>&b;</a>',
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
            b'<?xml version="1.0" encoding="windows-1252"?><a/>',
            b"<a>&b;</a>",
            b"<a><b></a>",
            b"<a/><b/>",
            b"<a/>x",
            b"<a",
            b"<a>",
            b"x",
            b'<a b="1" b="2"/>',
            b"<a>" * 200 + b"</a>" * 200,
            b"<a " + b" ".join(b'a%d=""' % n for n in range(300)) + b"/>",
            b"<" + b"a" * 5000 + b"/>",
            b'<a b="' + b"x" * 10**6,
            b"<a>\xff</a>",
        ):
            with self.subTest(whole[:30]):
                one = opened("text/xml")
                self.assertRaises(DocumentError, run, one, [whole])
                self.assertRaises(DocumentError, one.next_piece)

    def test_nothing(self) -> None:
        """An answer without content."""
        self.assertEqual(run(opened("text/xml"), []), b"")

    @given(st.randoms(use_true_random=False))
    def test_what_comes_out_is_xml(self, chance: random.Random) -> None:
        """With the elements and attributes of what went in."""

        def make(depth: int) -> ElementTree.Element:
            one = ElementTree.Element(chance.choice("abc"))
            for name in chance.sample("xyz", chance.randint(0, 3)):
                one.set(name, chance.choice(['"', "<&>", "\n", "s3cr3t"]))
            one.text = chance.choice(["", " ", "s3cr3t", "]]>", "&"])
            one.extend(make(depth - 1) for _ in range(chance.randint(0, 3) if depth else 0))
            return one

        root = make(3)
        out = run(opened("text/xml"), [ElementTree.tostring(root)])
        shown = ElementTree.fromstring(out)  # noqa: S314  # we wrote it ourselves
        for before, after in zip(root.iter(), shown.iter(), strict=True):
            self.assertEqual((before.tag, before.keys()), (after.tag, after.keys()))
            self.assertLessEqual(set(after.attrib.values()), {"***"})
            self.assertIn(after.text, {None, " ", "***"})
