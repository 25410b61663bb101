"""The same as `hoopgw.client.identity`, for asyncio: nothing blocks the loop.

Each call runs in a thread, as reading the log-in and asking the gateway block; signing takes less
than a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from hoopgw.client.identity import Identity
from hoopgw.client.signers import Standing
from hoopgw.client.values import Access, Caps, Requested, Target, Token
from hoopgw.events import Budget


@define(eq=False)
class AsyncIdentity:
    """`Identity` with ``await``. What each method takes, gives and raises is said there."""

    sync: Identity

    @classmethod
    async def from_environment(cls, environ: Mapping[str, str] | None = None) -> AsyncIdentity:
        """Find the identity of this process."""
        return cls(await asyncio.to_thread(Identity.from_environment, environ))

    async def standing(self) -> Standing:
        """Say who this is, until when, narrowed to what."""
        return await asyncio.to_thread(self.sync.standing)

    async def targets(self) -> Sequence[Target]:
        """List what can be reached."""
        return await asyncio.to_thread(self.sync.targets)

    async def password(
        self, target: str, account: str | None = None, *, database: str | None = None
    ) -> Access:
        """Return what opens one connection to a target."""
        return await asyncio.to_thread(self.sync.password, target, account, database=database)

    async def token(self, target: str) -> Token:
        """Return the chain with a proof for one target."""
        return await asyncio.to_thread(self.sync.token, target)

    async def gateway_token(self) -> Token:
        """Return the chain with a proof for the gateway itself."""
        return await asyncio.to_thread(self.sync.gateway_token)

    async def delegate(
        self,
        name: str,
        *,
        caps: Caps = None,
        ttl: float | None = None,
        nest: int | None = None,
        budget: Budget | None = None,
        purpose: str = "",
    ) -> AsyncIdentity:
        """Make a child: a narrower identity with a key of its own, in this process."""
        child = await asyncio.to_thread(
            self.sync.delegate,
            name,
            caps=caps,
            ttl=ttl,
            nest=nest,
            budget=budget,
            purpose=purpose,
        )
        return AsyncIdentity(child)

    async def request(
        self,
        target: str,
        *,
        seconds: float,
        reason: str,
        grant: str | None = None,
        action: str | None = None,
        scope: str = "window",
    ) -> Requested:
        """Ask for access for a while that this identity does not have; people decide on it."""
        return await asyncio.to_thread(
            self.sync.request,
            target,
            seconds=seconds,
            reason=reason,
            grant=grant,
            action=action,
            scope=scope,
        )

    async def requested(self, request: str, *, wait: float = 0.0) -> Requested:
        """Look at what was asked for, perhaps once it is decided."""
        return await asyncio.to_thread(self.sync.requested, request, wait=wait)

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the gateway's HTTP interface as this identity."""
        return await asyncio.to_thread(self.sync.call, method, path, body)
