"""``hoopgw sessions export`` and ``watch``: what was recorded of a channel, out of hoopgw."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import click
from rich.console import Console

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError, RefusedError
from hoopgw.cli.ids import path_part
from hoopgw.cli.playing import POLL, ContentPlayer
from hoopgw.cli.session_sources import Fetched, GatewaySource, SessionSource
from hoopgw.control.views import record_view
from hoopgw.recording.content_frames import FILE_KINDS, ContentFrame, FrameKind
from hoopgw.recording.content_reading import ContentRecords, contents_of
from hoopgw.recording.records import AnyRecord
from hoopgw.streams.asciicast import Version, asciicast

Format = Literal["asciicast", "asciicast-v3", "json"]
FORMATS: Final[tuple[Format, ...]] = ("asciicast", "asciicast-v3", "json")
FILE: Final = "file"
"""The format of a file that was moved: its bytes; see `exporting_files`."""
_BEGIN_PATIENCE: Final = 20
"""Looks for the first content of a session that lives, before it is said that there is none."""


def choose(contents: Mapping[int, ContentRecords], wanted: int | None) -> ContentRecords:
    """Return the content that is meant.

    Raises:
        CommandError: there is none, or several and none was named.

    """
    if wanted is None and len(contents) == 1:
        return next(iter(contents.values()))
    if wanted is None and contents:
        known = ", ".join(f"{n} ({each.opened.kind})" for n, each in sorted(contents.items())[:20])
        raise CommandError(f"there are several contents: choose one with --channel: {known}")
    if wanted is None:
        raise CommandError(
            "nothing of the session was recorded as it streamed, as of commands and shells;"
            " what it did is shown by hoopgw sessions replay"
        )
    if wanted not in contents:
        raise CommandError("the session has no such content: see hoopgw sessions show")
    return contents[wanted]


def choose_shown(contents: Mapping[int, ContentRecords], wanted: int | None) -> ContentRecords:
    """Return the content that is meant, which is to be shown.

    Raises:
        CommandError: as `choose`; or it is a file's.

    """
    content = choose(contents, wanted)
    if content.opened.kind in FILE_KINDS:
        raise CommandError(
            f"content {content.opened.number} is a file: write it with "
            f"hoopgw sessions export --channel {content.opened.number} --format {FILE} -o FILE"
        )
    return content


def export(
    source: SessionSource,
    records: list[AnyRecord],
    wanted: int | None,
    form: Format,
    *,
    raw: bool,
) -> Iterator[str]:
    """Give an export's lines.

    Raises:
        CommandError: it cannot be made, or, behind the last line, what was exported is not what was
            written.

    """
    contents = contents_of(records)
    if form == "json":
        yield from _json(source, records, contents, wanted)
        return
    fetched = Fetched(source, choose_shown(contents, wanted))
    frames = whole(fetched)
    first = next(frames, None)
    if fetched.head is None:
        raise CommandError("the content is empty")
    version: Version = 3 if form == "asciicast-v3" else 2
    behind = frames if first is None else _chain(first, frames)
    yield from asciicast(fetched.head, behind, version, filtered=not raw)
    check(fetched)


def save(lines: Iterable[str], output: Path | None) -> None:
    """Write lines to a file, which is there whole or not at all; or to standard output."""
    if output is None:
        for line in lines:
            click.echo(line)
        return
    try:
        fd, draft = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line + "\n")
        Path(draft).replace(output)
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror}") from error
    finally:
        Path(draft).unlink(missing_ok=True)


def _json(
    source: SessionSource,
    records: list[AnyRecord],
    contents: Mapping[int, ContentRecords],
    wanted: int | None,
) -> Iterator[str]:
    """Give a session as JSON Lines: its records, then its contents frame by frame."""
    for record in records:
        yield json.dumps({"line": "record", **record_view(record)}, ensure_ascii=False)
    chosen = contents if wanted is None else {wanted: choose(contents, wanted)}
    for number, content in sorted(chosen.items()):
        fetched = Fetched(source, content)
        for frame in whole(fetched):
            yield json.dumps({"line": "frame", "content": number, **_frame_view(frame)})
        check(fetched)


def _frame_view(frame: ContentFrame) -> dict[str, Any]:
    try:
        kind = FrameKind(frame.kind).name.lower()
    except ValueError:
        kind = str(frame.kind)
    return {"at": frame.at / 1e6, "kind": kind, "data": base64.b64encode(frame.data).decode()}


def whole(fetched: Fetched) -> Iterator[ContentFrame]:
    """Give the frames that there are now. Raises `CommandError`."""
    return (frame for frame in fetched.frames() if frame is not None)


def _chain(first: ContentFrame, rest: Iterator[ContentFrame]) -> Iterator[ContentFrame]:
    yield first
    yield from rest


def check(fetched: Fetched) -> None:
    """Raise `CommandError`: what was fetched is not what was written."""
    if fetched.is_intact is False:
        raise CommandError(
            f"content {fetched.number} is not what was written: its hash in the log is another"
        )


def watch(
    api: GatewayApi,
    session: str,
    wanted: int | None,
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show a session while it goes on, channel after channel, until it ends.

    Raises:
        CommandError: it does not live, or has nothing to show.

    """
    source = GatewaySource(api)
    if not _lives(api, session):
        raise CommandError(f"session {session} is over: see it with hoopgw sessions replay")
    player = ContentPlayer(console=console, max_pause=0.0, sleep=sleep)
    seen: set[int] = set()
    looks = 0
    while True:
        content = _newest(_known(source, session), seen, wanted)
        if content is not None:
            seen.add(content.opened.number)
            player.play(content, Fetched(source, content).frames(live=True))
            if wanted is not None:
                return
        elif not _lives(api, session):
            return
        else:
            looks += not seen
            if looks > _BEGIN_PATIENCE:
                raise CommandError("nothing of this session is recorded that could be watched")
            sleep(2 * POLL)


def _known(source: SessionSource, session: str) -> list[AnyRecord]:
    """Return a live session's records; none where the log does not know it yet."""
    try:
        return source.records(session)
    except RefusedError:
        return []


def _lives(api: GatewayApi, session: str) -> bool:
    return bool(api.get(f"/v1/sessions/{path_part(session)}")["live"])


def _newest(
    records: Iterable[AnyRecord], seen: set[int], wanted: int | None
) -> ContentRecords | None:
    """Return the newest content that goes on and was not shown; a terminal before all others."""
    found = [
        each
        for number, each in contents_of(records).items()
        if each.ended is None
        and number not in seen
        and wanted in (None, number)
        and each.opened.kind not in FILE_KINDS
    ]
    found.sort(key=lambda each: (bool(each.opened.term), each.opened.number))
    return found[-1] if found else None
