"""Programs that run others, and where their words say which.

A reader takes the words of a command, tells `Reading` what else is run or set by it, and says
whether all of that is told. What it does not know it does not guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from attrs import frozen

Words: TypeAlias = tuple[str | None, ...]
"""Of a command, the name first. A word that the text does not tell is None; it may be none, one or
many."""

_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "rbash"})
_CHANGE_NAMES: Final = frozenset({"alias", "enable", "bind", "complete", "compgen", "fc", "coproc"})
"""Builtins that change what names mean, or run what their words hold in a language of their own."""
_EVALUATE: Final = frozenset(
    {"declare", "typeset", "local", "export", "readonly", "unset", "read", "printf", "mapfile"}
    | {"readarray", "wait", "getopts", "test", "["}
)
"""Builtins that take names of variables, whose subscripts bash evaluates, commands included."""
DECLARE: Final = frozenset({"declare", "typeset", "local", "export", "readonly"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITH_VALUE: Final = re.compile(r"-[A-Za-z]*?[apv](.+)")
"""An option of ``read``, ``wait`` or ``printf`` with the variable that it sets."""
ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


class Reading(Protocol):
    """Where is told what a command does."""

    opaque: set[str]
    variables: dict[str, None]
    folders: list[str] | None

    def run(self, words: Words, depth: int) -> None:
        """Note that a command is run."""
        ...

    def text(self, text: str, depth: int, *, is_for_bash: bool = True) -> None:
        """Note that a text is run by a shell, which is bash, or only reads POSIX's language."""
        ...

    def redirect(self, operator: str, path: str | None) -> None:
        """Note that a file is read or written."""
        ...

    def change_folder(self, words: Words) -> None:
        """Note that the shell goes elsewhere."""
        ...


Reader: TypeAlias = Callable[[Reading, Words, int], bool]
"""Takes what a program runs; False if that is not told."""


@frozen
class _Options:
    """The options of a program, as far as they do not matter to what it runs."""

    flags: str = ""
    valued: str = ""
    long_flags: frozenset[str] = frozenset()
    long_valued: frozenset[str] = frozenset()

    def skip(self, words: Words) -> tuple[int, str] | None:
        """Return where the operands begin, and the short options; None if that is not told."""
        at, seen = 1, ""
        while at < len(words):
            word = words[at]
            if word is None:
                return None
            if word == "--":
                return at + 1, seen
            if not word.startswith("-") or word == "-":
                return at, seen
            step = self._long(word) if word.startswith("--") else self._short(word)
            if not step:
                return None
            seen += "" if word.startswith("--") else word[1:]
            at += step
        return at, seen

    def _long(self, word: str) -> int:
        name, given, _value = word[2:].partition("=")
        if name in self.long_valued:
            return 1 if given else 2
        return 1 if name in self.long_flags and not given else 0

    def _short(self, word: str) -> int:
        for at, letter in enumerate(word[1:], 2):
            if letter in self.valued:
                return 1 if word[at:] else 2
            if letter not in self.flags:
                return 0
        return 1


def _behind(options: _Options, operands: int = 0) -> Reader:
    """Return what reads a program that runs what stands behind its options and some operands."""

    def read(reading: Reading, words: Words, depth: int) -> bool:
        found = options.skip(words)
        if found is None:
            return False
        rest = words[found[0] :]
        if None in rest[:operands]:
            return False
        if rest[operands:]:
            reading.run(rest[operands:], depth + 1)
        return True

    return read


def _assigned(reading: Reading, words: Words, depth: int) -> bool:
    """Take ``NAME=value`` words, and the command behind these; True: they are told."""
    at = 0
    while at < len(words):
        word = words[at]
        if word is None:
            return False
        if "=" not in word:
            reading.run(words[at:], depth + 1)
            return True
        reading.variables[variable_of(word)] = None
        at += 1
    return True


def _env(reading: Reading, words: Words, depth: int) -> bool:
    options = _Options("i0v", "u", frozenset({"ignore-environment", "null"}), frozenset({"unset"}))
    if words[1:2] == ("-",):
        words = (words[0], *words[2:])
    found = options.skip(words)
    return found is not None and _assigned(reading, words[found[0] :], depth)


_SUDO: Final = _Options(
    "nHEkKSbBAPsilvV",
    "ugpCrtTU",
    frozenset({"non-interactive", "preserve-env", "set-home", "login", "shell", "stdin"}),
    frozenset({"user", "group", "prompt"}),
)


