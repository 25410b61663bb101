"""The private folders that sockets are served from: made, locked, swept, removed.

A folder belongs to who runs the broker and is closed to others (0700), or may be entered but not
listed or written by the one other user that it is for (0711). Its lock is held for as long as the
broker lives; a folder whose lock can be had was left by a broker that was killed, and is swept.
Nothing secret is ever in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import define, field

from hoopgw.client.errors import REFUSED, Refused

PREFIX: Final = "hoopgw-"
PATH_LIMIT: Final = 107
"""Bytes of a unix socket's path (``sun_path`` less its end)."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted: beyond it, clients such as libpq get an error at once."""
_LOCK: Final = "lock"
_LONGEST: Final = "/99999/.s.PGSQL.5432"
_YOUNG: Final = 60.0
"""Seconds for which a folder without a held lock may just be in the making."""
_SWEPT: Final = 64
"""Folders that are looked at by one sweep."""


@define(eq=False)
class RuntimeFolder:
    """One broker's folder, while it lives."""

    path: Path
    _lock: int = field(repr=False)

    @classmethod
    def make(cls, environ: Mapping[str, str], *, for_other: bool = False) -> RuntimeFolder:
        """Make one, and sweep away what killed brokers have left.

        Args:
            environ: names the usual place (``XDG_RUNTIME_DIR``).
            for_other: whether another user must be able to enter it.

        Raises:
            Refused: there is no fit place.

        """
        base = _base(environ, for_other=for_other)
        sweep(base)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if for_other:
            path.chmod(0o711)
        if len(os.fsencode(path)) + len(_LONGEST) > PATH_LIMIT:
            made = cls(path, lock)
            made.remove()
            raise Refused(REFUSED, f"{base} is too long a path for sockets")
        return cls(path, lock)

    def remove(self) -> None:
        """Remove it with all that is in it. Symbolic links in it are not followed."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(base: Path) -> int:
    """Remove folders of killed brokers of ours; return how many."""
    swept = 0
    for path in sorted(base.glob(PREFIX + "*"))[:_SWEPT]:
        with contextlib.suppress(OSError):
            found = path.lstat()
            ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if not ours or found.st_mtime > time.time() - _YOUNG:
                continue
            swept += _sweep_one(path)
    return swept


def _sweep_one(path: Path) -> bool:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(path, ignore_errors=True)
        return True
    finally:
        os.close(lock)


def make_inner(parent: Path, name: str, *, for_other: bool) -> Path:
    """Make a folder inside a broker's own, for one identity."""
    path = parent / name
    path.mkdir(mode=0o700)
    if for_other:
        path.chmod(0o711)
    return path


def listen_at(path: Path, uid: int) -> socket.socket:
    """Return a listening unix socket that only one user can connect to (0600)."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        if uid != os.geteuid():
            os.chown(path, uid, -1, follow_symlinks=False)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def write_once(path: Path, text: str, *, mode: int) -> None:
    """Write a new file; what is there already, also a link, is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def _base(environ: Mapping[str, str], *, for_other: bool) -> Path:
    """Return where to make it: the user's runtime folder, ``/run``, or the temporary folder."""
    places = [] if for_other else [environ.get("XDG_RUNTIME_DIR", "")]
    if os.geteuid() == 0:
        places.append("/run")
    for place in places:
        path = Path(place)
        with contextlib.suppress(OSError):
            found = path.stat()
            private = found.st_uid == os.geteuid() and not found.st_mode & 0o022
            if path.is_absolute() and stat.S_ISDIR(found.st_mode) and private:
                return path
    return Path("/tmp" if for_other else tempfile.gettempdir())  # noqa: S108  # mkdtemp's own
