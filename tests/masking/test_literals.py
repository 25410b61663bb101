"""No literal is in what `without_literals` returns."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.masking.literals import without_literals

SECRET = "hunter" + "two"


class LiteralsTests(SynchronousTestCase):
    """Tests for `without_literals`."""

    def test_statements(self) -> None:
        for text, shown in (
            ("SELECT * FROM t\n  WHERE a = 'x''y' AND b=42", "SELECT * FROM t WHERE a = ? AND b=?"),
            ("SELECT E'it\\'s', $1, 1.5e-3", "SELECT E?, $?, ?"),
            ("DO $body$ x $$ y $body$", "DO ?"),
            ("SELECT $$a'b$$", "SELECT ?"),
            ('SELECT "Name" FROM t2', 'SELECT "Name" FROM t2'),
            ("psql -c \"select 'x'\"", "psql -c ?"),
            ("SELECT 1 -- password is x", "SELECT ?"),
            ("SELECT /* x */ 1", "SELECT ?"),
            ("UPDATE t SET a = 'open", "UPDATE t SET a = ?"),
            ("/* open", ""),
        ):
            self.assertEqual(without_literals(text), shown)

    @given(
        st.sampled_from(["'{}'", "'x''{}'", "E'\\'{}'", "$${}$$", "$a$ {} $a$", "'{}", "-- {}\n"]),
        st.text(max_size=10).filter(lambda text: not set(text) & set("'\"$-/*\\")),
    )
    def test_no_literal_is_left(self, form: str, before: str) -> None:
        text = f"SELECT {before} " + form.replace("{}", f"1{SECRET}") + " FROM t"
        self.assertNotIn(SECRET, without_literals(text))

    def test_long_texts_take_no_long_time(self) -> None:
        begun = time.process_time()
        for text in ("'" * 100_001, "$a" * 50_000, "/*" * 50_000, '"\\' * 50_000, "$" * 100_000):
            without_literals(text)
        self.assertLess(time.process_time() - begun, 5)