def _sudo(reading: Reading, words: Words, depth: int) -> bool:
    found = _SUDO.skip(words)
    if found is None:
        return False
    options = " ".join(word for word in words[1 : found[0]] if word)
    rest = words[found[0] :]
    shell = "s" in found[1] or "i" in found[1] or "--login" in options or "--shell" in options
    if shell:
        reading.folders = None
        rest = tuple(None if word is None or "$" in word else word for word in rest) or ("sh",)
    return _assigned(reading, rest, depth)


def _shell(reading: Reading, words: Words, depth: int) -> bool:
    """Take a shell: a text, a file, or what it reads."""
    at, is_text, reads = 1, False, False
    while at < len(words):
        word = words[at]
        if word is None:
            return False
        if word in ("-", "--") or not word.startswith(("-", "+")):
            at += word in ("-", "--")
            break
        if word.startswith("--"):
            if word not in ("--login", "--norc", "--noprofile", "--posix"):
                return False
            at += 1
            continue
        is_text |= "c" in word[1:]
        reads |= "s" in word[1:]
        at += 1 + word[1:].count("o") + word[1:].count("O")
    rest = words[at:]
    if is_text:
        if not rest or rest[0] is None:
            return False
        is_for_bash = (words[0] or "").rpartition("/")[2] in ("bash", "rbash")
        reading.text(rest[0], depth + 1, is_for_bash=is_for_bash)
        return True
    reading.opaque.add("input" if reads or not rest else "script")
    return True


def _eval(reading: Reading, words: Words, depth: int) -> bool:
    known = [word for word in words[1:] if word is not None]
    if len(known) != len(words) - 1:
        return False
    if known:
        reading.text(" ".join(known), depth + 1)
    return True


def _trap(reading: Reading, words: Words, depth: int) -> bool:
    if len(words) < 3 or words[1] in ("-", "", "-p", "-l"):
        return None not in words[1:2]
    action = words[2] if words[1] == "--" else words[1]
    if action is None:
        return False
    reading.text(action, depth + 1)
    return True


def _source(reading: Reading, words: Words, depth: int) -> bool:
    del depth
    reading.opaque.add("script")
    return len(words) > 1 and words[1] is not None


def _xargs(reading: Reading, words: Words, depth: int) -> bool:
    options = _Options(
        "0rtpx",
        "nPLsIdEa",
        frozenset({"null", "no-run-if-empty", "verbose", "interactive", "exit"}),
        frozenset({"max-args", "max-procs", "max-lines", "max-chars", "delimiter", "arg-file"}),
    )
    found = options.skip(words)
    if found is None:
        return False
    rest = words[found[0] :] or ("echo",)
    marks = _replaced(words[1 : found[0]])
    known = tuple(
        None if word is None or any(mark in word for mark in marks) else word for word in rest
    )
    reading.run((*known, None), depth + 1)
    return True


def _replaced(options: Words) -> list[str]:
    """Return what ``xargs -I`` puts its input in the place of."""
    marks = []
    for at, word in enumerate(options):
        if word is not None and re.match(r"-[0rtpx]*I", word):
            marks.append(word.partition("I")[2] or (options[at + 1 : at + 2] or ("",))[0] or "{}")
    return marks


def _find(reading: Reading, words: Words, depth: int) -> bool:
    """Take ``find``: the commands behind ``-exec`` and its like, and files that it writes."""
    if None in words[1:]:
        return False  # it may be -exec
    at = 1
    while at < len(words):
        word = words[at] or ""
        at += 1
        if word in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((n for n in range(at, len(words)) if words[n] in (";", "+")), len(words))
            inner = tuple(None if each is None or "{}" in each else each for each in words[at:end])
            if not inner:
                return False
            reading.run(inner, depth + 1)
            at = end + 1
        elif word in ("-fprint", "-fprint0", "-fprintf", "-fls"):
            reading.redirect(">", words[at] if at < len(words) else None)
    return True


def _watch(reading: Reading, words: Words, depth: int) -> bool:
    options = _Options("bcdegptxw", "nq", frozenset({"exec", "color"}), frozenset({"interval"}))
    found = options.skip(words)
    if found is None:
        return False
    rest = words[found[0] :]
    if "x" in found[1] or "--exec" in words[1 : found[0]]:
        reading.run(rest or (None,), depth + 1)
        return True
    return _eval(reading, ("watch", *rest), depth)


