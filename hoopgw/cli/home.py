"""Where the command line keeps a log-in, and which gateway it talks to.

One folder (0700) with one file (0600): a person has one log-in at a time in it. Another folder,
by ``--home`` or ``HOOPGW_HOME``, is another log-in.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import click
from attrs import field, frozen
from joserfc.jwk import OKPKey

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError, NotLoggedInError
from hoopgw.identity.login import password_form, target_form

_FILE: Final = "login.json"
_CA_FILE: Final = "gateway-ca.pem"
TOKEN_PATH: Final = "/sts/token"  # noqa: S105  # a path
_SIZE_LIMIT: Final = 1 << 20
_SOON: Final = 5.0
"""Seconds before its end at which a log-in counts as over: a request takes time too."""


@frozen(kw_only=True)
class Login:
    """A log-in, as it is kept."""

    gateway: str
    ca: str | None
    """PEM file that is trusted for the gateway."""
    token: str = field(repr=False)
    """The gateway token (audience ``hoopgw``)."""
    expires: float
    """Seconds since the epoch."""
    key: dict[str, Any] = field(repr=False)
    """Private JWK that the token is bound to: without it the token is good for nothing."""
    origin: str
    """What the gateway calls itself."""


@frozen(kw_only=True)
class Home:
    """The folder, and what was given on the command line."""

    folder: Path
    gateway: str | None = None
    ca: Path | None = None

    @classmethod
    def current(cls) -> Home:
        """Return the one of the running command."""
        home = click.get_current_context().find_object(cls)
        assert home is not None  # the program's own group made it
        return home

    def load(self) -> Login:
        """Return the log-in.

        Raises:
            NotLoggedInError: there is none, or it is over.

        """
        kept = self._kept()
        if kept is None:
            raise NotLoggedInError("you are not logged in: run `hoopgw login`")
        if self.gateway is not None and _same(self.gateway) != _same(kept.gateway):
            raise NotLoggedInError(
                f"you are logged in to {kept.gateway}, not {self.gateway}: run "
                f"`hoopgw --gateway {self.gateway} login`"
            )
        if kept.expires - _SOON <= time.time():
            raise NotLoggedInError("the log-in is over: run `hoopgw login`")
        return kept

    def save(self, login: Login) -> None:
        """Keep a log-in, in place of another."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.folder / f".{_FILE}-{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(attrs.asdict(login), file)
        draft.replace(self.folder / _FILE)

    def forget(self) -> bool:
        """Drop the log-in; say whether there was one."""
        there = (self.folder / _FILE).exists()
        (self.folder / _FILE).unlink(missing_ok=True)
        return there

    def api(self) -> GatewayApi:
        """Return the gateway, as who is logged in.

        Raises:
            NotLoggedInError: nobody is.

        """
        login = self.load()
        return GatewayApi(
            url=login.gateway,
            ca=self._ca(login),
            token=login.token,
            key=OKPKey.import_key(login.key),
            origin=login.origin,
        )

    def anonymous(self) -> GatewayApi:
        """Return the gateway without a log-in: for logging in, and for its public documents.

        Raises:
            CommandError: nobody said which gateway.

        """
        kept = self._kept()
        url = self.gateway or (kept.gateway if kept is not None else None)
        if url is None:
            raise CommandError(
                "which gateway? Give it once: hoopgw --gateway https://HOST:8443 --ca ca.crt login"
            )
        if not url.startswith("https://"):
            raise click.UsageError(f"--gateway must be an https URL, not {url}")
        return GatewayApi(url=url.rstrip("/"), ca=self._ca(kept))

    def exchange(self, target: str, account: str, *, is_password: bool) -> dict[str, Any]:
        """Exchange the log-in for something that opens one target (RFC 8693).

        Raises:
            CommandError: the gateway gives nothing for it.

        """
        token = self.load().token
        form = target_form(token, target)
        if is_password:
            form = password_form(token, target, account)
        answer: dict[str, Any] = self.api().form(TOKEN_PATH, form)
        return answer

    def keep_ca(self, ca: Path | None) -> str | None:
        """Copy the CA that was given, so that a log-in works from every folder."""
        if ca is None:
            return None
        kept = self.folder / _CA_FILE
        if ca.resolve() != kept.resolve():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept.write_bytes(ca.read_bytes())
        return str(kept)

    def _ca(self, login: Login | None) -> Path | None:
        if self.ca is not None:
            return self.ca
        return Path(login.ca) if login is not None and login.ca else None

    def _kept(self) -> Login | None:
        path = self.folder / _FILE
        try:
            with path.open("rb") as file:
                values: Any = json.loads(file.read(_SIZE_LIMIT))
            return Login(**values)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise NotLoggedInError(f"{path} cannot be read: run `hoopgw login`") from error


def home_folder(environment: Mapping[str, str]) -> Path:
    """Return the usual folder, by the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "hoopgw"


def _same(url: str) -> str:
    return url.rstrip("/").lower()
