"""Tests for `hoopgw.documents.lookout`: where it sees nothing, there is nothing to rewrite."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.lookout import SIGN, Linked, Lookout, has_sign, look
from hoopgw.documents.rules import Rewrite, Rule, compile_rules
from hoopgw.errors import DocumentError
from hoopgw.transport import accelerated

ABSOLUTE: Final = re.compile(r"(?i)https?:|[/\\]{2}")
"""What clients take for an URL of another host, without what they ignore."""
IGNORED: Final = str.maketrans("", "", "\t\n\r")
RULES: Final = compile_rules([Rule("**", Rewrite())])
ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"', "/": "\\/"}

signs = st.sampled_from([*'hHtTpPsS:/\\"nrtu\t\n\r\0 x{}[],é', "\u017f", "\ufb06", "\\u00", "2f"])
noise = st.lists(signs, max_size=12).map("".join)
ignored = st.sampled_from(["", "", "", "\t", "\n", "\r"])


@st.composite
def links(draw: st.DrawFn) -> str:
    """Return an URL that leads elsewhere, as a client that forgives much takes it."""
    scheme = draw(st.sampled_from(["https:", "http:", "http\u017f:", ""]))
    slashes = draw(st.sampled_from(["//", "\\\\", "/\\", "\\/", *(["", "/"] if scheme else [])]))
    said = draw(st.sampled_from(["", " ", "\0", "\x1f"]))
    for letter in f"{scheme}{slashes}":
        said += draw(ignored) + (letter.upper() if draw(st.booleans()) else letter)
    return said + draw(ignored) + "api.example"


@st.composite
def written(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """Return a text as a string of JSON, each of its characters escaped in some way, or not."""
    letters = []
    for letter in draw(texts):
        ways = [f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"]
        if letter in ESCAPES:
            ways.append(ESCAPES[letter])
        if letter >= " " and letter not in '"\\':
            ways += [letter] * 6
        letters.append(draw(st.sampled_from(ways)))
    return f'"{"".join(letters)}"'.encode()


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Return an object of texts, some of which lead elsewhere."""
    texts = draw(st.lists(written(links() | noise | st.text(max_size=8)), max_size=4))
    space = draw(st.sampled_from([b"", b" ", b"\n\t"]))
    members = [b'%b"%d"%b:%b%b' % (space, at, space, space, each) for at, each in enumerate(texts)]
    return b"{" + b",".join(members) + b"}"


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return the pieces of a document, cut at some places."""
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(ends)]


def is_clear(pieces: Iterable[bytes]) -> bool:
    """Say whether a lookout sees nothing in a document; its twin sees as much."""
    pieces = tuple(pieces)
    plain, lookout = Lookout(look), Lookout()
    clear = all(plain.is_clear(piece) for piece in pieces)
    assert all(lookout.is_clear(memoryview(piece)) for piece in pieces) == clear
    return clear


def changes(document: bytes) -> bool:
    """Say whether reading all of a document changes it, or refuses it."""

    def rewrite(_path: str, said: str) -> str:
        return "***" if ABSOLUTE.match(said.translate(IGNORED).lstrip(BLANK)) else said

    masker = JsonMasker(rules=RULES, rewrite=rewrite)
    masker.receive_data(document)
    masker.receive_end()
    pieces = []
    try:
        while (piece := masker.next_piece()) is not None:
            pieces.append(piece)
    except DocumentError:
        return True
    return b"".join(pieces) != document


BLANK: Final = "".join(map(chr, range(33)))
cuts = st.lists(st.integers(0, 400), max_size=6)


class LookoutTests(SynchronousTestCase):
    """What a lookout sees."""

    @given(written(links()), cuts, st.binary(max_size=3))
    def test_it_sees_every_link(self, link: bytes, places: list[int], before: bytes) -> None:
        """In any spelling, in any pieces, and whatever else is there."""
        whole = b'{"' + before + b'":' + link + b"}"
        self.assertFalse(is_clear(cut(whole, places)))
        self.assertFalse(is_clear([whole[at : at + 1] for at in range(len(whole))]))

    @given(documents(), cuts)
    @example(b'{"next":"https\\n:x"}', [])
    @example(b'{"next":"/\\t/x"}', [12])
    def test_what_is_clear_is_not_changed(self, document: bytes, places: list[int]) -> None:
        """By whoever reads all of it."""
        if is_clear(cut(document, places)):
            self.assertFalse(changes(document))

    @given(noise.map(str.encode), cuts)
    def test_pieces_do_not_matter(self, data: bytes, places: list[int]) -> None:
        self.assertEqual(is_clear(cut(data, places)), is_clear([data]))
        self.assertEqual(is_clear([b"-", *cut(data, places)]), not has_sign(data))

    @given(st.lists(signs, max_size=40).map("".join), st.integers(0, 600))
    def test_the_compiled_twin(self, said: str, before: int) -> None:
        """It says the same as the pattern, also around where its blocks end."""
        if not accelerated.is_built("hoopgw.documents._signs"):
            raise SkipTest("not built")
        from hoopgw.documents import _signs

        for data in (
            said.encode(),
            b"",
            said.encode() + b"\xc3\xa9",
            b"-" * before + said.encode() + b"-" * 300,
        ):
            self.assertEqual(_signs.look(data), look(data))

    def test_the_compiled_twin_at_the_end_of_a_block(self) -> None:
        """Whatever is at its edge."""
        if not accelerated.is_built("hoopgw.documents._signs"):
            raise SkipTest("not built")
        from hoopgw.documents import _signs

        for sign in (
            b"https:",
            b"\\n:",
            b"/\\r/",
            b"//",
            b"\\u",
            b"http\xc5\xbf:",
            b"\\tp:",
            b"/\n",
        ):
            for before in range(240, 270):
                self.assertEqual(_signs.look(b"-" * before + sign + b"-" * 300), SIGN)

    @given(written(links()), st.integers(0, 40))
    def test_what_waits(self, link: bytes, end: int) -> None:
        """A string that may become a link is not shown before it is one."""
        said = b'{"a": ' + link[:end]
        if not has_sign(said):
            self.assertEqual(Lookout().undecided(said), len(link[:end]))

    def test_what_does_not_wait(self) -> None:
        for said in (b'{"a": 1', b'{"a": "b', b'{"a": "hello', b'"' + b"h" * 300, b""):
            with self.subTest(said=said):
                self.assertEqual(Lookout().undecided(said), 0)

    def test_usual_documents_are_clear(self) -> None:
        for text in (
            '{"id": "/v1/orders/1", "at": "2026-01-01T10:00:00Z", "note": "a \\"b\\"\\n\\tc: d"}',
            '{\r\n\t"names" : ["Zoë", "東京"],\n"paths": ["a/b/c", "x:y", "steps: 1"]}',
            "",
        ):
            with self.subTest(text=text):
                self.assertTrue(is_clear([text.encode()]))

    def test_other_encodings_are_not(self) -> None:
        """Whoever reads them so might find a link where there is none in UTF-8."""
        said = '{"next": "x"}'
        for data in (
            said.encode("utf-16"),
            said.encode("utf-16-le"),
            said.encode("utf-16-be"),
            said.encode("utf-32-le"),
            codecs.BOM_UTF8 + said.encode(),
            b'{"next": "https:\xc0\xaf\xc0\xafx"}',
            b'{"next": "\xc0\xaf\xc0\xafx"}',
            b'{"next": "\xe9"}',
        ):
            with self.subTest(data=data):
                self.assertFalse(is_clear([data]))
                self.assertFalse(is_clear([data[at : at + 1] for at in range(len(data))]))

    def test_letters_that_count_as_others(self) -> None:
        """There is one, and it is looked for."""
        absolute = re.compile("[https:]", re.IGNORECASE)
        found = [each for each in map(chr, range(128, sys.maxunicode)) if absolute.match(each)]
        self.assertEqual(found, ["\u017f"])


class LinkedTests(SynchronousTestCase):
    """A document that is opened when it is read."""

    def test_it_is_opened_once_and_late(self) -> None:
        opened: list[JsonMasker] = []

        def open_it() -> JsonMasker:
            opened.append(JsonMasker(rules=RULES, rewrite=lambda _path, said: said.upper()))
            return opened[-1]

        linked = Linked(open_it)
        self.assertTrue(linked.is_clear(b'{"a":'))
        self.assertFalse(linked.is_clear(b' "https:'))
        self.assertEqual((opened, linked.masked, linked.received), ([], 0, 0))
        linked.receive_data(b'["b"]')
        linked.receive_end()
        pieces = []
        while (piece := linked.next_piece()) is not None:
            pieces.append(piece)
        self.assertEqual(b"".join(pieces), b'["B"]')
        self.assertEqual((len(opened), linked.masked, linked.received), (1, 1, 5))
        self.assertEqual(linked.counts, {})
