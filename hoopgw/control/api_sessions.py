"""``/v1/sessions``: what lives, what was, what was done in it; and its end.

======  ============================  ======================================================
GET     sessions                      ``?live=true&target=&protocol=&denied=&limit=``
GET     sessions/ID                   one
GET     sessions/ID/records           ``?after=LEAF&limit=``: records in order
GET     sessions/ID/replay            the same, told for people, by the session's protocol
POST    sessions/ID/cut               ``{reason?}``: end it now
POST    sessions/ID/freeze            ``{reason?}``: let nothing through for a while
POST    sessions/ID/thaw              ``{reason?}``: let it go on
======  ============================  ======================================================

A person sees the sessions of the chains that begin with that person; an agent only the live ones
of its own chain and of what it started. Administrators and auditors see all. What somebody may not
see is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

from attrs import define, field

from hoopgw.control.arguments import LIST_LIMIT, flag, limit, number, only, text
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.fleet import Fleet
from hoopgw.control.freezes import Freezes, standing
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.views import head_view, record_view, replay_view, summary_view
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.events import Principal
from hoopgw.grants import journal
from hoopgw.recording.index import SessionFilter, SessionSummary
from hoopgw.recording.reader import Kept, LogReader, ReadError
from hoopgw.recording.records import AnyRecord
from hoopgw.reviews.rules import is_person
from hoopgw.spi import ProtocolSpec, ReplayLine
from hoopgw.store.rows import SessionHead, Store

RECORDS_BYTES: Final = 8 * 2**20
"""Bytes of records in one answer; whoever wants more asks again with ``after``."""
Replay: TypeAlias = Callable[[Iterable[AnyRecord]], Iterable[ReplayLine]]
REPLAY_LIMIT: Final = 20_000
"""Lines of a replay in one answer."""


def explain_reading(error: Exception) -> ApiError | None:
    """Return the answer for what the log's reader refused."""
    return ApiError(404, "not_found", str(error)) if isinstance(error, ReadError) else None


def owns(caller: Principal, chain: Principal) -> bool:
    """Whether a chain is the caller's, or was started by it."""
    return caller.includes(chain)