def _nice(reading: Reading, words: Words, depth: int) -> bool:
    if len(words) > 1 and re.fullmatch(r"--?[0-9]+", words[1] or ""):
        words = (words[0], *words[2:])
    options = _Options("", "n", frozenset(), frozenset({"adjustment"}))
    return _behind(options)(reading, words, depth)


def _command(reading: Reading, words: Words, depth: int) -> bool:
    """Take ``command``, which may only tell where something is."""
    found = _Options("pvV").skip(words)
    if found is None:
        return False
    if not {"v", "V"} & set(found[1]) and words[found[0] :]:
        reading.run(words[found[0] :], depth + 1)
    return True


def _never(reading: Reading, words: Words, depth: int) -> bool:
    del reading, words, depth
    return False


def _hash(reading: Reading, words: Words, depth: int) -> bool:
    """Take ``hash``, which with an operand may say where a name is found."""
    del reading, depth
    return all(word in ("-r", "-l") for word in words[1:])


def _cd(reading: Reading, words: Words, depth: int) -> bool:
    del depth
    reading.change_folder(words)
    return True


def _pushd(reading: Reading, words: Words, depth: int) -> bool:
    del words, depth
    reading.folders = None
    return True


def _names(reading: Reading, words: Words, depth: int) -> bool:
    """Take a builtin that takes names of variables: no subscripts, and nothing that is not told."""
    del depth
    first = words[1] if len(words) > 1 else ""
    takes = words[0] not in ("printf", "test", "[") or (first or "-v").startswith("-v")
    if not takes:
        return True
    if words[0] in DECLARE:
        for word in words[1:]:
            if word is not None and ASSIGNMENT.match(word):
                reading.variables[variable_of(word)] = None
    options = "".join(word for word in words[1:] if word and word.startswith(("-", "+")))
    if words[0] in DECLARE and {"i", "n"} & set(options):
        return False
    if words[0] in ("mapfile", "readarray") and "C" in options:
        return False
    _note_names(reading, words)
    return not any("[" in (word or "[").partition("=")[0] for word in words[1:])


def _note_names(reading: Reading, words: Words) -> None:
    """Note the variables that a builtin sets, and rather too many: ``PATH`` is one by any way."""
    if words[0] in ("test", "[", "export", "readonly"):
        return
    given = [word for word in words[1:] if word]
    if words[0] == "printf":
        given = given[:2]
    for word in given:
        found = _WITH_VALUE.fullmatch(word)
        name = found[1] if found else word
        if _NAME.fullmatch(name):
            reading.variables[name] = None


def variable_of(assignment: str) -> str:
    """Return the name in ``NAME=value`` or ``NAME+=value``."""
    return assignment.partition("=")[0].removesuffix("+")


READERS: Final[dict[str, Reader]] = {
    **dict.fromkeys(_SHELLS, _shell),
    **dict.fromkeys(_CHANGE_NAMES, _never),
    **dict.fromkeys(_EVALUATE, _names),
    "sudo": _sudo,
    "doas": _behind(_Options("nL", "uCa")),
    "env": _env,
    "timeout": _behind(
        _Options(
            "v",
            "ks",
            frozenset({"preserve-status", "foreground", "verbose"}),
            frozenset({"kill-after", "signal"}),
        ),
        1,
    ),
    "nice": _nice,
    "ionice": _behind(_Options("t", "cn")),
    "nohup": _behind(_Options()),
    "setsid": _behind(_Options("cfw", "", frozenset({"ctty", "fork", "wait"}))),
    "stdbuf": _behind(_Options("", "ioe", frozenset(), frozenset({"input", "output", "error"}))),
    "time": _behind(_Options("pvq", "f", frozenset({"portability", "verbose", "quiet"}))),
    "unbuffer": _behind(_Options("p")),
    "busybox": _behind(_Options()),
    "toybox": _behind(_Options()),
    "builtin": _behind(_Options()),
    "exec": _behind(_Options("cl", "a")),
    "command": _command,
    "eval": _eval,
    "trap": _trap,
    ".": _source,
    "source": _source,
    "let": _never,
    "hash": _hash,
    "cd": _cd,
    "pushd": _pushd,
    "popd": _pushd,
    "xargs": _xargs,
    "find": _find,
    "watch": _watch,
}
