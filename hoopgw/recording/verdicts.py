"""What policy said of a session as a whole, as records: that it may begin, and what it is shown."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from hoopgw.policy.decision import Hidden, Sight, Verdict
from hoopgw.recording.records import FieldsShown, SessionJudged, ShownRecord


@frozen
class AskedAs:
    """Where a record stands, and by which names the log knows what policy was asked."""

    session: str
    sequence: int
    at: int
    input: bytes
    granted: bytes

    def session_judged(self, verdict: Verdict) -> SessionJudged:
        """Return the record of a verdict that lets a session begin."""
        return SessionJudged(
            self.session,
            self.sequence,
            self.at,
            self.input,
            list(verdict.because),
            verdict.policy,
            verdict.now,
            self.granted,
        )

    def fields_shown(self, sights: Iterable[Sight | Hidden], verdict: Verdict) -> FieldsShown:
        """Return the record of how fields are shown, which were asked for together with a verdict.

        Each different outcome is written once: most fields are shown alike.
        """
        outcomes: dict[Sight | Hidden, int] = {}
        shown = [outcomes.setdefault(each, len(outcomes)) for each in sights]
        rows = [
            ShownRecord(
                each.mask if isinstance(each, Sight) else None,
                isinstance(each, Hidden),
                list(each.because),
            )
            for each in outcomes
        ]
        return FieldsShown(
            self.session,
            self.sequence,
            self.at,
            self.input,
            rows,
            shown,
            verdict.policy,
            verdict.now,
            self.granted,
        )
