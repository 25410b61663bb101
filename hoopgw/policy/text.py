"""Policy files as text: read from a directory, and cut into single policies with their places.

Cedar's own errors name no line and its parse trees no place, so the text is cut into policies here
and each is then parsed alone. Nothing here understands a policy.

Cedar's parser and tree are recursive and **crash the process** on deep nesting (tried with cedarpy
4.12.2: 1000 brackets, or 2000 times ``&&``), so what could nest is counted before Cedar sees it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen

from hoopgw.errors import PolicyError

FILE_LIMIT: Final = 2**20
"""Bytes of one file."""
_FILES_LIMIT: Final = 500
_TOTAL_LIMIT: Final = 8 * 2**20
_POLICIES_LIMIT: Final = 5000
_DEPTH_LIMIT: Final = 50
"""Open brackets. Cedar's tree allows 100 levels of expressions."""
_NESTING_LIMIT: Final = 500
"""Operators, dots and brackets in one policy; the crash was seen from about 1300 on."""


@frozen(kw_only=True)
class SourceFile:
    """One policy file as read."""

    name: str
    text: str = field(repr=False)


@frozen(kw_only=True)
class Statement:
    """The text of one policy, and where it begins."""

    file: str
    line: int
    text: str = field(repr=False)


class BrokenTextError(PolicyError):
    """A text that cannot be cut into policies, and the line where the bad one begins."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def read_directory(directory: Path) -> tuple[SourceFile, ...]:
    """Read all ``*.cedar`` files of a directory, sorted by name.

    Raises:
        PolicyError: one cannot be read, is too big or not UTF-8, changed meanwhile, or there are
            none: a wrong directory must not pass for a policy that permits nothing.

    """
    try:
        before = _listing(directory)
        files = tuple(_read(directory / name) for name, *_ in before)
        if _listing(directory) != before:
            # Half an edit may parse, and lack a forbid.
            raise PolicyError(f"{directory} changed while it was read; try again")
    except OSError as error:
        raise PolicyError(f"{directory} cannot be read: {error.strerror}") from error
    if not files:
        raise PolicyError(f"{directory} holds no *.cedar file; is it the right directory?")
    if sum(len(file.text) for file in files) > _TOTAL_LIMIT:
        raise PolicyError(f"{directory} holds more than {_TOTAL_LIMIT} characters of policy")
    return files


_Listing: TypeAlias = list[tuple[str, int, int, int]]


def _listing(directory: Path) -> _Listing:
    """Name, inode, size and time of change of each policy file, sorted."""
    found = []
    _not_for_all(directory, directory.stat())
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".cedar") or name.startswith("."):
            continue
        state = (directory / name).stat()
        if not stat.S_ISREG(state.st_mode):
            raise PolicyError(f"{directory / name} is not a file")
        _not_for_all(directory / name, state)
        if state.st_size > FILE_LIMIT:
            raise PolicyError(f"{directory / name} is bigger than {FILE_LIMIT} bytes; split it")
        found.append((name, state.st_ino, state.st_size, state.st_mtime_ns))
    if len(found) > _FILES_LIMIT:
        raise PolicyError(f"{directory} holds more than {_FILES_LIMIT} policy files")
    return found


def _not_for_all(path: Path, state: os.stat_result) -> None:
    """Refuse what every user may write: whoever did would decide."""
    if state.st_mode & stat.S_IWOTH:
        raise PolicyError(f"{path} may be written by every user; run: chmod o-w {path}")


def _read(path: Path) -> SourceFile:
    with path.open("rb") as stream:
        data = stream.read(FILE_LIMIT + 1)
    try:
        return SourceFile(name=path.name, text=data.decode())
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path} is not UTF-8 at byte {error.start}") from error


def version_of(files: Sequence[SourceFile]) -> str:
    """Return the first 16 hex digits of SHA-256 over names and texts."""
    state = sha256(b"hoopgw/policy/v1\0")
    for file in files:
        for part in (file.name.encode(), file.text.encode()):
            state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()[:16]


# Comments and strings as Cedar's lexer knows them (cedar-policy-core, parser/grammar.lalrpop): a
# comment ends at either kind of line end, and a string may run over several lines.
_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|//[^\n\r]*)
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<deep>&&|\|\||[=!<>]=|[.+*<>=!\-])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_DEEP_WORDS: Final = frozenset(["if", "has", "in", "like", "is", "when", "unless"])


def statements(file: SourceFile) -> Iterator[Statement]:
    """Cut a file into policies.

    Raises:
        BrokenTextError: a text is not ended, or would nest too deep for Cedar.

    """
    begin: int | None = None
    depth = nesting = count = line = seen = 0
    for token in _TOKEN.finditer(file.text):
        if token.lastgroup == "skip":
            continue
        if begin is None:
            begin, depth, nesting = token.start(), 0, 0
            line, seen = line + file.text.count("\n", seen, begin), begin
        nesting, depth = _deeper(token, nesting, depth)
        if depth > _DEPTH_LIMIT or nesting > _NESTING_LIMIT:
            raise BrokenTextError(line + 1, "this policy nests too deep; cut it in two")
        if token.group() == ";":
            count += 1
            if count > _POLICIES_LIMIT:
                raise BrokenTextError(
                    line + 1, f"more than {_POLICIES_LIMIT} policies; cut the file"
                )
            yield Statement(file=file.name, line=line + 1, text=file.text[begin : token.end()])
            begin = None
    if begin is not None:
        raise BrokenTextError(line + 1, "this policy is not ended by a semicolon")


def _deeper(token: re.Match[str], nesting: int, depth: int) -> tuple[int, int]:
    text = token.group()
    if token.lastgroup == "deep" or text in _DEEP_WORDS:
        return nesting + 1, depth
    if token.lastgroup == "other":
        if text in "([{":
            return nesting + 1, depth + 1
        if text in ")]}":
            return nesting, depth - 1
    return nesting, depth
