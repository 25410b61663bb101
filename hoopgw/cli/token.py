"""``hoopgw token``: what a client logs in to one target with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.cli.presentations import Access

FORMATS: Final = ("text", "env", "url", "json")
_PASSWORD_PROTOCOLS: Final = frozenset({"postgres"})
"""Protocols whose clients know passwords better than tokens."""


@click.command()
@click.argument("target")
@click.option("--account", help="The account on the target. May be left out if there is only one.")
@click.option("--database", help="The database on the target, if not its usual one.")
@click.option(
    "--password/--bearer",
    "wants_password",
    default=None,
    help="A password for SCRAM (usual for PostgreSQL), or a token for five minutes.",
)
@click.option(
    "--format",
    "wanted",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Only the secret; lines for a shell's eval; one URL; everything as JSON.",
)
@json_option
def token(
    target: str,
    account: str | None,
    database: str | None,
    *,
    wants_password: bool | None,
    wanted: str,
) -> None:
    """Print what a client logs in to TARGET with.

    For psql: eval "$(hoopgw token orders --account app_reader --format env)"
    """
    output = Output.current()
    home = Home.current()
    found = find_target(home, target)
    if found["protocol"] == "ssh":
        raise CommandError(
            f"{target} takes certificates, and no token: `hoopgw ssh {target}`, or "
            f"`hoopgw ssh-config --install` once and then `ssh {target}`"
        )
    is_password = (
        found["protocol"] in _PASSWORD_PROTOCOLS if wants_password is None else wants_password
    )
    account = account or only_account(found)
    given = home.exchange(target, account=account, is_password=is_password)
    host, port = listener_of(found, home)
    login = home.load()
    access = Access(
        protocol=found["protocol"],
        host=host,
        port=port,
        target=target,
        database=database,
        user=str(given.get("user") or account),
        secret=str(given["access_token"]),
        ca=Path(login.ca) if login.ca else home.ca,
        is_password=is_password,
    )
    if not all(value.isprintable() for value in (access.user, access.secret, access.host)):
        raise CommandError("what the gateway gave would not be safe to show or to use")
    expires = float(given.get("expires") or 0) or None
    if output.is_json or wanted == "json":
        output.json(_as_dict(access, account, expires))
    elif wanted == "env":
        for line in access.lines():
            click.echo(line)
        click.echo(f"# good until {moment(expires)}" if expires else "# good for five minutes")
    else:
        click.echo(access.url if wanted == "url" else access.secret)


def find_target(home: Home, name: str) -> dict[str, Any]:
    """Return what the gateway says of a target."""
    known: list[dict[str, Any]] = home.api().get("/v1/targets")["targets"]
    for target in known:
        if target["name"] == name:
            return target
    names = ", ".join(sorted(target["name"] for target in known)) or "none"
    raise CommandError(f"there is no target {name!r} that you may connect to; these are: {names}")


def only_account(target: dict[str, Any]) -> str:
    """Return the only account of a target; a usage error if there is not one."""
    accounts: list[str] = target.get("accounts") or []
    if len(accounts) != 1:
        known = f" ({', '.join(sorted(accounts))})" if accounts else ""
        raise click.UsageError(f"which account on {target['name']}? Give it with --account{known}")
    return accounts[0]


def listener_of(target: dict[str, Any], home: Home) -> tuple[str, int]:
    """Return host and port of the gateway's listener for a target's protocol.

    The gateway says on which port it listens, and perhaps on all addresses; the name that callers
    reach it by is the one that they have logged in with.
    """
    listen = target.get("listen")
    if not listen:
        raise CommandError(f"the gateway does not listen for {target['protocol']} clients")
    host, _, port = str(listen).rpartition(":")
    host = host.strip("[]")
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = urlsplit(home.load().gateway).hostname or host
    return host, int(port)


def _as_dict(access: Access, account: str, expires: float | None) -> dict[str, Any]:
    return {
        "target": access.target,
        "protocol": access.protocol,
        "account": account,
        "user": access.user,
        "host": access.host,
        "port": access.port,
        "database": access.database_name,
        "kind": "password" if access.is_password else "token",
        "secret": access.secret,
        "ca": access.root,
        "expires": expires,
        "env": dict(access.variables),
        "url": access.url,
    }
