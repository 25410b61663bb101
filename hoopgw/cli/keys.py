"""``hoopgw keys``: which keys the gateway has, and how another takes a key's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import requests
from cryptography import x509

from hoopgw import config as configuration
from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.control.local import call_local
from hoopgw.identity.key_kinds import KINDS

_DOCUMENT_LIMIT: Final = 16 * 2**20
_TIMEOUT: Final = 30.0

_local = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default="hoopgw.toml",
    show_default=True,
    help="The gateway's hoopgw.toml: it is asked through its own socket, by the user that it runs "
    "as.",
)
_key = click.argument("key", type=click.Choice(list(KINDS)))
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it, in place of an older one.",
)


@click.group()
def keys() -> None:
    """List the gateway's keys, rotate them, and fetch lists of revoked certificates."""


@keys.command("list")
@_local
@json_option
def list_keys(config: Path) -> None:
    """List all keys: what signs, what comes next, and what is accepted still."""
    output = Output.current()
    answer = call_local(_socket(config), "local_keys")
    if output.is_json:
        output.json(answer)
        return
    rows = [
        (
            row["key"],
            row["kind"],
            row["state"],
            moment(row["made"]),
            moment(row["ends"]),
            row["fingerprint"],
            row["use"],
        )
        for row in answer["keys"]
    ]
    output.rows(("key", "kind", "state", "made", "ends", "fingerprint", "in use by"), rows)
    for row in answer["keys"]:
        for waits in row["waits_for"]:
            output.say(f"the next {row['key']} key waits for {waits}", style="yellow")


@keys.command()
@_key
@click.option(
    "--switch",
    "vouched",
    is_flag=True,
    help="You know that callers trust the next key: let it sign as soon as all others know it.",
)
@_local
@json_option
def rotate(key: str, config: Path, *, vouched: bool) -> None:
    """Make the next KEY; it signs once all who verify know it. Live sessions go on.

    A log's key is handed over at once: the log itself says so, signed with both keys.
    """
    output = Output.current()
    answer = call_local(_socket(config), "local_rotate_key", key=key, vouched=vouched)
    if output.is_json:
        output.json(answer)
        return
    waits: list[Any] = answer["waits_for"]
    if waits:
        output.say(f"the next {key} key is made, and told to all; it waits for:", style="yellow")
        for each in waits:
            output.say(f"  {each}")
        output.say("It signs by itself once nothing is left here: hoopgw keys list")
    else:
        output.say(f"the next {key} key signs from now on", style="green")
    if answer.get("public"):
        output.say(f"auditors verify with: {answer['public']}")


@keys.command()
@_key
@click.confirmation_option(
    prompt="What old keys have signed is refused from now on, in use or not. Go on?"
)
@click.option(
    "--force",
    is_flag=True,
    help="Also if agents still have certificates of the old key: they have to join again then.",
)
@_local
@json_option
def retire(key: str, config: Path, *, force: bool) -> None:
    """Forget the old keys of one kind now, as when one was stolen; rotate first."""
    output = Output.current()
    answer = call_local(_socket(config), "local_retire_key", key=key, force=force)
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"{answer['retired']} old {key} keys are refused from now on")


@keys.command()
@_out
@json_option
def crl(out: Path | None) -> None:
    """Fetch the list of revoked certificates of callers (DER)."""
    _fetch("/pki/callers.crl", out, _crl_number)


@keys.command()
@_out
@json_option
def krl(out: Path | None) -> None:
    """Fetch the list of revoked SSH certificates (OpenSSH's KRL)."""
    _fetch("/pki/ssh-users.krl", out, _krl_number)


def _fetch(path: str, out: Path | None, number_of: Callable[[bytes], int]) -> None:
    """Fetch a list, and never put an older one in place of a newer."""
    output, data = Output.current(), _document(path)
    number = number_of(data)
    if out is not None:
        if out.exists():
            before = number_of(out.read_bytes())
            if number < before:
                raise CommandError(
                    f"the gateway gave list {number}, and {out} has {before}: somebody has set it "
                    "back"
                )
        draft = out.with_name(out.name + ".new")
        draft.write_bytes(data)
        draft.rename(out)
    if output.is_json:
        output.json({"number": number, "size": len(data), "out": None if out is None else str(out)})
    elif out is None:
        click.echo(data, nl=False)


def _crl_number(data: bytes) -> int:
    try:
        extensions = x509.load_der_x509_crl(data).extensions
        number: int = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CommandError("this is no list of revoked certificates") from error
    return number


def _krl_number(data: bytes) -> int:
    """Read what stands behind magic and version (OpenSSH PROTOCOL.krl)."""
    if data[:8] != b"SSHKRL\n\0" or len(data) < 20:
        raise CommandError("this is no list of revoked SSH certificates")
    return int.from_bytes(data[12:20], "big")


def _document(path: str) -> bytes:
    """Fetch a public document of the gateway that this user is logged in to, or that is named."""
    api = Home.current().anonymous()
    verify = True if api.ca is None else str(api.ca)
    try:
        answer = requests.get(
            api.url.rstrip("/") + path, verify=verify, timeout=_TIMEOUT, allow_redirects=False
        )
    except requests.RequestException as error:
        raise CommandError(f"the gateway at {api.url} does not answer: {error}") from error
    if answer.status_code != 200 or len(answer.content) > _DOCUMENT_LIMIT:
        raise CommandError(f"the gateway at {api.url} has no list ({answer.status_code})")
    return answer.content


def _socket(config: Path) -> Path:
    return configuration.load(config).paths.control_socket
