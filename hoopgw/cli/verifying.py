"""``hoopgw sessions verify``: an auditor's look at a log folder, without a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.notes import NoteError, Verifier
from hoopgw.recording.verification import Report, verify

_KEY_LIMIT: Final = 4096
_SHOWN: Final = 50


def verify_log(
    output: Output, folder: Path, key: str | None, contents: ContentFolder | None = None
) -> None:
    """Verify a log and say what was found.

    Args:
        output: where to.
        folder: of the log.
        key: the log's public key or a file with it; the one beside the log if None.
        contents: what is beside the log; None leaves it unread.

    Raises:
        CommandError: the log is not what was written, or cannot be read.

    """
    verifier = _verifier(folder, key)
    report = verify(folder, verifier, contents)
    if output.is_json:
        output.json(_as_dict(report, verifier))
    else:
        output.fields(
            {
                "log": report.origin,
                "records": report.records,
                "sessions": report.sessions,
                "signed": f"{report.signed} by {report.checkpoints} checkpoints",
                "handed over": f"{report.handovers} times",
                "root": report.root.hex(),
                "key": verifier.encode(),
                **_contents(report, read=contents is not None),
            }
        )
        for problem in report.problems[:_SHOWN]:
            output.say(f"{problem.where}: {problem.what}", style="red")
        if key is None:
            output.say(
                "The key was taken from the log's own folder: compare it with the one that you "
                "keep elsewhere, or give that with --key.",
                style="yellow",
            )
        if report.unsigned:
            output.say(f"The last {report.unsigned} records are not signed yet.", style="yellow")
        if report.torn:
            output.say(f"{report.torn} bytes at the end are no whole record.", style="yellow")
    if not report.ok:
        count = len(report.problems)
        raise CommandError(
            f"the log in {folder} is not what was written: "
            f"{count} {'problem' if count == 1 else 'problems'}"
        )
    output.say("the log is what was written", style="green")


def _contents(report: Report, *, read: bool) -> dict[str, str]:
    """Say what there is beside the log."""
    if not report.contents:
        return {}
    if not read:
        return {"contents": f"{report.contents}, not read"}
    removed = f", {report.contents_removed} removed" if report.contents_removed else ""
    return {"contents": f"{report.contents}, {report.contents_size} bytes verified{removed}"}


def check_log(folder: Path, key: str) -> None:
    """Verify a log and say nothing.

    Raises:
        CommandError: it is not what was written, or cannot be read.

    """
    report = verify(folder, _verifier(folder, key))
    if not report.ok:
        first = report.problems[0]
        raise CommandError(
            f"the log in {folder} is not what was written: {first.where}: {first.what}"
        )


def _verifier(folder: Path, key: str | None) -> Verifier:
    if not folder.is_dir():
        raise CommandError(f"{folder} is no folder of a log")
    text = key
    try:
        if text is None:
            text = _read(folder / "verifier")
        elif "+" not in text or Path(text).is_file():
            text = _read(Path(text))
        return Verifier.decode(text)
    except OSError as error:
        raise CommandError(
            f"{error.filename}: {error.strerror}; give the log's public key with --key"
        ) from error
    except NoteError as error:
        raise CommandError(f"the key is not good: {error}") from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_KEY_LIMIT).decode(errors="replace")


def _as_dict(report: Report, verifier: Verifier) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "origin": report.origin,
        "key": verifier.encode(),
        "records": report.records,
        "signed": report.signed,
        "unsigned": report.unsigned,
        "checkpoints": report.checkpoints,
        "handovers": report.handovers,
        "sessions": report.sessions,
        "root": report.root.hex(),
        "torn_bytes": report.torn,
        "contents": report.contents,
        "contents_bytes": report.contents_size,
        "contents_removed": report.contents_removed,
        "problems": [{"where": p.where, "what": p.what} for p in report.problems],
    }
