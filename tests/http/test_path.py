"""Targets: what is taken, what is refused, and that canonical is canonical."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.path import Locator, LocatorError, locate, read_path

segments = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/\\;%.?#"),
    min_size=1,
    max_size=8,
)

REFUSED: Final = (
    "",
    "a/b",
    "*",
    "//",
    "/a//b",
    "//a",
    "/a//",
    "/./a",
    "/a/.",
    "/a/..",
    "/../a",
    "/a/../b",
    "/%2e%2e/a",
    "/a/%2E",
    "/a/.%2e/b",
    "/a%2Fb",
    "/a%2fb",
    "/a%5Cb",
    "/a\\b",
    "/a%00b",
    "/a%0db",
    "/a%7f",
    "/a%c2%85",
    "/%252e%252e/a",
    "/a%25",
    "/a;b=c/d",
    "/a%3Bb",
    "/%73ecrets",
    "/a%2Db",
    "/a%5Fb",
    "/%41",
    "/%30",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a%%32%65",
    "/a%ff",
    "/a%c0%af",
    "/a%c0%ae",
    "/a%ed%a0%80",
    "/a./b",
    "/a.",
    "/a%20",
    "/%20a",
    "/a%20/b",
    "/a b",
    "/a#b",
    "/é",
    "/a%E2%80%AEb",
    "/a%EF%BC%8Fb",
    "/a%EF%BC%8E%EF%BC%8E",
    "/a%E2%80%A4b",
    "/a%EF%BC%85",
    "/a|b",
    "/a[b]",
    "/a/" * 300,
)

REFUSED_QUERIES: Final = ("%", "a=%4", "a=%ff", "%ff=a", "a%00b=c", "a=%00", "%0a=b", "=a")


class LocatorTests(SynchronousTestCase):
    """Tests for `locate`."""

    def test_refused(self) -> None:
        """Each of these is read differently by somebody."""
        for path in REFUSED:
            with self.subTest(path):
                self.assertRaises(LocatorError, locate, path)
                self.assertRaises(LocatorError, locate, path + "?a=b")
        for query in (*REFUSED_QUERIES, "a=b&" * 300):
            with self.subTest(query):
                self.assertRaises(LocatorError, locate, f"/?{query}")

    def test_taken(self) -> None:
        """What SDKs and people send."""
        for target, expected, slash in (
            ("/", (), False),
            ("http://x", (), False),
            ("https://x/", (), False),
            ("HTTPS://x/a", ("a",), False),
            ("/a/b/", ("a", "b"), True),
            ("/a%20b/%C3%A9", ("a b", "é"), False),
            ("/.well-known/x.json", (".well-known", "x.json"), False),
            ("/a..b/...c", ("a..b", "...c"), False),
            ("/a%7Eb~/%2B+", ("a~b~", "++"), False),
            ("/Role('x')/a=b,c:@!$&*", ("Role('x')", "a=b,c:@!$&*"), False),
            ("/a%3Fb%23", ("a?b#",), False),
        ):
            with self.subTest(target):
                found = locate(target)
                self.assertEqual((found.segments, found.slash), (expected, slash))

    def test_queries(self) -> None:
        """Names may be encoded; order and repetition stay."""
        found = locate("/a?api%2Dversion=1&$filter=a%20eq+'b'&x=1&X=2&y&&z=a=b?c;d")
        self.assertEqual(
            found.query,
            (
                ("api-version", "1"),
                ("$filter", "a eq 'b'"),
                ("x", "1"),
                ("X", "2"),
                ("y", ""),
                ("z", "a=b?c;d"),
            ),
        )
        self.assertEqual(found.repeated, {"x"})
        self.assertEqual(found.parameter("API-Version"), "1")
        self.assertIsNone(found.parameter("none"))
        self.assertRaises(LocatorError, found.parameter, "x")
        self.assertEqual(found.target, "/a?api%2Dversion=1&$filter=a%20eq+'b'&x=1&X=2&y&&z=a=b?c;d")

    def test_nothing_secret_is_shown(self) -> None:
        """Signatures come in queries."""
        self.assertNotIn("s3cret", repr(locate("/a?sig=s3cret")))

    @given(st.lists(segments, max_size=5).map(tuple), st.booleans())
    def test_canonical_is_read_as_it_was_meant(self, meant: tuple[str, ...], slash: bool) -> None:
        """Writing and reading are each other's reverse, where the segments are clear."""
        where = Locator(meant, slash and bool(meant))
        try:
            found = locate(where.canonical)
        except LocatorError:
            self.assertFalse("".join(meant).isascii())
            return
        self.assertEqual(found, where)
        self.assertEqual(found.canonical, where.canonical)

    @given(st.text(st.sampled_from("/ab.%2eEfF5cC;?&=+~é\\ "), max_size=12))
    def test_what_is_taken_is_taken_by_others(self, tail: str) -> None:
        """Decoding once more, or tidying the path up, changes nothing in what is taken."""
        try:
            taken, slash = read_path("/" + tail)
        except LocatorError:
            return
        again = "/" + "/".join(quote(segment) for segment in taken)
        self.assertEqual(read_path(again + ("/" if slash and taken else "")), (taken, slash))
        for segment in taken:
            self.assertEqual(unquote(segment), segment)
            self.assertNotIn(segment, ("", ".", ".."))
            self.assertEqual(segment, segment.rstrip(". "))
