"""Secrets and access tokens of Azure, fetched with the agent's own identity.

`azure-identity` finds that identity (managed identity, workload identity, environment). It blocks,
and so does `requests`: both run in a thread, and what they return is checked here. No answer's body
is ever part of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hoopgw.credentials.sources import SECRET_LIMIT, checked
from hoopgw.errors import ConfigError, UnavailableError

log = Logger()

T = TypeVar("T")

VAULT_SCOPES: Final[Mapping[str, str]] = {
    ".vault.azure.net": "https://vault.azure.net/.default",
    ".vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net/.default",
    ".vault.azure.cn": "https://vault.azure.cn/.default",
}
"""The hosts that a vault's token may be sent to, and its scope there."""
API_VERSION: Final = "7.4"
PATIENCE: Final = 15.0
"""Seconds for a token or a secret, a thread to be free included."""
EARLY: Final = 300.0
"""Seconds before its end at which a token is no longer used."""
_PATH: Final = re.compile(r"/secrets/[A-Za-z0-9-]{1,127}(/[0-9a-f]{32})?")
_CLIENT_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class RunInThread(Protocol):
    """Run something that blocks elsewhere than in the reactor's thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Return what ``work`` returns, or fail with what it raises."""
        ...


class AccessToken(Protocol):
    """As `azure.core.credentials.AccessToken`."""

    @property
    def token(self) -> str:
        """The token itself."""
        ...

    @property
    def expires_on(self) -> int:
        """Its end, in seconds since the epoch."""
        ...


class Credential(Protocol):
    """As `azure.core.credentials.TokenCredential`."""

    def get_token(self, *scopes: str) -> AccessToken:
        """Return a token for the scopes; blocks."""
        ...


class Get(Protocol):
    """Fetch a URL; blocks. Never follows a redirect, for it carries a token."""

    def __call__(self, url: str, headers: Mapping[str, str], /) -> tuple[int, bytes]:
        """Return the status and at most `SECRET_LIMIT` * 2 bytes of the body."""
        ...


@define(eq=False)
class TokenSource:
    """Access tokens for one scope, cached until five minutes before they end."""

    scope: str
    make_credential: Callable[[], Credential]
    """Called in a thread, at the first use: importing and probing take a while."""
    run_in_thread: RunInThread = field(repr=False)
    clock: IReactorTime = field(repr=False)
    _credential: Credential | None = field(default=None, init=False, repr=False)
    _token: str = field(default="", init=False, repr=False)
    _until: float = field(default=0.0, init=False)
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False, repr=False)

    async def fetch(self) -> bytes:
        """Return a token; log-ins that come together share one request.

        Raises:
            UnavailableError: there is none to be had within `PATIENCE` seconds.

        """
        if self.clock.seconds() >= self._until:
            await self._one_at_a_time.acquire()
            try:
                if self.clock.seconds() >= self._until:
                    await self._renew()
            finally:
                self._one_at_a_time.release()
        return self._token.encode()

    async def _renew(self) -> None:
        fetched = self.run_in_thread(self._blocking).addTimeout(PATIENCE, self.clock)
        try:
            answer = await fetched
        except DeferredTimeoutError as error:
            raise UnavailableError(f"no token for {self.scope} came in time") from error
        except Exception as error:  # whatever azure-identity raises; its text may hold an answer
            log.warn("no token for {scope}: {kind}", scope=self.scope, kind=type(error).__name__)
            raise UnavailableError(f"Azure gave no token for {self.scope}") from error
        self._token = answer.token
        self._until = answer.expires_on - EARLY

    def _blocking(self) -> AccessToken:
        if self._credential is None:
            self._credential = self.make_credential()
        return self._credential.get_token(self.scope)


@frozen
class KeyVaultSource:
    """``keyvault:https://VAULT/secrets/NAME``, with an optional version behind it."""

    url: str
    tokens: TokenSource
    get: Get
    run_in_thread: RunInThread = field(repr=False)
    clock: IReactorTime = field(repr=False)

    async def fetch(self) -> bytes:
        """Return the secret's value as UTF-8."""
        reference = f"keyvault:{self.url}"
        token = await self.tokens.fetch()
        headers = {"Authorization": f"Bearer {token.decode()}", "Accept": "application/json"}
        url = f"{self.url}?api-version={API_VERSION}"
        answer = self.run_in_thread(lambda: self.get(url, headers)).addTimeout(PATIENCE, self.clock)
        try:
            status, body = await answer
        except DeferredTimeoutError as error:
            raise UnavailableError(f"{reference} was not answered in time") from error
        except Exception as error:  # whatever the opener raises; its text may hold the request
            log.warn("{url}: {kind}", url=self.url, kind=type(error).__name__)
            raise UnavailableError(f"{reference} cannot be reached") from error
        if status != 200:
            raise UnavailableError(f"{reference} was refused with HTTP status {status}")
        try:
            return checked(msgspec.json.decode(body, type=_VaultSecret).value.encode(), reference)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Not "from error": it may quote the body, and a traceback would show it.
            raise UnavailableError(f"{reference} was not answered with a secret") from None


@frozen
class _VaultSecret:
    value: str = field(repr=False)


def vault_scope(url: str) -> str:
    """Return the token scope for a secret's URL.

    Raises:
        ConfigError: it is not the URL of a secret in a vault. A token must never go elsewhere.

    """
    parts = urlsplit(url)
    host = parts.netloc.lower()
    plain = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) is not None
    if parts.scheme == "https" and plain and not parts.query and not parts.fragment:
        for suffix, scope in VAULT_SCOPES.items():
            if host.endswith(suffix) and _PATH.fullmatch(parts.path):
                return scope
    raise ConfigError("expected keyvault:https://NAME.vault.azure.net/secrets/NAME")


def identity(client_id: str) -> Callable[[], Credential]:
    """Return what makes the agent's identity: the one that is found, or a managed identity's id.

    Raises:
        ConfigError: it is not a client id.

    """
    if client_id and _CLIENT_ID.fullmatch(client_id) is None:
        raise ConfigError(
            "expected entra: alone, or with the name of one of [identities], or with the client id "
            "of a managed identity"
        )

    def make() -> Credential:
        from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

        if client_id:
            return ManagedIdentityCredential(client_id=client_id)
        return DefaultAzureCredential()

    return make


@frozen
class Opener:
    """Fetches URLs with `requests`: no redirect, and no proxy or netrc of the environment."""

    verify: bool | str = True
    """True for the certificate authorities of `requests`, or a file with others."""

    def __call__(self, url: str, headers: Mapping[str, str], /) -> tuple[int, bytes]:
        """Return the status and the beginning of the body."""
        import requests

        with requests.Session() as session:
            session.trust_env = False
            with session.get(
                url,
                headers=dict(headers),
                timeout=(5, 10),
                allow_redirects=False,
                stream=True,
                verify=self.verify,
            ) as answer:
                return answer.status_code, _body(answer.raw)


def _body(raw: Any) -> bytes:
    """Read a body, but not one without end."""
    body: bytes = raw.read(2 * SECRET_LIMIT, decode_content=True)
    return body
