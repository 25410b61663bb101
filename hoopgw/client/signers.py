"""Who can speak for a member of a chain: whoever holds its key, or a broker that does.

A `Signer` proves (a chain with a pop, for one audience) and delegates (a chain with one hop more,
for a key that it is given). `LoginSigner` holds a log-in, `ChildSigner` a child's key;
`hoopgw.client.link.BrokerSigner` holds nothing and asks. What they refuse, they refuse early and
clearly: the gateway checks everything again, and each hop of the chain by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from attrs import define, field, frozen
from joserfc.jwk import OKPKey

from hoopgw.client.errors import (
    BAD_REQUEST,
    EXPIRED,
    NOT_IN_CAPS,
    OUTLIVES,
    TOO_DEEP,
    UNREACHABLE,
    Refused,
)
from hoopgw.client.values import Target, Token, check_within, covers, shown
from hoopgw.errors import AuthenticationError
from hoopgw.events import Budget, Cap
from hoopgw.identity.hops import (
    POP_LIFETIME,
    HopClaims,
    mint_hop,
    node_id,
    prove,
    public_jwk,
    thumbprint_of,
)
from hoopgw.identity.jose import parse
from hoopgw.identity.tokens import GATEWAY, NEST, target_audience

DEFAULT_TTL: Final = 3600.0
"""Seconds that a child lives if nobody says otherwise, and its parent does."""
_AHEAD: Final = 30.0
"""Seconds before its end at which a chain is made anew."""
_TARGETS_KEPT: Final = 60.0
"""Seconds that a list of targets is used again."""


@frozen(kw_only=True)
class Standing:
    """What an identity is, as far as it can tell itself."""

    path: str
    """The chain for people to read: ``alice / planner``."""
    node: str
    """What a revocation of it names: the delegation's id, or the log-in's."""
    expires: float
    """Seconds since the epoch: when it ends, and the sessions that it has opened."""
    gateway: str
    ca: str | None = None
    """PEM file to trust for the gateway; None is the system's CAs."""
    caps: tuple[Cap, ...] | None = None
    nest: int = NEST
    """Hops that may follow."""
    isolated: bool = False
    """Whether its parent says that it cannot read the parent's key."""


@frozen(kw_only=True)
class ChildTerms:
    """What a parent says of a child."""

    name: str
    expires: float
    """Seconds since the epoch; what is minted ends with the parent's own chain at the latest."""
    caps: tuple[Cap, ...] | None = None
    nest: int | None = None
    budget: Budget | None = None
    purpose: str = ""
    isolated: bool = False
    kind: Literal["agent", "workload"] = "agent"


@frozen(kw_only=True)
class Minted:
    """A chain with a hop for somebody."""

    chain: str = field(repr=False)
    until: float
    """Seconds since the epoch: how long the chain can be shown as it is. The log-in that it stands
    on is refreshed, and then it must be made anew; the delegation itself may last longer."""
    standing: Standing
    """Of the child."""


class Signer(Protocol):
    """Speaks for one member of a chain. May be used from several threads."""

    def standing(self) -> Standing:
        """Say who it is."""
        ...

    def targets(self) -> Sequence[Target]:
        """List what can be reached, as far as caps leave it."""
        ...

    def prove(self, audience: str) -> Token:
        """Return the chain with a proof for one audience, good once."""
        ...

    def mint(self, jwk: Mapping[str, Any], terms: ChildTerms) -> Minted:
        """Delegate to whoever holds a key."""
        ...


@frozen(kw_only=True)
class Root:
    """A log-in: a gateway token and the key that it is bound to."""

    token: str = field(repr=False)
    key: OKPKey = field(repr=False)
    expires: float
    """Until when the token can be shown; it is refreshed then, if the log-in lasts longer."""
    gateway: str
    ca: str | None


