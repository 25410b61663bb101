"""Who is at the other end of a unix socket, by the kernel's word; and whose descendant it is.

Linux only: ``SO_PEERCRED``, ``SO_PEERPIDFD`` (6.5), ``/proc``. What cannot be told is refused.

A process belongs to the nearest ancestor that is a served command. One whose parents have ended
is nobody's: it was given to init or to a subreaper, and whoever could arrange that could choose
whose child it seems to be.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.client.errors import NOT_YOURS, Refused

_CREDENTIALS: Final = struct.Struct("3i")
_SO_PEERPIDFD: Final = 77  # asm-generic/socket.h; not in Python 3.11
_DEPTH_LIMIT: Final = 256
"""Ancestors that are looked at."""


@frozen
class Process:
    """One process, told from a later one with the same id by when it began."""

    pid: int
    began: int
    """Clock ticks since the machine started (proc(5), ``starttime``)."""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has an id now."""
        found = _stat(pid)
        return None if found is None else cls(pid, found[1])


@frozen
class Peer:
    """Who has connected."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return who has connected; also when it has ended since, which `owner_of` then refuses."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid)


def owner_of(connection: socket.socket, uid: int, commands: Collection[Process]) -> Process:
    """Return the command that whoever has connected belongs to.

    Args:
        connection: a unix stream socket, accepted.
        uid: whom the socket is for.
        commands: all that are served.

    Raises:
        Refused: another user, no descendant of any, or gone meanwhile.

    """
    peer = peer_of(connection)
    if peer.uid != uid or peer.pid <= 0:
        raise Refused(NOT_YOURS, "this broker serves another user")
    handle = _pidfd(connection)
    try:
        found = _nearest(peer.pid, commands)
        # An id that was given to another process while we looked must not count.
        if found is None or (handle is not None and not _is_alive(handle)):
            raise Refused(
                NOT_YOURS,
                "this process is not below the command that the broker was started for",
                hint="a process whose parents have ended does not count: keep it in the foreground",
            )
        return found
    finally:
        if handle is not None:
            os.close(handle)


def is_below(pid: int, command: Process) -> bool:
    """Whether a process is a command, or descends from it."""
    return _nearest(pid, (command,)) == command


def _nearest(pid: int, commands: Collection[Process]) -> Process | None:
    known = {command.pid: command for command in commands}
    for _ in range(_DEPTH_LIMIT):
        found = _stat(pid)
        if found is None:
            return None
        parent, began = found
        command = known.get(pid)
        if command is not None and command.began == began:
            return command
        if parent <= 1:
            return None
        pid = parent
    return None


def _stat(pid: int) -> tuple[int, int] | None:
    """Return parent and start of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The name may hold spaces and brackets: what follows its last bracket is numbers.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[19])


def _pidfd(connection: socket.socket) -> int | None:
    """Return a handle of the very process that has connected, if the kernel gives one."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None


def _is_alive(handle: int) -> bool:
    text = Path(f"/proc/self/fdinfo/{handle}").read_text()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "Pid":
            return int(value) > 0
    return False
