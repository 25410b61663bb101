"""``/v1/decisions``: the records from which decisions can be judged again.

======  ============================  ======================================================
GET     decisions                     ``?since=SECONDS&after=LEAF``: raw records, in the log's order
======  ============================  ======================================================

For administrators and auditors. ``hoopgw policy what-if`` and ``suggest`` ask for them.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from attrs import define, frozen

from hoopgw.control.arguments import number, only
from hoopgw.control.callers import Callers
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.recording.decisions import DecisionLog, Found, Unreadable

PAGE_BYTES: Final = 8 * 2**20
"""Bytes of records in one answer."""
FAULTS_LIMIT: Final = 1000
"""Records that cannot be used, in one answer; behind them it ends."""


@frozen
class _Page:
    records: list[Found]
    faults: list[Unreadable]
    following: int | None
    """The leaf to go on with, or None at the end."""
    size: int
    """Records in the log, as far as was read."""


@define(eq=False)
class DecisionRoutes:
    """Serves them."""

    _callers: Callers
    _log: DecisionLog
    _in_thread: ReadingRoom

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [Route("GET", "decisions", self._list)]

    async def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "since", "after")
        if not caller.oversees:
            raise ApiError(403, "refused", "only administrators and auditors see all decisions")
        since = number(call, "since", 0, 0, 2**33)
        after = number(call, "after", 0, 0, 2**62) if "after" in call.query else None
        page = await self._in_thread(self._read, since, after)
        return {
            "records": [
                {"leaf": each.leaf, "raw": base64.b64encode(each.data).decode()}
                for each in page.records
            ],
            "faults": [{"leaf": each.leaf, "why": each.why} for each in page.faults],
            "next": page.following,
            "size": page.size,
        }

    def _read(self, since: int, after: int | None) -> _Page:
        """Read a page; in a thread."""
        # Its own, as threads read at the same time.
        log = DecisionLog(self._log.directory)
        start = log.begin(since * 10**9 if since else None) if after is None else after
        records, faults, size = list[Found](), list[Unreadable](), 0
        last = start
        for each in log.records(start, earlier=after is None):
            full = size > PAGE_BYTES or len(faults) >= FAULTS_LIMIT
            if full and each.leaf >= start:
                return _Page(records, faults, each.leaf, max(log.leaves, each.leaf))
            last = max(last, each.leaf)
            if isinstance(each, Found):
                records.append(each)
                size += len(each.data)
            else:
                faults.append(each)
        return _Page(records, faults, None, last + 1)
