"""Tests for `hoopgw.cli.program`, `failure` and `output`."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import __version__
from hoopgw.cli.failure import CommandError, NotLoggedInError, UnreachableError
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, moment
from hoopgw.cli.program import program
from hoopgw.errors import ConfigError
from tests.cli.support import run
from tests.support.processes import python_environment


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Name all commands, with their groups."""
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    found: list[tuple[str, ...]] = []
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += every_command(below, (*path, name))
    return found


class ProgramTests(SynchronousTestCase):
    """The program as a whole."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_version(self) -> None:
        """For people and for programs."""
        self.assertEqual(run("version").output, f"hoopgw {__version__}\n")
        self.assertEqual(run("version", "--json").json, {"version": __version__})
        self.assertEqual(run("--json", "version").json, {"version": __version__})

    def test_every_command_has_help_and_json(self) -> None:
        """Each command imports, says in a sentence what it does, and knows --json."""
        for path in every_command(program):
            result = run(*path, "--help")
            self.assertEqual(result.status, 0, path)
            if path[:1] != ("demo",):
                self.assertIn("--json", result.output, path)

    def test_every_command_is_in_the_manual(self) -> None:
        """hoopgw(1) names each of them."""
        manual = (Path(__file__).parents[2] / "man" / "hoopgw.1").read_text().replace("\\", "")
        for path in every_command(program):
            words = path if len(path) == 1 or path[0] == "demo" else path[1:]
            for word in words:
                self.assertIn(word, manual, path)

    def test_the_words_of_the_issue(self) -> None:
        """These commands are promised."""
        there = {" ".join(path) for path in every_command(program)}
        promised = {
            "init",
            "login",
            "token",
            "targets",
            "requests list",
            "requests show",
            "requests approve",
            "requests deny",
            "sessions list",
            "sessions show",
            "sessions replay",
            "sessions verify",
            "policy check",
            "policy test",
            "policy explain",
            "config check",
            "agent join",
            "agent token",
            "agent list",
            "version",
        }
        self.assertEqual(promised - there, set())

    def test_completion(self) -> None:
        """Shells are told commands and options, as the manual says."""
        for words, found in (
            (["hoopgw", "se"], "plain,sessions\n"),
            (["hoopgw", "delegate", "--al"], "plain,--allow\n"),
        ):
            result = subprocess.run(
                [sys.executable, "-m", "hoopgw.cli"],
                env=python_environment()
                | {
                    "_HOOPGW_COMPLETE": "bash_complete",
                    "COMP_WORDS": " ".join(words),
                    "COMP_CWORD": str(len(words) - 1),
                },
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            self.assertEqual(result.stdout, found, result.stderr)

    def test_wrong_use(self) -> None:
        """Status 2, with the way to help."""
        result = run("sessions", "replay")
        self.assertEqual(result.status, 2)
        self.assertIn("Missing argument", result.errors)

    def test_not_logged_in(self) -> None:
        """Status 3, one sentence with the fix, no traceback."""
        result = run("--home", self.folder, "targets")
        self.assertEqual(result.status, 3)
        self.assertEqual(result.errors, "hoopgw: you are not logged in: run `hoopgw login`\n")
        self.assertEqual(result.output, "")

    def test_errors_as_json(self) -> None:
        """With --json the error is JSON too, on standard error."""
        result = run("--home", self.folder, "targets", "--json")
        self.assertEqual(result.fault["error"], "not_logged_in")
        self.assertEqual(result.fault["status"], 3)
        self.assertEqual(result.output, "")

    def test_statuses(self) -> None:
        """Each kind of failure has its own."""
        kinds = (CommandError, NotLoggedInError, UnreachableError)
        self.assertEqual([kind("x").exit_code for kind in kinds], [1, 3, 4])


@click.command("broken")
@click.argument("kind")
def broken(kind: str) -> None:
    """Fail in some way."""
    raise {
        "bug": ZeroDivisionError("a\x1b[2Jb"),
        "ours": ConfigError("hoopgw.toml: no state\x1b[2J"),
        "file": FileNotFoundError(2, "No such file or directory", "ca.crt"),
    }[kind]


class FailureTests(SynchronousTestCase):
    """Whatever is raised becomes one sentence."""

    def setUp(self) -> None:
        program.add_command(broken)
        self.addCleanup(program.commands.pop, "broken")

    def test_a_bug(self) -> None:
        """Says that it is one, and how to see more; control characters do not reach a terminal."""
        result = run("broken", "bug")
        self.assertEqual(result.status, 1)
        self.assertIn("fault of hoopgw (ZeroDivisionError", result.errors)
        self.assertNotIn("Traceback", result.errors)
        self.assertNotIn("\x1b[2J", result.errors)

    def test_ours(self) -> None:
        """An error that we raise on purpose is shown as it is."""
        result = run("broken", "ours")
        self.assertEqual(result.status, 1)
        self.assertEqual(result.errors, "hoopgw: hoopgw.toml: no state\\x1b[2J\n")

    def test_a_file(self) -> None:
        """Names the file."""
        self.assertIn("ca.crt: No such file", run("broken", "file").errors)

    def test_a_traceback_if_it_is_asked_for(self) -> None:
        """For those who look for the fault."""
        result = run("broken", "bug", env={"HOOPGW_TRACEBACK": "1"})
        self.assertIn("Traceback", result.errors)


class OutputTests(SynchronousTestCase):
    """Tables."""

    def shown(self, *, terminal: bool) -> str:
        stream = io.StringIO()
        self.patch(sys, "stdout", stream)
        console = Console(file=stream, force_terminal=terminal, width=80)
        rows = [("r-1", "denied", "[bold]x[/bold]\x1b[2J"), ("r-2", None, ["a", "b"])]
        Output(console, is_json=False).rows(("id", "state", "text"), rows)
        return stream.getvalue()

    def test_plain(self) -> None:
        """Without a terminal: aligned columns, no colour, nothing cut."""
        self.assertEqual(
            self.shown(terminal=False),
            "ID   STATE   TEXT\nr-1  denied  [bold]x[/bold]\\x1b[2J\nr-2  -       a, b\n",
        )

    def test_terminal(self) -> None:
        """With one: colours of ours, none of the data's."""
        text = self.shown(terminal=True)
        self.assertIn("\x1b[31mdenied", text)
        self.assertIn("[bold]x[/bold]\\x1b[2J", text)

    def test_moment(self) -> None:
        """No time is a dash."""
        self.assertEqual(moment(None), "-")
        self.assertRegex(moment(1_000_000_000.0), r"^2001-09-0\d \d\d:\d\d:\d\d$")

    def test_ids(self) -> None:
        """What a person types cannot leave its place in a URL."""
        self.assertEqual(path_part("r-1A_z"), "r-1A_z")
        for bad in ("", "../x", "a/b", "a?b", "a%2fb", "-x", "x" * 200, "a..b"):
            self.assertRaises(click.UsageError, path_part, bad)
