"""Tests for XML that is masked by path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.limits import Limits
from hoopgw.documents.opening import Document, MaskingOrder, open_document
from hoopgw.documents.rules import (
    Count,
    Detect,
    Drop,
    Mask,
    MaskStrings,
    Refuse,
    Rewrite,
    Rule,
    Treatment,
    compile_rules,
)
from hoopgw.errors import DocumentError, DocumentLimitError
from tests.documents.reference import run
from tests.documents.strategies import cuts

LIST = """<?xml version="1.0" encoding="utf-8"?>\
<EnumerationResults ServiceEndpoint="https://a.example/" xmlns:x="urn:x"><Blobs>\
<Blob><Name>a &amp; b.txt</Name><Properties><Size>12</Size></Properties>\
<x:Metadata><owner>alice@corp.example</owner></x:Metadata></Blob>
<Blob kept="1"><Name>c</Name><Metadata><owner>bob</owner><other> x </other></Metadata></Blob>\
</Blobs><NextMarker></NextMarker></EnumerationResults>"""
OWNER = "EnumerationResults.Blobs.Blob.Metadata.owner"


def opened(
    rules: Iterable[Rule],
    content_type: str = "application/xml",
    counts: Mapping[str, int] | None = None,
    **limits: int,
) -> Document:
    """Open a document with rules whose paths are of XML."""
    order = MaskingOrder(
        rules=compile_rules(rules),
        paths="xml",
        key=b"k" * 32,
        rewrite=lambda path, text: f"{path}:{text}",
        limits=Limits(counts=counts or {}, **limits),
    )
    return open_document(order, content_type)


def shown(path: str, treatment: Treatment, text: str = LIST, keep: tuple[str, ...] = ()) -> str:
    """Return what one rule makes of a text."""
    return run(opened([Rule(path, treatment, keep)]), [text.encode()]).decode()


class PathTests(SynchronousTestCase):
    """What each treatment does where its path leads, and only there."""

    def test_what_no_rule_is_for(self) -> None:
        """It is there as it was, but for the two ways to write an element without content."""
        self.assertEqual(shown("other", Mask()), LIST)

    def test_an_element(self) -> None:
        """All elements of the name, in whatever namespace; nothing beside them."""
        wanted = re.sub("<owner>[^<]*", "<owner>***", LIST)
        self.assertEqual(shown(OWNER, Mask()), wanted)
        self.assertEqual(shown("**.owner", Mask()), wanted)
        self.assertEqual(
            shown(OWNER, Mask("email")),
            LIST.replace("alice@", "***@").replace("<owner>bob", "<owner>***"),
        )

    def test_an_element_with_others_in_it(self) -> None:
        """Nothing of what is in it is shown, its attributes neither."""
        out = shown("EnumerationResults.Blobs.Blob", Mask())
        self.assertNotIn("Name", out)
        self.assertNotIn("1", out.partition("<Blobs>")[2])
        self.assertIn("<NextMarker>", out)
        self.assertEqual(len(ElementTree.fromstring(out)), 2)  # noqa: S314  # we wrote it

    def test_all_texts_below(self) -> None:
        out = shown("EnumerationResults.Blobs.Blob.Metadata", MaskStrings())
        self.assertEqual(out, re.sub("<(owner|other)>[^<]*", r"<\1>***", LIST))
        kept = shown("$", MaskStrings(), keep=("EnumerationResults.Blobs.Blob.Name",))
        self.assertEqual(re.findall("<Name>([^<]*)", kept), ["a &amp; b.txt", "c"])
        self.assertIn('ServiceEndpoint="***"', kept)
        self.assertNotIn("alice", kept)

    def test_all_of_it(self) -> None:
        out = shown("$", Mask())
        self.assertEqual(ElementTree.fromstring(out).attrib, {"ServiceEndpoint": "***"})  # noqa: S314  # we wrote it
        self.assertNotIn("Blob", out)

    def test_attributes(self) -> None:
        out = shown("EnumerationResults.@ServiceEndpoint", Rewrite())
        self.assertIn('="EnumerationResults.@ServiceEndpoint:https://a.example/"', out)
        self.assertNotIn("kept", shown("**.@kept", Drop()))

    def test_what_is_left_out(self) -> None:
        out = shown("EnumerationResults.Blobs.Blob.Metadata", Drop())
        self.assertNotIn("owner", out)
        self.assertIn("<Name>c</Name></Blob></Blobs>", out)

    def test_what_is_refused(self) -> None:
        self.assertRaises(DocumentError, shown, OWNER, Refuse("no owners"))

    def test_what_is_looked_for(self) -> None:
        """Also where a text is cut by references and sections."""
        text = "<a>x &amp;<![CDATA[ ali]]>ce@ex&#97;mple.com &lt;</a>"
        out = shown("**", Detect(("email",)), text)
        self.assertEqual(out.partition("?>")[2], "<a>x &amp; *** &lt;</a>")

    def test_the_same_tokens_for_the_same_texts(self) -> None:
        out = shown("**.b", Mask("hash"), "<a><b>x</b><b>&#120;</b><b>y</b></a>")
        one, two, three = re.findall("<b>([^<]*)", out)
        self.assertEqual(one, two)
        self.assertNotEqual(one, three)

    def test_returns_and_quotes_stay(self) -> None:
        text = '<a b="&quot;&#10;&#13;&lt;">&#13;\n]]&gt;</a>'
        out = ElementTree.fromstring(shown("c", Mask(), text))  # noqa: S314  # we wrote it
        self.assertEqual((out.text, out.attrib["b"]), ("\r\n]]>", '"\n\r<'))


class LimitTests(SynchronousTestCase):
    """Counts, and what would take too long or too much."""

    def test_items(self) -> None:
        """They are counted, and too many break it off."""
        rules = [Rule("EnumerationResults.Blobs.Blob", Count("items"))]
        one = opened(rules, counts={"items": 2})
        self.assertEqual(run(one, [LIST.encode()]).decode(), LIST)
        self.assertEqual(one.counts, {"items": 2})
        with self.assertRaisesRegex(DocumentLimitError, "more than 1 items"):
            run(opened(rules, counts={"items": 1}), [LIST.encode()])

    def test_what_is_no_xml(self) -> None:
        """Paths mean nothing in it."""
        for content_type in ("application/json", "text/plain", "application/octet-stream", ""):
            self.assertRaises(DocumentError, opened, [Rule("a", Mask())], content_type)

    def test_long_texts(self) -> None:
        """A text that must be read as a whole has a limit, one that is replaced has none."""
        long = b"<a>" + b" x\n" * 1000 + b"</a>"
        for kind, refused in (("redact", False), ("null", False), ("last4", True)):
            one = opened([Rule("a", Mask(kind))], text=500)
            if refused:
                self.assertRaises(DocumentError, run, one, [long])
            else:
                self.assertLess(len(run(one, [long])), 80)

    def test_depth(self) -> None:
        """It counts inside of what is hidden or left out, too."""
        for treatment in (Mask(), Drop(), Count("n")):
            for depth, fits in ((10, True), (11, False)):
                one = opened([Rule("a.a.a", treatment)], depth=10)
                text = b"<a>" * depth + b"</a>" * depth
                if fits:
                    run(one, [text])
                else:
                    self.assertRaises(DocumentError, run, one, [text])


NAMES = st.sampled_from(["a", "b", "secret"])
TEXTS = st.sampled_from(["", "x", "s3cr3t", "<&>", "]]>"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.tuples(NAMES, st.dictionaries(NAMES, TEXTS, max_size=2), TEXTS, st.just([])),
    lambda below: st.tuples(
        NAMES, st.dictionaries(NAMES, TEXTS, max_size=2), TEXTS, st.lists(below, max_size=3)
    ),
    max_leaves=8,
)


def tree(made: Any) -> ElementTree.Element:
    """Return what was drawn."""
    name, attributes, text, below = made
    one = ElementTree.Element(name, attributes)
    one.text = text
    one.extend(tree(each) for each in below)
    return one


def masked(one: ElementTree.Element) -> ElementTree.Element:
    """Return what ``**.secret`` and ``**.@secret`` leave of it, made by other means."""
    after = ElementTree.Element(one.tag)
    for name, value in one.attrib.items():
        after.set(name, "***" if "secret" in (name, one.tag) else value)
    if one.tag != "secret":
        after.text = one.text
        after.extend(masked(each) for each in one)
    elif not len(one) and one.text:
        after.text = "***"
    return after


class AnyTests(SynchronousTestCase):
    """Any document, however it is cut."""

    @given(TREES, st.data())
    def test_as_by_other_means(self, made: Any, data: st.DataObject) -> None:
        root = tree(made)
        pieces = data.draw(cuts(ElementTree.tostring(root)))
        out = run(opened([Rule("**.secret", Mask()), Rule("**.@secret", Mask())]), pieces)
        self.assertEqual(
            ElementTree.canonicalize(out.decode()),
            ElementTree.canonicalize(ElementTree.tostring(masked(root), "unicode")),
        )
