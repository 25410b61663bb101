"""Commands taken apart, and compared with what a real bash runs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.shell.grammar import (
    DEPTH_LIMIT,
    TEXT_LIMIT,
    Redirect,
    Script,
    SimpleCommand,
    UnknownCommandError,
    Word,
    parse,
)


def argv(script: Script) -> list[list[str | None]]:
    """Return the values of all commands' words."""
    return [[word.value for word in command.words] for command in script.commands]


class CommandTests(SynchronousTestCase):
    """What is named."""

    def test_a_command(self) -> None:
        """Its name, its arguments, its assignments and where its output goes."""
        (command,) = parse(b"LANG=C ls -l 'a b' \"c d\" e\\ f 2>&1 >>out").commands
        self.assertEqual(command.name, "ls")
        self.assertEqual([w.value for w in command.words], ["ls", "-l", "a b", "c d", "e f"])
        self.assertEqual(command.assignments, (Word("LANG=C", "LANG=C"),))
        self.assertEqual(
            command.redirects,
            (Redirect(">&", Word("1", "1")), Redirect(">>", Word("out", "out"))),
        )

    def test_every_command_counts(self) -> None:
        """Wherever it stands."""
        for text, names in (
            (b"a | b |& c", {"a", "b", "c"}),
            (b"a && b || c; d & e", {"a", "b", "c", "d", "e"}),
            (b"(a; { b; c; })", {"a", "b", "c"}),
            (b'a $(b `c` <(d) "$(e)")', {"a", "b", "c", "d", "e"}),
            (b"if a; then b; elif c; then d; else e; fi", {"a", "b", "c", "d", "e"}),
            (b"while a; do b; done; until c; do d; done", {"a", "b", "c", "d"}),
            (b"for x in $(a) b; do c; done", {"a", "c"}),
            (b"case $(a) in x) b;; *) c;; esac", {"a", "b", "c"}),
            (b"f() { a; }; f", {"a", "f"}),
            (b"! a", {"a"}),
            (b"[[ -f $(a) ]] && b", {"a", "b", "[["}),
            (b"[ $(a) = x ]", {"a", "["}),
            (b"X=$(a) b", {"a", "b"}),
            (b"X=$(a)", {"a"}),
            (b"export X=$(a) Y", {"a", "export"}),
            (b"a > $(b)", {"a", "b"}),
            (b"cat <<X\n$(a)\nX\n", {"cat", "a"}),
            (b"cat <<'X'\n$(a) `b`\nX\n", {"cat"}),
            (b"cat <<< $(a)", {"cat", "a"}),
            (b"a ${x:-$(b)}", {"a", "b"}),
            (b"a $((1 + $(b)))", {"a", "b"}),
            (b"a # b; c", {"a"}),
            (b"a\nb", {"a", "b"}),
            (b"time a", {"time"}),
        ):
            script = parse(text)
            self.assertEqual(script.names, names, text)
            self.assertTrue(script.is_known)

    def test_constructs(self) -> None:
        """Are named, so that policy can want none of them."""
        for text, constructs in (
            (b"a", set()),
            (b"a | b", {"pipeline"}),
            (b"a && (b)", {"list", "subshell"}),
            (b"a &", {"background"}),
            (b"f() { a; }", {"function", "group"}),
            (b"a $(b)", {"substitution"}),
        ):
            self.assertEqual(parse(text).constructs, constructs, text)

    def test_what_the_text_does_not_tell(self) -> None:
        """Has no value; a name without one is no name."""
        for word in (
            b"$x",
            b"${x}",
            b"$(x)",
            b"`x`",
            b"a*",
            b"?",
            b"[ab]",
            b"{a,b}",
            b"~",
            b'"$x"',
        ):
            (*_, command) = parse(b"echo " + word).commands
            self.assertIsNone(command.words[1].value, word)
            if word not in (b"{a,b}", b"[ab]"):
                self.assertFalse(parse(word + b" x").is_known, word)
        self.assertFalse(parse(b"x=rm; $x f").is_known)
        self.assertFalse(parse(b"$'\\x72m' f").is_known)

    def test_redirects_of_groups(self) -> None:
        """Hold for all in them."""
        script = parse(b"{ a; b; } > out")
        for command in script.commands:
            self.assertEqual(command.redirects, (Redirect(">", Word("out", "out")),))
        self.assertEqual(
            parse(b"> out").commands,
            (SimpleCommand(words=(), redirects=(Redirect(">", Word("out", "out")),)),),
        )

    def test_unknown(self) -> None:
        """Is refused whole."""
        for text in (
            b"echo 'open",
            b"a &&",
            b"a | | b",
            b"if a; then b",
            b"\xff",
            b"a\0b",
            b"a\rb",
            b"a \x1b[2J",
            b"x=(a b)",
            b"a \\\n b",
            b"a`b`c",
            b"!'a b'",
            b"{'a'; }",
            b"cat <<X\n`b`\nX\n",
            b"x" * (TEXT_LIMIT + 1),
            b"(" * (DEPTH_LIMIT + 5) + b"a" + b")" * (DEPTH_LIMIT + 5),
        ):
            with self.assertRaises(UnknownCommandError):
                parse(text)

    @given(st.text(alphabet="ab $(){}[]|&;<>'\"`\\\n#!*?=-~\t", max_size=40))
    def test_anything(self, text: str) -> None:
        """Whatever comes, the only exception is ours."""
        with contextlib.suppress(UnknownCommandError):
            parse(text.encode())


