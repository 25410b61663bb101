"""``hoopgw store``: what the gateway's store says of itself, while the gateway is stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hoopgw import config as configuration
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.control.service import lock, open_store
from hoopgw.identity.keybook import KeyBook
from hoopgw.store.sqlite import SqliteStore

_WARNING = (
    "Whatever was revoked and is not in the store is good again, and every log-in has to be begun "
    "anew. Go on?"
)
_AFTERWARDS = (
    "Tokens and certificates that are out live until they end. If anybody may hold one that was\n"
    "revoked, start the gateway and let other keys take the place of theirs:\n"
    "  hoopgw keys rotate token; hoopgw keys retire token\n"
    "and the same for callers and ssh-users."
)

_config = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default="hoopgw.toml",
    show_default=True,
    help="The gateway's hoopgw.toml.",
)


@click.group()
def store() -> None:
    """Check the store's list of what was revoked; the gateway must be stopped."""


@store.command()
@_config
@json_option
def check(config: Path) -> None:
    """Say whether what was revoked is all there, and what time the store has seen."""
    with _opened(config) as opened:
        _show(opened)
        if opened.problem:
            raise click.exceptions.Exit(1)


@store.command()
@click.confirmation_option(prompt=_WARNING)
@_config
@json_option
def accept(config: Path) -> None:
    """Take what is there for all that was revoked, and the clock for the time, for good.

    For when it cannot be restored, or when the clock was wrong and is right now. Ends every log-in.
    """
    with _opened(config) as opened:
        opened.accept(time.time())
        _show(opened)
        Output.current().say(_AFTERWARDS)


@contextmanager
def _opened(path: Path) -> Iterator[SqliteStore]:
    """Open the store, with the lock that control would take."""
    paths = configuration.load(path).paths
    held = lock(paths.state / "control.lock")
    try:
        opened = open_store(paths.store, KeyBook(paths))
        try:
            yield opened
        finally:
            opened.close()
    finally:
        os.close(held)


def _show(opened: SqliteStore) -> None:
    output = Output.current()
    values = {
        "complete": not opened.problem,
        "revoked": opened.count_revoked(),
        "time": opened.time,
        "behind": max(0.0, opened.time - time.time()),
    }
    if output.is_json:
        output.json(values)
        return
    output.fields(
        {
            "what was revoked": opened.problem or f"all there: {values['revoked']}",
            "time it has seen": moment(opened.time) if opened.time else "none",
            "the clock is behind": f"{values['behind']:.0f} s",
        }
    )
