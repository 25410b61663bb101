"""What a file transfer does to paths: values, and the seam to who decides and records it.

SFTP, scp, rsync and git all come to this: an operation uses one or more paths, each in one way, and
all of these must be allowed. What was moved is told afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, Protocol, TypeAlias

from attrs import field, frozen
from attrs.validators import min_len
from twisted.internet.defer import Deferred

FileAction: TypeAlias = Literal[
    "read", "write", "rename", "remove", "list", "mkdir", "setattr", "link"
]
"""The actions of Cedar on an `Ssh::Path`."""
Extent: TypeAlias = Literal["whole", "range", "partial", "stream"]

HOME: Final = "~"
"""Begins a path below the account's home folder, where nobody has said which that is."""


@frozen
class PathUse:
    """One way to use one path."""

    action: FileAction
    path: str
    """Where it leads, as the target said: absolute, without links, ``.`` and ``..``. Below `HOME`
    where the target was not asked, as in a command."""
    written: str
    """As the client asked for it, only made absolute and without ``.`` and ``..``: another path if
    there are links on the way. Policy must allow both."""


@frozen(kw_only=True)
class FileOperation:
    """One request of a client."""

    action: FileAction
    """The main one of its uses."""
    uses: tuple[PathUse, ...] = field(validator=min_len(1))
    text: str
    """For people and recordings: ``rename /srv/a /srv/b``; printable, and UTF-8."""
    sent: bytes = field(repr=False)
    """What goes to the target, for the digest: the request, with the paths that were decided."""
    protocol: str = "sftp"
    """``sftp`` or ``scp``: what the text means."""


@frozen(kw_only=True)
class FileRuling:
    """What became of asking."""

    allowed: bool
    reason: str = ""
    """For the client, if it is refused: a sentence."""
    intent: int = 0
    """Names the record of it, if it is allowed, for `FileJudge.finished`."""


@frozen(kw_only=True)
class Transfer:
    """What was moved of one file."""

    path: str
    is_upload: bool
    size: int
    """Bytes of it that were moved, each counted once."""
    digest: bytes = field(repr=bytes.hex)
    """SHA-256 of them, in the order of the file, from ``offset``."""
    offset: int
    """Where in the file they begin."""
    extent: Extent
    """``whole``: all of the file, from its begin to its end. ``range``: a piece without a hole.
    ``partial``: with holes, or bytes that were written twice; the digest is of the beginning, as
    far as it has none. ``stream``: the bytes of a protocol that names no files, as they came."""
    content: int = -1
    """The session's content that holds them; -1: they are not kept, or there are none."""


@frozen(kw_only=True)
class FileResult:
    """How an operation that was allowed came out."""

    outcome: str
    """``OK``, or what the target said: ``NO_SUCH_FILE``."""
    transfers: tuple[Transfer, ...] = ()
    """What was moved of the file that it opened: nothing, or one of each direction."""


class FileJudge(Protocol):
    """Decides on operations, and records them."""

    def file(
        self,
        operation: FileOperation,
        say: Callable[[str], None],
        end: Callable[[str], None] | None = None,
    ) -> Deferred[FileRuling]:
        """Decide; the intent is recorded when this fires, so the operation may be sent.

        Args:
            operation: what is asked for.
            say: shows the client why it waits, as while people are asked.
            end: of what goes on for a while, a file that is open: ends the channel, with a reason,
                when it is not allowed any more.

        The Deferred is cancelled when nobody waits any more. If it fails, that is a refusal.

        """
        ...

    def finished(self, intent: int, result: FileResult) -> None:
        """Record how an operation came out that was allowed; each is told once."""
        ...
