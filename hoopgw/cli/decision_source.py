"""Where recorded decisions come from: a log's folder, or a gateway that is asked page by page."""

from __future__ import annotations

import base64
import binascii
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from attrs import frozen
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.policy_folder import InvalidError
from hoopgw.cli.verifying import check_log
from hoopgw.policy.recorded import Question, QuestionReader, Skipped
from hoopgw.recording.decisions import DecisionLog, Found, Unreadable
from hoopgw.recording.reader import ReadError

_PAGES_LIMIT: Final = 100_000
_PERIOD: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_REFRESH: Final = 500
"""Records between two looks at the progress."""


class Since(click.ParamType[int | None]):
    """A period back from now (``7d``, ``12h``), a date with its time zone, or ``all``."""

    name = "since"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        """Return nanoseconds since the epoch; None for everything."""
        if not isinstance(value, str):
            return int(value)
        if value == "all":
            return None
        if match := _PERIOD.fullmatch(value):
            return time.time_ns() - int(match[1]) * _UNITS[match[2]] * 10**9
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail("give a period such as 7d or 12h, a date, or `all`", param, ctx)
        if moment.tzinfo is None:
            moment = moment.astimezone(UTC)
        return int(moment.timestamp() * 1e9)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--since``, ``--log`` and ``--key``."""
    for option in (
        click.option("--key", help="Verify the whole log first, with this public key or file."),
        click.option(
            "--log",
            "folder",
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Read this log folder, instead of asking the gateway.",
        ),
        click.option(
            "--since",
            type=Since(),
            default="7d",
            show_default=True,
            help="How far back: 7d, 12h, a date with its time zone, or all.",
        ),
    ):
        function = option(function)
    return function


@frozen
class Source:
    """Gives recorded decisions, and shows on standard error how far it is."""

    folder: Path | None
    since: int | None
    key: str | None = None

    def questions(self, take: Callable[[Question | Skipped], None]) -> None:
        """Give each decision to ``take``, in the log's order.

        Raises:
            CommandError: there is no log, or the gateway does not give one.

        """
        reader = QuestionReader()
        with _progress() as progress:
            if self.folder is not None:
                if self.key is not None:
                    check_log(self.folder, self.key)
                records = self._from_folder(self.folder, progress)
            else:
                records = self._from_gateway(Home.current().api(), progress)
            try:
                for found in reader.read(records, self.since or 0):
                    take(found)
            except ReadError as error:
                raise InvalidError(str(error)) from error

    def _from_folder(self, folder: Path, progress: Progress) -> Iterator[Found | Unreadable]:
        log = DecisionLog(folder)
        task = progress.add_task("reading the log", total=None)
        for number, found in enumerate(log.records(log.begin(self.since))):
            if number % _REFRESH == 0:
                progress.update(task, total=log.total, completed=log.read)
            yield found
        progress.update(task, total=log.total or 1, completed=log.total or 1)

    def _from_gateway(self, api: GatewayApi, progress: Progress) -> Iterator[Found | Unreadable]:
        task = progress.add_task("asking the gateway", total=None)
        after: int | None = None
        since = None if self.since is None else self.since // 10**9
        for _ in range(_PAGES_LIMIT):
            answer: Any = api.get("/v1/decisions", since=since, after=after)
            for view in answer["faults"]:
                yield Unreadable(int(view["leaf"]), str(view["why"]))
            for view in answer["records"]:
                try:
                    data = base64.b64decode(view["raw"], validate=True)
                except (binascii.Error, KeyError, TypeError) as error:
                    raise CommandError("the gateway gave a record that cannot be read") from error
                yield Found(int(view["leaf"]), data)
            after = answer["next"]
            progress.update(task, total=answer["size"], completed=after or answer["size"])
            if after is None:
                return
        raise CommandError("the log is too long to be asked for; use --log on the gateway's host")


def _progress() -> Progress:
    console = Console(file=sys.stderr)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
