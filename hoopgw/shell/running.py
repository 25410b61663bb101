"""What a shell command would run, read, write and set, as far as its text tells.

The grammar names every simple command (`hoopgw.shell.grammar`). Some of these run others: ``sudo``,
``env``, ``timeout``, ``sh -c``, ``xargs``, ``find -exec``. Where their words tell what they run,
that is named, too; where they do not, the text is *unknown* (`Facts.unknown`), and what only can be
said of it is `Facts.opaque`. A program that is not listed here may run others as well: permit by
name what may run, and no more.

Reference: manual pages of GNU coreutils 9, findutils 4.9, sudo 1.9, procps 4, util-linux 2.38,
bash 5.2.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

from attrs import define, field, frozen

from hoopgw.shell.grammar import SimpleCommand, UnknownCommandError, parse
from hoopgw.shell.runners import ASSIGNMENT, DECLARE, READERS, Words, variable_of

NESTING_LIMIT: Final = 8
"""Programs that run programs, texts in texts."""
RUNS_LIMIT: Final = 64
"""Commands that one text may run; each is asked about."""
FOLDERS_LIMIT: Final = 8
"""Folders in which a relative path may lie, where the text changes folders."""
HOME: Final = "~"
"""Where a command begins: the home folder of the account."""

_INTERPRETERS: Final = frozenset(
    {"python", "python2", "python3", "perl", "ruby", "node", "php", "lua", "tclsh", "expect"}
    | {"psql", "mysql", "mariadb", "sqlite3", "sqlplus", "mongosh", "redis-cli", "ed", "ex", "bc"}
    | {"at", "batch", "gdb", "R", "irb", "pwsh", "fish"}
)
"""They run what they read from standard input, if they are given nothing else."""
_OTHERS: Final = frozenset(
    {"ssh", "su", "chroot", "nsenter", "unshare", "docker", "podman", "kubectl", "crictl", "lxc"}
    | {"screen", "tmux", "script", "expect", "at", "batch", "crontab", "make", "parallel", "flock"}
    | {"awk", "gawk", "mawk", "sed", "perl", "python", "python2", "python3", "ruby", "node", "php"}
    | {"vi", "vim", "nvim", "nano", "emacs", "ed", "ex", "less", "more", "man", "tar", "zip"}
    | {"git", "rsync", "scp", "sftp", "mysql", "psql", "gdb", "strace", "ltrace", "systemd-run"}
    | {"runuser", "setpriv", "capsh", "start-stop-daemon", "run-parts", "ansible", "salt", "pwsh"}
    | {"fish", "csh", "tcsh", "lua", "expect", "socat", "nc", "ncat", "sqlite3", "openssl"}
)
"""They can be made to run others, in more ways than are told here."""
_NUMBER: Final = re.compile(r"[0-9]+-?|-")
_DESCRIPTOR: Final = re.compile(r"/dev/fd/[0-9]+")
_NETWORK: Final = re.compile(r"/dev/(?:tcp|udp)/([^/]+)/([^/]+)")
_HARMLESS: Final = frozenset({"/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/zero"})


@frozen(kw_only=True)
class Facts:
    """What a text would do."""

    runs: tuple[Words, ...] = ()
    """The words of each simple command, the name first; those that others run come after these."""
    reads: tuple[str, ...] = ()
    """Files that input comes from: absolute, or below `HOME`."""
    writes: tuple[str, ...] = ()
    """Files that output goes to."""
    connects: tuple[tuple[str, str], ...] = ()
    """Hosts and ports that the shell itself connects to: bash's ``/dev/tcp``."""
    variables: tuple[str, ...] = ()
    """Names that are set."""
    constructs: frozenset[str] = frozenset()
    """As `hoopgw.shell.grammar.Script.constructs`."""
    opaque: frozenset[str] = frozenset()
    """What cannot be seen. ``syntax``: it does not parse. ``name``: which program runs. ``runs``:
    what a program runs that runs others. ``script``: a file is run. ``input``: standard input is
    run. ``path``: which file. ``arithmetic``: bash evaluates what may hold commands."""
    unknown: str = ""
    """Why nobody can say all that would run; empty if all is named."""


def facts(text: bytes) -> Facts:
    """Return what a text would do. Linear in its length, some 6 us a byte."""
    reading = _Reading()
    reading.text(text.decode("utf-8", "surrogateescape"), 0)
    return reading.facts()