@define(eq=False)
class SessionRoutes:
    """Serves them."""

    _callers: Callers
    _store: Store
    _fleet: Fleet
    _reader: LogReader
    _protocols: Mapping[str, ProtocolSpec]
    _in_thread: ReadingRoom
    _freezes: Freezes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._freezes = Freezes(lambda session: self._store.session(session) is not None)

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "sessions", self._list),
            Route("GET", "sessions/*", self._one),
            Route("GET", "sessions/*/records", self._records),
            Route("GET", "sessions/*/replay", self._replay),
            Route("POST", "sessions/*/cut", self._cut),
            Route("POST", "sessions/*/freeze", self._freeze),
            Route("POST", "sessions/*/thaw", self._thaw),
        ]

    async def _list(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "live", "target", "protocol", "denied", "limit")
        live, wanted = flag(call, "live"), limit(call)
        heads = {head.id: head for head in self._store.sessions() if self._is_shown(head, caller)}
        found: list[dict[str, Any]] = []
        if caller.oversees or is_person(caller.principal):
            found = [
                summary_view(summary, live=summary.id in heads)
                for summary in await self._in_thread(self._find, call, caller, live, wanted)
            ]
        known = {view["id"] for view in found}
        newer = [] if live is False else [head_view(h) for h in heads.values() if h.id not in known]
        views = [v for v in (*newer, *found) if _fits(v, call, live)]
        views.sort(key=lambda view: view["started"] or 0.0, reverse=True)
        return {"sessions": views[:wanted]}

    def _find(
        self, call: Call, caller: Caller, live: bool | None, wanted: int
    ) -> list[SessionSummary]:
        """Look into the log's index; in a thread."""
        filter_ = SessionFilter(
            root=None if caller.oversees else caller.principal.root.id,
            target=call.query.get("target"),
            protocol=call.query.get("protocol"),
            denied=flag(call, "denied"),
            live=live if live is False else None,  # the store knows better what lives
            limit=LIST_LIMIT if live else wanted,
        )
        try:
            found = self._reader.sessions(filter_)
        except ReadError:
            return []  # nothing has been recorded yet
        # The index finds a root by name too, and names are not unique.
        return [s for s in found if caller.oversees or s.root_id == caller.principal.root.id]

    async def _one(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        name = call.path[0]
        head = self._store.session(name)
        if head is not None and self._is_shown(head, caller):
            try:
                summary = await self._in_thread(self._reader.session, name)
            except ReadError:
                return head_view(head)  # the recorder has not indexed it yet
            return summary_view(summary, live=True)
        return summary_view(await self.readable(name, caller), live=head is not None)

    async def _records(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "after", "limit")
        await self.readable(call.path[0], caller)
        after = number(call, "after", 0, 0, 2**62)
        wanted = limit(call, LIST_LIMIT)
        page, rest = await self._in_thread(self._page, call.path[0], after, wanted)
        return {
            "session": call.path[0],
            "records": [{**record_view(kept.record), "leaf": kept.leaf} for kept in page],
            "next": page[-1].leaf + 1 if rest and page else None,
        }

    def _page(self, session: str, after: int, wanted: int) -> tuple[list[Kept], bool]:
        """Read some records, and say whether there are more; in a thread."""
        page, size = list[Kept](), 0
        for kept in self._reader.kept(session):
            if kept.leaf < after:
                continue
            if len(page) == wanted or (page and size + len(kept.data) > RECORDS_BYTES):
                return page, True
            page.append(kept)
            size += len(kept.data)
        return page, False

    async def _replay(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        summary = await self.readable(call.path[0], caller)
        protocol = self._protocols.get(summary.protocol)
        own = summary.protocol == journal.PROTOCOL
        told: Replay | None = journal.replay if own else None
        if protocol is not None:
            told = protocol.replay
        if told is None:
            raise ApiError(
                404, "not_found", f"{summary.protocol or 'its protocol'}: not configured"
            )
        lines = await self._in_thread(self._lines, told, summary.id)
        return {
            "session": summary.id,
            "lines": replay_view(lines[:REPLAY_LIMIT]),
            "truncated": len(lines) > REPLAY_LIMIT,
        }

    def _lines(self, replay: Replay, session: str) -> list[Any]:
        """Replay a session; in a thread."""
        return list(islice(replay(self._reader.records(session)), REPLAY_LIMIT + 1))

    def _cut(self, call: Call) -> dict[str, Any]:
        caller, head, reason = self._to_end(call)
        said = f"ended by {caller.principal.path}" + (f": {reason}" if reason else "")
        self._tell(head, "cut", {"reason": said})
        return {"session": head.id, "cut": True}

    def _freeze(self, call: Call) -> dict[str, Any]:
        caller, head, reason = self._to_end(call)
        protocol = self._protocols.get(head.protocol)
        if protocol is None or not protocol.freezes:
            what = f"sessions of {head.protocol or 'this protocol'} cannot be frozen; cut it"
            raise ApiError(409, "refused", what)
        self._tell(head, "freeze", {"frozen": True, **_said(caller, reason)})
        self._freezes.froze(head.id, standing(caller, head.principal))
        return {"session": head.id, "frozen": True}

    def _thaw(self, call: Call) -> dict[str, Any]:
        caller, head, reason = self._to_end(call)
        if not self._freezes.may_thaw(head.id, standing(caller, head.principal)):
            raise ApiError(
                403,
                "refused",
                "only who froze it, or somebody above, may thaw it: an administrator who has no"
                " part in it always may",
            )
        self._tell(head, "freeze", {"frozen": False, **_said(caller, reason)})
        self._freezes.thawed(head.id)
        return {"session": head.id, "frozen": False}

    def _to_end(self, call: Call) -> tuple[Caller, SessionHead, str]:
        """Return who calls about which live session, if they may end it, and the reason given."""
        caller = self._callers.identify(call)
        only(call.body, "reason")
        head = self._store.session(call.path[0])
        if head is None or not (caller.is_admin or self._is_shown(head, caller)):
            raise ApiError(404, "not_found", "no such session lives")
        if not caller.is_admin and not owns(caller.principal, head.principal):
            raise ApiError(403, "refused", "auditors look on; they do not end or stop sessions")
        return caller, head, text(call.body, "reason", "")[:200]

    def _tell(self, head: SessionHead, name: str, body: dict[str, Any]) -> None:
        if not self._fleet.tell_one(head.worker, name, {"session": head.id, **body}):
            raise ApiError(503, "unavailable", "the worker of this session is not connected")

    def _is_shown(self, head: SessionHead, caller: Caller) -> bool:
        return caller.oversees or owns(caller.principal, head.principal)

    async def readable(self, name: str, caller: Caller) -> SessionSummary:
        """Return a session of the log whose records the caller may see.

        Raises:
            ApiError: there is none.

        """
        missing = ApiError(404, "not_found", f"no session {name[:100]!r}")
        if not caller.oversees and not is_person(caller.principal):
            raise missing
        try:
            summary = await self._in_thread(self._reader.session, name)
        except ReadError:
            raise missing from None
        if not caller.oversees and summary.root_id != caller.principal.root.id:
            raise missing
        return summary


def _said(caller: Caller, reason: str) -> dict[str, str]:
    principal = caller.principal
    return {"by": principal.path, "by_id": principal.chain[-1].id, "reason": reason}


def _fits(view: Mapping[str, Any], call: Call, live: bool | None) -> bool:
    wanted = {name: call.query[name] for name in ("target", "protocol") if name in call.query}
    return all(view[name] == value for name, value in wanted.items()) and (
        live is None or view["live"] == live
    )
