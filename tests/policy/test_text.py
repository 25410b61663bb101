"""Reading policy files and cutting them into policies."""

from __future__ import annotations

import os
from pathlib import Path

import cedarpy
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import PolicyError
from hoopgw.policy.text import (
    FILE_LIMIT,
    BrokenTextError,
    SourceFile,
    read_directory,
    statements,
    version_of,
)
from tests.policy.world import policies

PIECES = st.sampled_from(
    [
        "permit (principal, action, resource);",
        'forbid (principal, action, resource) when { context.a == "x;y" };',
        'forbid (principal, action, resource) when { "\\"; // no" == "a\nb" };',
        "permit (principal, action, resource) // inside; \n when { true };",
    ]
)
BETWEEN = st.sampled_from(["", " ", "\n", "\n\n", "// note; permit\n", "// cr\r", "\t"])


def cut(text: str) -> list[str]:
    return [each.text for each in statements(SourceFile(name="x.cedar", text=text))]


class StatementsTests(SynchronousTestCase):
    """Tests for `statements`."""

    @given(st.lists(st.tuples(BETWEEN, PIECES)), BETWEEN)
    def test_each_policy_comes_back_with_its_line(
        self, parts: list[tuple[str, str]], end: str
    ) -> None:
        """Whatever stands between them; and Cedar counts as many."""
        text = "".join(between + piece for between, piece in parts) + end
        found = list(statements(SourceFile(name="x.cedar", text=text)))
        self.assertEqual([each.text for each in found], [piece for _, piece in parts])
        self.assertEqual(len(cedarpy.PolicySet.from_str(text)), len(parts))
        begin = 0
        for each in found:
            begin = text.index(each.text, begin)
            self.assertEqual(each.line, text.count("\n", 0, begin) + 1)
            begin += len(each.text)

    def test_a_comment_ends_where_cedar_ends_it(self) -> None:
        """A carriage return alone must not hide a policy from us that Cedar sees."""
        text = "// note\rpermit (principal, action, resource);"
        self.assertEqual(len(cedarpy.PolicySet.from_str(text)), 1)
        self.assertEqual(len(cut(text)), 1)

    def test_an_end_is_needed(self) -> None:
        with self.assertRaises(BrokenTextError) as caught:
            cut("permit (principal, action, resource);\n\nforbid (")
        self.assertEqual(caught.exception.line, 3)

    def test_what_crashes_cedar_is_refused_before(self) -> None:
        """Each of these ends the process with a segmentation fault if Cedar gets it."""
        for body in (
            "(" * 1000 + "true" + ")" * 1000,
            "[" * 1000 + "]" * 1000,
            " && ".join(["true"] * 2000),
            "1" + "+1" * 4000 + " > 0",
            "if true then " * 1400 + "true" + " else true" * 1400,
            "context" + ".a" * 4000,
            'context["a"]' + '["a"]' * 4000,
            "principal has " + ".".join("a" * 4000),
            "true } when { " * 4000 + "true",
        ):
            with self.assertRaisesRegex(BrokenTextError, "nests too deep"):
                cut(f"permit (principal, action, resource) when {{ {body} }};")

    def test_a_long_list_is_not_deep(self) -> None:
        """Groups are listed by the hundred."""
        groups = ", ".join(f'Hoopgw::Group::"g{number}"' for number in range(1000))
        text = f"permit (principal, action, resource) when {{ principal in [{groups}] }};"
        self.assertEqual(len(cut(text)), 1)
        self.assertEqual(len(cedarpy.PolicySet.from_str(text).to_pst().static_policies), 1)

    @given(st.text())
    def test_garbage(self, text: str) -> None:
        """Nothing else is raised, and nothing but space and comments gets lost."""
        try:
            found = cut(text)
        except BrokenTextError:
            return
        self.assertEqual(sum(map(len, found)) > 0, bool(found))


class FuzzTests(SynchronousTestCase):
    """Whatever the text of a policy: a set, or `PolicyError`."""

    SCRAPS = st.sampled_from(
        [
            '@id("a")', '@id("b")', "@id", '@mask("redact")', '@mask("x")', '@approval("dba")',
            "@approval", '@approvals("99")', '@max_rows("-1")', '@deny("no")', "@oops",
            "permit", "forbid", "(principal, action, resource)", "(principal,", "action, resource)",
            '(principal in Hoopgw::Group::"g", action == Shop::Action::"see", resource)',
            "(principal == ?principal, action, resource)", "when { true }", "unless", "{", "}",
            "context.now > 3", 'context.approvals.contains("a")', "context has note", "==", "&&",
            'context.approvals.contains("zz")', ";", "// x\n", "\n", '"', "\\", "\x00", "é", "1",
        ]
    )  # fmt: skip

    @given(st.lists(SCRAPS, max_size=24).map(" ".join))
    def test_scraps(self, text: str) -> None:
        """Words of the language, in any order."""
        try:
            policies(text)
        except PolicyError as error:
            self.assertNotEqual(str(error), "")

    @given(st.text(max_size=200))
    def test_text(self, text: str) -> None:
        """Any characters."""
        try:
            policies(text)
        except PolicyError as error:
            self.assertNotEqual(str(error), "")


class ReadDirectoryTests(SynchronousTestCase):
    """Tests for `read_directory` and `version_of`."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()

    def refused(self, why: str) -> None:
        with self.assertRaisesRegex(PolicyError, why):
            read_directory(self.place)

    def test_files_come_sorted_and_alone(self) -> None:
        """Hidden files and others are not policies."""
        for name in ("b.cedar", "a.cedar", ".c.cedar", "d.cedar~", "notes.txt"):
            (self.place / name).write_text(name)
        found = read_directory(self.place)
        self.assertEqual(
            [(f.name, f.text) for f in found], [(n, n) for n in ("a.cedar", "b.cedar")]
        )

    def test_an_empty_directory_is_a_mistake(self) -> None:
        self.refused("no \\*.cedar file")

    def test_a_missing_directory(self) -> None:
        self.place.rmdir()
        self.refused("cannot be read: No such file")

    def test_too_big(self) -> None:
        (self.place / "a.cedar").write_bytes(b" " * (FILE_LIMIT + 1))
        self.refused("bigger than")

    def test_not_text(self) -> None:
        (self.place / "a.cedar").write_bytes(b"permit\xff")
        self.refused("not UTF-8 at byte 6")

    def test_what_is_no_file(self) -> None:
        """A pipe would hold the gateway for ever."""
        os.mkfifo(self.place / "a.cedar")
        self.refused("is not a file")

    def test_too_many(self) -> None:
        for number in range(501):
            (self.place / f"{number}.cedar").touch()
        self.refused("more than 500")

    def test_the_version_holds_names_and_texts(self) -> None:
        """And tells a boundary from a letter."""
        versions = {
            version_of([SourceFile(name=name, text=text) for name, text in files])
            for files in (
                [("a.cedar", "x")],
                [("b.cedar", "x")],
                [("a.cedar", "y")],
                [("a.ceda", "rx")],
                [("a.cedar", "x"), ("b.cedar", "")],
                [],
            )
        }
        self.assertEqual(len(versions), 6)
        self.assertTrue(all(len(each) == 16 for each in versions))
