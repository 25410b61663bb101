"""Where the command line keeps a log-in, and which gateway it talks to.

One folder (0700) with one file (0600): a person has one log-in at a time in it. Another folder,
by ``--home`` or ``HOOPGW_HOME``, is another log-in.

The gateway token in it lives minutes. When it is over it is refreshed, by one command at a time: a
refresh token is good once, and whoever shows one twice is logged out.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import click
from attrs import field, frozen
from cryptography import x509
from joserfc.jwk import OKPKey

from hoopgw.cli.api import GatewayApi
from hoopgw.cli.failure import CommandError, NotLoggedInError, RefusedError, UnreachableError
from hoopgw.identity.login import password_form, refresh_form, revoke_form, target_form
from hoopgw.identity.tokens import GATEWAY

_FILE: Final = "login.json"
SSH_FOLDER: Final = "ssh"
"""Below the folder: what `ssh` finds there is in `hoopgw.cli.ssh_folder`."""
_CA_FILE: Final = "gateway-ca.pem"
_CA_PATH: Final = "/pki/listeners.json"
TOKEN_PATH: Final = "/sts/token"  # noqa: S105  # a path
REVOKE_PATH: Final = "/sts/revoke"
_SIZE_LIMIT: Final = 1 << 20
_LOCK_FILE: Final = "login.lock"
_SOON: Final = 10.0
"""Seconds before its end at which a token counts as over: a request takes time too."""
_LOCK_PATIENCE: Final = 90.0
"""Seconds to wait for another command that refreshes; longer than a request may take."""
_LOCK_POLL: Final = 0.05


@frozen(kw_only=True)
class Login:
    """A log-in, as it is kept."""

    gateway: str
    ca: str | None
    """PEM file that is trusted for the gateway."""
    token: str = field(repr=False)
    """The gateway token (audience ``hoopgw``)."""
    expires: float
    """End of the token; seconds since the epoch."""
    key: dict[str, Any] = field(repr=False)
    """Private JWK that the token is bound to: without it the token is good for nothing."""
    origin: str
    """What the gateway calls itself."""
    refresh: str | None = field(default=None, repr=False)
    """What the next token is got with, once."""
    ends: float | None = None
    """Until when it can be refreshed."""

    @property
    def is_fresh(self) -> bool:
        """Whether the token can still be shown."""
        return self.lasts(_SOON)

    def lasts(self, seconds: float) -> bool:
        """Whether the token can be shown for so long."""
        return self.expires - seconds > time.time()

    @property
    def until(self) -> float:
        """When the person must log in again."""
        return self.expires if self.ends is None else self.ends

    def renewed(self, answer: Mapping[str, Any]) -> Login:
        """Return it with what the token endpoint has just given."""
        now, refresh = time.time(), answer.get("refresh_token")
        return attrs.evolve(
            self,
            token=str(answer["access_token"]),
            expires=now + float(answer["expires_in"]),
            refresh=None if refresh is None else str(refresh),
            ends=None if refresh is None else now + float(answer["refresh_expires_in"]),
        )

    def api(self, ca: Path | None) -> GatewayApi:
        """Return the gateway, as who this is."""
        return GatewayApi(
            url=self.gateway,
            ca=ca,
            token=self.token,
            key=OKPKey.import_key(self.key),
            origin=self.origin,
        )


@frozen(kw_only=True)
class Home:
    """The folder, and what was given on the command line."""

    folder: Path
    gateway: str | None = None
    ca: Path | None = None
    broker: Path | None = None
    """The socket of the broker that speaks for this process, inside `hoopgw delegate`: then there
    is no log-in, and what is shown to the gateway is a chain with a proof, good once."""

    @classmethod
    def current(cls) -> Home:
        """Return the one of the running command."""
        home = click.get_current_context().find_object(cls)
        assert home is not None  # the program's own group made it
        return home

    def load(self, at_least: float = _SOON) -> Login:
        """Return the log-in, refreshed if its token is over.

        Args:
            at_least: seconds that the token should last, if it can be had.

        Raises:
            NotLoggedInError: there is none, or it is over.
            CommandError: it is to be refreshed, and the gateway does not answer.

        """
        if self.broker is not None:
            return brokered_login(self.broker)
        kept = self._kept()
        if kept is None:
            raise NotLoggedInError("you are not logged in: run `hoopgw login`")
        if self.gateway is not None and _same(self.gateway) != _same(kept.gateway):
            raise NotLoggedInError(
                f"you are logged in to {kept.gateway}, not {self.gateway}: run "
                f"`hoopgw --gateway {self.gateway} login`"
            )
        return kept if kept.lasts(at_least) else self._refreshed(at_least)

    def kept(self) -> Login | None:
        """Return the log-in as it is there, over or not; None if there is none.

        Raises:
            NotLoggedInError: the file cannot be read.

        """
        return self._kept()

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

    def drop_certificates(self) -> None:
        """Drop the certificates of SSH: they are of a log-in that is over, or replaced."""
        folder = self.folder / SSH_FOLDER
        for path in (*folder.glob("*.until"), *folder.glob("*-cert.pub")):
            path.unlink(missing_ok=True)

    def api(self) -> GatewayApi:
        """Return the gateway, as who is logged in.

        Raises:
            NotLoggedInError: nobody is.

        """
        login = self.load()
        if self.broker is None:
            return login.api(self.ca_of(login))
        broker = self.broker
        return GatewayApi(
            url=login.gateway,
            ca=self.ca_of(login),
            shown=lambda: brokered_login(broker).token,
        )

    def revoke(self) -> bool:
        """End the log-in at the gateway, whether its token is over or not.

        Returns:
            False if there is none.

        Raises:
            CommandError: the gateway does not answer, or refused.

        """
        kept = self._kept()
        if kept is None:
            return False
        kept.api(self.ca_of(kept)).form(REVOKE_PATH, revoke_form(kept.refresh or kept.token))
        return True

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
        return GatewayApi(url=url.rstrip("/"), ca=self.ca_of(kept))

    def exchange(self, *targets: str, account: str, is_password: bool) -> dict[str, Any]:
        """Exchange the log-in for something that opens targets (RFC 8693).

        Args:
            targets: a password is for one, a token for each of them.
            account: on the target; empty for none in particular.
            is_password: whether a password is wanted.

        Raises:
            CommandError: the gateway gives nothing for it.

        """
        token = self.load().token
        form = target_form(token, *targets, account=account)
        if is_password:
            form = password_form(token, targets[0], account)
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

    def follow_ca(self, login: Login) -> None:
        """Trust for the gateway what it says that its listeners have, while a CA is rotated.

        Said over a connection that is trusted already. Nothing changes if it cannot be asked, or if
        the CA is not one of the gateway's own.
        """
        path = self.folder / _CA_FILE
        if self.ca is not None or login.ca != str(path):
            return
        try:
            pem = str(login.api(path).get(_CA_PATH)["pem"])
            x509.load_pem_x509_certificates(pem.encode())
        except (CommandError, KeyError, ValueError, TypeError):
            return
        if pem.encode() != path.read_bytes():
            draft = path.with_name(path.name + ".new")
            draft.write_bytes(pem.encode())
            draft.rename(path)

    def ca_of(self, login: Login | None) -> Path | None:
        """Return what is trusted for the gateway: what the command line says, or the log-in."""
        if self.ca is not None:
            return self.ca
        return Path(login.ca) if login is not None and login.ca else None

    def _refreshed(self, at_least: float) -> Login:
        """Get the next token; one command at a time, the others take what it got."""
        with self.locked(self.folder / _LOCK_FILE):
            kept = self._kept()
            if kept is None:
                raise NotLoggedInError("you are not logged in: run `hoopgw login`")
            if kept.lasts(at_least):
                return kept
            if kept.refresh is None or kept.until <= time.time():
                if kept.is_fresh:
                    return kept
                raise NotLoggedInError("the log-in is over: run `hoopgw login`")
            try:
                answer = kept.api(self.ca_of(kept)).form(TOKEN_PATH, refresh_form(kept.refresh))
            except RefusedError as error:
                raise NotLoggedInError(
                    f"the log-in cannot go on ({error.message}): run `hoopgw login`"
                ) from error
            except UnreachableError:
                if kept.is_fresh:
                    return kept
                raise
            kept = kept.renewed(answer)
            self.save(kept)
            self.follow_ca(kept)
            return kept

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Keep other commands from doing the same meanwhile: ``path`` is what they lock, too.

        Raises:
            CommandError: another one does not end.

        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        end = time.monotonic() + _LOCK_PATIENCE
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        text = f"another hoopgw command has {path.name} locked, and does not end"
                        raise CommandError(text) from error
                    time.sleep(_LOCK_POLL)
            yield
        finally:
            os.close(descriptor)

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


def brokered_login(broker: Path) -> Login:
    """Return what stands for a log-in inside `hoopgw delegate`: its token is good once.

    Raises:
        NotLoggedInError: the broker does not answer, or not to this process.

    """
    # Only here: most commands have a log-in, and start faster without the client library.
    from hoopgw.client.errors import Refused
    from hoopgw.client.link import BrokerLink, BrokerSigner

    signer = BrokerSigner(BrokerLink(broker))
    try:
        standing, token = signer.standing(), signer.prove(GATEWAY)
    except Refused as refused:
        raise NotLoggedInError(str(refused)) from refused
    return Login(
        gateway=standing.gateway,
        ca=standing.ca,
        token=token.value,
        expires=standing.expires,
        key={},
        origin=standing.gateway,
    )


def home_folder(environment: Mapping[str, str]) -> Path:
    """Return the usual folder, by the XDG base directory specification."""
    base = environment.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "hoopgw"


def _same(url: str) -> str:
    return url.rstrip("/").lower()
