"""What an SFTP request does to which path: a request and where its paths lead in, an operation out.

Pure. Every request that names a path, and every one that changes an open file's attributes, is an
operation; what is done with a handle was decided when that was opened.
"""

from __future__ import annotations

from typing import Final

from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.files import FileAction, FileOperation, PathUse
from hoopgw_ssh.paths import shown
from hoopgw_ssh.sftp_resolving import Resolved
from hoopgw_ssh.sftp_wire import Attributes, Request

_SPECIAL_BITS: Final = 0o7000
"""Set-user-id, set-group-id, sticky: who makes a file with them does more than write it."""
_ACTIONS: Final[dict[int, FileAction]] = {
    sftp.LSTAT: "list",
    sftp.STAT: "list",
    sftp.OPENDIR: "list",
    sftp.REALPATH: "list",
    sftp.READLINK: "list",
    sftp.SETSTAT: "setattr",
    sftp.FSETSTAT: "setattr",
    sftp.REMOVE: "remove",
    sftp.RMDIR: "remove",
    sftp.MKDIR: "mkdir",
    sftp.RENAME: "rename",
    sftp.SYMLINK: "link",
}
_EXTENDED: Final[dict[bytes, FileAction]] = {
    sftp.POSIX_RENAME: "rename",
    sftp.STATVFS: "list",
    sftp.HARDLINK: "link",
    sftp.LSETSTAT: "setattr",
    sftp.EXPAND_PATH: "list",
}
CHANGES_NAMES: Final = frozenset({"rename", "remove", "link"})
"""Actions after which a path may lead elsewhere."""


def operation_of(request: Request, places: tuple[Resolved, ...]) -> FileOperation:
    """Return what a request does.

    Args:
        request: one with paths, or FSETSTAT.
        places: where its paths lead; of FSETSTAT, the file that is open.

    """
    actions = _actions(request)
    uses = tuple(
        PathUse(action, place.path, place.written) for place in places for action in actions
    )
    return FileOperation(
        action=actions[0],
        uses=uses,
        text=_text(request, actions, places),
        sent=_sent(request, places).encode(),
    )


def with_places(request: Request, places: tuple[Resolved, ...]) -> Request:
    """Return a request with the paths that were decided."""
    return request.with_paths(tuple(place.sent for place in places))


def _sent(request: Request, places: tuple[Resolved, ...]) -> Request:
    """Return what an approval is bound to: the request, whichever id it has, or handle."""
    if request.kind == sftp.FSETSTAT:
        paths = (places[0].path.encode(), request.attributes)
        return Request(sftp.SETSTAT, 0, paths)
    decided = with_places(request, places)
    return Request(decided.kind, 0, decided.fields, decided.name)


def _actions(request: Request) -> tuple[FileAction, ...]:
    """Return what a request does, the main thing first."""
    attributes = request.attributes
    if request.kind == sftp.OPEN:
        return _opening(flags_of(request), attributes)
    action = _EXTENDED[request.name] if request.kind == sftp.EXTENDED else _ACTIONS[request.kind]
    if action == "setattr" and attributes.size is not None:
        # A file is cut, or made longer.
        return ("write",) if attributes.is_only_size else ("write", "setattr")
    if action == "mkdir" and (attributes.mode or 0) & _SPECIAL_BITS:
        return "mkdir", "setattr"
    return (action,)


def flags_of(request: Request) -> int:
    """Return how an OPEN opens; 0 of others."""
    flags = request.fields[1] if request.kind == sftp.OPEN else 0
    assert isinstance(flags, int)
    return flags


def _opening(flags: int, attributes: Attributes) -> tuple[FileAction, ...]:
    """Return what opening a file is for; a file that is opened for nothing is read by OpenSSH."""
    writes = flags & ~sftp.FOR_READING
    actions: list[FileAction] = ["write"] if writes else []
    if flags & sftp.FOR_READING or not writes:
        actions.append("read")
    if writes and (attributes.mode or 0) & _SPECIAL_BITS:
        actions.append("setattr")
    return tuple(actions)


def _text(request: Request, actions: tuple[FileAction, ...], places: tuple[Resolved, ...]) -> str:
    words = [" and ".join(actions)]
    if request.kind == sftp.EXTENDED and request.name == sftp.HARDLINK:
        words = ["link (hard)"]
    words += [_place(place) for place in places]
    words += _attributes(request.attributes)
    return " ".join(words)


def _place(place: Resolved) -> str:
    """Name a place, and how it was written if that is something else."""
    path = shown(place.path)
    return path if place.path == place.written else f"{path} (written as {shown(place.written)})"


def _attributes(given: Attributes) -> list[str]:
    words = []
    if given.mode is not None:
        words.append(f"mode={given.mode & 0o7777:04o}")
    if given.size is not None:
        words.append(f"size={given.size}")
    if given.owners is not None:
        words.append(f"owner={given.owners[0]}:{given.owners[1]}")
    if given.extended:
        words.append("with extended attributes")
    return words
