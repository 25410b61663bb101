"""What a gated shell carries from line to line."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.shell.carried import VARIABLES_LIMIT, Carried, Step, plan
from hoopgw.shell.grammar import parse
from hoopgw.shell.running import facts

_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" '\"$`\\;&|"))
THERE = Carried(folder="/srv/my app", before="", variables=(("A", "it's"),))


def step(line: str, carried: Carried = Carried()) -> Step:  # noqa: B008  # frozen
    """Return what a line asks for."""
    return plan(line, parse(line.encode()), carried)


class TextTests(SynchronousTestCase):
    """The text that is judged and run."""

    def test_nothing_is_carried(self) -> None:
        """The line is what was typed."""
        self.assertEqual(step("ls; id").text, "ls; id")

    def test_before_the_line(self) -> None:
        """All of the line is in the folder, or nothing of it runs."""
        before = "export A='it'\"'\"'s' && cd -- '/srv/my app' && "
        self.assertEqual(step("ls | wc", THERE).text, f"{before}ls | wc")
        self.assertEqual(step("a && b", THERE).text, f"{before}a && b")
        for line in ("a; b", "a || b", "a &", "a && b & c", "if a; then\nb\nfi"):
            self.assertEqual(step(line, THERE).text, f"{before}{{\n{line}\n}}")

    def test_nothing_runs_elsewhere(self) -> None:
        """A folder that is gone fails the line, as a shell runs it."""
        gone = Carried(folder="/no/such")
        for line in ("echo x; echo x", "false || echo x", "echo x & wait", "! echo x # c"):
            done = subprocess.run(
                ["/bin/sh", "-c", step(line, gone).text], capture_output=True, check=False
            )
            self.assertEqual(done.stdout, b"", line)

    @given(_TEXT.filter(bool), _TEXT)
    def test_quoting(self, name: str, value: str) -> None:
        """Whatever folder and value are called, they run nothing."""
        carried = Carried(folder=f"/{name}", variables=(("A", value),))
        runs = facts(carried.text("ls").encode()).runs
        self.assertEqual([words[0] for words in runs], ["export", "cd", "ls"])
        self.assertEqual(runs[1], ("cd", "--", f"/{name}"))

    @settings(max_examples=15, deadline=None)
    @given(_TEXT)
    def test_value(self, value: str) -> None:
        """It arrives as it was."""
        text = Carried(folder="/", variables=(("A", value),)).text('printf %s "$A"; pwd')
        done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=True)
        self.assertEqual(done.stdout.decode(), f"{value}/\n")


class LastingTests(SynchronousTestCase):
    """What is for the lines that come."""

    def test_folder(self) -> None:
        """The target is asked which it is."""
        self.assertEqual(step("cd x # c"), Step(text="cd x && pwd -P", moves=True))
        self.assertEqual(
            step("cd ..", Carried(folder="/a b")).text, "cd -- '/a b' && cd .. && pwd -P"
        )
        self.assertEqual(step("cd -", THERE).text, THERE.text("cd && pwd -P"))
        self.assertIn("no folder before", step("cd -").note)

    def test_where_it_is(self) -> None:
        """Taken if it is a path, and nothing else."""
        moved = THERE.moved(b"noise\n/srv/b\n")
        assert moved is not None
        self.assertEqual((moved.folder, moved.before), ("/srv/b", "/srv/my app"))
        for said in (b"", b"srv\n", b"/a\x1b[2J\n", b"/\xff\n", b"/" + b"a" * 5000, b"/a\n\n"):
            self.assertIsNone(THERE.moved(said))

    def test_real_folder(self) -> None:
        """As a shell says it."""
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made).resolve() / "it's $x"
            folder.mkdir()
            text = step(f'cd "{made}/it\'s \\$x"').text
            done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, check=True)
            moved = Carried().moved(done.stdout)
            assert moved is not None
            self.assertEqual(moved.folder, str(folder))

    def test_variables(self) -> None:
        """Plain values are kept when the host has taken them; all others are not taken."""
        found = step("export B='x y' A=2", THERE)
        assert found.then is not None
        self.assertEqual(found.then.variables, (("B", "x y"), ("A", "2")))
        self.assertEqual(found.text, THERE.text("export B='x y' A=2"))
        for line in ("export A=$HOME", "export A", "export A=$'\\x1b'", "A=1", "export A+=1"):
            self.assertEqual((step(line).text, bool(step(line).note)), ("", True), line)
        many = " ".join(f"A{n}=1" for n in range(VARIABLES_LIMIT + 1))
        self.assertIn("too many", step(f"export {many}").note)
        gone = step("unset A", THERE)
        assert gone.then is not None
        self.assertEqual(gone.then.variables, ())
        self.assertIsNone(step("unset PATH", THERE).then)

    def test_leaving(self) -> None:
        """With a status, or that of the last line."""
        self.assertEqual(step("exit"), Step(leaves=True))
        self.assertEqual(step("logout 3"), Step(leaves=True, status=3))
        self.assertFalse(step("exit x").leaves)
        self.assertFalse(step("exit; ls").leaves)

    def test_notes(self) -> None:
        """Who expects more of a line than it can do is told so."""
        self.assertIn("this line only", step("cd /x && ls").note)
        self.assertIn("without a terminal", step("vi x").note)
        self.assertEqual(step("# nothing"), Step())
        self.assertEqual(step("ls"), Step(text="ls"))
