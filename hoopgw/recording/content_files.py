"""Where content files are: their folder, their names, their limits.

A content is written in ``open/`` and moved to ``kept/`` at its end; who writes it holds a ``flock``
on it, so what is in ``open/`` without one was left by a worker that died. Names are made of the
session's id and a number, and of nothing that came from outside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen
from attrs.validators import ge

_SESSION: Final = r"[A-Za-z0-9_-]{1,64}"
_NAME: Final = re.compile(rf"(?P<session>{_SESSION})\.(?P<number>0|[1-9][0-9]{{0,8}})")
_KEEPS: Final = re.compile(_SESSION)


@frozen(kw_only=True)
class ContentLimits:
    """How much may be kept, in bytes."""

    all: int = field(default=50 * 2**30, validator=ge(2**20))
    """All contents of this gateway."""
    session: int = field(default=10 * 2**30, validator=ge(2**20))
    """Contents of one session."""
    free: int = field(default=2**30, validator=ge(0))
    """What must stay free on the disk, for the log above all."""


@frozen
class ContentFolder:
    """The folder of a gateway's contents."""

    path: Path

    @property
    def open(self) -> Path:
        """Of those that are being written."""
        return self.path / "open"

    @property
    def kept(self) -> Path:
        """Of those that have ended."""
        return self.path / "kept"

    @property
    def lost(self) -> Path:
        """Of those that the log does not know: a power loss took what named them."""
        return self.path / "lost"

    def make(self) -> None:
        """Make the folders, private to their owner.

        Raises:
            OSError: they cannot be made.

        """
        for folder in (self.path, self.open, self.kept, self.lost):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def find(self, session: str, number: int) -> Path | None:
        """Return where a content is now, or None."""
        name = content_name(session, number)
        # It moves from the first to the second, so in this order it cannot be missed.
        for folder in (self.open, self.kept):
            path = folder / name
            if path.is_file():
                return path
        return None

    def left_open(self) -> Iterator[tuple[str, int, Path]]:
        """Give session, number and path of the contents that have not ended."""
        yield from _named(self.open)

    def ended(self) -> Iterator[tuple[str, int, Path]]:
        """Give session, number and path of the contents that have ended."""
        yield from _named(self.kept)

    def used(self) -> int:
        """Return the bytes of all contents."""
        return sum(_size(path) for folder in (self.open, self.kept) for *_, path in _named(folder))


def content_name(session: str, number: int) -> str:
    """Return a content's file name.

    Raises:
        ValueError: the session's id is none of ours.

    """
    if _KEEPS.fullmatch(session) is None or number < 0:
        raise ValueError("no session of ours has this id")
    return f"{session}.{number}"


def _named(folder: Path) -> Iterator[tuple[str, int, Path]]:
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found]
    except FileNotFoundError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            yield match["session"], int(match["number"]), folder / name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was removed, or moved and counted there
        return 0
