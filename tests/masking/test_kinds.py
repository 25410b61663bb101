"""Tests for `hoopgw.masking.kinds`."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.masking import KINDS, mask_text, plain_kind, token, token_integer, token_text

KEY = b"k" * 32


class KindTests(SynchronousTestCase):
    """Tests for masks of texts."""

    def test_examples(self) -> None:
        for kind, text, expected in (
            ("null", "secret", None),
            ("hide", "secret", None),
            ("unheard-of", "secret", None),
            ("redact", "secret", "***"),
            ("year", "secret", "***"),
            ("last4", "4111111111111111", "****1111"),
            ("partial", "4111111111111111", "****1111"),
            ("last4", "12345678", "****"),
            ("last4", "", "****"),
            ("last4", "ÄÖÜäöüßéèê", "****ßéèê"),
            ("email", "ann@example.com", "***@example.com"),
            ("email", "a@b@example.com", "***@example.com"),
            ("email", "no address", "***"),
            ("email", "@example.com", "***"),
            ("email", "ann@", "***"),
            ("email", "password@ my secret is", "***"),
        ):
            self.assertEqual(mask_text(kind, text, KEY), expected, (kind, text))

    @given(st.sampled_from(sorted(KINDS - {"email"})), st.text(min_size=5, max_size=40))
    def test_no_mask_shows_more_than_four_characters(self, kind: str, text: str) -> None:
        masked = mask_text(kind, text, KEY)
        if masked is not None and kind != "hash":
            self.assertNotIn(text[-5:], masked.replace("*", "") or "-")

    @given(st.text(max_size=30), st.text(max_size=30))
    def test_lengths_do_not_show(self, one: str, two: str) -> None:
        for kind in ("redact", "hash"):
            lengths = {len(mask_text(kind, text, KEY) or "") for text in (one, two)}
            self.assertEqual(len(lengths), 1)

    @given(st.binary(max_size=100), st.binary(max_size=200))
    def test_a_token_is_an_hmac(self, key: bytes, value: bytes) -> None:
        """Of RFC 2104, whatever the key's length: who keeps tokens can compare them for ever."""
        whole = hmac.digest(key, b"hoopgw/mask/v1\0" + value, "sha256")
        self.assertEqual(token(key, value), whole)
        self.assertEqual(token_text(key, value), whole.hex()[:32])

    def test_tokens(self) -> None:
        self.assertEqual(mask_text("hash", "x", KEY), token_text(KEY, b"x"))
        self.assertNotEqual(token_text(KEY, b"x"), token_text(b"j" * 32, b"x"))
        self.assertNotEqual(token_text(KEY, b"x"), token_text(KEY, b"y"))
        self.assertEqual(len(token_text(KEY, b"x")), 32)
        self.assertEqual(len(token(KEY, b"x")), 32)
        for limit in (1, 2, 10**6):
            self.assertIn(token_integer(KEY, b"x", limit), range(limit))

    def test_names(self) -> None:
        self.assertEqual(plain_kind("hide"), "null")
        self.assertEqual(plain_kind("nonsense"), "null")
        self.assertEqual(plain_kind("last4"), "last4")
