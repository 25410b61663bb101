"""What the token endpoint gives for what (RFC 8693): no HTTP here.

===========================  =============================  ========================================
subject token                asked for                      given
===========================  =============================  ========================================
of a configured issuer       nothing, or `GATEWAY`          a gateway token, a new session begins
gateway token                audience of a target           a token for it, at most 5 minutes
gateway token                session password + account     user name and password for that account
===========================  =============================  ========================================

A gateway token lives as long as the configuration says, but never longer than the issuer's access
token or workload token that it was given for, unless the issuer has a ``session_lifetime``. An ID
token's ``exp`` says how long it may be shown,
not how long the person stays logged in, so it does not count; for that, an ID token is taken once
only. Whatever is given for a gateway token ends with it: the narrower token, the session that it
opens, and the password.

A caller that proves a key (DPoP) gets a token bound to it, and must prove it again at each
exchange. Tokens for a target are shown in password fields, where no proof fits: they are not bound,
and short instead.
"""

from __future__ import annotations

import hashlib
import secrets
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from attrs import field, frozen
from twisted.logger import Logger

from hoopgw.errors import AuthenticationError, HoopgwError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import SEPARATOR
from hoopgw.identity.issuers import Issuers
from hoopgw.identity.jose import parse
from hoopgw.identity.oidc import LEEWAY, Authenticated, TokenUse, unverified_issuer
from hoopgw.identity.passwords import make_password
from hoopgw.identity.tokens import (
    GATEWAY,
    TARGET_LIFETIME,
    GatewayToken,
    TokenSigner,
    TokenVerifier,
    target_audience,
)
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, ID_TOKEN, JWT, SESSION_PASSWORD
from hoopgw.spi import SessionPassword

log = Logger()

_USES: Final = {
    ACCESS_TOKEN: TokenUse.ACCESS,
    JWT: TokenUse.ACCESS,
    ID_TOKEN: TokenUse.ID,
}
_KNOWN: Final = frozenset(
    {
        "grant_type",
        "subject_token",
        "subject_token_type",
        "requested_token_type",
        "audience",
        "account",
        "nonce",
        "client_id",
    }
)
_ATTEMPTS: Final = 3

ErrorCode: typing.TypeAlias = Literal[
    "invalid_request",
    "invalid_grant",
    "invalid_target",
    "invalid_dpop_proof",
    "unsupported_grant_type",
    "temporarily_unavailable",
    "slow_down",
]


