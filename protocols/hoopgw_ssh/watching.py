"""What stands in the channel of something that was started: it pays, records, and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve
from twisted.internet.defer import CancelledError

from hoopgw.errors import RecorderError
from hoopgw.recording.contents import ContentAbout
from hoopgw.sessions.deciding import Permission
from hoopgw.sessions.held import not_recorded
from hoopgw.sessions.journal import NOT_SENT, Answered
from hoopgw.sessions.refusals import RefusedError
from hoopgw.terminal import printable
from hoopgw_ssh.file_channels import moves_files
from hoopgw_ssh.files import FileJudge
from hoopgw_ssh.inspecting import recorded
from hoopgw_ssh.inspector import Inspector, Stack
from hoopgw_ssh.masking import Masks, masked
from hoopgw_ssh.meter import Meter
from hoopgw_ssh.operations import Asked
from hoopgw_ssh.visit import Visit

TITLE_LIMIT: Final = 200
"""Characters of a command that name its content."""


async def watch(
    visit: Visit,
    asked: Asked,
    permission: Permission,
    finished: Callable[[Answered], None],
    files: FileJudge,
) -> Inspector:
    """Return what is to stand in a channel.

    Args:
        visit: the connection.
        asked: what is started.
        permission: to do so.
        finished: told once how it came out.
        files: decides on each file that it moves, if that can be seen.

    Raises:
        RefusedError: it cannot be recorded, so it must not run.

    """
    if (moves := moves_files(visit, asked, permission, files, finished)) is not None:
        return moves
    masks = masked(visit, asked)
    terminal = asked.setting.terminal
    operation = asked.operation
    about = ContentAbout(
        kind=operation.action,
        intent=permission.intent,
        title=_title(visit, asked),
        term="" if terminal is None else terminal.name,
        columns=0 if terminal is None else terminal.columns,
        rows=0 if terminal is None else terminal.rows,
    )
    strict = permission.verdict.strict or permission.approved is not None
    try:
        recorder = await recorded(visit, about, _counting(masks, finished), strict=strict)
    except RecorderError as error:
        finished(Answered(outcome=NOT_SENT))
        raise RefusedError(not_recorded(error)) from error
    except CancelledError:
        finished(Answered(outcome=NOT_SENT))
        raise
    found: Inspector = recorder
    if visit.purse is not None:
        # What is not paid for is neither recorded nor shown.
        found = Stack(found, Meter(visit.purse, lambda _answered: None))
    return found if masks is None else Stack(found, masks)


def _counting(
    masks: Masks | None, finished: Callable[[Answered], None]
) -> Callable[[Answered], None]:
    """Return what is told how it came out: how much was masked, too."""
    if masks is None:
        return finished
    return lambda answered: finished(evolve(answered, masked=masks.masked))


def _title(visit: Visit, asked: Asked) -> str:
    said = printable(asked.operation.text)[:TITLE_LIMIT]
    what = " ".join(filter(None, (asked.operation.action, said)))
    return f"{visit.principal.path} > {visit.target.name}: {what}"
