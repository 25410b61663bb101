"""The control process's own recording: what becomes of grants, step by step, and of recordings.

It is a session of the log like others, begun when the process first has something to say and ended
with it, so that it is searched, replayed and verified like them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from hoopgw.errors import RecorderError
from hoopgw.events import trail_of
from hoopgw.recording.inputs import hop_record
from hoopgw.recording.records import (
    AnyRecord,
    ContentRemoved,
    GrantStep,
    HopRecord,
    Record,
    SessionEnded,
    SessionStarted,
)
from hoopgw.recording.telling import told
from hoopgw.spi import Recorder, ReplayLine
from hoopgw.store.grant_rows import GrantRow
from hoopgw.terminal import printable

log = Logger()

PROTOCOL: Final = "hoopgw"
"""What the recording says that it is of; no protocol is called so."""


@define(eq=False)
class GrantJournal:
    """Writes the steps.

    Args:
        recorder: of the control process.
        new_session: makes the id of the recording.
        now: seconds since the epoch.

    """

    _recorder: Recorder
    _new_session: Callable[[], str]
    _now: Callable[[], float]
    _session: str = field(default="", init=False)
    _sequence: int = field(default=0, init=False)

    def write(
        self, step: str, grant: GrantRow, *, by: str = "", used_in: str = "", text: str = ""
    ) -> None:
        """Record a step before it is done.

        Raises:
            RecorderError: it cannot be recorded, so it must not be done.

        """
        if not self._session:
            self._begin()
        self._recorder.write(self._step(step, grant, by, used_in, text))
        self._sequence += 1

    def note(
        self, step: str, grant: GrantRow, *, by: str = "", used_in: str = "", text: str = ""
    ) -> None:
        """Record a step that is done, or that nothing must hinder: the end of a grant."""
        try:
            if not self._session:
                self._begin()
            self._recorder.put_off(self._step(step, grant, by, used_in, text))
            self._sequence += 1
        except RecorderError as error:
            log.error(
                "that grant {grant} is {step} could not be recorded: {error}",
                grant=grant.id,
                step=step,
                error=error,
            )

    def removed(self, session: str, number: int, size: int, why: str) -> None:
        """Record that a content of a session is about to be removed.

        Raises:
            RecorderError: it cannot be recorded, so it must not be done.

        """
        if not self._session:
            self._begin()
        record = ContentRemoved(
            self._session, self._sequence, self._at(), session, number, size, why
        )
        self._recorder.write(record)
        self._sequence += 1

    def end(self) -> None:
        """Record that the process ends."""
        if self._session:
            session, self._session = self._session, ""
            try:
                self._recorder.put_off(SessionEnded(session, self._sequence, self._at(), "stopped"))
            except RecorderError as error:
                log.error("the end of the recording is missing: {error}", error=error)

    def _begin(self) -> None:
        session = self._new_session()
        started: Record = SessionStarted(
            session,
            0,
            self._at(),
            PROTOCOL,
            "",
            "",
            [HopRecord(id="hoopgw|control", name="control", kind="workload", groups=[])],
            "",
            "process",
            "",
            "",
        )
        self._recorder.write(started)
        self._session, self._sequence = session, 1

    def _at(self) -> int:
        return int(self._now() * 1e9)

    def _step(self, step: str, grant: GrantRow, by: str, used_in: str, text: str) -> GrantStep:
        return GrantStep(
            self._session,
            self._sequence,
            self._at(),
            grant.id,
            step,
            grant.name,
            grant.template,
            grant.terms,
            [hop_record(hop) for hop in grant.principal.chain],
            [node.id for node in grant.principal.nodes],
            grant.target,
            grant.scope,
            int(grant.seconds),
            by,
            used_in,
            grant.digest,
            0 if grant.ends is None else int(grant.ends * 1e9),
            grant.extends,
            text,
            grant.principal.login,
        )


def replay(records: Iterable[AnyRecord]) -> Iterator[ReplayLine]:
    """Show the recording to a person."""
    for record in records:
        match record:
            case SessionStarted():
                yield ReplayLine(at=record.at, kind="note", text="the control process began")
            case GrantStep():
                kind = "error" if record.step == "break-glass" else "decision"
                yield ReplayLine(at=record.at, kind=kind, text=_told(record))
            case ContentRemoved():
                yield from told(record)
            case SessionEnded():
                said = printable(record.reason)
                yield ReplayLine(
                    at=record.at, kind="note", text=f"the control process ended: {said}"
                )


def _told(record: GrantStep) -> str:
    nodes = ("", *record.nodes)
    who = trail_of(zip((hop.name for hop in record.chain), nodes, strict=False))
    parts = [f"grant {record.grant} {record.step}: {record.name} on {record.target} for {who},"]
    parts.append(f"{record.scope} of {record.seconds} s")
    if record.digest:
        parts.append(f"digest {record.digest.hex()}")
    if record.extends:
        parts.append(f"extends {record.extends}")
    if record.by:
        parts.append(f"by {record.by}")
    if record.used_in:
        parts.append(f"in session {record.used_in}")
    if record.text:
        parts.append(f"- {record.text}")
    return printable(" ".join(parts))
