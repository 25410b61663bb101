"""``hoopgw sessions``: what happened, shown again, and checked for being what was written."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.cli.replaying import Player, lines_of
from hoopgw.cli.verifying import verify_log
from hoopgw.recording.reader import LogReader
from hoopgw.recording.records import AnyRecord, decode

_PAGES_LIMIT: Final = 10_000
"""Answers that a replay asks for at most."""


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
    answer = Home.current().api().get(f"/v1/sessions/{path_part(session)}")
    if output.is_json:
        output.json(answer)
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


@sessions.command()
@click.argument("session")
@click.option(
    "--speed",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Keep the timing: 1 as it was, 2 twice as fast. Without it, all at once.",
)
@click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Read this log folder, instead of asking the gateway.",
)
@json_option
def replay(session: str, speed: float | None, folder: Path | None) -> None:
    """Show what was asked in SESSION, what was decided, and what came back."""
    output = Output.current()
    records = (
        list(_from_gateway(Home.current().api(), session))
        if folder is None
        else list(LogReader(folder).records(session))
    )
    if not records:
        raise CommandError(f"session {session} has no records")
    lines = lines_of(records)
    if output.is_json:
        output.json([{"at": line.at, "kind": line.kind, "text": line.text} for line in lines])
    else:
        Player(console=output.console, speed=speed).play(lines)


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
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--key", help="The log's public key, or a file with it.")
@json_option
def verify(folder: Path, key: str | None) -> None:
    """Verify the log in FOLDER: every record, every checkpoint. Needs no gateway."""
    verify_log(Output.current(), folder, key)


def _from_gateway(api: GatewayApi, session: str) -> Iterator[AnyRecord]:
    """Fetch a session's records, page by page, as the very bytes that the log has."""
    after: int | None = None
    for _ in range(_PAGES_LIMIT):
        answer: Any = api.get(f"/v1/sessions/{path_part(session)}/records", after=after)
        for view in answer["records"]:
            try:
                record = decode(base64.b64decode(view["raw"], validate=True))
            except (msgspec.MsgspecError, binascii.Error, KeyError, TypeError) as error:
                raise CommandError(
                    "the gateway gave a record that cannot be read: is this hoopgw as new as it?"
                ) from error
            yield record
        after = answer["next"]
        if after is None:
            return


def _flag(value: bool | None) -> str | None:
    return "true" if value else None


def _state(session: dict[str, Any]) -> str:
    if session["live"]:
        return "live"
    return "refused" if session["refused"] else "ended"
