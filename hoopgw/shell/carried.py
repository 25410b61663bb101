"""What a gated shell carries from line to line: the working folder, and exported variables.

Each line is a command of its own, so nothing of the last one is left on the host. What is carried
stands in front of the next line, in the text that is judged, shown to who approves it, recorded and
run: ``export A=1 && cd -- /srv/app && ls``. Pure: nothing here runs anything.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from attrs import evolve, frozen

from hoopgw.shell.grammar import Script, SimpleCommand

VARIABLES_LIMIT: Final = 64
"""Variables that are carried."""
VARIABLES_SIZE: Final = 4_096
"""Characters of their names and values."""
FOLDER_LIMIT: Final = 4_096
"""Bytes of a folder's path."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GROUPED: Final = re.compile(r"[;\n]|\|\||(?<!&)&(?!&)")
"""In a line that may be more than one pipeline: what stands before it must be for all of it."""
_STATUS: Final = re.compile(r"[0-9]{1,3}")
_LASTING: Final = frozenset(
    {"cd", "pushd", "popd", "export", "unset", "declare", "typeset", "readonly", "alias"}
    | {"unalias", "set", "shopt", "umask", "ulimit", "trap", "source", ".", "function"}
)
"""What somebody says for what comes later."""
_SCREENS: Final = frozenset(
    {"vi", "vim", "nvim", "view", "nano", "pico", "emacs", "joe", "mcedit", "mc"}
    | {"top", "htop", "atop", "btop", "screen", "tmux", "passwd"}
)
"""Programs of which everybody knows that they want a terminal."""


@frozen(kw_only=True)
class Carried:
    """What is carried."""

    folder: str = ""
    """Absolute; empty is where commands begin: the account's home."""
    before: str | None = None
    """The folder before, for ``cd -``; None if there was none."""
    variables: tuple[tuple[str, str], ...] = ()

    def text(self, line: str) -> str:
        """Return a line as it is judged and run."""
        before = ""
        if self.variables:
            written = (f"{name}={shlex.quote(value)}" for name, value in self.variables)
            before = f"export {' '.join(written)} && "
        if self.folder:
            before += f"cd -- {shlex.quote(self.folder)} && "
        if before and _GROUPED.search(line):
            return f"{before}{{\n{line}\n}}"
        return before + line

    def moved(self, said: bytes) -> Carried | None:
        """Return what is carried in another folder; None if the host has not said which it is.

        Args:
            said: by ``pwd -P``, after whatever ``cd`` says.

        """
        lines = said.removesuffix(b"\n").split(b"\n")
        try:
            folder = lines[-1].decode()
        except UnicodeDecodeError:
            return None
        if not folder.startswith("/") or len(lines[-1]) > FOLDER_LIMIT or not folder.isprintable():
            return None
        return evolve(self, folder=folder, before=self.folder)


@frozen(kw_only=True)
class Step:
    """What a line asks for."""

    text: str = ""
    """What is run; empty if nothing is."""
    note: str = ""
    """For whoever typed it."""
    moves: bool = False
    """Whether what it puts out says which folder the next line is for."""
    then: Carried | None = None
    """What is carried when it has succeeded."""
    leaves: bool = False
    """Whether the shell ends."""
    status: int | None = None
    """With which status; None is that of the last line."""


def plan(line: str, script: Script, carried: Carried) -> Step:
    """Return what a line asks for.

    Args:
        line: one or more whole commands.
        script: the line, taken apart.
        carried: until now.

    """
    if not script.commands:
        return Step()
    command = script.commands[0]
    is_alone = len(script.commands) == 1 and not script.constructs
    if is_alone and not command.redirects:
        if not command.words:
            return Step(note="a variable is kept with export NAME=VALUE only; nothing was run")
        if not command.assignments and (found := _lasting(command, carried)) is not None:
            return found
    return Step(text=carried.text(line), note=_note(script))


def _lasting(command: SimpleCommand, carried: Carried) -> Step | None:
    """Take a command that is for what comes later; None if it is no such one."""
    match command.name:
        case "cd":
            return _cd(command, carried)
        case "export" if len(command.words) > 1:
            return _export(command, carried)
        case "unset" if len(command.words) > 1:
            return _unset(command, carried)
        case "exit" | "logout":
            return _exit(command)
    return None


def _cd(command: SimpleCommand, carried: Carried) -> Step:
    written = " ".join(word.text for word in command.words)
    if [word.value for word in command.words[1:]] == ["-"]:
        if carried.before is None:
            return Step(note="cd -: there was no folder before")
        written = f"cd -- {shlex.quote(carried.before)}" if carried.before else "cd"
    return Step(text=carried.text(f"{written} && pwd -P"), moves=True)


def _export(command: SimpleCommand, carried: Carried) -> Step | None:
    values = dict(carried.variables)
    for word in command.words[1:]:
        if word.value is None:
            return Step(note="export takes plain values only, as NAME='a value'; nothing was run")
        name, is_set, value = word.value.partition("=")
        if name.startswith("-"):
            return None
        if not is_set or not _NAME.fullmatch(name) or not (value.isprintable() or not value):
            return Step(note=f"export takes NAME=VALUE, not {word.text[:80]}; nothing was run")
        values.pop(name, None)
        values[name] = value
    if len(values) > VARIABLES_LIMIT or sum(map(len, (*values, *values.values()))) > VARIABLES_SIZE:
        return Step(note="too many variables are carried: unset some; nothing was run")
    set_now = [word.value or "" for word in command.words[1:]]
    parts = (each.partition("=") for each in set_now)
    line = "export " + " ".join(f"{name}={shlex.quote(value)}" for name, _, value in parts)
    return Step(text=carried.text(line), then=evolve(carried, variables=tuple(values.items())))


def _unset(command: SimpleCommand, carried: Carried) -> Step | None:
    names = [word.value for word in command.words[1:]]
    kept = tuple(each for each in carried.variables if each[0] not in names)
    if len(carried.variables) - len(kept) != len(set(names)):
        return None
    line = " ".join(word.text for word in command.words)
    return Step(text=carried.text(line), then=evolve(carried, variables=kept))


def _exit(command: SimpleCommand) -> Step:
    said = [word.value for word in command.words[1:]]
    if not said:
        return Step(leaves=True)
    if len(said) > 1 or not _STATUS.fullmatch(said[0] or ""):
        return Step(note="exit takes a status from 0 to 255")
    return Step(leaves=True, status=int(said[0] or "0") & 255)


def _note(script: Script) -> str:
    names = script.names
    if lasting := sorted(names & _LASTING):
        return f"{lasting[0]} holds for this line only"
    if screens := sorted(names & _SCREENS):
        return f"{screens[0]} runs without a terminal and without input here"
    return ""
