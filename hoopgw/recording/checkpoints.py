"""Where checkpoints are kept: the newest, and all of them.

``checkpoint`` is the newest note; ``checkpoints`` has all, each with a blank line behind it, so
that it is a plain text for people and auditors. ``handovers`` has those once more with which the
log's key was handed over (`hoopgw.recording.succession`), and ``verifier`` the key of now.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import define, field

from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint
from hoopgw.recording.succession import Handover, read_handover

_TAIL: Final = 256 * 1024
"""Bytes of the history that are read to find its end; a note has 64 KiB at most."""
_SIGNATURE: Final = "\N{EM DASH} ".encode()


def write_atomically(path: Path, data: bytes) -> None:
    """Put a file in place, so that it has its old or its new content whatever happens."""
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(f"{temporary.name} was written short")
        os.fdatasync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def split_history(data: bytes) -> tuple[list[bytes], int]:
    """Cut a history into notes. Also returns how many bytes whole notes took."""
    notes = []
    taken = 0
    while (gap := data.find(b"\n\n", taken)) >= 0:
        end = data.find(b"\n\n", gap + 2)
        if end < 0:
            break
        notes.append(data[taken : end + 1])
        taken = end + 2
    return notes, taken


@define(eq=False)
class CheckpointFiles:
    """The two files, as the recorder writes them."""

    directory: Path
    _length: int = field(default=0, init=False)
    """Good bytes of the history."""

    @property
    def newest(self) -> Path:
        """The newest checkpoint."""
        return self.directory / "checkpoint"

    @property
    def history(self) -> Path:
        """All of them."""
        return self.directory / "checkpoints"

    @property
    def handovers(self) -> Path:
        """Those that hand the key over."""
        return self.directory / "handovers"

    def last_handover(self) -> tuple[bytes, Handover] | None:
        """Return the hand-over that ends the history, if one does.

        Raises:
            NoteError: it is a bad one.

        """
        note = self._last_of_history()
        found = None if note is None else read_handover(note)
        return None if note is None or found is None else (note, found)

    def settle(self, note: bytes, handover: Handover) -> None:
        """Note who has the log from a hand-over on, which is the newest checkpoint.

        Harmless if it was noted before. What a crash may have left undone is done.
        """
        if not self.newest.exists() or self.newest.read_bytes() != note:
            write_atomically(self.newest, note)
        before = self.handovers.read_bytes() if self.handovers.exists() else b""
        if note not in split_history(before)[0]:
            write_atomically(self.handovers, before + note + b"\n")
        write_atomically(self.directory / "verifier", handover.new.encode().encode() + b"\n")

    def load(self, verifier: Verifier) -> Checkpoint | None:
        """Return the newest checkpoint there is, or None if none was ever written.

        A history that ends inside a note, as after a power loss, is cut back to whole notes.

        Raises:
            NoteError: one is not genuine, or they contradict each other.

        """
        found = []
        if self.newest.exists():
            found.append(open_checkpoint(self.newest.read_bytes(), verifier))
        last = self._last_of_history()
        if last is not None:
            found.append(open_checkpoint(last, verifier))
        if not found:
            return None
        newest = max(found, key=lambda checkpoint: checkpoint.size)
        if any(one.size == newest.size and one.root != newest.root for one in found):
            raise NoteError(f"two checkpoints of size {newest.size} have different roots")
        return newest

    def keep(self, note: bytes) -> None:
        """Add a checkpoint. All that it covers must have been synced.

        Raises:
            OSError: there is no space; nothing has changed that matters.

        """
        fd = os.open(self.history, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Written where the good part ends, so that a torn attempt is overwritten.
            entry = note + b"\n"
            if os.pwrite(fd, entry, self._length) != len(entry):
                raise OSError("checkpoints was written short")
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self._length += len(entry)
        write_atomically(self.newest, note)

    def _last_of_history(self) -> bytes | None:
        if not self.history.exists():
            return None
        with self.history.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(size - _TAIL, 0)
            file.seek(start)
            data = file.read()
            if start:  # begin with a whole note: behind the first signature block
                signature = data.index(b"\n\n" + _SIGNATURE)
                cut = data.index(b"\n\n", signature + 2) + 2
                start, data = start + cut, data[cut:]
            notes, taken = split_history(data)
            self._length = start + taken
            file.truncate(self._length)
        return notes[-1] if notes else None
