"""Tests of `hoopgw.store.seals`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.store.seals import SealKey, Value

values = st.lists(
    st.none()
    | st.text(alphabet=st.characters(codec="utf-8"), max_size=6)
    | st.binary(max_size=6)
    | st.integers()
    | st.floats(allow_nan=False),
    max_size=4,
)


class SealTests(SynchronousTestCase):
    """A seal is of one kind, of one list of values, and by one key."""

    @given(values, values)
    def test_different_rows_have_different_seals(
        self, first: list[Value], second: list[Value]
    ) -> None:
        """Neither types nor the cuts between values can be confused."""
        same = repr(first) == repr(second)
        key = SealKey(b"x" * 32)
        self.assertEqual(key.holds(key.seal("a", *first), "a", *second), same)
        self.assertFalse(key.holds(key.seal("a", *first), "b", *first))
        self.assertFalse(SealKey(b"y" * 32).holds(key.seal("a", *first), "a", *first))

    def test_a_short_key_is_refused(self) -> None:
        self.assertRaises(ValueError, SealKey, b"short")

    def test_the_key_is_not_shown(self) -> None:
        self.assertNotIn("xxxx", repr(SealKey(b"x" * 32)))
