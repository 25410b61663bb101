"""A session's records shown line by line, with the timing in which they came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from attrs import frozen
from rich.console import Console
from rich.text import Text

from hoopgw import registry
from hoopgw.errors import PluginError
from hoopgw.grants import journal
from hoopgw.recording.records import AnyRecord, SessionRefused, SessionStarted
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


@frozen(kw_only=True)
class Player:
    """Prints lines as they came, faster or slower; at once without a speed."""

    console: Console
    speed: float | None = None
    sleep: Callable[[float], None] = time.sleep

    def play(self, lines: Iterable[ReplayLine]) -> None:
        """Print all lines."""
        before: int | None = None
        for line in lines:
            if before is not None and self.speed:
                self.sleep(min(max(line.at - before, 0) / 1e9 / self.speed, PAUSE_LIMIT))
            before = line.at
            self._print(line)

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
