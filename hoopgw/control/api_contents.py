"""``/v1/sessions/ID/contents``: what went over the channels of a session.

======  ==============================  =====================================================
GET     sessions/ID/contents            which there are, with sizes and hashes
GET     sessions/ID/contents/NUMBER     ``?after=OFFSET&limit=BYTES``: whole frames, in order
======  ==============================  =====================================================

Who may read a session's records may read these. A content that goes on is given up to its last
whole frame; who asks again from ``next`` sees it live.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define

from hoopgw.control.arguments import number, only
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import ContentFormatError
from hoopgw.recording.content_reading import ContentRecords, Page, contents_of, read_page
from hoopgw.recording.index import SessionSummary
from hoopgw.recording.reader import LogReader

PAGE: Final = 4 * 2**20
"""Bytes of a page at most; it is sent as base64."""
_SHOWN: Final = 1_000
"""Contents of one list."""
_NANO: Final = 1e9


@define(eq=False)
class ContentRoutes:
    """Serves them.

    Args:
        callers: who asks.
        readable: gives the session of the log that a caller may read; else an `ApiError`.
        reader: of the log.
        folder: of the contents.
        in_thread: where files are read.

    """

    _callers: Callers
    _readable: Callable[[str, Caller], Awaitable[SessionSummary]]
    _reader: LogReader
    _folder: ContentFolder
    _in_thread: ReadingRoom

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "sessions/*/contents", self._list),
            Route("GET", "sessions/*/contents/*", self._page),
        ]

    async def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "after")
        after = number(call, "after", 0, 0, 2**31)
        summary = await self._readable(call.path[0], caller)
        found = await self._in_thread(self._found, summary.id)
        wanted = [each for each in found if each["number"] >= after]
        return {
            "session": summary.id,
            "contents": wanted[:_SHOWN],
            "next": wanted[_SHOWN]["number"] if len(wanted) > _SHOWN else None,
        }

    def _found(self, session: str) -> list[dict[str, Any]]:
        """Say which contents a session has; in a thread."""
        found = contents_of(self._reader.records(session))
        return [content_view(each, self._folder) for _, each in sorted(found.items())]

    async def _page(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "after", "limit")
        which = call.path[1]
        if not (which.isascii() and which.isdigit()) or len(which) > 9:
            raise ApiError(404, "not_found", "contents have numbers")
        after = number(call, "after", 0, 0, 2**62)
        limit = number(call, "limit", PAGE, 1, PAGE)
        summary = await self._readable(call.path[0], caller)
        try:
            page: Page = await self._in_thread(
                read_page, self._folder, summary.id, int(which), after, limit
            )
        except ContentFormatError as error:
            raise ApiError(409, "damaged", f"it is not what was written: {error}") from error
        return {
            "session": summary.id,
            "number": int(which),
            "data": base64.b64encode(page.data).decode(),
            "next": page.next,
            "last": page.is_last,
            "ended": page.has_ended,
        }


def content_view(content: ContentRecords, folder: ContentFolder) -> dict[str, Any]:
    """Show what the log says of a content, and whether its file is there."""
    opened, end = content.opened, content.ended
    path = folder.find(opened.session, opened.number)
    state = "missing" if path is None else "kept" if path.parent == folder.kept else "open"
    return {
        "number": opened.number,
        "kind": opened.kind,
        "title": opened.title,
        "intent": opened.intent,
        "term": opened.term,
        "columns": opened.columns,
        "rows": opened.rows,
        "holds": opened.holds,
        "opened": opened.at / _NANO,
        "ended": None if end is None else end.at / _NANO,
        "outcome": "" if end is None else end.outcome,
        "size": content.covered,
        "digest": None if end is None else end.digest.hex(),
        "input": None if end is None else end.input,
        "output": None if end is None else end.output,
        "stderr": None if end is None else end.stderr,
        "mended": end is not None and end.mended,
        "state": state,
    }
