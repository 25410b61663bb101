"""``hoopgw login``, ``logout`` and ``whoami``."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from joserfc.jwk import OKPKey
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from hoopgw.cli.ambient import NAMES, Wanted, job_token
from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import TOKEN_PATH, Home, Login
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.identity import entra
from hoopgw.identity.browser import log_in_with_browser
from hoopgw.identity.login import (
    DeviceCode,
    IssuerToken,
    LoginIssuer,
    Provider,
    ambient_token,
    exchange_form,
    log_in_with_device,
)
from hoopgw.terminal import printable

_DESCRIPTION: Final = "/.well-known/hoopgw"
_TOKEN_LIMIT: Final = 64 * 1024


@click.command()
@click.option(
    "--device/--browser",
    default=None,
    help="A code to enter on any device, or the browser here. Usual: the browser if there is one.",
)
@click.option(
    "--issuer", "alias", metavar="ALIAS", help="Which issuer, if the gateway has several."
)
@click.option(
    "--issuer-ca",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="PEM file to trust for the issuer, instead of the system's CAs.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Take an issuer's token from this file (- is standard input) instead of asking a person.",
)
@click.option("--ci", is_flag=True, help="Take the token that the job or workload runs with.")
@click.option(
    "--from",
    "source",
    type=click.Choice(NAMES),
    help="With --ci: where it comes from, instead of finding out.",
)
@json_option
def login(
    alias: str | None,
    issuer_ca: Path | None,
    token_file: Path | None,
    source: str | None,
    *,
    device: bool | None,
    ci: bool,
) -> None:
    """Log in at your issuer, and to the gateway with what it says."""
    output, home = Output.current(), Home.current()
    ci = ci or source is not None
    if ci and token_file is not None:
        raise click.UsageError("--ci and --token-file are two ways; choose one")
    anonymous = home.anonymous()
    description = anonymous.get(_DESCRIPTION)
    if ci:
        wanted = Wanted(source=source, alias=alias, ca=issuer_ca)
        given = job_token(description, os.environ, wanted)
    elif token_file is not None:
        given = _from_file(token_file)
    else:
        given = _from_person(description, alias, issuer_ca, device=device)
    kept = _exchange(home, anonymous, description, given)
    who = home.api().get("/v1/me")
    if output.is_json:
        output.json({**who, "gateway": kept.gateway, "expires": kept.until})
    else:
        output.say(f"logged in as {who['path']} until {moment(kept.until)}", style="green")


@click.command()
@json_option
def logout() -> None:
    """Revoke the log-in and forget it: its sessions end now."""
    output, home = Output.current(), Home.current()
    revoked = False
    try:
        revoked = home.revoke()
    except CommandError as error:
        # Forgetting here must work without the gateway.
        output.say(f"not revoked at the gateway: {error.message}", style="yellow")
    there = home.forget()
    home.drop_certificates()
    if output.is_json:
        output.json({"forgotten": there, "revoked": revoked})
    else:
        output.say("logged out" if there else "you were not logged in")


@click.command()
@json_option
def whoami() -> None:
    """Say who is logged in where, with which groups, and until when."""
    output, home = Output.current(), Home.current()
    who = home.api().get("/v1/me")
    kept = home.load()
    if output.is_json:
        output.json({**who, "gateway": kept.gateway, "expires": kept.until})
        return
    output.fields(
        {
            "who": who["path"],
            "id": who["chain"][0]["id"],
            "groups": who["groups"],
            "attributes": _listed(who.get("attributes", {})),
            "set off by": who.get("persons", []),
            "gateway": kept.gateway,
            "until": moment(kept.until),
        }
    )


def _listed(attributes: Mapping[str, Any]) -> list[str]:
    """Return what policy sees of the caller, as it is written there."""
    return [
        f"{name}={value if isinstance(value, str) else ' '.join(map(str, value))}"
        for name, value in sorted(attributes.items())
    ]


def _from_file(path: Path) -> IssuerToken:
    """Take a token from a file or from standard input."""
    if str(path) != "-":
        return ambient_token(path, None, {})
    text = sys.stdin.read(_TOKEN_LIMIT)
    return ambient_token(None, "standard input", {"standard input": text})


def _from_person(
    description: Mapping[str, Any],
    alias: str | None,
    issuer_ca: Path | None,
    *,
    device: bool | None,
) -> IssuerToken:
    """Ask a person to log in."""
    issuer = LoginIssuer.choose(description, alias)
    by_device = not _has_browser() if device is None else device
    if entra.is_entra(issuer):
        app = entra.application(issuer)
        return entra.log_in_at_entra(app, issuer, _show if by_device else None)
    provider = Provider.discover(issuer, issuer_ca)
    if by_device:
        return log_in_with_device(provider, _show)
    return log_in_with_browser(provider, _open)


def _exchange(
    home: Home, anonymous: GatewayApi, description: Mapping[str, Any], given: IssuerToken
) -> Login:
    """Exchange the issuer's token for one of the gateway's, bound to a new key, and keep it."""
    key = OKPKey.generate_key("Ed25519", private=True)
    origin = str(description["gateway"])
    api = GatewayApi(url=anonymous.url, ca=anonymous.ca, key=key, origin=origin)
    answer = api.form(TOKEN_PATH, exchange_form(given))
    kept = Login(
        gateway=anonymous.url,
        ca=home.keep_ca(anonymous.ca),
        token="",
        expires=0.0,
        key=dict(key.as_dict(private=True)),
        origin=origin,
    ).renewed(answer)
    home.save(kept)
    home.drop_certificates()
    home.follow_ca(kept)
    return kept


def _show(code: DeviceCode) -> None:
    """Tell a person where to enter the code; on standard error, as output may be JSON."""
    text = Text("Open ")
    text.append(printable(code.url_with_code or code.url), style="bold underline")
    text.append("\nand enter the code ")
    text.append(printable(code.code), style="bold")
    console = Console(file=sys.stderr, highlight=False)
    console.print(Panel(text, expand=False) if console.is_terminal else text, soft_wrap=True)


def _open(url: str) -> None:
    """Open a page, and say which, for those whose browser does not come up."""
    click.echo(f"Opening {printable(url)}", err=True)
    webbrowser.open(url)


def _has_browser() -> bool:
    """Say whether a page can be shown here."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
