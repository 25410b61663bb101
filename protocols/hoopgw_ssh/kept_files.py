"""Keeps what files hold that SFTP and scp move, if the target's option says so.

Each direction of each file is a content of its own (`recording.contents`), which begins with its
first byte. Every piece is written as it came, with where in the file it belongs, before it goes on:
what cannot be kept does not go on, and the channel ends. So a file can be put together again
whatever the order was, and what was written twice is there twice.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopgw.errors import ConfigError, RecorderError
from hoopgw.recording.content_frames import FILE_KINDS, FrameKind, piece_data
from hoopgw.recording.contents import Content, ContentAbout, Contents, SessionNotes
from hoopgw.spi import TargetSettings
from hoopgw.terminal import printable
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.wire import Bytes

KEEP_FILES: Final = "keep_files"
"""The target's option."""
FilesKept: TypeAlias = Literal["never", "uploads", "downloads", "all"]
_CHOICES: Final[tuple[FilesKept, ...]] = ("never", "uploads", "downloads", "all")
_PIECE: Final = 128 * 1024
"""Bytes of a file that one frame holds at most."""
_TITLE: Final = 300
"""Characters of a path that name its content."""


def files_kept(target: TargetSettings) -> FilesKept:
    """Return which files' contents a target's option says that are kept; by default none.

    Raises:
        ConfigError: it says something else.

    """
    said = target.options.get(KEEP_FILES, "never")
    for choice in _CHOICES:
        if said == choice:
            return choice
    raise ConfigError(f"targets.{target.name}.{KEEP_FILES}: expected one of {', '.join(_CHOICES)}")


def not_kept(error: RecorderError) -> str:
    """Return what a client is told where a file cannot be kept, so that its channel ends."""
    return f"hoopgw: what files hold is recorded here, and {error}, so this was ended."


@define(eq=False)
class FileKeeping:
    """Keeps the files of one channel.

    Args:
        contents: where to.
        notes: the session's journal.
        which: which of them.

    """

    _contents: Contents = field(repr=False)
    _notes: SessionNotes = field(repr=False)
    _which: FilesKept
    _passage: Passage = field(init=False, repr=False)

    def attach(self, passage: Passage) -> None:
        """Take the channel, whose data wait while the disk is slow."""
        self._passage = passage

    def file(self, path: str, intent: int, *, is_upload: bool) -> KeptFile | None:
        """Return what keeps one direction of a file; None if that is not kept."""
        if self._which not in ("all", "uploads" if is_upload else "downloads"):
            return None
        kind = FILE_KINDS[0] if is_upload else FILE_KINDS[1]
        about = ContentAbout(
            kind=kind,
            intent=intent,
            title=printable(path)[:_TITLE],
            holds=("input" if is_upload else "output",),
        )
        return KeptFile(self._contents, self._notes, about, self._passage, is_upload)


@define(eq=False)
class KeptFile:
    """One direction of one file that is kept; its content begins with its first byte."""

    _contents: Contents = field(repr=False)
    _notes: SessionNotes = field(repr=False)
    _about: ContentAbout
    _passage: Passage = field(repr=False)
    _is_upload: bool
    _content: Content | None = field(default=None, init=False, repr=False)
    _room: Deferred[None] | None = field(default=None, init=False, repr=False)
    """While whoever sends is given no more room."""

    @property
    def number(self) -> int:
        """Which of the session's contents it is; -1: nothing came."""
        return -1 if self._content is None else self._content.number

    def take(self, offset: int, data: Bytes) -> None:
        """Keep what belongs at an offset.

        Raises:
            RecorderError: it cannot be kept, so it must not go on.

        """
        if not len(data):
            return
        if self._content is None:
            self._content = self._contents.open(self._notes, self._about)
        content = self._content
        for start in range(0, len(data), _PIECE):
            piece = piece_data(offset + start, data[start : start + _PIECE])
            content.write(FrameKind.FILE, piece)
        if self._room is None and content.is_full:
            self._wait(content)

    def end(self, outcome: str) -> None:
        """Write the end. Harmless if that was done."""
        if self._content is not None:
            self._content.end(outcome)
        if self._room is not None:
            self._room.cancel()

    def _wait(self, content: Content) -> None:
        """Take no more until the disk has taken what waits for it."""
        if self._is_upload:
            self._passage.hold()
        else:
            self._passage.hold_output()
        self._room = content.room()
        self._room.addBoth(self._go_on)

    def _go_on(self, _: object) -> None:
        self._room = None
        if self._is_upload:
            self._passage.release()
        else:
            self._passage.release_output()
