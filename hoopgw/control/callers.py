"""Who calls the admin API: a gateway token or a chain, proved with its key if it has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen
from twisted.logger import Logger

from hoopgw.control.web import ApiError, Call
from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.chains import Proof, read_chain
from hoopgw.identity.dpop import ProvedKey, check_proof
from hoopgw.identity.hops import is_chain
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.shares import SharedRate
from hoopgw.identity.tokens import GATEWAY, TokenVerifier
from hoopgw.reviews.rules import is_person
from hoopgw.store.rows import Store

log = Logger()

_SCHEMES: Final = ("bearer", "dpop")
_FAILED_COST: Final = 10.0
ROWS_AT_ONCE: Final = 50
"""Rows, or so many bytes in them, that cost as much to look through as a call does."""
BYTES_AT_ONCE: Final = 2**20


@frozen
class Caller:
    """Someone who calls, and what the configuration lets them do."""

    principal: Principal
    is_admin: bool
    """May end sessions and enrol agents. Not: approve more than others may."""
    oversees: bool
    """May see every session and request."""
    proved: bool = False
    """Whether the token is bound to a key, which the caller has proved."""
    token_expires: float = 0.0
    """Until when the token may be shown."""


@frozen
class _Held:
    """What a caller has shown, and may show."""

    principal: Principal
    proof: Proof | None
    proved: bool
    expires: float


@define(eq=False)
class Looking:
    """What it costs to look through rows for those that a caller may see.

    A list may have to read thousands to show none, while the process does nothing else.
    """

    _pay: Callable[[float], None]
    _owed: float = field(default=0.0, init=False)

    def at(self, size: int = 0) -> None:
        """Look at one more row, with so many bytes in it.

        Raises:
            ApiError: the log-in has asked for too much.

        """
        self._owed += 1 / ROWS_AT_ONCE + size / BYTES_AT_ONCE
        if self._owed >= 1.0:
            owed, self._owed = self._owed, 0.0
            self._pay(owed)


@define(eq=False)
class Callers:
    """Tells who calls."""

    _verifier: TokenVerifier
    _store: Store
    _now: Callable[[], float]
    _url: str
    """Of the gateway, without a slash at the end."""
    _admins: frozenset[str]
    _auditors: frozenset[str]
    _rate: RateLimit
    """Of bad tokens, by address."""
    _shares: SharedRate
    """Of what members of one log-in ask."""
    _is_ended: Callable[[Principal], bool]
    """Says whether a principal was ended before its time, or has a group that its log-in has lost:
    whoever was taken out of the administrators is none for the minutes that a token lives."""

    def identify(self, call: Call) -> Caller:
        """Say who calls.

        Raises:
            ApiError: nobody that we know.

        """
        try:
            held = self._verified(call)
        except AuthenticationError as error:
            if not self._rate.charge(call.address, _FAILED_COST, self._now()):
                raise ApiError(429, "slow_down", "too many bad tokens from this address") from error
            log.info("a caller was refused: {why}", why=str(error), address=call.address)
            raise ApiError(401, "invalid_token", "the token is not good: log in again") from error
        # Only a person counts as a member of these groups: an agent of an administrator is none.
        principal = held.principal
        groups = principal.root.groups if is_person(principal) else frozenset()
        is_admin = bool(groups & self._admins)
        return Caller(
            principal,
            is_admin,
            is_admin or bool(groups & self._auditors),
            proved=held.proved,
            token_expires=held.expires,
        )

    def looking(self, caller: Caller) -> Looking:
        """Let a caller's log-in pay for the rows that are looked through for it."""
        return Looking(lambda cost: self._pay(caller.principal, cost))

    def _pay(self, principal: Principal, cost: float) -> None:
        """Take a cost from what a log-in may ask.

        A child must not keep out who can end it, so each generation has a share.
        """
        if not self._shares.charge(principal.session, principal, cost, self._now()):
            raise ApiError(429, "slow_down", "too many requests of this log-in")

    def _verified(self, call: Call) -> _Held:
        scheme, _, token = (call.header("authorization") or "").partition(" ")
        if scheme.lower() not in _SCHEMES or not token.strip():
            raise AuthenticationError("there is no bearer token")
        token = token.strip()
        proved = self._proved(call, token)
        holder = None if proved is None else proved.thumbprint
        held = self._held(token, holder)
        principal, proof = held.principal, held.proof
        # By log-in: whoever sends nonsense from the same address must not keep out who is known.
        self._pay(principal, 1.0)
        # Kept only once the token is good, so that strangers cannot fill the store. As the token
        # endpoint remembers it: what was shown there is not good here any more.
        if proved is not None and not self._store.use_once("token", proved.id, proved.expires):
            raise AuthenticationError("the DPoP proof was used before")
        if proof is not None and not self._store.use_once("token", proof.id, proof.expires):
            raise AuthenticationError("the pop was used before")
        if self._is_ended(principal):
            raise AuthenticationError("the log-in was revoked, or has lost a group since")
        return held

    def _held(self, token: str, holder: str | None) -> _Held:
        now = self._now()
        if is_chain(token):
            shown = read_chain(token, GATEWAY, now, self._verifier, holder=holder)
            return _Held(shown.principal, shown.proof, True, shown.principal.expires)
        held = self._verifier.verify_held(token, GATEWAY, now, holder=holder)
        return _Held(held.principal, None, held.confirmation is not None, held.expires)

    def _proved(self, call: Call, token: str) -> ProvedKey | None:
        proof = call.header("dpop")
        if proof is None:
            return None
        return check_proof(proof, call.method, self._url + call.url_path, self._now(), token)
