"""``hoopgw ssh``: the machine's own `ssh`, with all that it needs, in one step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import json_option
from hoopgw.cli.ssh_folder import SshFolder
from hoopgw.client.ssh import CONFIG_VARIABLE, Plan

_WITH_VALUE: Final = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""Options of ssh(1) that take a value."""


@click.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    }
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
def ssh(arguments: tuple[str, ...]) -> None:
    """Run `ssh` to a target: hoopgw ssh [OPTIONS OF SSH] [ACCOUNT@]TARGET [COMMAND].

    Nothing has to be set up before, but a log-in: in a job, `hoopgw login --ci`. Its exit status is
    that of `ssh`.
    """
    home = Home.current()
    place = _destination(arguments)
    if home.broker is not None:
        config, name = _inside(arguments[place])
    else:
        folder = SshFolder(home)
        kept = folder.kept()
        plan = folder.refresh() if kept is None else kept.plan
        if plan.find(_named(arguments[place])) is None and kept is not None:
            plan = folder.refresh()
        config, name = folder.files.config, _name(plan, arguments[place])
    program = shutil.which("ssh")
    if program is None:
        raise CommandError("there is no program 'ssh' here")
    command = ["ssh", "-F", str(config), *arguments[:place], name, *arguments[place + 1 :]]
    os.execv(program, command)  # noqa: S606  # it takes our place: the terminal, signals, status


def _destination(arguments: Sequence[str]) -> int:
    """Return where the destination is among the arguments of ssh(1)."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if word == "--" and place + 1 < len(arguments):
            return place + 1
        if not word.startswith("-") or word == "-":
            return place
        letters = word[1:]
        takes = next((i for i, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        place += 2 if takes is not None and takes == len(letters) - 1 else 1
    raise click.UsageError("which target? hoopgw ssh [OPTIONS OF SSH] [ACCOUNT@]TARGET [COMMAND]")


def _named(destination: str) -> str:
    """Return how we name what a person has typed: ``root@web1`` is ``root+web1``."""
    account, at, target = destination.rpartition("@")
    return f"{account}+{target}" if at else destination


def _name(plan: Plan, destination: str) -> str:
    """Return what `ssh` knows a destination by."""
    named = _named(destination)
    account, plus, name = named.rpartition("+")
    target = plan.find(named) or plan.find(name)
    if target is None:
        known = ", ".join(each.name for each in plan.targets) or "none"
        raise CommandError(
            f"there is no SSH target {name!r} that you may connect to; these are: {known}"
        )
    if named in target.names:
        return named
    if plus and account:
        known = ", ".join(target.accounts) or "none is known"
        raise CommandError(f"{target.name} has no account {account!r} for you; these are: {known}")
    if not target.usual:
        names = " or ".join(target.names) or f"ACCOUNT+{target.name}"
        raise CommandError(f"which account on {target.name}? Say {names}")
    return target.alias


def _inside(destination: str) -> tuple[Path, str]:
    """Return the child's own configuration, inside `hoopgw delegate`."""
    config = os.environ.get(CONFIG_VARIABLE, "")
    if not config:
        raise CommandError("no SSH target was delegated to this process")
    return Path(config), _named(destination)