@define
class _Reading:
    """Collects facts."""

    runs: dict[Words, None] = field(factory=dict)
    reads: dict[str, None] = field(factory=dict)
    writes: dict[str, None] = field(factory=dict)
    connects: dict[tuple[str, str], None] = field(factory=dict)
    variables: dict[str, None] = field(factory=dict)
    constructs: set[str] = field(factory=set)
    opaque: set[str] = field(factory=set)
    unknown: list[str] = field(factory=list)
    folders: list[str] | None = field(factory=lambda: [HOME])
    """Where the shell may stand; None if that is not known."""

    def facts(self) -> Facts:
        """Return what was found."""
        return Facts(
            runs=tuple(self.runs),
            reads=tuple(self.reads),
            writes=tuple(self.writes),
            connects=tuple(self.connects),
            variables=tuple(self.variables),
            constructs=frozenset(self.constructs),
            opaque=frozenset(self.opaque),
            unknown=self.unknown[0] if self.unknown else "",
        )

    def hide(self, what: str, why: str) -> None:
        """Note that something cannot be told, so that the text is unknown."""
        self.opaque.add(what)
        self.unknown.append(why)

    def text(self, text: str, depth: int, *, is_for_bash: bool = True) -> None:
        """Take a text apart."""
        try:
            script = parse(text.encode("utf-8", "surrogateescape"))
        except UnknownCommandError as error:
            self.hide("syntax", str(error))
            return
        if not (is_for_bash or script.is_portable):
            self.hide("syntax", "bash reads this otherwise than other shells: run it by bash")
        self.constructs |= script.constructs
        if "evaluation" in script.constructs:
            self.hide("arithmetic", "bash evaluates what may hold commands: use plain words")
        for command in script.commands:
            self.command(command, depth)

    def command(self, command: SimpleCommand, depth: int) -> None:
        """Take one simple command."""
        for assignment in command.assignments:
            self.variables[variable_of(assignment.text)] = None
        words = tuple(word.value for word in command.words)
        if words and words[0] in DECLARE:
            # The value of ``export A="$b"`` is not told; which variable it is, is.
            words = tuple(
                f"{found[0]}*"
                if value is None and (found := ASSIGNMENT.match(word.text))
                else value
                for word, value in zip(command.words, words, strict=True)
            )
        if words and words[0] is None:
            self.hide("name", f"which program {command.words[0].text[:40]} is, is not told")
        elif words:
            self.run(words, depth)
        for redirect in command.redirects:
            if redirect.target is not None:
                self.redirect(redirect.operator, redirect.target.value)

    def redirect(self, operator: str, path: str | None) -> None:
        """Take a redirection."""
        if operator == "<<<" or (operator in ("<&", ">&") and _NUMBER.fullmatch(path or "")):
            return
        if path is None:
            self.hide("path", "which file is read or written, is not told")
            return
        if (found := _NETWORK.fullmatch(path)) is not None:
            self.connects[found[1], found[2]] = None
            return
        if path in _HARMLESS or _DESCRIPTOR.fullmatch(path):
            return
        places = self.places(path)
        if not places:
            self.hide("path", "in which folder a file is read or written, is not told")
        for place in places:
            if "<" in operator:
                self.reads[place] = None
            if operator != "<":
                self.writes[place] = None

    def places(self, path: str) -> list[str]:
        """Return where a path may be; none if that is not known."""
        if path.startswith("/"):
            return [_normal(path)]
        found = [_below(folder, path) for folder in self.folders or ()]
        return [] if "" in found else found

    def change_folder(self, words: Words) -> None:
        """Take ``cd``: what comes later is here or there, as it may fail."""
        rest = [word for word in words[1:] if word not in ("-P", "-L", "--")]
        to = rest[0] if rest else HOME
        loops = {"loop", "function"} & self.constructs
        if to is None or to == "-" or loops or "CDPATH" in self.variables or len(rest) > 1:
            self.folders = None
            return
        new = [HOME] if not rest else self.places(to)
        if not new or self.folders is None:
            self.folders = None
            return
        together = list(dict.fromkeys((*self.folders, *new)))
        self.folders = together if len(together) <= FOLDERS_LIMIT else None

    def run(self, words: Words, depth: int) -> None:
        """Take a command: its words, and what it runs."""
        name = words[0]
        if name is None:
            self.hide("name", "which program is run by another one, is not told")
            return
        if depth > NESTING_LIMIT or len(self.runs) >= RUNS_LIMIT:
            self.hide("runs", "it runs too many programs")
            return
        self.runs[words] = None
        program = posixpath.basename(name)
        reader = READERS.get(program)
        if reader is not None and not reader(self, words, depth):
            self.hide("runs", f"what {program} would run is not told")
        if program in _OTHERS:
            self.opaque.add("runs")
        if program in _INTERPRETERS and _has_no_operand(words):
            self.opaque.add("input")


def _has_no_operand(words: Words) -> bool:
    return all(word == "-" or (word or "").startswith("-") for word in words[1:])


def _normal(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _below(folder: str, path: str) -> str:
    """Return a path in a folder; empty if it leaves the home folder, and nobody knows where to."""
    if folder.startswith("/"):
        return _normal(f"{folder}/{path}")
    inside = posixpath.normpath(f"{folder}/{path}")
    return inside if inside == HOME or inside.startswith(f"{HOME}/") else ""
