"""Which inspector understands what moves files over a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hoopgw.sessions.journal import Answered
from hoopgw_ssh.files import FileJudge
from hoopgw_ssh.inspector import Inspector, Stack
from hoopgw_ssh.meter import Meter
from hoopgw_ssh.operations import Asked
from hoopgw_ssh.sftp import SftpInspector
from hoopgw_ssh.visit import Visit

SFTP: Final = "sftp"


def moves_files(
    visit: Visit, asked: Asked, files: FileJudge, finished: Callable[[Answered], None]
) -> Inspector | None:
    """Return what is to stand in a channel that moves files; None if it does nothing known.

    Bytes of files are not kept as an output is: their hashes are, file by file.

    Args:
        visit: the connection.
        asked: what is started.
        files: decides on each file.
        finished: told once how it came out.

    """
    operation = asked.operation
    if operation.action != "subsystem" or operation.text != SFTP:
        return None
    inner = SftpInspector(files, "OpenSSH" in visit.server)
    return Stack(Meter(visit.purse, finished), inner)