class Logins(Protocol):
    """Where a log-in is kept, and refreshed."""

    def current(self) -> Root:
        """Return it, good for a while. Raises `Refused`."""
        ...

    def targets(self) -> Sequence[Target]:
        """Ask the gateway for its targets. Raises `Refused`."""
        ...


@define(eq=False)
class LoginSigner:
    """Speaks for a person or workload that has logged in."""

    _logins: Logins
    _now: Callable[[], float] = time.time
    _known: tuple[float, Sequence[Target]] = field(default=(0.0, ()), init=False)

    def standing(self) -> Standing:
        """Say who it is, by the token itself."""
        root = self._logins.current()
        claims = _claims(root.token)
        names, nest, ends = _names(claims), claims.get("nest"), claims.get("session_exp")
        return Standing(
            path=" / ".join(names),
            node=str(claims.get("sid", "")),
            expires=float(ends) if isinstance(ends, int | float) else root.expires,
            gateway=root.gateway,
            ca=root.ca,
            nest=nest if isinstance(nest, int) else NEST + 1 - len(names),
        )

    def targets(self) -> Sequence[Target]:
        """Ask the gateway, once in a while."""
        asked, known = self._known
        if not known or self._now() > asked + _TARGETS_KEPT:
            known = self._logins.targets()
            self._known = (self._now(), known)
        return known

    def prove(self, audience: str) -> Token:
        """Prove the log-in's own key."""
        root = self._logins.current()
        return _proved(root.token, root.key, audience, self._now())

    def mint(self, jwk: Mapping[str, Any], terms: ChildTerms) -> Minted:
        """Delegate; what is minted can be shown for as long as the token that it stands on."""
        root = self._logins.current()
        held = Minted(chain=root.token, until=root.expires, standing=self.standing())
        return _minted(held, root.key, jwk, terms, self._now())


@define(eq=False)
class ChildSigner:
    """Speaks for a child whose key it holds; its chain is made anew when it comes to its end.

    Args:
        parent: who delegates.
        terms: what the parent says of the child.
        key: the child's.
        now: seconds since the epoch.

    """

    _parent: Signer
    terms: ChildTerms
    key: OKPKey = field(factory=lambda: new_key(), repr=False)
    _now: Callable[[], float] = time.time
    was_used: bool = field(default=False, init=False)
    """Whether it has proved or delegated: until then the gateway cannot know of it."""
    _minted: Minted | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def standing(self) -> Standing:
        """Say who it is."""
        return self._current().standing

    def chain(self) -> str:
        """Return the chain, without a proof. Raises `Refused`."""
        return self._current().chain

    def targets(self) -> Sequence[Target]:
        """List its parent's, as far as its caps leave them."""
        return [t for t in self._parent.targets() if covers(self.terms.caps, t.name)]

    def prove(self, audience: str) -> Token:
        """Prove the child's key.

        Raises:
            Refused: it is over, or narrowed to other targets; or the audience is not of a gateway.

        """
        target = audience.removeprefix(target_audience(""))
        if target == audience and audience != GATEWAY:
            raise Refused(BAD_REQUEST, "a proof is for the gateway, or for one target")
        if target != audience and not covers(self.terms.caps, target):
            raise Refused(
                NOT_IN_CAPS,
                f"{self.terms.name} was not delegated anything on {target}",
                hint=f"it has {shown(self.terms.caps)}; whoever started it can delegate more",
                ask={"target": target},
            )
        self.was_used = True
        return _proved(self._current().chain, self.key, audience, self._now())

    def mint(self, jwk: Mapping[str, Any], terms: ChildTerms) -> Minted:
        """Delegate what it has, or less.

        Raises:
            Refused: more, longer or deeper than it may.

        """
        if terms.expires > self.terms.expires:
            left = max(0, int(self.terms.expires - self._now()))
            raise Refused(
                OUTLIVES,
                f"{terms.name} would outlive {self.terms.name}, which has {left} s left",
                hint=f"ask for at most {left} s",
                ask={"ttl": left},
            )
        check_within(terms.caps, self.terms.caps)
        current = self._current()
        self.was_used = True
        return _minted(current, self.key, jwk, terms, self._now())

    def _current(self) -> Minted:
        now, end = self._now(), float(int(self.terms.expires))
        if now >= end:
            raise Refused(EXPIRED, _over(self.terms.name))
        with self._lock:
            minted = self._minted
            # One that lasts as long as the delegation is not made better by making it anew.
            if minted is None or minted.until < min(end, now + _AHEAD):
                minted = self._again(minted, now)
            return minted

    def _again(self, minted: Minted | None, now: float) -> Minted:
        """Mint anew, and do with the old one for as long as it lasts if that cannot be."""
        try:
            self._minted = self._parent.mint(public_jwk(self.key), self.terms)
        except Refused as refused:
            if refused.code != UNREACHABLE or minted is None or now >= minted.until:
                raise
            return minted
        return self._minted


