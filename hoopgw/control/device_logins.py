"""Log-ins with a device code for clients of a data worker: plain `ssh`, with nothing installed.

=============  ===================  ==========================================================
call           given                answered
=============  ===================  ==========================================================
device_begin   ``issuer, address``  ``id, url, code, complete, lasts``: what a person is shown
device_poll    ``id``               ``{pending: true}``, or ``{principal}``: a log-in has begun
device_drop    ``id``               nobody waits any more
=============  ===================  ==========================================================

A refusal is an answer: ``{error, description}``. The worker never speaks to the issuer, and sees no
token: what the issuer gives is validated by the token endpoint, as `hoopgw login`'s is, and begins
a log-in, which is in the store and can be revoked. Nothing is given for an issuer that no listener
of the configuration names (``device_code``).

A code is good for whoever approves it: see docs/threat-model.md on what that is worth.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.task import deferLater
from twisted.logger import Logger

from hoopgw.config import GatewayConfig
from hoopgw.config.checks import DEVICE_CODE
from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.device_flow import SLOWER, Begun, DeviceIssuer, Later
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.fetch import make_ask
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.login import IssuerToken, exchange_form
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.tokens import GATEWAY
from hoopgw.ipc import Body, Handler
from hoopgw.wire_values import principal_to_dict

log = Logger()

CODES_LIMIT: Final = 500
"""Codes that wait for people at once."""
PATIENCE: Final = 10.0
"""Seconds for which one call polls the issuer before it says that nobody has approved yet."""
_BURST: Final = 6.0
_PER_SECOND: Final = 1 / 20
"""Codes for one address: each is a chance to deceive somebody."""


@define(eq=False)
class _Code:
    """One code, until it is approved or over."""

    issuer: DeviceIssuer
    begun: Begun = field(repr=False)
    end: float
    interval: float
    following: float
    """When the issuer may be asked again."""
    is_polled: bool = False


@define(eq=False)
class DeviceLogins:
    """Gives codes, and says who has approved."""

    _exchange: Exchange
    _issuers: Mapping[str, DeviceIssuer]
    """Those that a listener names, by alias."""
    _limits: FormLimits
    """Shared with the token endpoint."""
    _clock: Any
    """`IReactorTime`."""
    _now: Callable[[], float]
    _codes: dict[str, _Code] = field(factory=dict, init=False, repr=False)
    _rate: RateLimit = field(
        factory=lambda: RateLimit(burst=_BURST, per_second=_PER_SECOND), init=False
    )

    def handlers(self) -> Mapping[str, Handler]:
        """Return what workers may call, by name."""
        return {
            "device_begin": self._begin,
            "device_poll": self._poll,
            "device_drop": self._drop,
        }

    async def _begin(self, body: Body) -> Body:
        alias, address = str(body["issuer"]), str(body["address"])
        issuer, now = self._issuers.get(alias), self._now()
        if issuer is None:
            return _refused("not_served", "no listener is configured to give its device codes")
        self._forget()
        if len(self._codes) >= CODES_LIMIT or not self._rate.charge(address, 1.0, now):
            return _refused("slow_down", "too many device codes were asked for; try again later")
        try:
            begun = await issuer.begin()
        except UnavailableError as error:
            log.warn("no device code: {why}", why=str(error))
            return _refused("temporarily_unavailable", "the issuer gives no device code now")
        key = secrets.token_urlsafe(16)
        clock = self._clock.seconds()
        self._codes[key] = _Code(
            issuer, begun, clock + begun.lasts, begun.interval, clock + begun.interval
        )
        log.info("a device code of {issuer} was given", issuer=alias, address=address)
        shown = begun.code
        return {
            "id": key,
            "url": shown.url,
            "code": shown.code,
            "complete": shown.url_with_code or "",
            "lasts": begun.lasts,
        }

    async def _poll(self, body: Body) -> Body:
        key, address = str(body["id"]), str(body["address"])
        code = self._codes.get(key)
        if code is None or code.is_polled:
            return _refused("expired_token", "the code is over: connect again")
        code.is_polled = True
        try:
            given = await self._approved(key, code)
            if given is None:
                return {"pending": True}
            self._codes.pop(key, None)
            return {"principal": principal_to_dict(await self._log_in(given, address))}
        except (AuthenticationError, ExchangeError) as error:
            self._codes.pop(key, None)
            log.info("a device code gave no log-in: {why}", why=str(error), address=address)
            said = error.text if isinstance(error, ExchangeError) else str(error)
            return _refused("access_denied", said)
        except UnavailableError as error:
            log.warn("a device code could not be polled: {why}", why=str(error))
            return _refused("temporarily_unavailable", "the issuer does not answer now")
        finally:
            code.is_polled = False

    def _drop(self, body: Body) -> Body:
        self._codes.pop(str(body["id"]), None)
        return {}

    async def _approved(self, key: str, code: _Code) -> IssuerToken | None:
        """Poll for a while, as often as the issuer lets us; None if nobody has approved yet."""
        until = self._clock.seconds() + PATIENCE
        while True:
            now = self._clock.seconds()
            if now >= code.end or key not in self._codes:
                raise AuthenticationError("nobody entered the code in time: connect again")
            if code.following > now:
                if code.following > until:
                    return None
                await deferLater(self._clock, code.following - now)
                continue
            code.following = now + code.interval
            given = await code.issuer.poll(code.begun.device)
            if not isinstance(given, Later):
                if key not in self._codes:  # the client has gone meanwhile
                    raise AuthenticationError("nobody waits for it any more")
                return given
            if given.slower:
                code.interval += SLOWER
            code.following = self._clock.seconds() + code.interval

    async def _log_in(self, given: IssuerToken, address: str) -> Principal:
        """Begin a log-in, as the token endpoint does, and under its limits."""
        now = self._now()
        self._limits.check(address, now)
        answer: dict[str, Any] = await self._exchange.exchange(exchange_form(given))
        self._limits.charge(address, now)
        verifier = self._exchange.parts.verifier
        return verifier.read(str(answer["access_token"]), GATEWAY, now).principal

    def _forget(self) -> None:
        clock = self._clock.seconds()
        for key in [key for key, code in self._codes.items() if code.end <= clock]:
            del self._codes[key]


def device_issuers(config: GatewayConfig, reactor: Any) -> dict[str, DeviceIssuer]:
    """Return the issuers that listeners are configured to give device codes of.

    Raises:
        ConfigError: there is none of that alias, or people cannot log in there.

    """
    found: dict[str, DeviceIssuer] = {}
    for listener in config.listeners:
        alias = listener.options.get(DEVICE_CODE)
        if not alias:
            continue
        known = [each for each in config.identity.issuers if each.alias == alias]
        if not known or not known[0].client_id:
            raise ConfigError(
                f"listeners: {DEVICE_CODE}: no issuer {str(alias)[:80]!r} has a client_id"
            )
        found[str(alias)] = DeviceIssuer(known[0], make_ask(known[0], reactor), reactor)
    return found


def _refused(error: str, description: str) -> Body:
    return {"error": error, "description": description}
