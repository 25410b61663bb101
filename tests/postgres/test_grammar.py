"""Tests for `hoopgw_postgres.grammar`: what reaches the C code, and what it gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_postgres.grammar import (
    COMMENT_DEPTH,
    TEXT_LIMIT,
    GrammarError,
    _comment_depth,
    check,
    parse,
)


def nesting(text: bytes) -> int:
    """Count comment depth as PostgreSQL's lexer does, for text without quotes or line comments."""
    depth = deepest = place = 0
    while place < len(text):
        pair = text[place : place + 2]
        if pair == b"/*":
            depth, place = depth + 1, place + 2
            deepest = max(deepest, depth)
        elif pair == b"*/" and depth:
            depth, place = depth - 1, place + 2
        else:
            place += 1
    return deepest


class CheckTests(SynchronousTestCase):
    """Tests for `check`."""

    def refused(self, text: bytes) -> str:
        error = self.assertRaises(GrammarError, check, text)
        assert isinstance(error, GrammarError)
        return error.message

    def test_limits(self) -> None:
        check(b"x" * TEXT_LIMIT)
        self.assertIn("longer than", self.refused(b"x" * (TEXT_LIMIT + 1)))

    def test_encoding(self) -> None:
        check("SELECT 'é'".encode())
        self.assertIn("UTF-8", self.refused("SELECT 'é'".encode("latin-1")))
        self.assertIn("UTF-8", self.refused(b"SELECT '\xed\xa0\x80'"))
        self.assertIn("NUL", self.refused(b"SELECT 1\0; DROP TABLE x"))

    def test_comments_beside_each_other_are_fine(self) -> None:
        check(b"SELECT 1 /* a */ + /* b */ 2 " * 200)

    def test_nested_comments(self) -> None:
        deep = COMMENT_DEPTH
        check(b"/* " * deep + b"*/ " * deep + b"SELECT 1")
        self.assertIn("nest", self.refused(b"/*" * (deep + 1) + b"*/" * (deep + 1)))

    def test_an_operator_hides_no_comment(self) -> None:
        """After ``1 *``, the lexer reads ``/*`` where a naive scan reads ``*/``."""
        self.assertIn("nest", self.refused(b"SELECT 1 *" + b"/*" * 200))

    @given(st.text(alphabet="/* a\n", max_size=60).map(str.encode))
    def test_the_bound_is_never_below_the_lexer(self, text: bytes) -> None:
        self.assertGreaterEqual(_comment_depth(text), nesting(text))

    @given(st.integers(0, 3), st.text(alphabet="/*", max_size=60).map(str.encode))
    def test_the_bound_holds_wherever_comments_start(self, skip: int, text: bytes) -> None:
        """A lexer that consumed some of the characters in another token sees no more."""
        self.assertGreaterEqual(_comment_depth(text), nesting(text[skip:]))


class ParseTests(SynchronousTestCase):
    """Tests for `parse`."""

    def test_several_statements(self) -> None:
        first, second = parse(b"SELECT 1; DROP TABLE x")
        self.assertIn("SelectStmt", first["stmt"])
        self.assertIn("DropStmt", second["stmt"])
        self.assertEqual(second["stmt_location"], 10)

    def test_nothing(self) -> None:
        for text in (b"", b" ; ;", b"-- nothing", b"/* nothing */"):
            self.assertEqual(parse(text), [], text)

    def test_a_syntax_error_has_its_place(self) -> None:
        error = self.assertRaises(GrammarError, parse, b"SELECT 1 FRM x y")
        assert isinstance(error, GrammarError)
        self.assertIn("syntax error", error.message)
        self.assertEqual(error.position, 14)

    @given(st.text(max_size=60).filter(lambda text: "\0" not in text))
    def test_only_grammar_errors_come_out(self, text: str) -> None:
        try:
            parse(text.encode("utf-8", "replace"))
        except GrammarError as error:
            self.assertTrue(error.message)
