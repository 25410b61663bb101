"""``hoopgw sessions export --format file``: a file that was moved, put together again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hoopgw.cli.exporting import check, choose, whole
from hoopgw.cli.failure import CommandError
from hoopgw.cli.session_sources import Fetched, SessionSource
from hoopgw.recording.content_frames import (
    FILE_KINDS,
    ContentFormatError,
    ContentFrame,
    FrameKind,
    piece_of,
)
from hoopgw.recording.content_reading import contents_of
from hoopgw.recording.records import AnyRecord, FileMoved

_PARTIAL: Final = (
    "This was moved in part, or a place of it more than once: it may have holes, which are zeros "
    "here, and of what was moved twice it has one."
)
_UNENDED: Final = "The log does not say that this was moved to its end: it is what came."


def export_file(
    source: SessionSource, records: Iterable[AnyRecord], wanted: int | None, output: Path
) -> str:
    """Write a file that was moved; it is there as the log vouches for it, or not at all.

    Args:
        source: where the content is.
        records: of the session.
        wanted: the content's number; None if the session has only one.
        output: what is written; of a ``range``, only that.

    Returns:
        What people should know of it; empty if it is all that was moved.

    Raises:
        CommandError: it cannot be written, or is not what was moved.

    """
    records = list(records)
    content = choose(contents_of(records), wanted)
    number, kind = content.opened.number, content.opened.kind
    if kind not in FILE_KINDS:
        raise CommandError(f"content {number} is no file that was moved, but {kind}")
    moved = next((r for r in records if isinstance(r, FileMoved) and r.content == number), None)
    fetched = Fetched(source, content)
    try:
        fd, draft = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as file:
            base = moved.offset if moved is not None and moved.extent == "range" else 0
            _put_together(file.fileno(), whole(fetched), base, is_upload=kind == FILE_KINDS[0])
            check(fetched)
        if moved is not None and moved.extent in ("whole", "range"):
            _compare(Path(draft), moved)
        Path(draft).replace(output)
    except (OSError, OverflowError) as error:
        # A client may have written far behind the end of what a file can be here.
        raise CommandError(f"{output}: cannot be written: {error}") from error
    except ContentFormatError as error:
        raise CommandError(f"content {number}: {error}") from error
    finally:
        Path(draft).unlink(missing_ok=True)
    if moved is None:
        return _UNENDED
    return _PARTIAL if moved.extent == "partial" else ""


def _put_together(fd: int, frames: Iterable[ContentFrame], base: int, *, is_upload: bool) -> None:
    """Write pieces to where they belong.

    What was uploaded last counts; of what was downloaded again, what came first: so it is hashed.
    """
    end = base
    for frame in frames:
        if frame.kind != FrameKind.FILE:
            continue
        offset, data = piece_of(frame.data)
        if offset < end and not is_upload:
            offset, data = end, data[end - offset :]
        if offset == end:
            end += len(data)
        while data:
            written = os.pwrite(fd, data, offset - base)
            offset, data = offset + written, data[written:]


def _compare(path: Path, moved: FileMoved) -> None:
    """Raise `CommandError`: a file is not what the log says was moved."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if (path.stat().st_size, digest) != (moved.size, moved.digest):
        raise CommandError(
            f"content {moved.content} does not give the file of which the log has the hash"
        )
