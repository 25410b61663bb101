"""``hoopgw sessions``: what happened, shown again, and checked for being what was written."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import click

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.exporting import FILE, FORMATS, Format, choose_shown, export, save, watch
from hoopgw.cli.exporting_files import export_file
from hoopgw.cli.failure import CommandError, RefusedError
from hoopgw.cli.home import Home
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.cli.playing import ContentPlayer
from hoopgw.cli.replaying import PAUSE_LIMIT, Between, Player, lines_of, without_doubles
from hoopgw.cli.session_sources import Fetched, FolderSource, GatewaySource, SessionSource
from hoopgw.cli.verifying import verify_log
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_frames import FILE_KINDS
from hoopgw.recording.content_reading import contents_of
from hoopgw.recording.records import AnyRecord


@click.group()
def sessions() -> None:
    """List, replay and verify recorded sessions."""


@sessions.command("list")
@click.option("--target", help="Only sessions with this target.")
@click.option("--live", is_flag=True, default=None, help="Only sessions that go on now.")
@click.option(
    "--denied", is_flag=True, default=None, help="Only those where something was refused."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def list_sessions(
    target: str | None, *, live: bool | None, denied: bool | None, limit: int
) -> None:
    """List sessions, the newest first: your own, or all for those who oversee."""
    output = Output.current()
    answer = (
        Home.current()
        .api()
        .get(
            "/v1/sessions",
            target=target,
            live=_flag(live),
            denied=_flag(denied),
            limit=limit,
        )
    )
    if output.is_json:
        output.json(answer)
        return
    purposes = any(session.get("purpose") for session in answer["sessions"])
    rows = [
        (
            session["id"],
            moment(session["started"]),
            session["path"] or "-",
            session["target"],
            session["account"],
            session["operations"],
            session["held"],
            session["denied"],
            _state(session),
            *([session.get("purpose", "")] if purposes else []),
        )
        for session in answer["sessions"]
    ]
    names = ["session", "started", "who", "target", "account", "operations", "held", "denied"]
    output.rows(
        (*names, "state", *(["purpose"] if purposes else [])),
        rows,
        empty="there are no sessions",
    )


@sessions.command()
@click.argument("session")
@json_option
def show(session: str) -> None:
    """Show who SESSION was, where it went and how it ended."""
    output = Output.current()
    api = Home.current().api()
    answer = api.get(f"/v1/sessions/{path_part(session)}")
    contents = _contents(api, session)
    if output.is_json:
        output.json({**answer, "contents": contents})
        return
    output.fields(
        {
            "session": answer["id"],
            "who": answer["path"],
            **({"purpose, not verified": answer["purpose"]} if answer.get("purpose") else {}),
            "target": answer["target"],
            "account": answer["account"],
            "protocol": answer["protocol"],
            "from": answer["address"],
            "agent": answer["agent"],
            "started": moment(answer["started"]),
            "ended": moment(answer["ended"]),
            "state": _state(answer),
            "reason": answer["reason"],
            "operations": answer["operations"],
            "held": answer["held"],
            "denied": answer["denied"],
        }
    )
    if contents:
        output.say("")
        output.rows(
            ("content", "kind", "recorded", "bytes", "outcome", "SHA-256"),
            [
                (
                    each["number"],
                    each["kind"],
                    each["holds"] if each["state"] != "missing" else "not there",
                    each["size"],
                    each["outcome"] or "goes on",
                    each["digest"],
                )
                for each in contents
            ],
        )


_LOG: Final = click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Read this log folder, instead of asking the gateway.",
)
_CONTENTS: Final = click.option(
    "--contents",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder of the contents, if it is not `contents` beside the log's.",
)
_CHANNEL: Final = click.option(
    "--channel", type=click.IntRange(0), help="Only this content; see `sessions show`."
)


@sessions.command()
@click.argument("session")
@click.option(
    "--speed",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Keep the timing: 1 as it was, 2 twice as fast. Without it, all at once.",
)
@click.option(
    "--max-pause",
    type=click.FloatRange(0, 3600),
    default=PAUSE_LIMIT,
    show_default=True,
    help="Seconds that it waits at most where nothing happened.",
)
@_CHANNEL
@_LOG
@_CONTENTS
@json_option
def replay(
    session: str,
    speed: float | None,
    max_pause: float,
    channel: int | None,
    folder: Path | None,
    contents: Path | None,
) -> None:
    """Show what was asked in SESSION, what was decided, and what came back.

    What a terminal or a command showed is played as it was recorded. What it could do to your
    terminal besides drawing is left out.
    """
    output = Output.current()
    source = _source(folder, contents)
    records = _records(source, session)
    found = contents_of(records)
    if channel is not None:
        found = {channel: choose_shown(found, channel)}
    lines = list(lines_of(without_doubles(records)))
    if output.is_json:
        output.json([{"at": line.at, "kind": line.kind, "text": line.text} for line in lines])
        return
    player = ContentPlayer(console=output.console, speed=speed, max_pause=max_pause)
    between = [
        _between(output, player, Fetched(source, each))
        for each in found.values()
        if each.opened.kind not in FILE_KINDS
    ]
    shown = lines if channel is None else []
    Player(console=output.console, speed=speed, max_pause=max_pause).play(shown, between)


@sessions.command("export")
@click.argument("session")
@click.option(
    "--format",
    "form",
    type=click.Choice((*FORMATS, FILE)),
    default="asciicast",
    show_default=True,
    help="asciicast (version 2) plays in asciinema; json has the records and frames, line by line; "
    "file is a file that was moved, where its target keeps those.",
)
@_CHANNEL
@click.option(
    "--output",
    "-o",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write this file, instead of to standard output.",
)
@click.option(
    "--raw",
    is_flag=True,
    help="Leave in what does more than draw; it may attack the terminal that it is played on.",
)
@_LOG
@_CONTENTS
@json_option
def export_session(
    session: str,
    form: Format | Literal["file"],
    channel: int | None,
    target: Path | None,
    folder: Path | None,
    contents: Path | None,
    *,
    raw: bool,
) -> None:
    """Write what was recorded of a channel of SESSION as a file that other programs read."""
    source = _source(folder, contents)
    records = _records(source, session)
    if form != "file":
        save(export(source, records, channel, form, raw=raw), target)
    elif target is None:
        raise CommandError("a file is written to a file: name it with -o FILE")
    elif said := export_file(source, records, channel, target):
        click.echo(said, err=True)


@sessions.command("watch")
@click.argument("session")
@_CHANNEL
@json_option
def watch_session(session: str, channel: int | None) -> None:
    """Show SESSION while it goes on, until it ends. `hoopgw sessions cut` ends it."""
    with suppress(KeyboardInterrupt):
        watch(Home.current().api(), session, channel, Output.current().console)


@sessions.command()
@click.argument("session")
@click.option("--reason", default="", help="For whoever is cut off, and for the record.")
@json_option
def cut(session: str, reason: str) -> None:
    """End SESSION now: your own, or anybody's if you administer the gateway."""
    output = Output.current()
    body = {"reason": reason} if reason else {}
    answer = Home.current().api().post(f"/v1/sessions/{path_part(session)}/cut", body)
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"session {session} is cut")


