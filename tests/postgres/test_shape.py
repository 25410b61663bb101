"""Tests for `hoopgw_postgres.shape`: one shape, one set of facts."""

from __future__ import annotations

import random
import re
from unittest import SkipTest

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.transport import accelerated
from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.shape import LIMIT, plain_shape, shape
from hoopgw_postgres.statements import Facts
from tests.adversarial.vectors import ORDINARY, VECTORS

ANALYSER = Analyser()
TEXTS = [
    *(text for text in ORDINARY),
    *(text for vector in VECTORS for text in vector.statements),
    "SELECT a FROM t WHERE b = 5 AND c='x' ORDER BY 2, 1 LIMIT 10",
    "SELECT a FROM t WHERE b=5 OR c <= 'it''s' GROUP BY 1 HAVING count(*) > 3",
    "SELECT 'a='||ssn||'b' FROM t",
    "SELECT a FROM t ORDER BY b = 5, +3, -2, 4",
    "SELECT 'a' 'b', E'c', B'1', X'1F', N'd', U&'e'",
    "SELECT \"a='\" , 'b' FROM \"t\" WHERE \"c\" = 'd''' AND e = ''",
    "UPDATE t SET a = a + 5 WHERE b = 3 AND c = 'x1'",
    "INSERT INTO t1 (a, b) VALUES (1, 'x', -2, 3.5, 1e5, 0x1F, CURRENT_TIMESTAMP)",
    "DELETE FROM t WHERE a IN (1, 2, 3) RETURNING *, 5",
    "WITH x AS (SELECT 1 = 2 AS y) SELECT * FROM x ORDER BY 1",
]
PIECES = st.sampled_from(
    [
        *("SELECT ", "select a, ", "INSERT INTO t VALUES (", ")", "UPDATE t SET a = ", "DELETE "),
        *("'", "''", '"', "a", "ssn", "5", "07", "x1", " = ", "=", "<", ">=", "=>", "+", "-", "?"),
        *(" ORDER BY ", " GROUP BY ", " LIMIT ", ",", "(", " ", "\n", ".", "::", "||", "E", "U&"),
        *(
            "; ",
            " FROM t ",
            " WHERE ",
            " UESCAPE ",
            "/*",
            "--",
            ";",
            "$1",
            "$$",
            "\\",
            "\t",
            "%",
            "#",
        ),
    ]
)


def facts(text: bytes) -> Facts:
    """Return the facts, without the length."""
    found = ANALYSER.facts(text)
    statements = tuple(msgspec.structs.replace(s, length=0) for s in found.statements)
    return msgspec.structs.replace(found, statements=statements)


def others(text: bytes, chance: random.Random) -> bytes:
    """Return a text of the same shape, if it is one, with other literals."""

    def other(token: re.Match[bytes]) -> bytes:
        if token.group().startswith(b'"'):
            return token.group()
        if token.group().startswith(b"'"):
            return chance.choice([b"''", b"' = '", b"'ssn'", b"'7'", b"'/ * x'", b"'\"'"])
        return b"%d" % chance.randrange(10**9)

    return re.sub(rb"\"[^\"]*\"|'[^']*'|(?<![\w.])[0-9]+(?![\w.])", other, text)


