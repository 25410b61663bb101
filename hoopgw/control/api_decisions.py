"""``/v1/decisions``: the records from which decisions can be judged again.

======  ============================  ======================================================
GET     decisions                     ``?since=SECONDS&after=LEAF``: raw records, in the log's order
GET     requests/ID/explain           what policy says now to a request for approval
GET     sessions/ID/explain           ``?sequence=N``: the same of a recorded operation
======  ============================  ======================================================

The first is for administrators and auditors: ``hoopgw policy what-if`` and ``suggest`` ask for it.
The others are for whoever may see the request or the session.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from attrs import define, frozen

from hoopgw.control.arguments import number, only
from hoopgw.control.callers import Callers
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.questions import decision_word
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.views import plain
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.errors import PolicyError
from hoopgw.policy.explain import explain_inquiry
from hoopgw.policy.recorded import Question, QuestionReader, inquiry_of
from hoopgw.recording.decisions import DecisionLog, Found, Unreadable
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.records import Intent
from hoopgw.reviews.rules import is_person, may_see
from hoopgw.store.rows import Store

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
    _store: Store
    _reader: LogReader
    _files: PolicyFiles
    _in_thread: ReadingRoom

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("GET", "decisions", self._list),
            Route("GET", "requests/*/explain", self._request),
            Route("GET", "sessions/*/explain", self._operation),
        ]

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
        log = DecisionLog(self._reader.directory)
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

    async def _request(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query)
        request = self._store.request(call.path[0])
        if request is None or not may_see(request, caller.principal, oversees=caller.oversees):
            raise ApiError(404, "not_found", "there is no such request")

        def is_meant(intent: Intent) -> bool:
            return intent.digest == request.digest and intent.decision == "review"

        return await self._explain(request.session, is_meant)

    async def _operation(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.query, "sequence")
        sequence = number(call, "sequence", 0, 0, 2**62)
        missing = ApiError(404, "not_found", f"no session {call.path[0][:100]!r}")
        if not caller.oversees and not is_person(caller.principal):
            raise missing
        try:
            summary = await self._in_thread(self._reader.session, call.path[0])
        except ReadError:
            raise missing from None
        if not caller.oversees and summary.root_id != caller.principal.root.id:
            raise missing
        return await self._explain(summary.id, lambda intent: intent.sequence == sequence)

    async def _explain(self, session: str, is_meant: Callable[[Intent], bool]) -> dict[str, Any]:
        question = await self._in_thread(self._find, session, is_meant)
        try:
            explanation, version = await self._files.ask(
                lambda policies: (
                    explain_inquiry(policies, inquiry_of(question), question.held),
                    policies.version,
                )
            )
        except PolicyError as error:
            raise ApiError(503, "unavailable", f"the policy is not valid: {error}") from error
        recorded = question.recorded
        return {
            "session": question.session,
            "sequence": question.sequence,
            "leaf": question.leaf,
            "at": question.at / 1e9,
            "path": question.path,
            "target": question.target,
            "asked": [
                {"action": access.action, "resource": access.resource.id}
                for access in question.accesses
            ],
            "context": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in question.context.items()
            },
            "recorded": {
                "decision": recorded.word,
                "because": list(recorded.because),
                "reason": recorded.reason,
                "policy": recorded.policy,
            },
            "policy": version,
            "decision": decision_word(explanation),
            "outcome": plain(explanation.outcome),
            "lines": list(explanation.lines()),
            "steps": [plain(step) for step in explanation.steps],
        }

    def _find(self, session: str, is_meant: Callable[[Intent], bool]) -> Question:
        """Find what was asked, from its input on; in a thread."""
        for kept in self._reader.kept(session):
            record = kept.record
            if isinstance(record, Intent) and is_meant(record):
                break
        else:
            raise ApiError(404, "not_found", "the log has no such operation")
        log = DecisionLog(self._reader.directory)
        for found in QuestionReader().read(log.records(log.begin(record.at))):
            if found.leaf == kept.leaf:
                if isinstance(found, Question):
                    return found
                raise ApiError(409, "not_explained", f"it cannot be judged again: {found.why}")
        raise ApiError(404, "not_found", "the log has no such operation")