@sessions.command()
@click.argument("session")
@click.option("--reason", default="", help="For whoever is stopped, and for the record.")
@json_option
def freeze(session: str, reason: str) -> None:
    """Let nothing through SESSION, either way, until `hoopgw sessions thaw`: SSH only.

    Who may cut it may freeze it.
    """
    _still(session, reason, "freeze", "frozen")


@sessions.command()
@click.argument("session")
@click.option("--reason", default="", help="For whoever was stopped, and for the record.")
@json_option
def thaw(session: str, reason: str) -> None:
    """Let SESSION go on, which was frozen by you, or by somebody below you."""
    _still(session, reason, "thaw", "thawed")


def _still(session: str, reason: str, verb: str, done: str) -> None:
    output = Output.current()
    body = {"reason": reason} if reason else {}
    answer = Home.current().api().post(f"/v1/sessions/{path_part(session)}/{verb}", body)
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"session {session} is {done}")


@sessions.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--key", help="The log's public key, or a file with it.")
@click.option(
    "--contents",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder of the contents, if it is not `contents` beside the log's.",
)
@click.option("--no-contents", is_flag=True, help="Do not read the contents.")
@json_option
def verify(folder: Path, key: str | None, contents: Path | None, *, no_contents: bool) -> None:
    """Verify the log in FOLDER: every record, every checkpoint, every content.

    Needs no gateway.
    """
    beside = contents or folder.parent / "contents"
    read = ContentFolder(beside) if beside.is_dir() and not no_contents else None
    verify_log(Output.current(), folder, key, read)


def _contents(api: GatewayApi, session: str) -> list[dict[str, Any]]:
    """Return what is recorded of its channels; nothing where that may not be read."""
    try:
        answer = api.get(f"/v1/sessions/{path_part(session)}/contents")
    except RefusedError:
        return []  # of a session that has just begun, or of an agent's own
    found: list[dict[str, Any]] = answer["contents"]
    return found


def _source(folder: Path | None, contents: Path | None) -> SessionSource:
    if folder is None:
        return GatewaySource(Home.current().api())
    return FolderSource(folder, contents or folder.parent / "contents")


def _records(source: SessionSource, session: str) -> list[AnyRecord]:
    records = source.records(session)
    if not records:
        raise CommandError(f"session {session} has no records")
    return records


def _between(output: Output, player: ContentPlayer, fetched: Fetched) -> Between:
    """Return what plays a content where it belongs, and says what is wrong with it."""
    opened, ended = fetched.records.opened, fetched.records.ended

    def play() -> None:
        try:
            player.play(fetched.records, fetched.frames())
        except CommandError as error:
            output.say(f"content {opened.number} cannot be shown: {error}", style="red")
            return
        if fetched.is_intact is False:
            output.say(f"content {opened.number} is not what was written", style="red")

    return Between(opened.at, opened.at if ended is None else ended.at, play)


def _flag(value: bool | None) -> str | None:
    return "true" if value else None


def _state(session: dict[str, Any]) -> str:
    if session["live"]:
        return "live"
    return "refused" if session["refused"] else "ended"
