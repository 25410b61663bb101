"""A session's records shown line by line, with the timing in which they came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from attrs import frozen
from rich.console import Console
from rich.text import Text

from hoopgw import registry
from hoopgw.errors import PluginError
from hoopgw.grants import journal
from hoopgw.recording.records import (
    AnyRecord,
    ContentOpened,
    Result,
    SessionRefused,
    SessionStarted,
)
from hoopgw.spi import ReplayLine
from hoopgw.terminal import printable, printable_bytes

PAUSE_LIMIT: Final = 3.0
"""Seconds that a replay waits between two lines at most, whatever the speed."""
_STYLES: Final = {
    "input": "bold yellow",
    "decision": "cyan",
    "output": "",
    "error": "red",
    "note": "dim",
}
_MARKS: Final = {"input": ">", "decision": "?", "output": "", "error": "!", "note": "#"}


@frozen
class Between:
    """Something that is played between two lines."""

    at: int
    """When it began, in nanoseconds since the epoch."""
    until: int
    """When it ended."""
    play: Callable[[], None]


def lines_of(records: Sequence[AnyRecord]) -> Iterator[ReplayLine]:
    """Show records by the replay of their protocol, or plainly if it is not installed here."""
    protocol = next(
        (r.protocol for r in records if isinstance(r, SessionStarted | SessionRefused)), None
    )
    try:
        if protocol is None:
            return iter(map(_plain, records))
        if protocol == journal.PROTOCOL:
            return journal.replay(records)
        spec = registry.load([protocol])[protocol]
    except PluginError:
        return iter(map(_plain, records))
    return iter(spec.replay(records))


def without_doubles(records: Sequence[AnyRecord]) -> list[AnyRecord]:
    """Return records without the beginnings of outputs that are in contents whole."""
    whole = {record.intent for record in records if isinstance(record, ContentOpened)}
    return [
        msgspec.structs.replace(record, output=b"")
        if isinstance(record, Result) and record.intent in whole
        else record
        for record in records
    ]


@frozen(kw_only=True)
class Player:
    """Prints lines as they came, faster or slower; at once without a speed."""

    console: Console
    speed: float | None = None
    max_pause: float = PAUSE_LIMIT
    sleep: Callable[[float], None] = time.sleep

    def play(self, lines: Iterable[ReplayLine], between: Iterable[Between] = ()) -> None:
        """Print all lines, and play what comes between them."""
        before: int | None = None
        waiting = sorted(between, key=lambda each: each.at)
        for line in lines:
            while waiting and waiting[0].at < line.at:
                first = waiting.pop(0)
                first.play()
                before = max(before or 0, first.until)
            if before is not None and self.speed:
                pause = max(line.at - before, 0) / 1e9 / self.speed
                self.sleep(min(pause, self.max_pause))
            before = max(before or 0, line.at)
            self._print(line)
        for each in waiting:
            each.play()

    def _print(self, line: ReplayLine) -> None:
        clock = moment_of(line.at)
        mark = _MARKS.get(line.kind, "#")
        style = _STYLES.get(line.kind, "")
        # Escaped again: a protocol of somebody else may have forgotten to.
        for number, row in enumerate(printable(line.text, keep="\n\t").split("\n")):
            text = Text(clock if number == 0 else " " * len(clock), style="dim")
            text.append(f" {mark:1} ", style="dim")
            text.append(row, style=style or "not dim")
            self.console.print(text, soft_wrap=True)


def moment_of(at: int) -> str:
    """Show nanoseconds since the epoch as a time of day, in local time."""
    try:
        moment = datetime.fromtimestamp(at / 1e9, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return "??:??:??.???"
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03}"


def _plain(record: AnyRecord) -> ReplayLine:
    """Show a record's fields, for want of its protocol."""
    skipped = ("session", "sequence", "at")
    values = ((n, getattr(record, n)) for n in record.__struct_fields__ if n not in skipped)
    shown = ", ".join(
        f"{name}={printable_bytes(value) if isinstance(value, bytes) else printable(str(value))}"
        for name, value in values
    )
    return ReplayLine(at=record.at, kind="note", text=f"{record.__struct_config__.tag}: {shown}")