_BASH = shutil.which("bash") or "/bin/bash"
_HANDLE = """
command_not_found_handle() { printf '%s\\0' "$@" $'\\1' >&9; return "$status"; }
status=$1
eval "$2"
"""
"""Writes the words of each command that is called, whatever it is called."""

_FRAGMENTS = r"""
p1  p2 a  p3  'q r'  "s t"  \   \'  &&  ||  ;  |  |&  (  )  {
; }  $(p4 b)  `p5`  #  if
; then
; fi  !  & wait  "$(p6)"  $'p7'  while
; do
; break; done  x=y  ${x:-$(p8)}  <<<  case  in  2>&1  >o  <(p9)
"""
fragments = st.sampled_from(
    [*_FRAGMENTS.replace("\n", "  ").split("  "), " ", "\n", "\\\n", "<<E\n", "\nE\n", "if ", "{ "]
)


def really(text: str, status: int) -> list[list[str]] | None:
    """Return what a bash calls, with commands that all end with a status; None if it takes long."""
    try:
        done = subprocess.run(
            [_BASH, "-c", f"exec 9>&1 >/dev/null; {_HANDLE}", "bash", str(status), text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            env={"PATH": "/nowhere"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    calls, words = list[list[str]](), list[str]()
    for word in done.stdout.decode(errors="replace").split("\0")[:-1]:
        if word == "\1":
            calls.append(words)
            words = []
        else:
            words.append(word)
    return calls


class BashTests(SynchronousTestCase):
    """Nothing runs that is not named."""

    @settings(deadline=None, max_examples=150)
    @given(st.lists(fragments, max_size=9).map("".join), st.sampled_from([0, 1]))
    def test_what_bash_runs(self, text: str, status: int) -> None:
        """Each call is of a command that is in the script, with the same words."""
        try:
            script = parse(text.encode())
        except UnknownCommandError:
            return
        named = [command for command in script.commands if command.words]
        for call in really(text, status) or []:
            self.assertTrue(any(_may_be(command, call) for command in named), (text, call))


def _may_be(command: SimpleCommand, call: list[str]) -> bool:
    """Whether a call is of a command: word by word, as far as the text tells."""
    words = [word.value for word in command.words]
    if None in words:
        at = words.index(None)
        return call[:at] == words[:at]  # a name that is not known may be any: nobody allows it
    return call == words
