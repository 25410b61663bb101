"""Contents: the bulky part of a recording, beside the log, as a client leg sees it.

What is asked and decided is in records. What then goes over a channel (the output of a command, a
shell) can be any number of bytes, and goes to a file of its own: `Contents.open` gives a `Content`
to write to. Its hashes are records of the session, so the log covers it. `content_store` implements
this in the worker, `content_frames` has the format, `content_reading` reads it again, and
`content_mending` closes what a worker left that died.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred

from hoopgw.errors import RecorderError
from hoopgw.recording.records import Record


class SessionNotes(Protocol):
    """A session's journal, as far as contents need it: it numbers the session's records."""

    @property
    def session(self) -> str:
        """The session's id."""
        ...

    def note(self, make: Callable[[int, int], Record]) -> int:
        """Keep a record with the next one, or within 50 ms; return its sequence.

        Args:
            make: gives the record for a sequence and a time in nanoseconds since the epoch.

        Raises:
            RecorderError: it cannot be kept, or the session has ended.

        """
        ...


@frozen(kw_only=True)
class ContentAbout:
    """What a content is."""

    kind: str
    """``shell``, ``exec``, ``subsystem`` ..."""
    intent: int = -1
    """Sequence of the intent that allowed it."""
    title: str = field(default="", repr=False)
    """For people: ``alice > web1: uname -a``."""
    term: str = ""
    """The client's ``TERM``; empty if there is no terminal."""
    columns: int = 0
    rows: int = 0
    holds: tuple[str, ...] = ("output",)
    """What of it is kept: ``input``, ``output``."""


class Content(Protocol):
    """One stream or channel that is recorded. After `end`, or an error, nothing is written."""

    @property
    def number(self) -> int:
        """Which of its session it is."""
        ...

    def write(self, kind: int, data: bytes) -> None:
        """Keep a frame, so that it survives this process. Say only then what it holds.

        Args:
            kind: a `hoopgw.recording.content_frames.FrameKind`.
            data: what it holds; long ones become several frames.

        Raises:
            RecorderError: it cannot be kept: the disk or a quota is full. What it holds must not go
                on to the client; the channel ends.

        """
        ...

    def passed(self, kind: int, size: int) -> None:
        """Count bytes that went by and are not kept: input, where that is not recorded."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether more waits for the disk than should: take nothing more before `room`."""
        ...

    def room(self) -> Deferred[None]:
        """Fire when it is not full any more, or has ended."""
        ...

    def end(self, outcome: str) -> None:
        """Write the end. Harmless if that was done; never raises.

        It must come before the session's own end is recorded.
        """
        ...


class Contents(Protocol):
    """Where contents are kept."""

    def open(self, notes: SessionNotes, about: ContentAbout) -> Content:
        """Begin one.

        Raises:
            RecorderError: it cannot be kept, so what it would hold must not happen.

        """
        ...

    def sync(self) -> Deferred[None]:
        """Fire when all that was written so far, names included, survives a power loss.

        Fails with `RecorderError`.
        """
        ...


class NoContents:
    """Where no contents can be kept. Implements `Contents`: what needs one is refused."""

    def open(self, notes: SessionNotes, about: ContentAbout) -> Content:
        """Refuse."""
        raise RecorderError("this gateway keeps no contents of sessions")

    def sync(self) -> Deferred[None]:
        """Refuse."""
        raise RecorderError("this gateway keeps no contents of sessions")
