"""What the commands print: tables and colours for a person, plain columns or JSON for a program.

Whatever came from the gateway is shown through `hoopgw.terminal.printable`, and never read as
rich's markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from attrs import frozen
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hoopgw.cli.failure import JSON_KEY
from hoopgw.terminal import printable

_STYLES: Final = {
    "approved": "green",
    "consumed": "green",
    "allow": "green",
    "active": "green",
    "connected": "green",
    "ok": "green",
    "requested": "yellow",
    "review": "yellow",
    "revoked": "red",
    "denied": "red",
    "deny": "red",
    "expired": "red",
    "withdrawn": "dim",
    "gone": "red",
}
"""Words that mean something at a glance."""


@frozen
class Output:
    """Prints the result of one command."""

    console: Console
    is_json: bool

    @classmethod
    def current(cls) -> Output:
        """Return the output that the command line asked for."""
        context = click.get_current_context()
        console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        return cls(console, bool(context.meta.get(JSON_KEY)))

    def json(self, value: Any) -> None:
        """Print JSON, one document."""
        click.echo(json.dumps(value, indent=2, default=str))

    def say(self, text: str, style: str = "") -> None:
        """Print a line; nothing in JSON mode, where standard output is one document."""
        if not self.is_json:
            self.console.print(Text(printable(text, keep="\n\t"), style=style))

    def rows(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = ""
    ) -> None:
        """Print a table; ``empty`` is said instead when there are no rows."""
        cells = [[_text(value) for value in row] for row in rows]
        if not cells:
            self.say(empty, style="dim")
        elif self.console.is_terminal:
            table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
            for name in columns:
                table.add_column(name, overflow="fold")
            for row in cells:
                table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
            self.console.print(table)
        else:
            _plain(columns, cells)

    def fields(self, values: Mapping[str, object]) -> None:
        """Print names and values, one a line."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            shown = _text(value)
            line = Text(f"{name:<{width}}  ", style="bold")
            line.append(shown, style=_STYLES.get(shown, "not bold"))
            self.console.print(line)


def json_asked(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    """Remember ``--json``; ``meta`` is shared by a command and the groups around it."""
    if asked:
        context.meta[JSON_KEY] = True


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=json_asked,
    help="Print JSON instead of tables; errors too, on standard error.",
)
"""For every command: asks for JSON."""


def moment(seconds: float | None) -> str:
    """Show seconds since the epoch in local time."""
    if not seconds:
        return "-"
    try:
        when = datetime.fromtimestamp(seconds, UTC).astimezone()
    except (TypeError, ValueError, OverflowError, OSError):
        return "?"  # it came from elsewhere
    return when.strftime("%Y-%m-%d %H:%M:%S")


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return printable(", ".join(map(str, value))) or "-"
    return printable(str(value))


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[name.upper() for name in columns], *rows]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = (cell + " " * (widths[i] - cell_len(cell)) for i, cell in enumerate(line))
        click.echo("  ".join(padded).rstrip())
