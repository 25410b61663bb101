"""``hoopgw certificate``: log in to a target by proving a key, with no secret sent."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.asymmetric import ec

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.cli.token import find_target, listener_of
from hoopgw.identity.authority import request
from hoopgw.identity.private_files import key_pem

KEY_FILE: Final = "client.key"
CERTIFICATE_FILE: Final = "client.crt"
ROOT_FILE: Final = "root.crt"


@click.command()
@click.argument("target")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder for the key, the certificate and the CA; made if it is not there.",
)
@click.option("--account", help="The only account that it is good for; else for any.")
@click.option("--database", help="The database on the target, if not its usual one.")
@click.option(
    "--lifetime", type=click.IntRange(1, 3600), help="Seconds; as long as may be, if not given."
)
@json_option
def certificate(
    target: str, out: Path, account: str | None, database: str | None, lifetime: int | None
) -> None:
    """Make a key, and get a certificate with which it logs in to TARGET, for an hour at most.

    The key stays here: only proof of it is sent. psql reads the files at each connection, so
    another run replaces them for clients that run on.
    """
    output, home = Output.current(), Home.current()
    found = find_target(home, target)
    key = ec.generate_private_key(ec.SECP256R1())
    body: dict[str, Any] = {"csr": request(key, "hoopgw caller"), "targets": [target]}
    body |= {} if account is None else {"account": account}
    body |= {} if lifetime is None else {"lifetime": lifetime}
    given = home.api().post("/v1/certificates", body)
    root = _root(home, str(given.get("ca") or ""))
    _keep(out, key_pem(key), str(given["certificate"]).encode(), root)
    host, port = listener_of(found, home)
    conninfo = {
        "host": host,
        "port": str(port),
        "dbname": target if database is None else f"{target}/{database}",
        "user": account or _account(found),
        "sslmode": "verify-full",
        "sslcert": str(out / CERTIFICATE_FILE),
        "sslkey": str(out / KEY_FILE),
        "sslrootcert": str(out / ROOT_FILE) if root else "system",
    }
    if output.is_json:
        output.json(
            {
                "target": target,
                "serial": given["serial"],
                "expires": given["expires"],
                "session_expires": given["session_expires"],
                "connection": conninfo,
            }
        )
        return
    output.say(
        f"good until {moment(given['expires'])}; sessions last until "
        f"{moment(given['session_expires'])}",
        style="green",
    )
    words = " ".join(f"{name}={_quoted(value)}" for name, value in conninfo.items())
    click.echo(f'psql "{words}"' if '"' not in words else words)


def _account(target: dict[str, Any]) -> str:
    """Return the account if there is only one; else what stands for it in what is shown."""
    accounts: list[str] = target.get("accounts") or []
    return accounts[0] if len(accounts) == 1 else "ACCOUNT"


def _root(home: Home, pem: str) -> bytes:
    """Return the CAs of the listener; those of the log-in, if the gateway's are an operator's."""
    if pem:
        return pem.encode()
    kept = home.ca_of(home.load())
    return b"" if kept is None else kept.read_bytes()


def _keep(folder: Path, key: bytes, chain: bytes, root: bytes) -> None:
    """Write the files; the certificate last, so that no client sees it without its key."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / ROOT_FILE, root)
        _write(folder / KEY_FILE, key)
        _write(folder / CERTIFICATE_FILE, chain)
    except OSError as error:
        raise CommandError(f"{folder}: cannot be written: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """Put a file in place that only we can read."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
        file.write(data)
    draft.rename(path)


def _quoted(value: str) -> str:
    """Quote a value as libpq's connection strings have it."""
    if value and all(c.isalnum() or c in "/._-:@~+" for c in value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
