"""Contents of sessions are removed when they are old enough, as the configuration says.

That one is removed is recorded first, in the control process's own recording: so an auditor can
tell what was removed from what is missing. The log stays.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopgw.config.gateway import DAY
from hoopgw.control.reading import ReadingRoom
from hoopgw.errors import RecorderError, UnavailableError
from hoopgw.grants.journal import GrantJournal
from hoopgw.recording.content_files import ContentFolder
from hoopgw.spi import Recorder

log = Logger()

EVERY: Final = 600.0
"""Seconds between two looks."""
AT_ONCE: Final = 1_000
"""Contents that are removed at one look."""


@frozen
class Old:
    """A content whose time is over."""

    session: str
    number: int
    path: Path
    size: int


@define(eq=False)
class Retention:
    """Removes what is too old.

    Args:
        folder: of the contents.
        days: that contents are kept; 0 is for ever.
        journal: where removals are recorded.
        recorder: the journal's.
        in_thread: where files are looked at.
        now: seconds since the epoch.

    """

    _folder: ContentFolder
    _days: float
    _journal: GrantJournal
    _recorder: Recorder
    _in_thread: ReadingRoom
    _now: Callable[[], float]
    _busy: bool = field(default=False, init=False)

    def look(self) -> Deferred[None] | None:
        """Remove what is too old, unless that goes on already; call it when the time is certain."""
        if not self._days or self._busy:
            return None
        self._busy = True
        done = Deferred.fromCoroutine(self._remove())
        return done.addBoth(self._done)

    def _done(self, _: object) -> None:
        self._busy = False

    async def _remove(self) -> None:
        """Record removals, then remove."""
        before = self._now() - self._days * DAY
        try:
            old = await self._in_thread(find_old, self._folder, before)
            for each in old:
                why = f"older than {self._days:g} days"
                self._journal.removed(each.session, each.number, each.size, why)
            if old:
                await self._recorder.sync()
                await self._in_thread(remove, old)
                log.info("{count} contents were removed: their time is over", count=len(old))
        except (RecorderError, UnavailableError, OSError) as error:
            log.warn("old contents are not removed now: {error}", error=error)


def find_old(folder: ContentFolder, before: float) -> list[Old]:
    """Return contents that ended before a time, the oldest first; in a thread."""
    found = []
    for session, number, path in folder.ended():
        status = path.stat()
        if status.st_mtime < before:
            found.append((status.st_mtime, Old(session, number, path, status.st_size)))
    found.sort(key=lambda each: each[0])
    return [old for _, old in found[:AT_ONCE]]


def remove(old: list[Old]) -> None:
    """Remove contents; in a thread."""
    for each in old:
        each.path.unlink(missing_ok=True)
