"""The gateway's own credential for Microsoft Graph, by `azure-identity`; an edge.

`azure-identity` blocks, so it runs in a thread. The secret's file is read anew for each token, so
that it can be replaced while the gateway runs. No error's text holds what Entra ID answered.
"""

from __future__ import annotations

import os
import stat
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hoopgw.errors import UnavailableError
from hoopgw.identity.settings import GraphSettings

log = Logger()

PATIENCE: Final = 8.0
"""Seconds for a token."""
EARLY: Final = 300.0
"""Seconds before its end at which a token is no longer used."""
_FILE_LIMIT: Final = 64 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

RunInThread: typing.TypeAlias = Callable[[Callable[[], Any]], Deferred[Any]]


@define(eq=False)
class GraphTokens:
    """Implements `hoopgw.identity.graph.AccessTokens`."""

    settings: GraphSettings
    tenant: str
    _run_in_thread: RunInThread = field(repr=False)
    _clock: IReactorTime = field(repr=False)
    _token: str = field(default="", init=False, repr=False)
    _until: float = field(default=0.0, init=False)
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False, repr=False)

    async def token(self) -> str:
        """Return a token; who asks together shares one request.

        Raises:
            UnavailableError: there is none to be had within `PATIENCE` seconds.

        """
        await self._one_at_a_time.acquire()
        try:
            if self._clock.seconds() >= self._until:
                await self._renew()
            return self._token
        finally:
            self._one_at_a_time.release()

    def forget(self) -> None:
        """Get another next time."""
        self._until = 0.0

    async def _renew(self) -> None:
        asking = self._run_in_thread(self._blocking).addTimeout(PATIENCE, self._clock)
        try:
            answer = await asking
        except UnavailableError:
            raise
        except DeferredTimeoutError as error:
            raise UnavailableError("no token for Microsoft Graph came in time") from error
        except Exception as error:  # whatever azure-identity raises; its text may hold an answer
            log.error("no token for Microsoft Graph: {kind}", kind=type(error).__name__)
            raise UnavailableError("Entra ID gave no token for Microsoft Graph") from error
        self._token = answer.token
        self._until = answer.expires_on - EARLY

    def _blocking(self) -> Any:
        parts = urlsplit(self.settings.url)
        with make_credential(self.settings, self.tenant) as credential:
            return credential.get_token(f"{parts.scheme}://{parts.netloc}/.default")


def make_credential(settings: GraphSettings, tenant: str) -> Any:
    """Return the credential of `azure-identity` that the settings name.

    Raises:
        UnavailableError: its file cannot be read.

    """
    # Here, because importing it takes a third of a second, and few gateways need it.
    from azure.identity import (
        CertificateCredential,
        ClientSecretCredential,
        ManagedIdentityCredential,
        WorkloadIdentityCredential,
    )

    kind, _, rest = settings.credential.partition(":")
    more: dict[str, Any] = {
        "authority": settings.authority,
        # The authority is the configuration's word: nobody else is asked whether it is one.
        "disable_instance_discovery": True,
        "retry_total": 1,
    }
    if settings.ca is not None:
        more["connection_verify"] = str(settings.ca)
    match kind:
        case "secret-file":
            secret = read_secret(Path(rest)).decode("utf-8", "replace").strip()
            return ClientSecretCredential(tenant, settings.client_id, secret, **more)
        case "certificate":
            data = read_secret(Path(rest))
            return CertificateCredential(tenant, settings.client_id, certificate_data=data, **more)
        case "managed-identity":
            return ManagedIdentityCredential(client_id=settings.client_id or None)
    return WorkloadIdentityCredential(client_id=settings.client_id or None, **more)


def read_secret(path: Path) -> bytes:
    """Return what a file holds that nobody else can read or write.

    Raises:
        UnavailableError: it cannot be read, or others can.

    """
    try:
        descriptor = os.open(path, _FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
                raise UnavailableError(f"{path} can be read by others: chmod 0600 {path}")
            if found.st_uid not in (0, os.geteuid()):
                raise UnavailableError(f"{path} is another user's")
            data = file.read(_FILE_LIMIT)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from error
    if not data.strip():
        raise UnavailableError(f"{path} is empty")
    return data
