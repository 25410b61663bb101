"""Where the paths of an SFTP request lead, as the target says, before anybody decides on them.

A link makes one name of another, and only the target knows its links. So each path is asked for
with REALPATH first, and what goes to the target then is what came back. Requests that mean the name
itself and not what it leads to (remove, rename, lstat) have the folder asked for that it stands in.

Between the two the target's files may change. What this channel changes itself does not count: a
path is asked for when the answer to each earlier rename, link and removal is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.paths import UnclearPathError, joined, normalised, split, text_of
from hoopgw_ssh.sftp_wire import Packet, Request

FOLLOWING: Final = frozenset({sftp.OPEN, sftp.SETSTAT, sftp.OPENDIR, sftp.STAT, sftp.REALPATH})
"""Requests that mean what a path leads to."""
_FOLLOWING_NAMES: Final = frozenset({sftp.STATVFS, sftp.EXPAND_PATH})


class NoSuchPathError(Exception):
    """The target does not say where a path leads: the path as it was written, code and text."""

    def __init__(self, written: str, code: int, text: str) -> None:
        super().__init__(text)
        self.written, self.code, self.text = written, code, text


@frozen
class Resolved:
    """One path."""

    path: str
    """Where it leads."""
    written: str
    """As it was written, absolute."""
    sent: bytes
    """What stands in the request that goes on."""
    is_target_of_link: bool = False


@define(eq=False)
class Resolver:
    """Asks the target of one channel.

    Args:
        ask: sends a request; gets its encoding for an id.
        is_openssh: whether SYMLINK has its paths as OpenSSH has them.

    """

    _ask: Callable[[Callable[[int], bytes]], Deferred[Packet]] = field(repr=False)
    _is_openssh: bool
    _home: str | None = field(default=None, init=False)

    async def resolve(self, request: Request) -> tuple[Resolved, ...]:
        """Return where the paths of a request lead, in their order.

        Raises:
            UnclearPathError: nobody can say.
            NoSuchPathError: the target cannot.

        """
        if request.kind == sftp.SYMLINK:
            return await self._link(*request.paths)
        if request.kind == sftp.EXTENDED and request.name == sftp.EXPAND_PATH:
            return (await self._expanded(request.paths[0]),)
        follows = request.kind in FOLLOWING or request.name in _FOLLOWING_NAMES
        if request.kind == sftp.OPEN:
            follows = not _is_exclusive(request)
        resolve = self._followed if follows else self._named
        return tuple([await resolve(path) for path in request.paths])

    async def _followed(self, path: bytes, folder: str | None = None) -> Resolved:
        """Resolve what a path leads to; ``folder`` is where a relative one begins."""
        written = await self._written(path, folder)
        asked = path if folder is None else written.encode()
        answer = await self._realpath(asked)
        if isinstance(answer, str):
            return Resolved(answer, written, answer.encode())
        if answer.code in (sftp.PERMISSION_DENIED, sftp.OP_UNSUPPORTED):
            raise NoSuchPathError(written, answer.code, answer.text)
        # Some servers know only paths of what is there. What is not may be made: in its folder.
        inner = await self._named(asked)
        lstat = Request(sftp.LSTAT, 0, (inner.sent,))
        there = await self._ask(lambda number: _numbered(lstat, number))
        if there.kind != sftp.STATUS or sftp.parse_status(there.body)[0] != sftp.NO_SUCH_FILE:
            raise NoSuchPathError(written, answer.code, answer.text)  # a link that leads nowhere
        return Resolved(inner.path, written, inner.sent)

    async def _named(self, path: bytes) -> Resolved:
        """Resolve the folder of a name, and no link that the name itself may be."""
        folder, name = split(path)
        if not name:
            return await self._followed(path)
        written = await self._written(path)
        answer = await self._realpath(folder)
        if not isinstance(answer, str):
            raise NoSuchPathError(written, answer.code, answer.text)
        whole = joined(answer, text_of(name))
        return Resolved(whole, written, whole.encode())

    async def _link(self, first: bytes, second: bytes) -> tuple[Resolved, ...]:
        """Resolve where a link is to be, and where it would lead.

        OpenSSH has what it leads to first, the draft where it is to be. Both are decided alike, so
        the order matters for relative ones only.
        """
        if not first.startswith(b"/") and not self._is_openssh:
            raise UnclearPathError(
                "A link to a relative path is not understood with this server: make it absolute."
            )
        link = await self._named(second)
        try:
            leads = await self._followed(first, normalised(f"{link.path}/.."))
        except NoSuchPathError as error:
            if error.code != sftp.NO_SUCH_FILE:
                raise
            leads = Resolved(error.written, error.written, first)  # a link may come first
        return Resolved(leads.path, leads.written, first, is_target_of_link=True), link

    async def _expanded(self, path: bytes) -> Resolved:
        written = text_of(path)
        request = Request(sftp.EXTENDED, 0, (path,), sftp.EXPAND_PATH)
        answer = await self._place(request)
        if not isinstance(answer, str):
            raise NoSuchPathError(written, answer.code, answer.text)
        return Resolved(answer, answer, path)

    async def _written(self, path: bytes, folder: str | None = None) -> str:
        text = text_of(path)
        if text.startswith("/"):
            return normalised(text)
        if folder is None:
            folder = await self._begins()
        return normalised(f"{folder}/{text}")

    async def _begins(self) -> str:
        """Return where relative paths begin; servers do not change that."""
        if self._home is None:
            answer = await self._realpath(b".")
            if not isinstance(answer, str):
                raise NoSuchPathError(".", answer.code, answer.text)
            self._home = answer
        return self._home

    async def _realpath(self, path: bytes) -> str | NoSuchPathError:
        return await self._place(Request(sftp.REALPATH, 0, (path,)))

    async def _place(self, request: Request) -> str | NoSuchPathError:
        """Ask for a place; return it, or what the target said instead."""
        written = request.paths[0].decode("utf-8", "replace")
        text_of(request.paths[0])
        answer = await self._ask(lambda number: _numbered(request, number))
        if answer.kind == sftp.STATUS:
            code, text = sftp.parse_status(answer.body)
            return NoSuchPathError(written, code or sftp.FAILURE, text)
        if answer.kind != sftp.NAME:
            raise ProtocolViolationError("a path is answered with something else")
        place = text_of(sftp.parse_name(answer.body))
        if not place.startswith("/") or normalised(place) != place:
            raise UnclearPathError("The target does not say clearly where this path leads.")
        return place


def _numbered(request: Request, number: int) -> bytes:
    return Request(request.kind, number, request.fields, request.name).encode()


def _is_exclusive(request: Request) -> bool:
    flags, both = request.fields[1], sftp.CREATING | sftp.EXCLUSIVELY
    return isinstance(flags, int) and flags & both == both
