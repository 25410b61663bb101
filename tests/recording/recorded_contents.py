"""A log with sessions that have contents, and the files, as worker and recorder write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from msgspec import structs
from twisted.internet.task import Clock

from hoopgw.recording.content_files import ContentFolder, ContentLimits
from hoopgw.recording.content_frames import FrameKind, resize_data
from hoopgw.recording.content_store import ContentStore
from hoopgw.recording.contents import ContentAbout
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.records import AnyRecord, HopRecord, Record, SessionStarted, encode
from tests.recording.samples import START, ended, fill, intent, opened, result
from tests.recording.test_content_store import Bench

SHELL = ContentAbout(
    kind="shell", intent=1, title="alice > web1: shell", term="xterm", columns=100, rows=30
)
EXEC = ContentAbout(kind="exec", intent=1, title="alice > web1: exec uname")


@define(eq=False)
class ListNotes:
    """A session's journal that keeps records in a list. Implements `SessionNotes`."""

    records: list[AnyRecord]
    session: str

    def note(self, make: Callable[[int, int], Record]) -> int:
        sequence = len(self.records)
        self.records.append(make(sequence, START + sequence))  # type: ignore[arg-type]  # each is
        return sequence


@define(eq=False)
class RecordedContents:
    """Makes sessions over SSH, and writes them down."""

    log: Path
    contents: Path
    clock: Clock = field(factory=Clock)
    folder: ContentFolder = field(init=False)
    store: ContentStore = field(init=False)
    _writer: object = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.folder = ContentFolder(self.contents)
        self.clock.advance(START / 1e9)
        self.store = ContentStore(self.folder, ContentLimits(free=0), self.clock, Bench())
        self.store.start()

    def begin(self, session: str, who: str = "alice") -> ListNotes:
        """Begin a session, and one operation in it."""
        hop = HopRecord(f"corp|{who}", who, "person", [])
        start = SessionStarted(
            session, 0, START, "ssh", "web1", "deploy", [hop], "sid-1", "ssh-certificate", "::1",
            "local",
        )  # fmt: skip
        operation = structs.replace(intent(session, 1, b"shell"), action="shell")
        return ListNotes([start, operation], session)

    def shell(self, session: str, who: str = "alice", *, ends: bool = True) -> list[AnyRecord]:
        """Return the records of a session with a shell, whose content is there."""
        notes = self.begin(session, who)
        content = self.store.open(notes, SHELL)
        for seconds, kind, data in (
            (0.5, FrameKind.OUTPUT, b"$ "),
            (1.0, FrameKind.OUTPUT, b"ls\r\n\x1b[32mgreen\x1b[0m caf\xc3"),
            (0.1, FrameKind.OUTPUT, b"\xa9\x1b]52;c;cm0=\x07\r\n"),
            (0.2, FrameKind.RESIZE, resize_data(80, 24)),
            (9.0, FrameKind.EXIT, b"0"),
        ):
            self.clock.advance(seconds)
            content.write(kind, data)
        if ends:
            content.end("exit 0")
            notes.records.append(result(session, len(notes.records), 1))
            notes.records.append(ended(session, len(notes.records)))
        self.clock.advance(0.1)
        return notes.records

    def write(self, *sessions: list[AnyRecord]) -> None:
        """Write the log."""
        log = opened(self.log).writer
        fill(log, [encode(record) for records in sessions for record in records])
        SessionIndex.open(self.log, log.size).close()
        log.close()
