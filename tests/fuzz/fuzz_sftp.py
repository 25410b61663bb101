"""SFTP and scp between a client and a target, in whatever pieces both speak.

Invariant: nothing is raised, whichever side it comes from; each operation that was allowed comes
out once; nothing reaches the target by a handle that it did not give.
"""

from __future__ import annotations

from typing import Final

from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.file_commands import recognise
from hoopgw_ssh.scp import ScpInspector
from hoopgw_ssh.sftp_wire import Attributes, Request
from tests.fuzz.pieces import cut
from tests.ssh.sftp_bench import Bench, Deciding, Ground
from tests.ssh.test_sftp_wire import data, write

_HANDLE: Final = b"\0\0\0\1"
_ASKED: Final = (
    Request(sftp.OPEN, 1, (b"/a", 26, Attributes())).encode()
    + Request(sftp.OPEN, 2, (b"/b", 1, Attributes())).encode()
)
SEEDS: Final = (
    b"\x02\x10\x30"
    + write(3, _HANDLE, 0, b"content")
    + Request(sftp.CLOSE, 4, (_HANDLE,)).encode(),
    b"\x01\x11" + Request(sftp.RENAME, 5, (b"/a", b"../b")).encode(),
    b"\x03\x05\x09\x21" + data(9, b"content") + sftp.status(1, sftp.OK, "fine"),
    b"\x02\x03\x09" + b"T1 0 2 0\nD0755 0 a\nC0644 3 x\nabc\0E\n",
)


def fuzz(data: bytes) -> None:
    """Let the client say it, then the target."""
    _, pieces = cut(data)
    for is_up in (True, False):
        bench = Bench().begin()
        bench.client(_ASKED)
        for piece in pieces:
            bench.client(piece) if is_up else bench.target(piece)
        bench.inspector.abandoned()
        bench.inspector.ended(None)
        told = [intent for intent, _ in bench.deciding.results]
        assert len(told) == len(set(told)) == len(bench.deciding.operations)
        _scp(pieces, is_up=is_up)


def _scp(pieces: list[bytes], *, is_up: bool) -> None:
    command = recognise(b"scp -rt /a" if is_up else b"scp -rf /a")
    assert command is not None
    deciding = Deciding()
    inspector = ScpInspector(deciding, command)
    inspector.attach(Ground())
    for piece in pieces:
        inspector.to_target(piece)
        inspector.to_client(piece, None)
    inspector.abandoned()
    inspector.ended(None)
    assert len(deciding.results) == len(deciding.operations)
