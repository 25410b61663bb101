"""One ``Include`` line in a person's own ``~/.ssh/config``: put there on request, and taken out.

Nothing else in the file is touched. It stands at the top, because OpenSSH takes the first value
that it finds for each option, and what stands below a ``Host`` line belongs to that.
"""

from __future__ import annotations

import difflib
import glob
import os
import secrets
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.cli.failure import CommandError

_NOTE: Final = "# Added by hoopgw; `hoopgw ssh-config --remove` takes these two lines out."
_SIZE_LIMIT: Final = 1 << 20
_FILES_LIMIT: Final = 64
"""Included files that are looked at for names."""


@frozen
class OwnConfig:
    """The person's own configuration."""

    path: Path

    @classmethod
    def of(cls, home: Path) -> OwnConfig:
        """Return the one in a person's home folder; a link is followed, as OpenSSH does."""
        return cls(Path(os.path.realpath(home / ".ssh" / "config")))

    def read(self) -> str:
        """Return its text; empty if there is none. Raises `CommandError`."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        if len(data) > _SIZE_LIMIT:
            raise CommandError(f"{self.path}: is too long to be a configuration")
        # What is not UTF-8 must come out as it went in.
        return data.decode("utf-8", "surrogateescape")

    def texts(self, ours: Path) -> list[str]:
        """Return its text, and those of the files that it includes, ours excepted."""
        text = self.read()
        found = [text]
        for line in text.splitlines():
            words = line.split()
            if words[:1] and words[0].lower() == "include":
                for word in words[1:]:
                    found += _included(self.path.parent, word.strip('"'), ours)
        return found[:_FILES_LIMIT]

    def write(self, text: str) -> None:
        """Put another text in place, with the file's own mode. Raises `CommandError`."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o600
            draft = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text.encode("utf-8", "surrogateescape"))
            draft.rename(self.path)
        except OSError as error:
            raise CommandError(f"{self.path}: cannot be written: {error.strerror}") from error


def with_line(text: str, included: Path) -> str:
    """Return a configuration that includes a file first; the same, if it does already."""
    line = include_line(included)
    if line in text.splitlines():
        return text
    rest = without_line(text, included)
    return f"{_NOTE}\n{line}\n" + (f"\n{rest}" if rest else "")


def without_line(text: str, included: Path) -> str:
    """Return a configuration without what `with_line` added."""
    line, kept = include_line(included), list[str]()
    lines = text.splitlines(keepends=True)
    taken = False
    for each in lines:
        if each.rstrip("\n") == line:
            taken = True
            if kept and kept[-1].rstrip("\n") == _NOTE:
                kept.pop()
            continue
        if taken and not each.strip():  # the line between it and the rest
            taken = False
            continue
        taken = False
        kept.append(each)
    return "".join(kept)


def include_line(included: Path) -> str:
    """Return the line."""
    text = str(included)
    return f'Include "{text}"' if " " in text else f"Include {text}"


def difference(path: Path, before: str, after: str) -> str:
    """Return what would be changed, as ``diff -u`` shows it."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=2
    )
    return "\n".join(line.encode("utf-8", "replace").decode() for line in lines)


def _included(folder: Path, pattern: str, ours: Path) -> list[str]:
    path = os.path.expanduser(pattern)
    found = []
    for name in sorted(glob.glob(path if path.startswith("/") else str(folder / path))):
        place = Path(name)
        try:
            if place.resolve() != ours.resolve() and place.stat().st_size <= _SIZE_LIMIT:
                found.append(place.read_text("utf-8", "surrogateescape"))
        except OSError:
            continue  # OpenSSH passes over what cannot be read, too
    return found
