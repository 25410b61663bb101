"""``hoopgw proxy``: programs reach Azure by its own names, as who is logged in here."""

from __future__ import annotations

import os
import signal
import ssl
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from attrs import define, field

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option
from hoopgw_azure.cli import log_in, run_program
from hoopgw_azure.finding import ca_of, exchange, find_proxy, keep_bundle, proxy_folder
from hoopgw_azure.identity_server import IdentityServer
from hoopgw_azure.local_proxy import Gateway, LocalProxy
from hoopgw_azure.proxied import Proxied, variables

_SOON: Final = 60.0
"""Seconds before its end at which a token is not begun with any more."""


@define(eq=False)
class Given:
    """Tokens for targets, kept while they are good; asked for by many threads."""

    _home: Home
    _account: str
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _kept: dict[tuple[str, ...], tuple[dict[str, Any], float]] = field(
        factory=dict, init=False, repr=False
    )

    def give(self, *targets: str) -> dict[str, Any]:
        """Return what the token endpoint gave. Raises `HoopgwError`."""
        with self._lock:  # the log-in is refreshed by one at a time in any case
            kept = self._kept.get(targets)
            if kept is None or kept[1] <= time.monotonic():
                given = exchange(self._home, targets, self._account)
                kept = given, time.monotonic() + float(given["expires_in"]) - _SOON
                self._kept[targets] = kept
            left = int(kept[1] + _SOON - time.monotonic())
            return {**kept[0], "expires_in": left}


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("url")
@click.option("--account", default="", help="The account on the target; usual: the target's own.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On loopback; 0: any.")
@click.argument("command", nargs=-1)
@json_option
def proxy(url: str, account: str, port: int, command: tuple[str, ...]) -> None:
    """Reach Azure by its own names, as you, after `hoopgw login`.

    URL is the gateway's proxy: https://gw.example:3128. With a COMMAND, it runs with all that it
    needs, and the proxy ends with it: hoopgw proxy https://gw.example:3128 -- az group list.
    Without one, the lines for a shell are printed, and the proxy lives until it is interrupted.

    Whoever has these lines is you: the proxy's password is in them. So a file that they are written
    to must be closed to other users: begin with umask 077.
    """
    command = command[1:] if command[:1] == ("--",) else command
    if not command:
        _check_output()
    home = Home.current()
    home.load()  # without a log-in, say so before the command does
    told = find_proxy(home, url)
    given = Given(home, account)
    local = LocalProxy(_gateway(told, home, given, account), port)
    identity = IdentityServer(lambda resource: _token(told, given, resource))
    try:
        environment = _environment(told, home, local) | identity.variables
        if command:
            status = _run(command, environment)
        else:
            _print(environment)
            _wait()
            status = 0
    finally:
        identity.stop()
        local.stop()
    sys.exit(status)


def _gateway(told: Proxied, home: Home, given: Given, account: str) -> Gateway:
    def prove(host: str) -> tuple[str, str]:
        target = told.hosts[host]
        return (account, str(given.give(target)["access_token"])) if target else ("", "")

    return Gateway(
        host=told.host,
        port=told.port,
        tls=ssl.create_default_context(cafile=ca_of(home)),
        hosts=told.hosts.keys(),
        prove=prove,
    )


def _token(told: Proxied, given: Given, resource: str) -> dict[str, Any] | None:
    targets = told.targets(resource)
    return given.give(*targets) if targets else None


def _environment(told: Proxied, home: Home, local: LocalProxy) -> dict[str, str]:
    kept = home.kept()
    # Our own commands go to the gateway as ever.
    own = "" if kept is None else urlsplit(kept.gateway).hostname or ""
    besides = ",".join(filter(None, (os.environ.get("NO_PROXY", ""), own)))
    bundle = str(keep_bundle(home, told))
    return variables(told, local.url, bundle, besides) | {
        "AZURE_CONFIG_DIR": str(proxy_folder(home, told))
    }


def _run(command: tuple[str, ...], environment: dict[str, str]) -> int:
    everything = {**os.environ, **environment}
    folder = Path(environment["AZURE_CONFIG_DIR"])
    if Path(command[0]).name == "az" and not (folder / "azureProfile.json").exists():
        log_in(command[0], everything)
    return run_program(command, everything)


def _check_output() -> None:
    """Refuse to write the password into a file that other users may read.

    Closing it now would be too late: who has opened it meanwhile reads what comes.

    Raises:
        CommandError: others may read it.

    """
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file of the system's
        return
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
        raise CommandError(
            "the proxy's password would be in a file that other users may open: remove it, and"
            " begin with `umask 077`"
        )


def _print(environment: dict[str, str]) -> None:
    output = Output.current()
    if output.is_json:
        output.json(environment)
    else:
        for name, value in environment.items():
            click.echo(f"export {name}='{value}'")
    sys.stdout.flush()


def _wait() -> None:
    """Wait until we are asked to end."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
