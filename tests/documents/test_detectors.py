"""Tests for `hoopgw.documents.detectors`."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.documents.detectors import DETECTORS, SEARCHED, is_card, search

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
FOUND = (
    ("jwt", f"Bearer {JWT}", "Bearer ***"),
    ("jwt", f"xx{JWT}", "***"),
    ("jwt", "a.eyJ.eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "***"),
    ("private_key", f"key: {KEY} end", "key: *** end"),
    ("private_key", "-----BEGIN PRIVATE KEY-----\ncut off", "***"),
    ("private_key", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "***"),
    ("private_key", "AGE-SECRET-KEY-1QQQ and", "*** and"),
    ("private_key", "PuTTY-User-Key-File-3: ssh-rsa\nabc", "***"),
    ("pem", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\nx", "***\nx"),
    ("pem", "data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSQ==", "data: ***"),
    (
        "connection_string",
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=abc+/==;EndpointSuffix=y",
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=***;EndpointSuffix=y",
    ),
    ("connection_string", "Endpoint=sb://x/;SharedAccessKey=abc=", "Endpoint=sb://x/;SharedAccessKey=***"),
    ("connection_string", "Server=x;User=y;password = abc;", "Server=x;User=y;password = ***;"),
    ("connection_string", "amqp://user:pass@host:1/v", "amqp://user:***@host:1/v"),
    ("connection_string", "redis://:pass@host", "redis://:***@host"),
    ("sas", "https://x/c?sv=1&sig=a%2Bb%3D&se=2", "https://x/c?sv=1&sig=***&se=2"),
    ("sas", "sig=abc", "sig=***"),
    ("sas", "redirect?to=%3Fsig%3Dabc%26x", "redirect?to=%3Fsig%3D***"),
    ("sas", "SharedAccessSignature sr=a&sig=b&se=1", "***"),
    ("email", "to: alice.b+c@mail.example.com, bob", "to: ***, bob"),
    ("email", "jürgen@bücher.example", "***"),
    ("card", "card 4111111111111111.", "card ***."),
    ("card", "4111-1111-1111-1111", "***"),
    ("card", "3782 822463 10005", "***"),
)  # fmt: skip
NOT_FOUND = (
    ("jwt", "management.azure.com/eyJ.short.x"),
    ("jwt", "eyJhbGciOiJSUzI1NiJ9"),
    ("private_key", "-----BEGIN CERTIFICATE-----\nabc"),
    ("pem", "--- BEGIN ---"),
    ("connection_string", "https://host:443/path@x"),
    ("connection_string", "passwordPolicy is set"),
    ("sas", "https://x/?design=modern"),
    ("email", "user@localhost"),
    ("email", "@odata.nextLink"),
    ("card", "4111111111111112"),
    ("card", "0000000000000000"),
    ("card", "a1b2c3d4-0000-0000-0000-000000000000"),
    ("card", "123456789012"),
    ("card", "41111111111111111111111111"),
)
HOSTILE = (
    "eyJ", "eyJaaaaaaaa.", "a", "a.", "a@", "a@b", "a@b.", "4", "4 ", "4111 ", "://", "://:", "://a:",
    "sig=", "sig%3d", "password", "password=", "-", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
    "LS0tLS1CRUdJTi", "SharedAccessSignature", "A" * 40 + " PRIVATE KEY", "--", "=", "\\",
    "PuTTY-User-Key-File-", "sig", "%3fsig", "pa\u017f\u017fword=x", "\u017fig=", "Api\u212aey=",
)  # fmt: skip


class DetectorTests(SynchronousTestCase):
    """What each finds."""

    def test_found(self) -> None:
        """Only the secret is replaced."""
        for name, text, shown in FOUND:
            with self.subTest(name, text=text):
                self.assertEqual(DETECTORS[name].replace(text, "redact", b""), shown)

    def test_not_found(self) -> None:
        """What only looks alike is left alone."""
        for name, text in NOT_FOUND:
            with self.subTest(name, text=text):
                self.assertEqual(DETECTORS[name].replace(text, "redact", b""), text)

    def test_a_mask_kind_is_for_what_is_found(self) -> None:
        """``null`` cannot be inside of a text: it is replaced as by ``redact``."""
        self.assertEqual(DETECTORS["email"].replace("a@b.example", "email", b""), "***@b.example")
        self.assertEqual(
            DETECTORS["card"].replace("x 4111111111111111", "last4", b""), "x ****1111"
        )
        self.assertEqual(DETECTORS["card"].replace("x 4111111111111111", "null", b""), "x ***")

    def test_a_hint_is_in_all_that_is_found(self) -> None:
        """Otherwise the masker would pass it without a look."""
        for name, text, _ in FOUND:
            small = text.lower().encode()
            hints = DETECTORS[name].hints
            self.assertTrue(any(re.search(hint.encode(), small) for hint in hints), (name, text))
            for hint in hints:
                self.assertIsNone(re.search(hint.encode(), b'"' + b'","' * 9))

    @given(
        st.sampled_from(sorted(DETECTORS)),
        st.lists(st.sampled_from([*HOSTILE, *(text for _, text, _ in FOUND), " "]), max_size=4),
    )
    def test_any_text_that_changes_had_a_hint(self, name: str, parts: list[str]) -> None:
        """The same for what is put together of pieces."""
        text, detector = "".join(parts), DETECTORS[name]
        if detector.replace(text, "redact", b"") != text:
            small = text.encode().lower()
            self.assertTrue(any(re.search(hint.encode(), small) for hint in detector.hints))

    def test_long_texts(self) -> None:
        """All of one is masked if something may be in it; otherwise it is shown."""
        detectors = ((DETECTORS["email"], "email"), (DETECTORS["sas"], "null"))
        for text, shown in (
            ("x" * SEARCHED, "x" * SEARCHED),
            ("x" * (SEARCHED + 1), "x" * (SEARCHED + 1)),
            ("x" * (SEARCHED - 6) + " a@b.c", "x" * (SEARCHED - 6) + " ***@b.c"),
            ("x" * SEARCHED + " a@b.c", "***"),
            ("x" * SEARCHED + "?SIG=x", "***"),
        ):
            self.assertEqual(search(detectors, text, b""), shown, len(text))

    def test_time_is_linear(self) -> None:
        """The longest text that is looked at takes far less than what is quadratic would."""
        for detector in DETECTORS.values():
            for part in HOSTILE:
                text = part * (2**18 // len(part))
                before = time.process_time()
                detector.replace(text, "redact", b"")
                spent = time.process_time() - before
                self.assertLess(spent, 1.0, (detector.name, part))

    def test_check_digits(self) -> None:
        """ISO/IEC 7812."""
        for digits in ("4111111111111111", "378282246310005", "6011 0009 9013 9424"):
            self.assertTrue(is_card(digits))
            self.assertFalse(is_card(digits[:-1] + str((int(digits[-1]) + 1) % 10)))
        self.assertFalse(is_card("0" * 16))
