"""Device codes (RFC 8628), asked for by the gateway itself, for who comes with plain `ssh`.

`hoopgw.identity.login` does the same for the command line, and blocks. What an issuer gives here is
a token like any other: the token endpoint validates it as it does what `hoopgw login` shows. Codes
and tokens are in no text and no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from attrs import define, field, frozen
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.graph import Ask
from hoopgw.identity.jose import parse_object
from hoopgw.identity.keys import DEADLINE
from hoopgw.identity.login import (
    DEVICE_GRANT,
    SCOPES,
    DeviceCode,
    IssuerToken,
    LoginError,
    LoginIssuer,
    oauth_error,
    shown,
    subject_token,
    web_url,
)
from hoopgw.identity.settings import IssuerSettings, url_problem

INTERVAL: Final = 5.0
"""Seconds between two polls, if the issuer does not say (RFC 8628 section 3.2)."""
SLOWER: Final = 5.0
"""Seconds that are added when the issuer says so (section 3.5)."""
LONGEST: Final = 900.0
"""Seconds that a code is waited for, however long the issuer would."""
_FRESH: Final = 3_600.0
"""Seconds for which the issuer's description is used again."""
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


@frozen(kw_only=True)
class Begun:
    """A device code that waits for a person."""

    device: str = field(repr=False)
    """What is polled with."""
    code: DeviceCode = field(repr=False)
    """What the person is shown."""
    interval: float
    """Seconds between two polls, at least."""
    lasts: float
    """Seconds until it is over."""


@frozen
class Later:
    """Nobody has approved yet."""

    slower: bool
    """Whether the issuer wants to be asked less often."""


@define(eq=False)
class DeviceIssuer:
    """One issuer, asked for device codes."""

    settings: IssuerSettings
    _ask: Ask = field(repr=False)
    _clock: IReactorTime = field(repr=False)
    _metadata: Mapping[str, Any] = field(factory=dict, init=False, repr=False)
    _until: float = field(default=0.0, init=False)

    async def begin(self) -> Begun:
        """Ask for a code.

        Raises:
            UnavailableError: the issuer gives none; the text may be shown.

        """
        settings = self.settings
        scopes = list(SCOPES)
        if settings.type == "entra" and settings.on_behalf_of:
            scopes.append(f"{min(settings.audiences)}/.default")
        form = {"client_id": settings.client_id, "scope": " ".join(scopes)}
        status, given = await self._post("device_authorization_endpoint", form)
        if status != 200:
            raise UnavailableError(f"{settings.alias} gave no device code: {oauth_error(given)}")
        try:
            complete = given.get("verification_uri_complete")
            return Begun(
                device=str(given["device_code"]),
                code=DeviceCode(
                    url=web_url(given["verification_uri"]),
                    code=shown(given["user_code"]),
                    url_with_code=None if complete is None else web_url(complete),
                ),
                interval=max(1.0, float(given.get("interval", INTERVAL))),
                lasts=min(float(given["expires_in"]), LONGEST),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnavailableError(f"{settings.alias}: its device code cannot be read") from error

    async def poll(self, device: str) -> IssuerToken | Later:
        """Ask whether a person has approved.

        Raises:
            AuthenticationError: it was refused, or is over; the text may be shown.
            UnavailableError: the issuer cannot be asked.

        """
        form = {
            "client_id": self.settings.client_id,
            "grant_type": DEVICE_GRANT,
            "device_code": device,
        }
        status, given = await self._post("token_endpoint", form)
        if status == 200:
            try:
                return subject_token(given, self._as_login())
            except LoginError as error:
                raise AuthenticationError(str(error)) from error
        match given.get("error"):
            case "authorization_pending":
                return Later(slower=False)
            case "slow_down":
                return Later(slower=True)
            case "access_denied":
                raise AuthenticationError("the log-in was refused at the issuer")
            case "expired_token":
                raise AuthenticationError("nobody entered the code in time")
        if status >= 500:
            raise UnavailableError(f"{self.settings.alias} does not answer now")
        raise AuthenticationError(f"the issuer refused: {oauth_error(given)}")

    def _as_login(self) -> LoginIssuer:
        """Return what `hoopgw login` would know of the issuer."""
        settings = self.settings
        return LoginIssuer(
            alias=settings.alias,
            issuer=settings.issuer,
            client_id=settings.client_id,
            type=settings.type,
            audiences=settings.audiences,
            wants_access=bool(settings.on_behalf_of),
        )

    async def _post(self, endpoint: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        url = await self._endpoint(endpoint)
        return await self._send("POST", url, _FORM, urlencode(form).encode())

    async def _endpoint(self, name: str) -> str:
        """Return an endpoint's URL, as the issuer describes it."""
        issuer, now = self.settings.issuer, self._clock.seconds()
        if not self._metadata or now >= self._until:
            url = issuer.removesuffix("/") + "/.well-known/openid-configuration"
            status, found = await self._send("GET", url, {}, None)
            if status != 200 or found.get("issuer") != issuer:
                raise UnavailableError(f"{self.settings.alias} does not describe itself")
            self._metadata, self._until = found, now + _FRESH
        url = str(self._metadata.get(name, ""))
        if url_problem(url, allow_http=self.settings.allow_http):
            raise UnavailableError(f"{self.settings.alias} offers no {name.replace('_', ' ')}")
        return url

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, Any]]:
        asking = self._ask(method, url, headers, body)
        try:
            reply = await asking.addTimeout(DEADLINE, self._clock)
            return reply.status, parse_object(reply.body)
        except DeferredTimeoutError as error:
            raise UnavailableError(f"{self.settings.alias} does not answer in time") from error
        except AuthenticationError as error:
            raise UnavailableError(f"{self.settings.alias} answers unreadably") from error
