"""An identity at the gateway, for programs and AI agents: blocking.

`hoopgw.client.aio` is the same with ``await``.
Nothing here decides anything: the gateway does, by the policy of everybody in the chain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from attrs import define

from hoopgw.client.errors import BAD_REQUEST, UNKNOWN_ACCOUNT, UNKNOWN_TARGET, Refused
from hoopgw.client.link import BrokerLink, BrokerSigner
from hoopgw.client.signers import (
    ChildSigner,
    ChildTerms,
    LoginSigner,
    Signer,
    Standing,
    end_of,
)
from hoopgw.client.values import Access, Caps, Requested, Target, Token, parse_caps
from hoopgw.events import Budget
from hoopgw.identity.tokens import GATEWAY, target_audience

BROKER: Final = "HOOPGW_BROKER"
"""The environment variable that names a broker's socket."""
WAIT_LIMIT: Final = 50.0
"""Seconds that one call waits for people."""


@define(eq=False)
class Identity:
    """Who this program is, at the gateway. May be used from several threads.

    Every method may raise `Refused`, whose ``code`` a program can act on.
    """

    signer: Signer

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Identity:
        """Find the identity of this process.

        That of the broker named by ``HOOPGW_BROKER``, as `hoopgw delegate` sets it; otherwise the
        log-in that `hoopgw login` has left in ``HOOPGW_HOME`` or the usual folder.

        Args:
            environ: instead of this process's environment.

        Raises:
            Refused: there is none (``not_logged_in``), or the broker does not answer.

        """
        given = os.environ if environ is None else environ
        if given.get(BROKER):
            return cls(BrokerSigner(BrokerLink(Path(given[BROKER]))))
        # Only here is anything of the command line needed, and the libraries that it loads.
        from hoopgw.client.logins import KeptLogins

        found = cls(LoginSigner(KeptLogins.find(given)))
        found.standing()
        return found

    @property
    def path(self) -> str:
        """The chain for people to read: ``alice / planner``."""
        return self.standing().path

    def standing(self) -> Standing:
        """Say who this is, until when, narrowed to what."""
        return self.signer.standing()

    def targets(self) -> Sequence[Target]:
        """List what can be reached."""
        return self.signer.targets()

    def password(
        self, target: str, account: str | None = None, *, database: str | None = None
    ) -> Access:
        """Return what opens one connection to a target; the next one needs another.

        Args:
            target: its name at the gateway.
            account: on the target; may be left out if it has only one.
            database: on the target, if not its usual one.

        Raises:
            Refused: ``unknown_target``, ``unknown_account``, ``not_in_caps``, ``expired``.

        """
        token = self.token(target)
        found = self._target(target)
        standing = self.standing()
        return Access(
            target=target,
            host=found.host,
            port=found.port,
            database=target if database is None else f"{target}/{database}",
            user=account or _only_account(found),
            password=token.value,
            ca=standing.ca,
            expires=token.expires,
        )

    def token(self, target: str) -> Token:
        """Return the chain with a proof for one target: good once, for two minutes at most."""
        return self.signer.prove(target_audience(target))

    def gateway_token(self) -> Token:
        """Return the chain with a proof for the gateway itself: for its HTTP interface."""
        return self.signer.prove(GATEWAY)

    def delegate(
        self,
        name: str,
        *,
        caps: Caps = None,
        ttl: float | None = None,
        nest: int | None = None,
        budget: Budget | None = None,
        purpose: str = "",
    ) -> ChildIdentity:
        """Make a child: a narrower identity with a key of its own, in this process.

        Offline if this identity holds its key; a broker is asked otherwise. The child is as far
        from this identity's key as its code is: run what is not trusted with `hoopgw delegate`.

        Args:
            name: 1 to 64 of ``a-z 0-9 . _ -``; policy and records see ``alice~planner``.
            caps: such as ``["orders:Postgres::read"]``; None is no narrower than this identity.
                What a protocol's clients do around their work (``SET``, transactions) is added.
            ttl: seconds; None is an hour, or what is left of this identity.
            nest: how many generations may follow; None is as many as this identity has left.
            budget: for the child and all that descends from it.
            purpose: the prompt or job step, for the recording; taken as unverified.

        """
        from hoopgw.broker.doors import (  # looks through what is installed
            installed_doors,
            with_needs,
        )

        terms = ChildTerms(
            name=name,
            expires=end_of(self.signer, ttl, time.time()),
            caps=with_needs(parse_caps(caps), installed_doors()) if caps is not None else None,
            nest=nest,
            budget=budget,
            purpose=purpose,
        )
        child = ChildSigner(self.signer, terms)
        child.chain()  # what cannot be is refused now, not when it is used
        return ChildIdentity(child)

    def request(
        self,
        target: str,
        *,
        seconds: float,
        reason: str,
        grant: str | None = None,
        action: str | None = None,
        scope: str = "window",
    ) -> Requested:
        """Ask for access for a while that this identity does not have; people decide on it.

        Args:
            target: what it is for.
            seconds: for how long.
            reason: for those who decide.
            grant: what is asked for, as the gateway's offers or a refusal name it; or
            action: what it must allow, such as ``Postgres::insert``.
            scope: ``window``, or ``session`` for the next session only.

        """
        if (grant is None) == (action is None):
            raise Refused(BAD_REQUEST, "give grant or action")
        what = {"grant": grant} if grant is not None else {"action": action}
        body = {"target": target, "seconds": seconds, "reason": reason, "scope": scope, **what}
        return Requested.from_dict(self.call("POST", "/v1/grants", body))

    def requested(self, request: str, *, wait: float = 0.0) -> Requested:
        """Look at what was asked for.

        Args:
            request: its id.
            wait: seconds to wait for a decision, 50 at most; ask again for more.

        """
        path = f"/v1/grants/{quote(request, safe='')}?wait={min(wait, WAIT_LIMIT):.0f}"
        return Requested.from_dict(self.call("GET", path))

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the gateway's HTTP interface as this identity, and return the JSON of its answer."""
        from hoopgw.client.calls import call  # it loads an HTTP library, which few programs need

        return call(self.signer, method, path, body)

    def delegate_to(self, jwk: Mapping[str, Any], terms: ChildTerms) -> str:
        """Delegate to whoever holds a key, elsewhere; return the chain that it presents.

        Args:
            jwk: the child's public Ed25519 key. Its private part never leaves the child.
            terms: what is said of it, exactly.

        """
        return self.signer.mint(jwk, terms).chain

    def _target(self, name: str) -> Target:
        known = {target.name: target for target in self.targets()}
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise Refused(UNKNOWN_TARGET, f"there is no target {name[:80]!r}", hint=f"of {names}")
        found = known[name]
        if not found.port:
            raise Refused(
                UNKNOWN_TARGET, f"the gateway does not listen for {found.protocol} clients"
            )
        return found


@define(eq=False)
class ChildIdentity(Identity):
    """A child whose key is in this process."""

    signer: ChildSigner

    def chain(self) -> str:
        """Return its chain without a proof: it opens nothing by itself."""
        return self.signer.chain()


def _only_account(target: Target) -> str:
    if len(target.accounts) != 1:
        names = ", ".join(sorted(target.accounts))
        raise Refused(
            UNKNOWN_ACCOUNT,
            f"which account on {target.name}?",
            hint=f"one of {names}" if names else "name one",
            ask={"target": target.name, "accounts": sorted(target.accounts)},
        )
    return target.accounts[0]
