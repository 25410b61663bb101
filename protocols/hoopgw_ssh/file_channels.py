"""Which inspector understands what moves files over a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hoopgw.errors import RecorderError
from hoopgw.sessions.deciding import Permission
from hoopgw.sessions.journal import Answered
from hoopgw_ssh.channels import Request
from hoopgw_ssh.file_commands import FileCommand
from hoopgw_ssh.files import FileJudge, FileResult, Transfer
from hoopgw_ssh.files_told import note_files
from hoopgw_ssh.hashed_streams import HashedStream
from hoopgw_ssh.inspecting import outcome_of
from hoopgw_ssh.inspector import Inspector, Stack
from hoopgw_ssh.kept_files import FileKeeping, files_kept
from hoopgw_ssh.meter import Meter
from hoopgw_ssh.operations import Asked
from hoopgw_ssh.scp import ScpInspector
from hoopgw_ssh.sftp import SftpInspector
from hoopgw_ssh.visit import Visit

SFTP: Final = "sftp"


def moves_files(
    visit: Visit,
    asked: Asked,
    permission: Permission,
    files: FileJudge,
    finished: Callable[[Answered], None],
) -> Inspector | None:
    """Return what is to stand in a channel that moves files; None if it does nothing known.

    Of files hashes are recorded, file by file; what they hold is kept only if the target says so.

    Args:
        visit: the connection.
        asked: what is started.
        permission: to do so.
        files: decides on each file.
        finished: told once how it came out.

    """
    command = asked.moves
    if command is not None and command.protocol != "scp":
        stream = _stream(visit, command, permission.intent, finished)
        return Stack(Meter(visit.purse, lambda _answered: None), stream)
    if command is not None:
        inner: Inspector = ScpInspector(files, command, _keeping(visit))
    elif (asked.operation.action, asked.operation.text) == ("subsystem", SFTP):
        inner = SftpInspector(files, "OpenSSH" in visit.server, _keeping(visit))
    else:
        return None
    return Stack(Meter(visit.purse, finished), inner)


def _keeping(visit: Visit) -> FileKeeping | None:
    which = files_kept(visit.target)
    if which == "never":
        return None
    return FileKeeping(visit.context.contents, visit.journal, which)


def _stream(
    visit: Visit, command: FileCommand, intent: int, finished: Callable[[Answered], None]
) -> HashedStream:
    def ended(status: Request | None, moved: tuple[Transfer, ...]) -> None:
        result = FileResult(outcome=outcome_of(status)[0], transfers=moved)
        try:
            answered = note_files(visit.journal, intent, result)
        except RecorderError as error:
            answered = Answered(outcome=result.outcome)
            visit.end(f"hoopgw: what was moved could not be recorded: {error}")
        finished(answered)

    return HashedStream(command, ended)
