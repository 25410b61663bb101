"""Log-ins: how they begin with an issuer's token, and go on with refresh tokens.

A log-in lasts hours, the tokens that stand for it minutes. Who is bound to a key (DPoP) gets a
refresh token with each token, and exchanges it for the next pair; it is good once, for the holder
of that key, as long as the log-in lasts.

Whoever holds the key and shows a refresh token that is no longer good has a copy of one that was
used, or has given a copy away: either way two hold what one should, so the log-in is revoked
(RFC 9700 section 4.14.2). Who does not hold the key is refused, and can do no harm to the log-in.

Groups are as the issuer said at log-in, or as it says at a refresh, where it can be asked
(`hoopgw.identity.token_parts.Regroup`). When they are older than the configuration allows, nothing
is given for them any more, and what they opened ends. What was opened with a group that a refresh
finds to be lost ends at once.

References: RFC 6749 section 6, RFC 9449 section 5, RFC 9700.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

from attrs import evolve, frozen
from twisted.logger import Logger

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Hop, Principal
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import SEPARATOR
from hoopgw.identity.issuing import Issuing
from hoopgw.identity.jose import parse
from hoopgw.identity.oidc import LEEWAY, Authenticated, TokenUse
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import GATEWAY
from hoopgw.store.rows import LoginRow

log = Logger()

REFRESH_PREFIX: Final = "hgr1"
"""Begins every refresh token, so that scanners for leaked secrets can know it."""
REFRESH_LIMIT: Final = 256
"""Characters of a refresh token; ours are shorter."""
REUSED: Final = "a refresh token was used twice"


@frozen
class Logins:
    """Begins log-ins and refreshes them."""

    parts: TokenParts

    async def begin(
        self, token: str, use: TokenUse, nonce: str | None, proved: ProvedKey | None
    ) -> dict[str, Any]:
        """Log in with an issuer's token.

        Raises:
            AuthenticationError, UnavailableError, ExchangeError: it is refused.

        """
        parts = self.parts
        who = await parts.issuers.authenticate(token, use, nonce)
        _check_holder(who, proved)
        if SEPARATOR in who.hop.id:
            raise AuthenticationError("the subject could be taken for that of a child")
        if proved is not None and not parts.used.use(proved.id, proved.expires):
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof was used before")
        if use is TokenUse.ID:
            # Over what is signed, because one signature can be spelt in several ways.
            seen = hashlib.sha256(parse(token).signed).hexdigest()
            if not parts.used.use(f"id|{seen}", who.expires + LEEWAY):
                raise AuthenticationError("the ID token was used before")
        now = parts.now()
        ends = self._end(who, use)
        principal = Principal(
            chain=(who.hop,),
            session=secrets.token_urlsafe(16),
            expires=self._until(who.hop, now, ends),
            origin=who.origin,
        )
        log.info("{who} logged in, session {sid}", who=who.hop.id, sid=principal.session)
        if use is TokenUse.ACCESS:
            parts.proofs(principal, token, who.expires)
        given = self._gateway_token(principal, proved)
        if proved is None:
            return given
        refresh = _refresh_token(principal.session)
        row = LoginRow(
            id=principal.session,
            principal=principal,
            thumbprint=proved.thumbprint,
            refresh=_hash(refresh),
            began=now,
            groups_at=now,
            expires=ends,
        )
        if not parts.logins.keep(row):
            log.warn("{who} has too many log-ins to refresh another", who=who.hop.id)
            return given
        return given | self._refreshable(refresh, principal, ends)

    async def refresh(self, token: str, proved: ProvedKey | None) -> dict[str, Any]:
        """Give the next pair of tokens for a refresh token.

        Raises:
            AuthenticationError, UnavailableError, ExchangeError: it is refused.

        """
        row = self._shown(token, proved)
        if not hmac.compare_digest(row.refresh, _hash(token)):
            self._reused(row)
        root, groups_at = await self._regrouped(row)
        until = self._until(root, groups_at, row.expires)
        if until - self.parts.now() < 1:
            raise ExchangeError(
                "invalid_grant", "what the issuer said of groups is too old: log in again"
            )
        principal = evolve(row.principal, chain=(root,), expires=until)
        following = _refresh_token(row.id)
        after = evolve(row, principal=principal, groups_at=groups_at, refresh=_hash(following))
        if not self.parts.logins.replace(row, after):
            self._reused(row)  # it was used while the issuer was asked
        if lost := row.principal.root.groups - root.groups:
            log.info("{who} is no longer in {lost}", who=root.id, lost=sorted(lost))
            self.parts.regrouped(row.id, root.groups)
        given = self._gateway_token(principal, proved)
        return given | self._refreshable(following, principal, row.expires)

    def login_of(self, token: str) -> LoginRow | None:
        """Return the log-in that a refresh token is of, good or used; None if it is of none.

        Who holds its key is not looked at, and nothing is used up.
        """
        try:
            return self._read(token)
        except AuthenticationError:
            return None

    def _shown(self, token: str, proved: ProvedKey | None) -> LoginRow:
        """Return the log-in that a refresh token is of, if its key was proved and it lives."""
        parts = self.parts
        row = self._read(token)
        if proved is None or proved.thumbprint != row.thumbprint:
            raise AuthenticationError("a refresh token without the key that it is bound to")
        if parts.is_revoked(row.principal):
            raise AuthenticationError("the log-in was revoked")
        if row.expires - parts.now() < 1:
            raise ExchangeError("invalid_grant", "the log-in is over: log in again")
        if not parts.used.use(proved.id, proved.expires):
            raise ExchangeError("invalid_dpop_proof", "the DPoP proof was used before")
        return row

    def _read(self, token: str) -> LoginRow:
        prefix, _, rest = token.partition(".")
        login, _, secret = rest.partition(".")
        if len(token) > REFRESH_LIMIT or prefix != REFRESH_PREFIX or not login or not secret:
            raise AuthenticationError("not a refresh token")
        row = self.parts.logins.find(login)
        if row is None:
            raise AuthenticationError("a refresh token of no log-in that is known")
        return row

    def _reused(self, row: LoginRow) -> None:
        log.warn("{why}: log-in {sid} is revoked", why=REUSED, sid=row.id)
        self.parts.revoke(row.id, REUSED, row.principal)
        raise ExchangeError(
            "invalid_grant", "the refresh token was used before, so the log-in was revoked"
        )

    async def _regrouped(self, row: LoginRow) -> tuple[Hop, float]:
        """Return the root with its groups as they are now, and since when that is known."""
        root, regroup = row.principal.root, self.parts.regroup
        if not regroup.can_ask(root):
            return root, row.groups_at
        now = self.parts.now()
        try:
            return evolve(root, groups=await regroup.ask(root)), now
        except UnavailableError as error:
            log.warn("the groups of {who} stay as they were: {why}", who=root.id, why=str(error))
            return root, row.groups_at
        except AuthenticationError:
            self.parts.revoke(row.id, "the issuer does not know the principal any more")
            raise

    def _gateway_token(self, principal: Principal, proved: ProvedKey | None) -> dict[str, Any]:
        expires = self.parts.now() + self.parts.lifetimes.token
        bound = None if proved is None else proved.confirmation
        return Issuing(self.parts).token(principal, GATEWAY, expires, bound)

    def _refreshable(self, refresh: str, principal: Principal, ends: float) -> dict[str, Any]:
        """Give a refresh token, and say until when it is of use."""
        until = ends if self.parts.regroup.can_ask(principal.root) else principal.expires
        return {"refresh_token": refresh, "refresh_expires_in": int(until - self.parts.now())}

    def _end(self, who: Authenticated, use: TokenUse) -> float:
        """Return when the whole log-in ends."""
        now = self.parts.now()
        end = now + self.parts.lifetimes.login
        if use is TokenUse.ACCESS:
            longest = who.session_lifetime
            end = min(end, who.expires if longest is None else now + longest)
        if end - now < 1:
            raise AuthenticationError("nothing is left of its lifetime")
        return float(int(end))

    def _until(self, root: Hop, groups_at: float, ends: float) -> float:
        """Return when what is given now ends: with the log-in, or when its groups are too old."""
        alias = root.id.partition("|")[0]
        has_groups = any(
            settings.alias == alias and settings.groups_claim
            for settings in self.parts.issuers.settings
        )
        oldest = groups_at + self.parts.lifetimes.groups
        return float(int(min(ends, oldest) if has_groups or root.groups else ends))


def _check_holder(who: Authenticated, proved: ProvedKey | None) -> None:
    if who.confirmation is not None and (
        proved is None or who.confirmation.get("jkt") != proved.thumbprint
    ):
        raise AuthenticationError("the token is bound to a key that the caller did not prove")


def is_refresh_token(token: str) -> bool:
    """Whether a text is meant as a refresh token."""
    return token.startswith(REFRESH_PREFIX + ".")


def _refresh_token(login: str) -> str:
    return f"{REFRESH_PREFIX}.{login}.{secrets.token_urlsafe(32)}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
