"""What the token endpoint gives for what (RFC 6749, RFC 8693): no HTTP here.

===========================  =============================  ========================================
subject token                asked for                      given
===========================  =============================  ========================================
of a configured issuer       nothing, or `GATEWAY`          a gateway token: a log-in begins
gateway token, or chain      audience of a target, or       a token for it, at most 5 minutes
                             several with spaces between
gateway token, or chain      session password + account     user name and password for that account
gateway token, or chain      what a child is to be          the child's gateway token: see
                                                            `hoopgw.identity.delegation`
chain                        nothing, or `GATEWAY`          the same as one gateway token (*flat*)
===========================  =============================  ========================================

A flat token says all that the chain says, in nested ``act``: every hop with its caps and its node's
id, the smallest end, how many hops may follow. Nothing is ever given for a token that would allow
more, last longer or reach deeper than what it stands for; a flat token is not refreshed, and a
token for a target is exchanged for nothing.

A log-in ends when the configuration says, but never after the issuer's access token or workload
token that it was given for, unless the issuer has a ``session_lifetime``. An ID token's ``exp``
says how long it may be shown, not how long the person stays logged in, so it does not count; for
that, an ID token is taken once only. Whatever is given for a gateway token ends with the log-in:
the narrower token, the session that it opens, and the password.

A caller that proves a key (DPoP) gets a token bound to it, and must prove it again at each
exchange; and a refresh token, see `hoopgw.identity.logins`. Tokens for a target are shown in
password fields, where no proof fits: they are not bound, and short instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen
from twisted.logger import Logger

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.delegation import ACTOR, TERMS, Delegation
from hoopgw.identity.dpop import ProvedKey
from hoopgw.identity.hops import is_chain
from hoopgw.identity.issuing import Issuing
from hoopgw.identity.jose import parse
from hoopgw.identity.logins import Logins
from hoopgw.identity.oidc import TokenUse
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.subjects import read_subject
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import AUDIENCES_LIMIT, GATEWAY, TARGET_LIFETIME, target_audience
from hoopgw.identity.urns import (
    ACCESS_TOKEN,
    GRANT,
    ID_TOKEN,
    JWT,
    REFRESH_GRANT,
    SESSION_PASSWORD,
)

log = Logger()

_USES: Final = {
    ACCESS_TOKEN: TokenUse.ACCESS,
    JWT: TokenUse.ACCESS,
    ID_TOKEN: TokenUse.ID,
}
_EXCHANGE: Final = frozenset(
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
_DELEGATION: Final = ACTOR | TERMS
_REFRESH: Final = frozenset({"grant_type", "refresh_token", "client_id"})


@frozen
class Exchange:
    """The token endpoint's decisions."""

    parts: TokenParts

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
            match form.get("grant_type"):
                case wanted if wanted == GRANT:
                    return await self._exchange(form, proved)
                case wanted if wanted == REFRESH_GRANT:
                    return await self._refresh(form, proved)
        except AuthenticationError as error:
            log.info("a token was refused: {why}", why=str(error))
            raise ExchangeError("invalid_grant", "the token is not good") from error
        except UnavailableError as error:
            log.warn("a token could not be given: {why}", why=str(error))
            text = "the issuer or the gateway's store cannot be reached"
            raise ExchangeError("temporarily_unavailable", text) from error
        text = f"grant_type must be {GRANT} or {REFRESH_GRANT}"
        raise ExchangeError("unsupported_grant_type", text)

    async def _refresh(self, form: Mapping[str, str], proved: ProvedKey | None) -> dict[str, Any]:
        _only(form, _REFRESH)
        token = form.get("refresh_token", "")
        if not token:
            raise ExchangeError("invalid_request", "refresh_token is missing")
        return await Logins(self.parts).refresh(token, proved)

    async def _exchange(self, form: Mapping[str, str], proved: ProvedKey | None) -> dict[str, Any]:
        # What narrows or changes what is asked is not to be ignored: scope, resource.
        _only(form, _EXCHANGE | _DELEGATION)
        token, use = form.get("subject_token", ""), _USES.get(form.get("subject_token_type", ""))
        if not token or use is None:
            raise ExchangeError("invalid_request", "subject_token or its type is missing")
        delegates = not form.keys().isdisjoint(_DELEGATION)
        wanted = form.get("requested_token_type", ACCESS_TOKEN)
        for_us = form.get("audience", GATEWAY) == GATEWAY and wanted in (ACCESS_TOKEN, JWT)
        if not is_chain(token) and parse(token).claims.get("iss") != self.parts.signer.issuer:
            if not for_us or delegates:
                text = "log in first: an issuer's token gives only that"
                raise ExchangeError("invalid_target", text)
            return await Logins(self.parts).begin(token, use, form.get("nonce"), proved)
        if use is not TokenUse.ACCESS:
            raise ExchangeError("invalid_request", "subject_token_type is not that of the token")
        subject = read_subject(self.parts, token, proved)
        self._charge(subject.principal)
        if subject.is_chain:
            self.parts.keep(subject.principal)
        if delegates:
            if not for_us:
                raise ExchangeError("invalid_target", "a delegation gives a gateway token")
            return await Delegation(self.parts).delegate(subject, form)
        principal = evolve(subject.principal, proved=False)  # what is given proves no key
        if for_us and subject.is_chain:
            until = self.parts.now() + self.parts.lifetimes.token
            bound, left = subject.confirmation, subject.hops_left
            return Issuing(self.parts).token(principal, GATEWAY, until, bound, left)
        return self._narrow(principal, form)

    def _charge(self, principal: Principal) -> None:
        """See that what descends from a log-in leaves it its share."""
        parts = self.parts
        if principal.nodes and not parts.below.charge(
            principal.session, principal, 1.0, parts.now()
        ):
            raise ExchangeError("slow_down", "agents of this log-in ask for too many tokens")

    def _narrow(self, parent: Principal, form: Mapping[str, str]) -> dict[str, Any]:
        """Give something for one target, that ends with the session."""
        audience, *also = form.get("audience", "").split(" ")
        account = form.get("account")
        targets = [self._target(each, account) for each in (audience, *also)]
        if len(targets) > AUDIENCES_LIMIT:
            raise ExchangeError("invalid_target", f"at most {AUDIENCES_LIMIT} targets")
        giving = Issuing(self.parts)
        match form.get("requested_token_type", ACCESS_TOKEN):
            case wanted if wanted == SESSION_PASSWORD:
                if account is None:
                    raise ExchangeError("invalid_request", "account is missing")
                if also:
                    raise ExchangeError("invalid_target", "a password is for one target")
                return giving.password(parent, targets[0], account)
            case wanted if wanted in (ACCESS_TOKEN, JWT):
                until = self.parts.now() + TARGET_LIFETIME
                return giving.token(
                    parent, audience, until, None, account=account or "", also=tuple(also)
                )
        raise ExchangeError("invalid_request", "requested_token_type is none that is given here")

    def _target(self, audience: str, account: str | None) -> str:
        """Return the target of an audience, if there is one with such an account."""
        target = audience.removeprefix(target_audience(""))
        known = bool(target) and target_audience(target) == audience
        if not known or not self.parts.is_target(target, account):
            raise ExchangeError("invalid_target", "no such target or account")
        return target


def _only(form: Mapping[str, str], known: frozenset[str]) -> None:
    if unknown := form.keys() - known:
        shown = ", ".join(sorted(unknown))[:200]
        raise ExchangeError("invalid_request", f"not supported: {shown}")
