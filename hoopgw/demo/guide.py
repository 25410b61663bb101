"""What the running demonstration tells its reader: lines to copy into other terminals."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from hoopgw.demo.settings import TARGET
from hoopgw.demo.stack import Demo
from hoopgw.demo.story import COUNT, DELETE, DROP, SELECT


def show_guide(demo: Demo, console: Console) -> None:
    """Print the panel, and the lines to copy below it, where no frame gets into the way."""
    console.print(
        Panel(
            Text.assemble(
                ("PostgreSQL 18, an issuer, the gateway and its agent are running.\n", "bold"),
                "People: alice (developers), bob (dba, admins), carol (support), dana (sales). ",
                "AI agent: planner.\n",
                f"Everything is in {demo.folder.path} and goes away with Ctrl-C. ",
                f"The issuer's page: {demo.issuer.url}",
            ),
            title="hoopgw demo",
            border_style="cyan",
            expand=False,
        )
    )
    for title, lines in _chapters(demo):
        body = Group(*(Text(f"  {line}", style="yellow") for line in lines))
        console.print(Text(f"\n{title}", style="bold"))
        console.print(body, soft_wrap=True)
    console.print(Text("\nCtrl-C stops everything.", style="dim"))


def _chapters(demo: Demo) -> list[tuple[str, list[str]]]:
    tool = _program()
    on_path = shutil.which("psql") == str(demo.psql)
    psql = "psql" if on_path else shlex.quote(str(demo.psql))
    folder = shlex.quote(str(demo.folder.path))
    become = f'eval "$({tool} demo login {{}} --folder {folder})"'
    return [
        (
            "Terminal A: become alice, and let psql in for this session",
            [
                become.format("alice"),
                f'eval "$({tool} token {TARGET} --account app_writer --password --format env)"',
            ],
        ),
        ("A masked answer", [f'{psql} -c "{SELECT}"']),
        ("A refusal, though the account owns the table", [f'{psql} -c "{DROP}"']),
        ("A hold: this waits for somebody of group dba", [f'{psql} -c "{DELETE}"']),
        (
            "Terminal B: become bob, look, and approve (or deny)",
            [
                become.format("bob"),
                f"{tool} requests list",
                f"{tool} requests show ID",
                f"{tool} requests approve ID --comment 'as agreed'",
            ],
        ),
        (
            "What happened, and that nobody has changed it since",
            [
                f"{tool} sessions list",
                f"{tool} sessions replay ID --speed 2",
                f"{tool} sessions verify {shlex.quote(str(demo.folder.state / 'log'))}",
            ],
        ),
        (
            "As alice again: an agent of hers, that has an agent of its own, that has psql",
            [
                f"{tool} delegate --to planner --allow {TARGET}:Postgres::read --ttl 10m -- bash",
                f"{tool} delegate --to db-migrator --account app_reader -- {psql} service={TARGET}",
                f"{tool} chains list        # in another terminal, as alice",
                f"{tool} chains revoke NODE",
            ],
        ),
        (
            "The AI agent, with a token of its own",
            [
                become.format("planner"),
                f'eval "$({tool} token {TARGET} --account app_reader --password --format env)"',
                f'{psql} -c "{COUNT}"',
            ],
        ),
    ]


def _program() -> str:
    """Return how the reader starts `hoopgw`: as it was started now."""
    beside = Path(sys.executable).with_name("hoopgw")
    if beside.exists():
        try:
            return shlex.quote(str(beside.relative_to(Path.cwd())))
        except ValueError:
            return shlex.quote(str(beside))
    return f"{shlex.quote(sys.executable)} -m hoopgw.cli"
