"""JSON whose meaning nobody can doubt."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.strict_json import (
    COUNT_LIMIT,
    DEPTH_LIMIT,
    SIZE_LIMIT,
    decode,
    has_member,
    member,
    texts,
)

REFUSED: Final = {
    "a member twice": b'{"a": 1, "a": 2}',
    "a member twice, by case": b'{"resources": [], "Resources": [1]}',
    "a member twice, escaped": b'{"a": 1, "\\u0041": 2}',
    "a member twice, deep": b'[{"x": {"a": 1, "A": 2}}]',
    "a letter that passes for another": '{"\u212aeyVault": 1}'.encode(),
    "NaN": b'{"a": NaN}',
    "Infinity": b"[-Infinity]",
    "too big": b"[1e999]",
    "a number of many digits": b"[" + b"9" * 5000 + b"]",
    "beyond 64 bits": b"[18446744073709551616]",
    "half of a pair": b'["\\ud800"]',
    "half of a pair as a name": b'{"\\udc00": 1}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16-le"),
    "UTF-16 with its mark": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32-be"),
    "no UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "deep": b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1),
    "very deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "too many values": b"[" + b"1," * COUNT_LIMIT + b"1]",
    "too long": b'"' + b"a" * SIZE_LIMIT + b'"',
    "nothing": b"",
    "two values": b"{} {}",
    "a comma at the end": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "hexadecimal": b"[0x10]",
    "an open comment": b"{} /* ",
    "an open text": b'{"a": "',
}
"""What is refused however relaxed."""


class RefusedTests(SynchronousTestCase):
    """What two readers might take differently."""

    def test_refused(self) -> None:
        for name, body in REFUSED.items():
            for relaxed in (False, True):
                with self.assertRaises(UnclearRequestError, msg=name):
                    decode(body, relaxed=relaxed)

    def test_json_itself_would_take_them(self) -> None:
        """So it is this decoder that refuses them."""
        for name in (
            "a member twice",
            "a member twice, by case",
            "NaN",
            "too big",
            "half of a pair",
        ):
            json.loads(REFUSED[name])

    def test_hostile_texts_end_soon(self) -> None:
        """No text makes the reader go over it again and again."""
        for piece in (b"/*", b'"\\"', b"a ", b"a$", b"aa", b"$:", b'"a":', b"\\"):
            started = time.perf_counter()
            with self.assertRaises(UnclearRequestError):
                decode(piece * (SIZE_LIMIT // 2 // len(piece)), relaxed=True)
            self.assertLess(time.perf_counter() - started, 30.0, piece)


class RelaxedTests(SynchronousTestCase):
    """What authors of templates write, and az sends."""

    def test_taken_and_made_plain(self) -> None:
        for written, meant in (
            (b'{template: {"a": 1}}', {"template": {"a": 1}}),
            (b'{"a": 1 // "b": 2\n}', {"a": 1}),
            (b'{"a": /* x */ [1, 2 /* 3 */]}', {"a": [1, 2]}),
            (b'{"a": "line\nbreak"}', {"a": "line\nbreak"}),
            (b'{a: "http://x /* y */ // z"}', {"a": "http://x /* y */ // z"}),
            (b'{"a": "\\"// b"} // c', {"a": '"// b'}),
        ):
            found = decode(written, relaxed=True)
            self.assertEqual(found.value, meant)
            self.assertEqual(json.loads(found.plain or b""), meant)
            with self.assertRaises(UnclearRequestError):
                decode(written)

    def test_plain_json_is_left_as_it_is(self) -> None:
        self.assertIsNone(decode(b'{"a": 1.50}', relaxed=True).plain)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdef", max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


class PropertiesTests(SynchronousTestCase):
    """Whatever it is."""

    @given(values)
    def test_json_is_read_as_it_is(self, value: object) -> None:
        """The same as by the standard library."""
        body = json.dumps(value).encode()
        self.assertEqual(decode(body).value, json.loads(body))
        self.assertEqual(decode(body, relaxed=True), decode(body))

    @given(st.binary() | st.text().map(str.encode))
    def test_anything_is_read_or_refused(self, body: bytes) -> None:
        """And what a relaxed reading sends on is read the same by a strict one."""
        try:
            found = decode(body, relaxed=True)
        except UnclearRequestError:
            return
        if found.plain is not None:
            self.assertEqual(decode(found.plain).value, found.value)

    @given(st.text('{}[]":,/*\\\n ab1', max_size=40))
    def test_nothing_gets_lost_between_the_readings(self, text: str) -> None:
        try:
            found = decode(text.encode(), relaxed=True)
        except UnclearRequestError:
            return
        if found.plain is not None:
            self.assertEqual(decode(found.plain).value, found.value)

    def test_members(self) -> None:
        """Found without regard to case, also if they are null."""
        value = decode(b'{"KeyVault": {"ID": null}}').value
        self.assertTrue(has_member(member(value, "keyVault"), "id"))
        self.assertIsNone(member(value, "vault"))
        self.assertIsNone(member([1], "a"))
        self.assertEqual(sorted(texts(decode(b'{"a": ["b", {"c": 1}]}').value)), ["a", "b", "c"])
