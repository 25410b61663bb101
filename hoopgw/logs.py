"""Logs for operators: one JSON object a line, on standard error.

Every process calls `start_logging` once, before anything else. Events for auditors do not come
this way: they go to the recorder. A log line holds scalar fields only; a field whose name sounds
like a secret is blanked, in the text too, so that a slip in a log call does not become a leak.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import IO, Any, Final

from attrs import define, field
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

VALUE_LIMIT: Final = 2_000
"""Characters of one field; what is longer is cut, and says so."""
TRACE_LIMIT: Final = 16_000
"""Characters of one traceback; the end is kept, where the error is."""

_SECRET: Final = re.compile(
    r"(?:^|_)(?:token|password|passwd|secret|authorization|credential|cookie|assertion|key)$", re.I
)
_BLANK: Final = "(not logged)"


@implementer(ILogObserver)
@define(eq=False)
class JsonLines:
    """Writes each event as one line of JSON."""

    role: str
    """The process: ``control``, ``worker`` ..."""
    stream: IO[str] = field(repr=False)

    def __call__(self, event: LogEvent) -> None:
        """Write one event; what cannot be formatted is written all the same, without its text."""
        self.stream.write(json_line(self.role, event) + "\n")
        self.stream.flush()


def start_logging(role: str, stream: IO[str] | None = None, *, debug: bool = False) -> None:
    """Send this process's log to standard error as JSON lines. Call once, first."""
    level = LogLevel.debug if debug else LogLevel.info
    lines = JsonLines(role, sys.stderr if stream is None else stream)
    filtering = LogLevelFilterPredicate(defaultLogLevel=level)
    # Each attempt to reconnect is a line there; who reconnects says what matters of it.
    filtering.setLogLevelForNamespace("twisted.application", LogLevel.warn)
    observer = FilteringLogObserver(lines, [filtering])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def json_line(role: str, event: LogEvent) -> str:
    """Return an event as one line of JSON, without a newline."""
    fields = {name: _plain(name, value) for name, value in _fields_of(event)}
    line: dict[str, Any] = {
        "at": datetime.fromtimestamp(float(event.get("log_time", 0.0)), UTC).isoformat(),
        "level": getattr(event.get("log_level"), "name", "info"),
        "role": role,
        "from": str(event.get("log_namespace", "")),
        "text": _cut(formatEvent({**event, **{n: v for n, v in fields.items() if v == _BLANK}})),
    }
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["failure"] = failure.getTraceback()[-TRACE_LIMIT:]
    if fields:
        line["fields"] = fields
    return json.dumps(line, ensure_ascii=True)


def _fields_of(event: LogEvent) -> list[tuple[str, Any]]:
    # Old-style events (``log.msg`` in libraries) carry their whole text and themselves as fields.
    skipped = ("message", "time", "system", "format", "isError", "failure", "why")
    return [(n, v) for n, v in event.items() if not n.startswith("log_") and n not in skipped]


def _plain(name: str, value: object) -> str | int | float | bool | None:
    if _SECRET.search(name):
        return _BLANK
    if value is None or isinstance(value, bool | int | float):
        return value
    return _cut(value if isinstance(value, str) else _described(value))


def _described(value: object) -> str:
    try:
        return str(value) if isinstance(value, Exception) else repr(value)
    except Exception:  # a broken repr must not cost the line
        return f"<{type(value).__name__}, which has no repr>"


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}... ({len(text)} characters)"
