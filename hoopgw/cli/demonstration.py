"""``hoopgw demo``: the whole system on one machine, to try or to watch."""

from __future__ import annotations

import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from hoopgw.cli.failure import CommandError
from hoopgw.demo.command import CommandLine
from hoopgw.demo.files import DemoFolder, policies
from hoopgw.demo.guide import show_guide
from hoopgw.demo.issuer import AGENT, Issuer
from hoopgw.demo.processes import DemoError
from hoopgw.demo.stack import Demo
from hoopgw.demo.stage import Stage
from hoopgw.demo.story import Story

_FOLDER: Final = Path(".demo")
_ALIVE: Final = 1.0
"""Seconds between two looks at whether everything still runs."""

_folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=_FOLDER,
    show_default=True,
    help="The demonstration's folder.",
)


@click.group(invoke_without_command=True)
@click.option("--script", is_flag=True, help="Play the whole story, check it, and stop.")
@click.option("--keep", is_flag=True, help="Keep the folder with all logs and recordings.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept; .demo, or with --script a new temporary folder.",
)
@click.option(
    "--policies",
    "policy_folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Cedar policies to use instead of conf/policies.",
)
@click.pass_context
def demo(
    context: click.Context,
    folder: Path | None,
    policy_folder: Path | None,
    *,
    script: bool,
    keep: bool,
) -> None:
    """Run PostgreSQL, recorded Azure, an issuer, the gateway and an agent, with made-up data.

    Ctrl-C stops everything and removes the folder. Nothing is installed, nothing needs root.
    """
    if context.invoked_subcommand is not None:
        return
    made = folder or (Path(tempfile.mkdtemp(prefix="hoopgw-demo-")) if script else _FOLDER)
    console = Console(highlight=False)
    running = Demo(
        folder=DemoFolder(made.absolute()),
        policies=policy_folder or policies(),
        fixed_ports=not script,
    )
    with _stopped_by_signals(), _running(running, console, keep=keep):
        if script:
            stage = Stage(console)
            Story(running, stage).perform()
            console.print(Text(f"\nAll is as it should be: {stage.checked} checks.", "bold green"))
            return
        show_guide(running, console)
        with suppress(KeyboardInterrupt):
            _watch(running)
        console.print()


@demo.command("login")
@click.argument("name")
@_folder_option
def demo_login(name: str, folder: Path) -> None:
    """Log NAME (alice, bob, carol, dana or planner) in at the running demonstration.

    The real flow is done, and the issuer's page is filled in for you. Prints the environment that
    makes this terminal that person's: eval "$(hoopgw demo login alice)".
    """
    place = DemoFolder(folder.absolute())
    facts = place.facts()
    issuer = Issuer(url=facts.issuer, passwords=facts.people, agent_secret=facts.agent_secret)
    if name != AGENT and name not in facts.people:
        known = ", ".join([*sorted(facts.people), AGENT])
        raise CommandError(f"{name} is nobody in the demonstration; these are: {known}")
    command = CommandLine(home=place.home(name), gateway=facts.gateway, ca=place.ca)
    if name == AGENT:
        command.run("login", "--token-file", "-", text=issuer.agent_token())
    else:
        command.log_in(issuer, name)
    for variable, value in command.variables().items():
        click.echo(f"export {variable}={shlex.quote(value)}")
    click.echo(f"{name} is logged in", err=True)


@contextmanager
def _running(running: Demo, console: Console, *, keep: bool) -> Iterator[None]:
    """Start the demonstration, and leave nothing of it behind, whatever happens."""
    try:
        with _progress(running, console, "starting"):
            running.start()
        yield
    except DemoError as error:
        if keep:
            raise DemoError(f"{error}\n(everything is kept in {running.folder.path})") from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half behind
        with _progress(running, console, "stopping"):
            running.stop()
        if keep:
            console.print(Text(f"kept in {running.folder.path}", style="dim"))
        else:
            running.remove()


@contextmanager
def _progress(running: Demo, console: Console, doing: str) -> Iterator[None]:
    """Show what is being done: a line each, and on a terminal that it goes on."""
    with console.status(f"{doing} …") as status:

        def report(text: str) -> None:
            status.update(f"{doing} {text} …")
            console.print(Text(f"  · {text}", style="dim"))

        running.report = report
        yield


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demonstration as Ctrl-C does."""
    ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    previous = {number: signal.signal(number, _interrupt) for number in ends}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _watch(running: Demo) -> None:
    """Wait for Ctrl-C, while everything runs."""
    never = threading.Event()
    while not never.wait(_ALIVE):
        running.children.check()
