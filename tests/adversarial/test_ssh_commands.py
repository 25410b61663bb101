"""Attacks on what a policy of SSH permits by name, tried with a real bash.

Each text makes bash run something that its first words do not name. It does so without hoopgw; what
hoopgw takes for the facts either names that program, or says that nobody can tell.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoopgw.shell.running import Facts, facts
from hoopgw_ssh.operations import is_forbidden

BASH: Final = "/bin/bash"
PROGRAMS: Final = ("a", "b", "c", "victim")
"""Stand in the only folder on the search path, and note that they were run."""


class Place:
    """A folder in which bash runs texts, and that knows what these have run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "ran"
        programs = folder / "programs"
        programs.mkdir()
        (folder / "work").mkdir()
        for name in PROGRAMS:
            path = programs / name
            path.write_text(f"#!/bin/sh\necho {name} >> '{self._log}'\n")
            path.chmod(0o700)
        for name in ("cat", "env", "find", "timeout", "xargs", "sh", "bash", "ls"):
            (programs / name).symlink_to(f"/bin/{name}")
        other = folder / "other"
        other.mkdir()
        (other / "ls").write_text(f"#!/bin/sh\necho victim >> '{self._log}'\n")
        (other / "ls").chmod(0o700)
        self._environment = {"PATH": str(programs), "FUNCNEST": "20", "HOME": str(folder)}

    def run(self, text: str) -> set[str]:
        """Return the names of the programs that a text runs."""
        self._log.write_text("")
        subprocess.run(
            [BASH, "-c", text],
            cwd=self.folder / "work",
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return set(self._log.read_text().split())


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Make a folder with programs."""
    with tempfile.TemporaryDirectory(prefix="hg-bash-") as folder:
        yield Place(Path(folder))


def names(found: Facts) -> set[str]:
    """Return the names of the programs that would run."""
    return {os.path.basename(words[0]) for words in found.runs if words[0]}


ATTACKS: Final = (
    "x=victim; $x",
    "x=vic; ${x}tim",
    "\\victim",
    "v''ictim",
    'v"ic"tim',
    "command victim",
    "builtin command victim",
    "exec victim",
    "env victim",
    "env -S 'victim x'",
    'env -i PATH="$PATH" victim',
    "timeout 5 victim",
    "sh -c victim",
    "bash -c 'vic\"\"tim'",
    "echo victim | sh",
    "sh <<< victim",
    "bash <<E\nvictim\nE",
    "eval victim",
    "eval 'vic''tim'",
    "echo a; victim",
    "echo $(victim)",
    "echo `victim`",
    'echo "$(victim)"',
    "cat <(victim)",
    "cat <<E\n$(victim)\nE",
    "echo ${x:-$(victim)}",
    "x=$(victim)",
    "f() { victim; }; f",
    "echo() { victim; }; echo",
    "if victim; then :; fi",
    "! victim",
    "(victim)",
    "{ victim; }",
    "victim &",
    "a && victim",
    "a | victim",
    "trap victim EXIT",
    "find . -maxdepth 0 -exec victim \\;",
    "echo x | xargs victim",
    "echo victim | xargs -I{} {}",
    "shopt -s expand_aliases\nalias ls=victim\nls",
    'hash -p "$(command -v victim)" ls; ls',
    'PROMPT_COMMAND=victim; eval "$PROMPT_COMMAND"',
    "x='a[$(victim)]'; echo $((x))",
    "x='a[$(victim)]'; [[ $x -eq 0 ]]",
    "x='a[$(victim)]'; echo ${y[x]}",
    "x='a[$(victim)]'; echo ${HOME:x}",
    "x='a[$(victim)]'; echo ${!x}",
    "x='$(victim)'; echo ${x@P}",
    "test -v 'a[$(victim)]'",
    "[ -v 'a[$(victim)]' ]",
    "printf -v 'a[$(victim)]' x",
    "read 'a[$(victim)]' <<< y",
    "unset 'a[$(victim)]'",
    "declare -i x; x='a[$(victim)]'",
    "let 'x=a[$(victim)]'",
    "declare 'a[$(victim)]=1'",
    "declare -n r='a[$(victim)]'; echo $r",
    "mapfile -C victim -c 1 x <<< y",
    "command_not_found_handle() { victim; }; nothing",
    "for x in victim; do $x; done",
    "case x in *) victim;; esac",
    "coproc victim; wait",
    "source /dev/stdin <<< victim",
    ". /dev/stdin <<< victim",
    "BASH_ENV=/dev/stdin bash -c : <<< victim",
    'set -- victim; "$@"',
    '"${BASH_ALIASES[x]:-victim}"',
    "${x:-victim}",
    "vi{c,}tim",
    "vict?m",
    "$'victim'",
    "$'\\x76ictim'",
    "time victim",
    "while victim; do break; done",
    "until victim; do :; done",
    "select x in a; do victim; done < /dev/null; victim",
    "a <(victim) > >(victim)",
    "x=(victim); ${x[0]}",
    "printf 'vic%s' tim | bash -s",
    "IFS=x; y=victimx; $y",
    "a\nvictim",
    "a # c\nvictim",
    "cat <<'E'; victim\n$(a)\nE",
    "echo ${x:-`victim`}",
    'echo "${x:-`victim`}"',
    'echo "${x/`victim`/b}"',
    "echo \"${x:-'$(victim)'}\"",
    "cat <<E\n${x:-`victim`}\nE",
    "find . $(echo -exec) victim \\;",
    "env 1=2 victim",
    "ls; <<<{ victim",
)
OTHER_PATHS: Final = (
    "for PATH in ../other; do ls; done",
    "printf -v PATH ../other; ls",
    "printf -vPATH ../other; ls",
    "read -r PATH <<< ../other; ls",
    "echo ../other | while read PATH; do ls; done",
    "unset PATH; : ${PATH:=../other}; ls",
    "unset PATH; cd ../other; ls",
)
"""What ``ls`` is, is said otherwise than by an assignment."""
OTHER_SHELLS: Final = ("[[ a || victim ]]", "echo $'a\\'; victim #'", "ls a &> f")
"""bash runs nothing of it, and dash does."""


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_runs_that_is_not_told(place: Place, text: str) -> None:
    """It runs; and either it is named, or the text is unknown, or shows that it runs its input."""
    found = facts(text.encode())
    told = "victim" in names(found) or found.unknown or {"input", "script"} & found.opaque
    # Some variables are asked for as `unknown`, whatever they are set to.
    assert told or any(map(is_forbidden, found.variables)), found


@pytest.mark.parametrize("text", OTHER_PATHS)
def test_what_says_where_programs_are(place: Place, text: str) -> None:
    """It makes another program of ``ls``; a variable that nobody may set is told."""
    assert "victim" in place.run(text)
    found = facts(text.encode())
    assert found.unknown or any(map(is_forbidden, found.variables)), found


@pytest.mark.parametrize("text", OTHER_SHELLS)
def test_what_other_shells_read_otherwise(text: str) -> None:
    """``sh`` may be dash: what only bash reads as it is told here is not known of ``sh``."""
    assert facts(f"sh -c {shlex.quote(text)}".encode()).unknown
    assert not facts(f"bash -c {shlex.quote(text)}".encode()).unknown


def test_descriptors_that_are_files(place: Place) -> None:
    """``/dev/fd`` leads to all files, by way of ``..``: those are told."""
    text = "echo there > /dev/fd/../cwd/made"
    place.run(text)
    assert (place.folder / "work" / "made").read_text() == "there\n"
    assert facts(text.encode()).writes == ("/dev/cwd/made",)
    assert facts(b"cat < /dev/fd/../../../etc/passwd").reads == ("/etc/passwd",)
    assert not facts(b"cat < /dev/fd/0").reads


def test_a_script_with_the_name_of_an_option() -> None:
    """Behind ``-`` there are no options."""
    for text in (b"sh - -c ls", b"bash -oo posix posix -- -c ls"):
        found = facts(text)
        assert ("script" in found.opaque, "ls" in names(found)) == (True, False)


def test_the_attacks_are_real(place: Place) -> None:
    """Most of them run here: without the defence they would be as good as any."""
    idle = [text for text in ATTACKS if "victim" not in place.run(text)]
    assert len(idle) < len(ATTACKS) / 4, idle


TOKENS: Final = (
    *("a", "b", "c", "victim", " ", " ", " ", ";", "|", "||", "&&", "(", ")", "{ ", "; }", "$("),
    *("`", '"', "'", "\\", "\n", "<", "> f", "x=", "$x", "! ", "<(", "<<E\n", "\nE\n", "#", "$"),
    *("{a,b}", "if ", "; then ", "; fi", "x() ", "&", "<<<", "${x:-", "}", "[[ ", " ]]", "=", "~"),
    *("*", "eval ", "for x in ", "; do ", "; done", "case a in ", ") ", ";; esac", "time "),
    *("exec ", "command ", "$'", "\t", "\r", "<<-'E'\n", "-", "coproc ", "|&", "&>", "$((", "))"),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=12).map("".join))
def test_whatever_bash_makes_of_it(place: Place, text: str) -> None:
    """What bash has run was named, or nobody can tell."""
    found = facts(text.encode())
    if not found.unknown:
        assert place.run(text) <= names(found), (text, found)
