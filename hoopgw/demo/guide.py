"""What the running demonstration tells its reader: lines to copy into other terminals."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from hoopgw.demo import web1
from hoopgw.demo.azure_clients import AzClient, find_client, manager_url, request_url
from hoopgw.demo.azure_data import DELETE_GROUP, KEYS, SHOW_SECRET
from hoopgw.demo.azure_settings import ACCOUNT
from hoopgw.demo.settings import TARGET
from hoopgw.demo.stack import Demo
from hoopgw.demo.story import COUNT, DELETE, DROP, SELECT


def show_guide(demo: Demo, console: Console) -> None:
    """Print the panel, and the lines to copy below it, where no frame gets into the way."""
    console.print(
        Panel(
            Text.assemble(
                ("PostgreSQL 18, ", "bold"),
                ("" if demo.web1 is None else "an SSH host, ", "bold"),
                ("Azure as it was recorded, an issuer, the gateway ", "bold"),
                ("and its agent are running.\n", "bold"),
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
        *_ssh(demo, tool, become.format("alice")),
        *_azure(demo, tool, become.format("alice")),
    ]


def _ssh(demo: Demo, tool: str, become_alice: str) -> list[tuple[str, list[str]]]:
    """Return what to do with the SSH host, if there is one."""
    host = demo.web1
    if host is None:
        return []
    log, mark, old = (
        shlex.quote(str(each)) for each in (host.log, host.folder / "mark", host.releases / "1.0")
    )
    lines = [
        f"{tool} ssh {web1.TARGET} {shlex.quote(command)}"
        for command in (f"tail -n 2 {log}", f"tail -n 2 {log}; touch {mark}", f"rm -r {old}")
    ]
    config = shlex.quote(str(demo.folder.home("alice") / "ssh" / "config"))
    copy = f"scp -F {config} {web1.TARGET}:{shlex.quote(str(host.log))} ."
    return [
        (
            "SSH, as alice: a command, and a file",
            [become_alice, lines[0], copy],
        ),
        ("One of its programs is not permitted, so none of it runs", [lines[1]]),
        ("This waits for bob in terminal B", [lines[2]]),
    ]


def _azure(demo: Demo, tool: str, become_alice: str) -> list[tuple[str, list[str]]]:
    """Return what to do with Azure: with `az` where it is here, else with curl."""
    port = demo.ports.azure
    client = find_client(demo.folder.programs, port)
    if isinstance(client, AzClient):
        lines = [
            f"{tool} azure run {manager_url(port)} -- {shlex.join([client.program, *call.az])}"
            for call in (KEYS, SHOW_SECRET, DELETE_GROUP)
        ]
        first = [f"export {shlex.join([f'{k}={v}'])}" for k, v in client.variables.items()]
        title = "Azure, in terminal A (or another, as alice)"
    else:
        first = [
            f'{name}="Authorization: Bearer $({tool} token {call.target} --account {ACCOUNT})"'
            for name, call in (("AZURE", KEYS), ("VAULT", SHOW_SECRET))
        ]
        ca = shlex.quote(str(demo.folder.ca))
        curl = f"curl -sS --cacert {ca} --resolve '*:{port}:127.0.0.1'"
        lines = [
            f'{curl} -H "${name}" -X {call.method} {shlex.quote(request_url(port, call))}'
            for name, call in (("AZURE", KEYS), ("VAULT", SHOW_SECRET), ("AZURE", DELETE_GROUP))
        ]
        title = "Azure, in terminal A: there is no az here, so with curl (make demo-az installs az)"
    keys, secret, delete = lines
    return [
        (f"{title}: keys that are masked", [become_alice, *first, keys]),
        ("A secret, refused with the reason", [secret]),
        ("A resource group: this waits for bob in terminal B", [delete]),
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
