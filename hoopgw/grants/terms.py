"""What a grant is, for those who vote on it, and what is left of it after a use: pure."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from attrs import evolve

from hoopgw.events import Principal, operation_digest
from hoopgw.policy.offers import Offer
from hoopgw.reviews.docket import words
from hoopgw.store.grant_rows import GrantRow

PATIENCE: Final = 8 * 3600.0
"""Seconds that a request for a grant waits for people."""


def voted_on(row: GrantRow, now: float) -> Principal:
    """Return who asks, as the docket knows it: a person's request outlives a short token."""
    if not row.is_personal:
        return row.principal
    return evolve(row.principal, expires=now + PATIENCE + 1.0)


def used(row: GrantRow, session: str, digest: bytes, now: float) -> GrantRow | None:
    """Return the grant after a use, itself if nothing changes, None if this is no use of it."""
    if row.scope == "call":
        if not hmac.compare_digest(row.digest, digest):
            return None
        return evolve(row, state="consumed", session=session, ended=now)
    if row.scope == "session":
        if row.session == session:
            return row
        return evolve(row, session=session) if not row.session and session else None
    return row


def digest_of(row: GrantRow) -> bytes:
    """Return what votes on a grant are bound to."""
    lineage = (row.principal.root.id,) if row.is_personal else row.principal.lineage
    parts = {
        "grant": row.name,
        "template": row.template,
        "terms": row.terms,
        "target": row.target,
        "scope": row.scope,
        "seconds": f"{row.seconds:.3f}",
        "extends": row.extends,
        "chain": "\0".join(hop.id for hop in row.principal.chain),
        "lineage": "\0".join(lineage),
    }
    encoded = [(name, value.encode()) for name, value in parts.items()]
    return operation_digest([*encoded, ("digest", row.digest), ("text", _hash(row.text))])


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def described(row: GrantRow, offer: Offer) -> str:
    """Say what is asked for, to whoever approves it."""
    until = {
        "window": "for",
        "session": "for one session, at most",
        "call": "for one call, within",
    }[row.scope]
    lines = [
        f"grant {row.name} on {row.target} to {row.principal.path}",
        f"{until} {row.seconds / 60:.0f} minutes, by policy {row.template}",
    ]
    if row.extends:
        lines.append(f"extends {row.extends}")
    purposes = [node.purpose for node in row.principal.nodes if node.purpose]
    lines += [f"purpose, as the agent says: {words(each)}" for each in purposes]
    if row.text:
        lines += ["", row.text.decode("utf-8", "backslashreplace")]
    return "\n".join(lines)
