"""Tokens for targets, for clients that can ask only as their own cloud's log-in has them ask.

A worker takes the request in the cloud's form (`az` posts a ``client_assertion``), and hands on
what proves the caller. The token endpoint decides, as it does for everybody: an issuer's token
begins a log-in, and the log-in gives a token for targets. The same proof shown again, while it is
good, is the same log-in: a job that asks for a token for each call has one, and what is granted to
it, or used up of its budgets, counts for all of them, and when it is ended it stays so.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.hops import is_chain
from hoopgw.identity.issuing import Issuing
from hoopgw.identity.jose import parse
from hoopgw.identity.oidc import moment
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.tokens import GATEWAY, target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, JWT
from hoopgw.ipc import Body, Handler

LOGINS_LIMIT: Final = 5_000
"""Log-ins that are found again by what they began with."""


@define(eq=False)
class TargetTokens:
    """Gives them."""

    _exchange: Exchange
    _limits: FormLimits
    """Shared with the token endpoint."""
    _now: Callable[[], float]
    _begun: OrderedDict[bytes, tuple[Principal, float]] = field(factory=OrderedDict, init=False)
    """Hash of what began a log-in to who that is, and when one of the two is over."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return what workers may call, by name."""
        return {"target_token": self._give}

    async def _give(self, body: Body) -> Body:
        """``{proof, targets, account, address}`` to what the token endpoint answers.

        A refusal is an answer too: ``{error, description}``, as OAuth 2 has it.
        """
        proof, account, address = (str(body[name]) for name in ("proof", "account", "address"))
        targets = list(map(str, body["targets"]))
        now = self._now()
        try:
            self._limits.check(address, now)
            self._limits.waiting += 1
            try:
                given = await self._token(proof, targets, account)
            finally:
                self._limits.waiting -= 1
        except ExchangeError as refused:
            error = refused
            if not self._limits.refused.charge(address, 1.0, now):
                error = ExchangeError("slow_down", "too many bad requests from this address")
            return {"error": error.code, "description": error.text}
        self._limits.charge(address, now)
        return {"token": given["access_token"], "expires_in": given["expires_in"]}

    async def _token(self, proof: str, targets: list[str], account: str) -> dict[str, Any]:
        try:
            subject = await self._subject(proof)
        except AuthenticationError as error:
            raise ExchangeError("invalid_grant", "the token is not good") from error
        except UnavailableError as error:
            raise ExchangeError("temporarily_unavailable", str(error)) from error
        form = {
            "grant_type": GRANT,
            "subject_token": subject,
            "subject_token_type": ACCESS_TOKEN,
            "audience": " ".join(map(target_audience, targets)),
        }
        return await self._exchange.exchange(form | ({"account": account} if account else {}))

    async def _subject(self, proof: str) -> str:
        """Return a gateway token, or a chain, for what proves the caller."""
        parts = self._exchange.parts
        if is_chain(proof):
            return proof
        parsed = parse(proof)
        if parsed.claims.get("iss") == parts.signer.issuer:
            return proof
        key = hashlib.sha256(parsed.signed + b"." + parsed.signature).digest()
        principal = self._known(key)
        if principal is None:
            given = await self._exchange.exchange(
                {"grant_type": GRANT, "subject_token": proof, "subject_token_type": JWT}
            )
            began = parts.verifier.read(str(given["access_token"]), GATEWAY, self._now()).principal
            # Who was asked twice before the first answer has begun one log-in all the same.
            principal = self._known(key) or began
            # A log-in may outlast what it began with, which is then worth nothing to who finds it.
            self._begun[key] = principal, min(principal.expires, moment(parsed.claims, "exp"))
            while len(self._begun) > LOGINS_LIMIT:
                self._begun.popitem(last=False)
        until = self._now() + parts.lifetimes.token
        return str(Issuing(parts).token(principal, GATEWAY, until, None)["access_token"])

    def _known(self, key: bytes) -> Principal | None:
        """Return who logged in with this before, if it is good still."""
        known = self._begun.get(key)
        return None if known is None or known[1] <= self._now() else known[0]
