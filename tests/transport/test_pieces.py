"""What is left of pieces, wherever the kernel stopped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.transport.pieces import rest_of


class RestTests(SynchronousTestCase):
    """`rest_of`."""

    @given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 99))
    def test_it_is_what_is_behind(self, pieces: list[bytes], sent: int) -> None:
        self.assertEqual(rest_of(pieces, sent), b"".join(pieces)[sent:])