class ExchangeError(HoopgwError):
    """A refusal, as RFC 6749 section 5.2 has it. The text is for the caller."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code: ErrorCode = code
        self.text = text


class SessionPasswordStore(typing.Protocol):
    """Where session passwords are kept, until they expire."""

    def put(self, handle: str, password: SessionPassword, expires: float) -> bool:
        """Keep one. Returns False, and keeps nothing, if the handle is taken."""
        ...


class UsedTokens(typing.Protocol):
    """Remembers what may be used once only."""

    def use(self, id: str, expires: float) -> bool:  # noqa: A002  # what it is
        """Say whether this is the first use; remember it until ``expires``."""
        ...


@frozen(kw_only=True)
class Exchange:
    """The token endpoint's decisions."""

    issuers: Issuers
    signer: TokenSigner
    verifier: TokenVerifier
    passwords: SessionPasswordStore
    used: UsedTokens
    is_target: Callable[[str, str | None], bool]
    """Says whether there is such a target, with such an account if one is given."""
    is_revoked: Callable[[Principal], bool]
    """Says whether a principal's session was ended before its time."""
    now: Callable[[], float]
    lifetime: float = field(default=3600.0)
    """Seconds that a log-in lasts at most."""

    async def exchange(
        self, form: Mapping[str, str], proved: ProvedKey | None = None
    ) -> dict[str, Any]:
        """Answer a request.

        Args:
            form: the parameters, each once.
            proved: the key that the caller has proved to hold.

        Raises:
            ExchangeError: it is refused.

        """
        try:
            return await self._exchange(form, proved)
        except AuthenticationError as error:
            log.info("a token was refused: {why}", why=str(error))
            raise ExchangeError("invalid_grant", "the subject token is not good") from error
        except UnavailableError as error:
            log.warn("a token could not be given: {why}", why=str(error))
            text = "the issuer or the gateway's store cannot be reached"
            raise ExchangeError("temporarily_unavailable", text) from error

    async def _exchange(self, form: Mapping[str, str], proved: ProvedKey | None) -> dict[str, Any]:
        if unknown := form.keys() - _KNOWN:
            # scope, resource and actor_token narrow or change what is asked: not to be ignored.
            raise ExchangeError("invalid_request", f"not supported: {', '.join(sorted(unknown))}")
        if form.get("grant_type") != GRANT:
            raise ExchangeError("unsupported_grant_type", f"grant_type must be {GRANT}")
        token, use = form.get("subject_token", ""), _USES.get(form.get("subject_token_type", ""))
        if not token or use is None:
            raise ExchangeError("invalid_request", "subject_token or its type is missing")
        if unverified_issuer(parse(token)) != self.signer.issuer:
            return await self._log_in(token, use, form, proved)
        return self._narrow(self._parent(token, proved), form)

    async def _log_in(
        self, token: str, use: TokenUse, form: Mapping[str, str], proved: ProvedKey | None
    ) -> dict[str, Any]:
        """Begin a session."""
        wanted = form.get("requested_token_type", ACCESS_TOKEN)
        if form.get("audience", GATEWAY) != GATEWAY or wanted not in (ACCESS_TOKEN, JWT):
            raise ExchangeError("invalid_target", "log in first: an issuer's token gives only that")
        who = await self.issuers.authenticate(token, use, form.get("nonce"))
        if who.confirmation is not None and (
            proved is None or who.confirmation.get("jkt") != proved.thumbprint
        ):
            raise AuthenticationError("the token is bound to a key that the caller did not prove")
        if SEPARATOR in who.hop.id:
            raise AuthenticationError("the subject could be taken for that of a child")
        self._spend(proved)
        if use is TokenUse.ID:
            # Over what is signed, because one signature can be spelt in several ways.
            seen = hashlib.sha256(parse(token).signed).hexdigest()
            if not self.used.use(f"id|{seen}", who.expires + LEEWAY):
                raise AuthenticationError("the ID token was used before")
        expires = self._login_end(who, use)
        principal = Principal(
            chain=(who.hop,), session=secrets.token_urlsafe(16), expires=float(int(expires))
        )
        log.info(
            "{principal} logged in, session {session}",
            principal=who.hop.id,
            session=principal.session,
        )
        return self._token(principal, GATEWAY, principal.expires, proved)

    def _login_end(self, who: Authenticated, use: TokenUse) -> float:
        now = self.now()
        end = now + self.lifetime
        if use is TokenUse.ACCESS:
            longest = who.session_lifetime
            end = min(end, who.expires if longest is None else now + longest)
        if end - now < 1:
            raise AuthenticationError("nothing is left of its lifetime")
        return end

    def _parent(self, token: str, proved: ProvedKey | None) -> Principal:
        holder = None if proved is None else proved.thumbprint
        principal = self.verifier.verify(token, GATEWAY, self.now(), holder=holder)
        if self.is_revoked(principal):
            raise AuthenticationError("the session was revoked")
        self._spend(proved)
        return principal

    def _spend(self, proved: ProvedKey | None) -> None:
        """Use a proof up; only once the token is good, so that strangers do not fill the store."""
        if proved is not None and not self.used.use(proved.id, proved.expires):
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof was used before")

    def _narrow(self, parent: Principal, form: Mapping[str, str]) -> dict[str, Any]:
        """Give something for one target, that ends with the session."""
        audience = form.get("audience", "")
        target = audience.removeprefix(target_audience(""))
        account = form.get("account")
        if not target or target_audience(target) != audience or not self.is_target(target, account):
            raise ExchangeError("invalid_target", "no such target or account")
        match form.get("requested_token_type", ACCESS_TOKEN):
            case wanted if wanted == SESSION_PASSWORD:
                if account is None:
                    raise ExchangeError("invalid_request", "account is missing")
                return self._password(parent, target, account)
            case wanted if wanted in (ACCESS_TOKEN, JWT):
                end = min(self.now() + TARGET_LIFETIME, parent.expires)
                return self._token(parent, audience, end, None)
        raise ExchangeError("invalid_request", "requested_token_type is none that is given here")

    def _token(
        self, principal: Principal, audience: str, expires: float, proved: ProvedKey | None
    ) -> dict[str, Any]:
        now = self.now()
        if expires - now < 1:
            raise ExchangeError("invalid_grant", "nothing is left of its lifetime")
        signed = self.signer.sign(
            GatewayToken(
                principal=principal,
                audience=audience,
                issued=now,
                expires=expires,
                confirmation=None if proved is None else proved.confirmation,
            )
        )
        return {
            "access_token": signed,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer" if proved is None else "DPoP",
            "expires_in": int(expires - now),
        }

    def _password(self, principal: Principal, target: str, account: str) -> dict[str, Any]:
        for _ in range(_ATTEMPTS):
            made = make_password(principal, target, account)
            if self.passwords.put(made.handle, made.stored, principal.expires):
                return {
                    "access_token": made.password,
                    "issued_token_type": SESSION_PASSWORD,
                    "token_type": "N_A",
                    "expires_in": int(principal.expires - self.now()),
                    "handle": made.handle,
                    "user": made.user,
                    "password": made.password,
                    "target": target,
                    "expires": principal.expires,
                }
        raise ExchangeError("temporarily_unavailable", "no session password can be kept now")
