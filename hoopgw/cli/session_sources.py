"""Where recordings come from: a gateway, or folders on this machine."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from attrs import define, field, frozen

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError, RefusedError
from hoopgw.cli.ids import path_part
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import (
    ContentFormatError,
    ContentFrame,
    ContentHead,
    ContentReader,
)
from hoopgw.recording.content_reading import ContentRecords, Page, read_page
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.records import AnyRecord, decode

_PAGES_LIMIT: Final = 10_000
"""Answers with records that are asked for at most."""
_PAGE: Final = 4 * 2**20
_TRIES: Final = 60
_PATIENCE: Final = 1.0
"""Seconds between tries where the gateway says that it was asked too often."""


class SessionSource(Protocol):
    """Gives what was recorded of sessions."""

    def records(self, session: str) -> list[AnyRecord]:
        """Return a session's records; none if it is not known. Raises `CommandError`."""
        ...

    def page(self, session: str, number: int, after: int) -> Page:
        """Return whole frames of a content. Raises `CommandError`: it is not there."""
        ...


@frozen
class GatewaySource:
    """A gateway. Implements `SessionSource`."""

    api: GatewayApi
    sleep: Callable[[float], None] = time.sleep

    def records(self, session: str) -> list[AnyRecord]:
        """Fetch a session's records, page by page, as the very bytes that the log has."""
        return list(self._records(session))

    def page(self, session: str, number: int, after: int) -> Page:
        """Fetch whole frames of a content."""
        path = f"/v1/sessions/{path_part(session)}/contents/{number}"
        answer = self._get(path, after)
        try:
            data = base64.b64decode(answer["data"], validate=True)
            return Page(data, int(answer["next"]), bool(answer["ended"]), bool(answer["last"]))
        except (binascii.Error, KeyError, TypeError, ValueError) as error:
            raise CommandError(
                "the gateway gave a content that cannot be read: is this hoopgw as new as it?"
            ) from error

    def _get(self, path: str, after: int) -> Any:
        """Ask for a page; where that was too often, wait and ask again."""
        for _ in range(_TRIES):
            try:
                return self.api.get(path, after=after)
            except RefusedError as error:
                if error.error != "slow_down":
                    raise
                self.sleep(_PATIENCE)
        return self.api.get(path, after=after)

    def _records(self, session: str) -> Iterator[AnyRecord]:
        after: int | None = None
        for _ in range(_PAGES_LIMIT):
            answer: Any = self.api.get(f"/v1/sessions/{path_part(session)}/records", after=after)
            for view in answer["records"]:
                try:
                    record = decode(base64.b64decode(view["raw"], validate=True))
                except (msgspec.MsgspecError, binascii.Error, KeyError, TypeError) as error:
                    raise CommandError(
                        "the gateway gave a record that cannot be read: "
                        "is this hoopgw as new as it?"
                    ) from error
                yield record
            after = answer["next"]
            if after is None:
                return


@frozen
class FolderSource:
    """A log's folder, and that of the contents beside it. Implements `SessionSource`."""

    log: Path
    contents: Path

    def records(self, session: str) -> list[AnyRecord]:
        """Read a session's records."""
        try:
            return list(LogReader(self.log).records(session))
        except ReadError as error:
            raise CommandError(str(error)) from error

    def page(self, session: str, number: int, after: int) -> Page:
        """Read whole frames of a content."""
        try:
            return read_page(ContentFolder(self.contents), session, number, after, _PAGE)
        except (ReadError, ContentFormatError) as error:
            raise CommandError(str(error)) from error


@define
class Fetched:
    """One content, as it is fetched; `frames` fetches it."""

    source: SessionSource
    records: ContentRecords
    head: ContentHead | None = field(default=None, init=False)
    size: int = field(default=0, init=False)
    _digest: Any = field(factory=hashlib.sha256, init=False, repr=False)

    @property
    def number(self) -> int:
        """Which it is."""
        return self.records.opened.number

    def frames(self, *, live: bool = False) -> Iterator[ContentFrame | None]:
        """Give its frames up to the end of what there is.

        Args:
            live: give None there, and go on with what has come then, until it has ended.

        Raises:
            CommandError: it is not there, or not what was written.

        """
        reader = ContentReader()
        while True:
            page = self.source.page(self.records.opened.session, self.number, self.size)
            self._digest.update(page.data)
            self.size += len(page.data)
            reader.receive(page.data)
            try:
                for frame in reader.frames():
                    self.head = reader.head
                    yield frame
            except ContentFormatError as error:
                raise CommandError(f"content {self.number}: {error}") from error
            self.head = reader.head
            if page.is_last and (page.has_ended or not live):
                return
            if page.is_last:
                yield None

    @property
    def is_intact(self) -> bool | None:
        """Whether what was fetched is what the log vouches for; None if it goes on."""
        ended = self.records.ended
        if ended is None:
            return None
        return (self.size, self._digest.digest()) == (ended.size, ended.digest)
