"""How the command line finds the gateway's proxy for Azure's own names, and what it keeps of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import click
import requests

from hoopgw.cli.api import cause_of
from hoopgw.cli.failure import CommandError, UnreachableError
from hoopgw.cli.home import Home, home_folder
from hoopgw.errors import UnavailableError
from hoopgw_azure.proxied import DOCUMENT, Proxied

_TIMEOUT: Final = 20.0
_BUNDLE: Final = "bundle.pem"


def ca_of(home: Home) -> str | None:
    """Return the file of the CA that is trusted for the gateway, if not the system's."""
    # A child of `hoopgw delegate` has no file of a log-in: its broker knows.
    found = home.ca_of(home.kept() if home.broker is None else home.load())
    return None if found is None else str(found)


def exchange(home: Home, targets: Collection[str], account: str) -> dict[str, Any]:
    """Return what the token endpoint gives for targets, to servers that answer programs.

    Raises:
        UnavailableError: the gateway gives nothing, or there is no log-in.

    """
    try:
        return home.exchange(*targets, account=account, is_password=False)
    except CommandError as error:  # nobody is at the terminal: the program has to be told
        raise UnavailableError(error.message) from error


def find_proxy(home: Home, url: str) -> Proxied:
    """Ask the gateway's proxy what it is a proxy for.

    Raises:
        CommandError: it does not answer, or is none.

    """
    if not url.startswith("https://"):
        raise click.UsageError("URL must be https, such as https://gw.example:3128")
    address = url.rstrip("/") + DOCUMENT
    session = requests.Session()
    session.trust_env = False  # HTTPS_PROXY may be what we are about to set up
    try:
        answer = session.get(
            address, verify=ca_of(home) or True, timeout=_TIMEOUT, allow_redirects=False
        )
        answer.raise_for_status()
        return Proxied.of(url, answer.json())
    except requests.RequestException as error:
        raise UnreachableError(f"{url} does not answer as it should: {cause_of(error)}") from error
    except ValueError as error:
        raise CommandError(f"{url}: {error}") from error


def keep_bundle(home: Home, proxied: Proxied) -> Path:
    """Keep what clients have to trust in a file: the CA for Azure's names, and the gateway's.

    The system's CAs are not in it: a client that finds a way round the gateway trusts nobody there.
    """
    ca = ca_of(home)
    own = "" if ca is None else Path(ca).read_text()
    path = proxy_folder(home, proxied) / _BUNDLE
    draft = path.with_name(f".{_BUNDLE}-{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(proxied.authorities.rstrip() + "\n" + own)
    draft.replace(path)
    return path


def proxy_folder(home: Home, proxied: Proxied) -> Path:
    """Return where the settings for one proxy are kept, also those of `az`."""
    return settings_folder(home, "az-proxy", proxied.url)


def settings_folder(home: Home, kind: str, url: str) -> Path:
    """Return a folder (0700) for what clients keep of one address: beside the log-in.

    Another log-in has another: `az` keeps which subscriptions it was shown. A child of `hoopgw
    delegate` has no folder of a log-in, and takes the usual one of its user.
    """
    beside = home.folder if home.broker is None else home_folder(os.environ)
    folder = beside.absolute() / f"{kind}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