def new_key() -> OKPKey:
    """Make a child's key."""
    return OKPKey.generate_key("Ed25519", private=True)


def end_of(signer: Signer, ttl: float | None, now: float) -> float:
    """Return when a child ends: as asked, or as is usual but not after its parent."""
    if ttl is not None:
        if not 0 < ttl < float("inf"):
            raise Refused(BAD_REQUEST, "a lifetime is more than 0 seconds")
        return now + ttl
    limit = signer.standing().expires if not isinstance(signer, LoginSigner) else float("inf")
    return min(now + DEFAULT_TTL, limit)


def _over(name: str) -> str:
    return f"the delegation to {name} is over"


def _proved(chain: str, key: OKPKey, audience: str, now: float) -> Token:
    try:
        return Token(value=prove(chain, key, audience, now), expires=float(int(now)) + POP_LIFETIME)
    except ValueError as error:
        raise Refused(TOO_DEEP, f"the chain cannot be shown: {error}") from error


def _minted(
    held: Minted, key: OKPKey, jwk: Mapping[str, Any], terms: ChildTerms, now: float
) -> Minted:
    parent = held.standing
    if parent.nest < 1:
        raise Refused(TOO_DEEP, f"{parent.path} may not delegate any further")
    nest = parent.nest - 1 if terms.nest is None else min(parent.nest - 1, terms.nest)
    expires = float(int(min(terms.expires, parent.expires)))
    if expires <= now + 1:
        own = terms.expires < parent.expires
        raise Refused(EXPIRED, _over(terms.name) if own else f"{parent.path} is over")
    try:
        public = public_jwk(jwk)
        claims = HopClaims(
            name=terms.name,
            expires=expires,
            kind=terms.kind,
            caps=terms.caps,
            nest=terms.nest,
            budget=terms.budget,
            purpose=terms.purpose,
            isolated=terms.isolated,
        )
        made = mint_hop(held.chain, key, public, claims, now)
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused(BAD_REQUEST, f"no such child can be made: {error}") from error
    return Minted(
        chain=made,
        until=min(held.until, expires),
        standing=Standing(
            path=f"{parent.path} / {terms.name}",
            node=node_id(parent.node, thumbprint_of(public["x"])),
            expires=expires,
            gateway=parent.gateway,
            ca=parent.ca,
            caps=terms.caps,
            nest=nest,
            isolated=terms.isolated,
        ),
    )


def _claims(token: str) -> Mapping[str, Any]:
    try:
        return parse(token).claims
    except AuthenticationError as error:
        raise Refused(EXPIRED, f"the log-in cannot be read: {error}") from error


def _names(claims: Mapping[str, Any]) -> list[str]:
    """Return the names of a token's chain, root first; ``act`` has the last one outermost."""
    actors, actor = [], claims.get("act")
    while isinstance(actor, dict):
        actors.append(actor)
        actor = actor.get("act")
    return [str(c.get("name") or c.get("sub") or "?") for c in (claims, *reversed(actors))]
