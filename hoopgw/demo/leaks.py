"""Does the gateway know a credential of a target? Looked for where it would be.

The state folder, the log, the spool, what the processes print, and the environment and memory of
every process of the gateway (``/proc/PID/environ``, ``/proc/PID/mem``), in the spellings that a
credential takes on its way: as it is, UTF-16, hexadecimal, base64 at each alignment.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Final

from attrs import field, frozen

_CHUNK: Final = 1 << 16
_ZEROS: Final = bytes(_CHUNK)
_REGION: Final = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) r(w|-)[x-][ps] \S+ \S+ (\d+)")
"""A readable mapping of ``/proc/PID/maps``: start, end, whether it is writable, inode (proc(5))."""
_REGION_LIMIT: Final = 1 << 34
"""Bytes of one mapping; larger ones are reservations."""


@frozen(kw_only=True)
class Finding:
    """A place where a credential was found."""

    credential: str
    """Its name, never itself."""
    place: str


@frozen(kw_only=True)
class Search:
    """What was looked at, and what was found."""

    files: int
    processes: int
    """Processes whose memory could be read."""
    bytes: int
    unreadable: tuple[str, ...]
    found: tuple[Finding, ...] = field(factory=tuple)


def spellings(secret: bytes) -> set[bytes]:
    """Return the byte strings that give a secret away."""
    found = {secret, secret.decode().encode("utf-16-le"), secret.hex().encode()}
    found.add(secret.hex().upper().encode())
    for shift in range(3):
        # Base64 of the secret inside something longer: leave out the characters that depend on
        # what stands before and after it.
        encoded = base64.b64encode(b"\0" * shift + secret)
        start, end = (0, 2, 3)[shift], -4 if encoded.endswith(b"=") else None
        found.add(encoded[start:end])
    return found


def processes_below(pid: int) -> list[int]:
    """Return a process and all that it started, theirs too."""
    found = [pid]
    for parent in found:
        for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in tasks.read_text().split()]
            except OSError:
                continue  # a thread that has ended meanwhile
    return found


def search(
    secrets: Mapping[str, bytes], folders: Iterable[Path], processes: Iterable[int]
) -> Search:
    """Look for credentials in files and processes."""
    needles = [(name, s) for name, secret in secrets.items() for s in spellings(secret)]
    overlap = max(len(needle) for _, needle in needles)
    found: dict[Finding, None] = {}
    unreadable: list[str] = []
    files = size = 0
    pids = list(processes)
    places: list[tuple[str, Iterator[bytes]]] = []
    for path in (p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()):
        files += 1
        places.append((str(path), _file(path)))
    for pid in pids:
        places.append((f"/proc/{pid}/environ", _file(Path(f"/proc/{pid}/environ"))))
        places.append((f"/proc/{pid}/mem", _memory(pid)))
    for place, chunks in places:
        tail = b""
        try:
            for chunk in chunks:
                size += len(chunk)
                if chunk == _ZEROS[: len(chunk)]:  # stacks and heaps are mostly untouched
                    tail = b""
                    continue
                window = tail + chunk
                for name, needle in needles:
                    if needle in window:
                        found[Finding(credential=name, place=place)] = None
                tail = window[-overlap:]
        except OSError as error:
            unreadable.append(f"{place} ({error.strerror})")
    return Search(
        files=files,
        processes=len(pids) - sum("/mem (" in place for place in unreadable),
        bytes=size,
        unreadable=tuple(unreadable),
        found=tuple(found),
    )


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _memory(pid: int) -> Iterator[bytes]:
    """Yield what a process has in its memory, but for what is only mapped from files."""
    with Path(f"/proc/{pid}/maps").open("rb") as maps:
        regions = [
            (int(match[1], 16), int(match[2], 16))
            for line in maps
            if (match := _REGION.match(line)) and b"[v" not in line
            if match[3] == b"w" or match[4] == b"0"
        ]
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in regions:
            if end - start > _REGION_LIMIT:
                continue
            yield from _region(memory, start, end)
            yield b"\0" * 64  # regions do not run into each other


def _region(memory: FileIO, start: int, end: int) -> Iterator[bytes]:
    position = start
    while position < end:
        try:
            memory.seek(position)
            chunk = memory.read(min(_CHUNK, end - position))
        except OSError:
            return  # unmapped meanwhile, or a device
        if not chunk:
            return
        yield chunk
        position += len(chunk)
