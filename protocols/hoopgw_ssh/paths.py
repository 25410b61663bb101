"""Names of files as policy and people can read them. Pure.

A path is bytes to a target. Policy compares texts, so a name that is no text cannot be decided on:
what is not UTF-8 is refused, and so is NUL, which would end a path for some readers and not for
others.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from hoopgw.errors import HoopgwError
from hoopgw_ssh.files import HOME

SHOWN_LIMIT: Final = 1_024
"""Characters of a path that people are shown."""


class UnclearPathError(HoopgwError):
    """Nobody can say which file a path means. The text is for the client."""


def text_of(path: bytes) -> str:
    """Return a path as text.

    Raises:
        UnclearPathError: it is none.

    """
    if b"\0" in path:
        raise UnclearPathError("A name with a NUL in it cannot be decided on.")
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise UnclearPathError("A name that is not UTF-8 cannot be decided on.") from None


def normalised(path: str) -> str:
    """Return an absolute path without ``.``, ``..``, empty names and a slash at its end."""
    kept: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept)


def from_home(path: str) -> str:
    """Return a path of a command, which begins at the account's home folder, wherever that is.

    Raises:
        UnclearPathError: it leads out of there.

    """
    if path.startswith("/"):
        return normalised(path)
    depth = 0
    for name in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(name, 1)
        if depth < 0:
            raise UnclearPathError("A path that leads out of the home folder must be absolute.")
    inner = normalised(f"/{path}")
    return HOME if inner == "/" else HOME + inner


def joined(folder: str, name: str) -> str:
    """Return a name in a folder."""
    return f"/{name}" if folder == "/" else f"{folder}/{name}"


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return the folder that a path's last name stands in, and that name.

    The name is empty where what is meant is no name in a folder: the root, ``.`` and ``..``.
    """
    bare = path.rstrip(b"/")
    folder, slash, name = bare.rpartition(b"/")
    if name in (b"", b".", b".."):
        return path, b""
    return (folder or b"/") if slash else b".", name


def shown(path: str) -> str:
    """Return a path for people: nothing in it moves a cursor, or hides what stands there."""
    if len(path) > SHOWN_LIMIT:
        path = path[:SHOWN_LIMIT] + "..."
    if path.isprintable():
        return path
    return "".join(each if _is_plain(each) else _escape(each) for each in path)


def _is_plain(each: str) -> bool:
    return each.isprintable() and unicodedata.category(each) != "Cf"


def _escape(each: str) -> str:
    code = ord(each)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else "\\U?"
