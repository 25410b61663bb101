"""``hoopgw azure``: how `az`, the SDKs and Terraform reach the gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import requests

from hoopgw.cli.api import cause_of
from hoopgw.cli.failure import CommandError, UnreachableError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option
from hoopgw_azure import proxied
from hoopgw_azure.finding import ca_of, exchange, find_proxy, keep_bundle, settings_folder
from hoopgw_azure.identity_server import IdentityServer
from hoopgw_azure.settings import KINDS, Cloud, lines, variables

_TIMEOUT = 20.0


@click.group()
def azure() -> None:
    """Reach Azure through the gateway, with az, the SDKs and Terraform as they are.

    URL is where the gateway's Resource Manager is: https://arm.gw.example:9443
    """


@azure.command()
@click.argument("url")
@click.option("--for", "kind", type=click.Choice(KINDS), default="az", show_default=True)
@click.option("--account", default="default", help="The account on the target.")
@click.option(
    "--transparent",
    is_flag=True,
    help="URL is the gateway's proxy for Azure's own names: clients are told nothing but that.",
)
@json_option
def env(url: str, kind: str, account: str, *, transparent: bool) -> None:
    """Print what a job's shell needs; TOKEN_FILE is where the job's own OpenID Connect token is."""
    home = Home.current()
    if transparent:
        _proxied_env(home, url, kind, account)
        return
    cloud = _cloud(home, url)
    if Output.current().is_json:
        Output.current().json(variables(cloud, ca_of(home)))
        return
    for line in lines(cloud, kind, account, ca_of(home)):
        click.echo(line)


def _proxied_env(home: Home, url: str, kind: str, account: str) -> None:
    told = find_proxy(home, url)
    bundle = str(keep_bundle(home, told))
    if Output.current().is_json:
        Output.current().json(proxied.variables(told, told.url, bundle))
        return
    for line in proxied.lines(told, kind, account, bundle):
        click.echo(line)


@azure.command(context_settings={"allow_interspersed_args": False})
@click.argument("url")
@click.option("--account", default="", help="The account on the target; usual: the target's own.")
@click.argument("command", nargs=-1, required=True)
@json_option
def run(url: str, account: str, command: tuple[str, ...]) -> None:
    """Run COMMAND as you, after `hoopgw login`.

    As in: hoopgw azure run https://arm.gw.example:9443 -- az group list

    The command gets tokens from a managed identity on loopback that lives as long as it does. `az`
    gets a folder of its own beside the log-in, and is logged in there the first time.
    """
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("which command?")
    home = Home.current()
    home.load()  # without a log-in, say so before the command does
    cloud = _cloud(home, url)

    def give(resource: str) -> dict[str, Any] | None:
        targets = cloud.targets(resource)
        if not targets:
            return None
        return exchange(home, targets, account)

    server = IdentityServer(give)
    folder = settings_folder(home, "az", cloud.manager)
    environment = {
        **os.environ,
        **variables(cloud, ca_of(home)),
        **server.variables,
        "AZURE_CONFIG_DIR": str(folder),
    }
    try:
        if Path(command[0]).name == "az" and not (folder / "azureProfile.json").exists():
            log_in(command[0], environment)
        status = run_program(command, environment)
    finally:
        server.stop()
    sys.exit(status)


def log_in(az: str, environment: dict[str, str]) -> None:
    """Let `az` log in with the managed identity on loopback."""
    found = run_program(
        (az, "login", "--identity", "--allow-no-subscriptions", "-o", "none"), environment
    )
    if found:
        raise CommandError("az could not log in; what it said is above")


def run_program(command: tuple[str, ...], environment: dict[str, str]) -> int:
    """Run a command to its end, and return its exit status. Raises `CommandError`."""
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise CommandError(f"there is no program {command[0]!r}")
    with subprocess.Popen([program, *command[1:]], env=environment) as child:
        while True:
            try:
                status = child.wait()
            except KeyboardInterrupt:
                continue  # the command got it too, and decides
            return status if status >= 0 else 128 - status


def _cloud(home: Home, url: str) -> Cloud:
    """Ask the gateway for its names."""
    address = f"{url.rstrip('/')}/metadata/endpoints?api-version=2022-09-01"
    if not address.startswith("https://"):
        raise click.UsageError("URL must be https, such as https://arm.gw.example:9443")
    try:
        answer = requests.get(
            address, verify=ca_of(home) or True, timeout=_TIMEOUT, allow_redirects=False
        )
        answer.raise_for_status()
        return Cloud.of(answer.json())
    except requests.RequestException as error:
        raise UnreachableError(f"{url} does not answer as it should: {cause_of(error)}") from error
    except ValueError as error:
        raise CommandError(f"{url}: {error}") from error