class ShapeTests(SynchronousTestCase):
    """Tests for `shape`."""

    def assert_sound(self, text: bytes, other: bytes) -> None:
        """Two texts of one shape have the same facts."""
        found = shape(text)
        if found is None or found != shape(other):
            return
        one, two = facts(text), facts(other)
        if not one.error and not two.error:
            self.assertEqual(one, two, f"{text!r}\n{other!r}\n{found!r}")

    @given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
    def test_other_literals_in_real_texts(self, text: str, chance: random.Random) -> None:
        self.assert_sound(text.encode(), others(text.encode(), chance))

    @given(st.lists(PIECES, max_size=16).map("".join), st.randoms(use_true_random=False))
    def test_other_literals_in_odd_texts(self, text: str, chance: random.Random) -> None:
        self.assert_sound(text.encode(), others(text.encode(), chance))

    @given(st.lists(PIECES, max_size=8), st.lists(PIECES, max_size=8))
    def test_odd_texts_that_happen_to_have_one_shape(self, one: list[str], two: list[str]) -> None:
        self.assert_sound("".join(one).encode(), "".join(two).encode())

    def test_what_is_replaced(self) -> None:
        for text, expected in {
            b"SELECT a FROM t WHERE b = 5": b"SELECT a FROM t WHERE b = $",
            b"SELECT a FROM t WHERE b='x' AND c>=10": b"SELECT a FROM t WHERE b=$ AND c>=$",
            b"SELECT a FROM t WHERE b = 5;": b"SELECT a FROM t WHERE b = $",
            b"SELECT a FROM t LIMIT 5": b"SELECT a FROM t LIMIT 5",
            b"SELECT a FROM t ORDER BY 2": b"SELECT a FROM t ORDER BY 2",
            b"SELECT a FROM t WHERE b = 5.5": b"SELECT a FROM t WHERE b = 5.5",
            b"SELECT t1.a2 FROM t1": b"SELECT t1.a2 FROM t1",
            b"update t set a = a - 5 where b=1": b"update t set a = a - $ where b=$",
            b"INSERT INTO t1 VALUES (1, 'x')": b"INSERT INTO t1 VALUES ($, $)",
            b'SELECT "5" = 5, "a\'b" = \'c\'': b'SELECT "5" = $, "a\'b" = $',
        }.items():
            self.assertEqual(shape(text), expected)

    def test_what_has_none(self) -> None:
        for text in (
            b"SET a = 5",
            b"SELECT set_config('a', 'b', true)",
            b"SELECT Set_Config('a', 'b', true)",
            b"SELECT 1; SELECT 2",
            b"SELECT $1",
            b"SELECT $$x$$",
            b"SELECT E'\\''",
            b"SELECT 1 -- x",
            b"SELECT 1 /* x */",
            b"SELECT U&\"a!0062\" UESCAPE '!'",
            "SELECT 'é'".encode(),
            b"SELECT '" + b"x" * LIMIT + b"'",
            b"EXPLAIN SELECT 1",
            b"",
        ):
            self.assertIsNone(shape(text), text)


TOKENS = st.sampled_from(
    [
        *("select", "SELECT ", "With", "insert ", "update x set ", "delete", "set_config"),
        *("Set_Confi", " ", "'", "''", "1", "0", "=", " = ", "<", "*", "/", "-", "--", "/*"),
        *(".", "x", "_", "(", '"', '&"', "$", ";", "\t", "\n", "\v", "\x7f", "\xff", "\\"),
        *("\0", "@", "[", "123456789012345678", "1234567890123456789"),
    ]
)
"""All that makes a difference to a shape."""


class TwinTests(SynchronousTestCase):
    """The compiled twin gives what the plain one gives."""

    def setUp(self) -> None:
        if not accelerated.is_built("hoopgw_postgres._shape"):
            raise SkipTest("it was not built")
        from hoopgw_postgres import _shape

        self.twin = _shape.shape

    @given(st.lists(TOKENS, max_size=16).map("".join))
    def test_any_text(self, text: str) -> None:
        for begin in ("", "select ", "insert ", " delete from x "):
            odd = (begin + text).encode("latin-1")
            self.assertEqual(self.twin(odd), plain_shape(odd))

    def test_ordinary_texts(self) -> None:
        for text in TEXTS:
            self.assertEqual(self.twin(text.encode()), plain_shape(text.encode()))

    def test_long_texts(self) -> None:
        for size in (LIMIT - 1, LIMIT, LIMIT + 1):
            text = b"select".ljust(size)
            self.assertEqual(self.twin(text), plain_shape(text))
