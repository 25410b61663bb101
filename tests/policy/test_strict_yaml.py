"""YAML that is read as it looks, and what is not read at all."""

from __future__ import annotations

import time

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.strict_yaml import DEPTH_LIMIT, load

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


class LoadTests(SynchronousTestCase):
    """Tests for `load`."""

    @given(values)
    def test_what_was_written_is_read(self, value: object) -> None:
        """As PyYAML writes it."""
        self.assertEqual(load(yaml.safe_dump([value]), "f")[0], [value])

    @given(st.text(max_size=60))
    def test_garbage_is_refused_or_read(self, text: str) -> None:
        try:
            load(text, "f")
        except PolicyError as error:
            self.assertTrue(str(error).startswith("f"))

    def test_words_that_yaml_is_known_for(self) -> None:
        """They are texts, as they look."""
        found, _ = load("a: no\nb: 12:30\nc: 2026-01-01\nd: 0x1f\ne: 1e3\nf: 'true'\ng: true", "f")
        self.assertEqual(
            found,
            {
                "a": "no",
                "b": "12:30",
                "c": "2026-01-01",
                "d": "0x1f",
                "e": "1e3",
                "f": "true",
                "g": True,
            },
        )

    def test_lines(self) -> None:
        found, lines = load("- a: 1\n\n- b: 2\n", "f")
        self.assertEqual([lines[id(each)] for each in found], [1, 3])

    def test_what_is_refused(self) -> None:
        """Each with its line."""
        for text, why in (
            ("a: 1\nb: 2\na: 3", "f:3: 'a' comes twice"),
            ("a: &x 1\nb: *x", "f:1: anchors and aliases"),
            ("a: *x", "f:1: anchors and aliases"),
            ("<<: {a: 1}\n<<: {b: 1}", "comes twice"),
            ("a: !!python/object/apply:os.system ['id']", "f:1: tags"),
            ("a: !!binary aGk=", "f:1: tags"),
            ("--- 1\n--- 2", "f:2: a second document"),
            ("1: x", "a key is a text"),
            ("? [a]\n: x", "a key is a text"),
            ("a: [1, 2", "is no YAML"),
            ("a:\n\t- b", "is no YAML"),
            ("", "is empty"),
            ("# nothing", "is empty"),
        ):
            with self.assertRaises(PolicyError) as caught:
                load(text, "f")
            self.assertIn(why, str(caught.exception))

    def test_a_bomb(self) -> None:
        """Nine levels of nine references would be some gigabytes; and what it would be without."""
        bomb = "a0: &a0 [x, x]\n" + "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
        )
        with self.assertRaisesRegex(PolicyError, "aliases"):
            load(bomb, "f")
        small = "".join(bomb.splitlines(keepends=True)[:4])
        self.assertGreater(len(str(yaml.safe_load(small))), 10 * len(small))

    def test_depth_and_size(self) -> None:
        """Refused soon, and without recursion."""
        begun = time.process_time()
        for text in ("[" * 500_000, "{a: " * 200_000, "- " * 200_000, "[" + "1," * 300_000):
            with self.assertRaises(PolicyError):
                load(text, "f")
        self.assertLess(time.process_time() - begun, 20)
        self.assertTrue(load("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT, "f")[0] is not None)
