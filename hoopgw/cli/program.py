"""The `hoopgw` program: its options, and where each command is.

A command's module is imported when the command is used, so that `hoopgw token`, which runs at
every connection of a script, does not pay for the others.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from hoopgw import __version__
from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home, home_folder
from hoopgw.cli.output import Output, json_option
from hoopgw.errors import HoopgwError

_COMMANDS: Final[Mapping[str, str]] = {
    "agent": "hoopgw.cli.agents:agent",
    "certificate": "hoopgw.cli.certificate:certificate",
    "chains": "hoopgw.cli.chains:chains",
    "config": "hoopgw.cli.configuration:config",
    "delegate": "hoopgw.cli.delegate:delegate",
    "demo": "hoopgw.cli.demonstration:demo",
    "grants": "hoopgw.cli.grants:grants",
    "init": "hoopgw.cli.initialise:init",
    "keys": "hoopgw.cli.keys:keys",
    "login": "hoopgw.cli.login:login",
    "logout": "hoopgw.cli.login:logout",
    "policy": "hoopgw.cli.policies:policy",
    "request": "hoopgw.cli.grants:request",
    "requests": "hoopgw.cli.reviews:requests_",
    "sessions": "hoopgw.cli.recordings:sessions",
    "ssh": "hoopgw.cli.ssh_run:ssh",
    "ssh-certificate": "hoopgw.cli.ssh_certificate:ssh_certificate",
    "ssh-config": "hoopgw.cli.ssh_config:ssh_config",
    "store": "hoopgw.cli.stored:store",
    "targets": "hoopgw.cli.targets:targets",
    "token": "hoopgw.cli.token:token",
    "whoami": "hoopgw.cli.login:whoami",
}


GROUP: Final = "hoopgw.commands"
"""Entry points of protocols that add a command: its name, and where it is."""


class Program(click.Group):
    """A click group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        added = (entry.name for entry in entry_points(group=GROUP))
        return sorted({*_COMMANDS, *added, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name) or _added(cmd_name)
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever it raises becomes one sentence."""
        try:
            return super().invoke(ctx)
        except HoopgwError as error:
            _trace()
            raise CommandError(str(error)) from error
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except OSError as error:
            _trace()
            raise CommandError(_os_error(error)) from error
        except Exception as error:
            _trace()
            raise CommandError(
                f"this is a fault of hoopgw ({type(error).__name__}: {error}); "
                "set HOOPGW_TRACEBACK=1 to see where, and please report it"
            ) from error


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--gateway",
    metavar="URL",
    envvar="HOOPGW_GATEWAY",
    help="The gateway's address, such as https://gateway.example:8443. `login` remembers it.",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HOOPGW_CA",
    help="PEM file of the CA that issued the gateway's certificate. `login` remembers it.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="HOOPGW_HOME",
    help="Where the log-in is kept, instead of ~/.config/hoopgw.",
)
@json_option
@click.pass_context
def program(
    context: click.Context, gateway: str | None, ca: Path | None, home: Path | None
) -> None:
    """Reach PostgreSQL, SSH hosts, Azure and Kubernetes through the hoopgw gateway.

    Exit status: 0 done, 1 refused or failed, 2 wrong use, 3 not logged in or the log-in is over,
    4 the gateway does not answer, 5 policies or a log are not valid.
    """
    # Who names a folder on the command line means the log-in in it, also inside `hoopgw delegate`.
    named = context.get_parameter_source("home") is ParameterSource.COMMANDLINE
    broker = None if named else os.environ.get("HOOPGW_BROKER")
    context.obj = Home(
        folder=home or home_folder(os.environ),
        gateway=gateway,
        ca=ca,
        broker=Path(broker) if broker else None,
    )


@program.command()
@json_option
def version() -> None:
    """Print the version."""
    output = Output.current()
    if output.is_json:
        output.json({"version": __version__})
    else:
        click.echo(f"hoopgw {__version__}")


def _added(name: str) -> click.Command | None:
    """Import a command of a protocol; ours cannot be replaced by one."""
    for entry in entry_points(group=GROUP, name=name):
        command = entry.load()
        assert isinstance(command, click.Command)
        return command
    return None


def main() -> None:
    """Run the program; the console script's entry."""
    program(prog_name="hoopgw")


def _trace() -> None:
    if os.environ.get("HOOPGW_TRACEBACK"):
        traceback.print_exc()


def _os_error(error: OSError) -> str:
    if error.filename is None:
        return f"{error.strerror or error}"
    return f"{error.filename}: {error.strerror}"
