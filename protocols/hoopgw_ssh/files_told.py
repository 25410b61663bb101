"""Tells the journal what became of an operation on files."""

from __future__ import annotations

from functools import partial

from hoopgw.recording.contents import SessionNotes
from hoopgw.recording.records import FileMoved
from hoopgw.sessions.journal import Answered
from hoopgw_ssh.files import FileResult, Transfer


def note_files(notes: SessionNotes, intent: int, result: FileResult) -> Answered:
    """Note each transfer of a result; return what the operation's own record says.

    Raises:
        RecorderError: it cannot be kept, or the session has ended.

    """
    up, down = 0, 0
    digest = b""
    for each in result.transfers:
        notes.note(partial(_record, notes.session, intent, each))
        if each.is_upload:
            up, digest = up + each.size, each.digest
        else:
            down += each.size
    return Answered(outcome=result.outcome, sent=down, received=up, received_digest=digest)


def _record(session: str, intent: int, moved: Transfer, sequence: int, at: int) -> FileMoved:
    return FileMoved(
        session,
        sequence,
        at,
        intent,
        moved.path,
        moved.is_upload,
        moved.size,
        moved.digest,
        moved.offset,
        moved.extent,
        moved.content,
    )
