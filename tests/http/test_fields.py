"""Tests for what `hoopgw.http.messages.Headers` does with pairs, plain and compiled."""

from __future__ import annotations

from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http import messages
from hoopgw.http.messages import Headers, Pair
from hoopgw.transport import accelerated

names = st.sampled_from([b"A", b"a", b"Connection", b"X-A", b"x-b", b"TE", b""])
fields = st.lists(st.tuples(names, st.sampled_from([b"1", b"x-a", b"close", b""])), max_size=6)
some = st.frozensets(names.map(bytes.lower), max_size=3)


class FieldsTests(SynchronousTestCase):
    """`Headers`, however it was made, and its compiled functions."""

    @given(fields, some, fields)
    def test_what_follows_from_the_pairs(
        self, pairs: list[Pair], without: frozenset[bytes], added: list[Pair]
    ) -> None:
        """What is left out and added is the same, whether or not names were looked at before."""
        headers = Headers.of(pairs)
        expected = [*(p for p in pairs if p[0].lower() not in without), *added]
        changed = headers.changed(without, *added)
        self.assertEqual(list(changed), expected)
        fresh = Headers.of(expected)
        self.assertEqual((changed.by_name, changed.keys), (fresh.by_name, fresh.keys))
        self.assertEqual(changed.end_to_end(without), fresh.end_to_end(without))
        self.assertEqual(list(headers.besides(without)) + added, expected)
        rest = [p for p in pairs if p[0].lower() in without]
        self.assertEqual(headers.only(without), rest)

    @given(fields, some)
    def test_the_twin_gives_the_same(self, pairs: list[Pair], without: frozenset[bytes]) -> None:
        """The compiled functions beside the plain ones."""
        if not accelerated.is_built("hoopgw.http._fields"):
            raise SkipTest("the compiled twin was not built")
        from hoopgw.http import _fields

        all_, keys = tuple(pairs), Headers.of(pairs).keys
        plain = messages.plain_left_out(all_, keys, without)
        self.assertEqual(_fields.left_out(all_, keys, without), plain)
        self.assertEqual(_fields.by_key(all_, keys), messages.plain_by_key(all_, keys))
        for left_out in (_fields.left_out, messages.plain_left_out):
            self.assertRaises(ValueError, left_out, all_, (*keys, b"x"), without)
