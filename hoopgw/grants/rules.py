"""Who may see a grant, end it, and look at it afterwards: pure.

Who may approve one is said by `hoopgw.reviews.rules`, as of everything that people vote on.
"""

from __future__ import annotations

from hoopgw.events import Principal
from hoopgw.reviews.rules import is_person
from hoopgw.store.grant_rows import GrantRow


def is_own(grant: GrantRow, principal: Principal) -> bool:
    """Whether a grant was asked for by this principal, or by what it started."""
    return principal.includes(grant.principal)


def is_same(grant: GrantRow, principal: Principal) -> bool:
    """Whether a grant was asked for by this very principal."""
    return is_own(grant, principal) and len(grant.principal.chain) == len(principal.chain)


def is_behind(grant: GrantRow, person: str) -> bool:
    """Whether a natural person is a member of the chain that asked, or set off what is its root."""
    asker = grant.principal
    return person in asker.origin.persons or any(hop.id == person for hop in asker.chain)


def decides(grant: GrantRow, principal: Principal) -> bool:
    """Whether somebody is asked to decide on a grant."""
    return is_person(principal) and bool(grant.approvers & principal.root.groups)


def may_see(grant: GrantRow, principal: Principal, *, oversees: bool) -> bool:
    """Whether a grant is shown to somebody.

    Args:
        grant: the one.
        principal: who wants to see it.
        oversees: whether that is an administrator or auditor.

    """
    return oversees or is_own(grant, principal) or decides(grant, principal)


def may_revoke(grant: GrantRow, principal: Principal, *, is_admin: bool) -> bool:
    """Whether somebody may end a grant: who has it, who decides on it, an administrator."""
    return is_admin or is_own(grant, principal) or decides(grant, principal)


def objection_to_review(grant: GrantRow, principal: Principal, comment: str) -> str | None:
    """Say why somebody cannot close the review of broken glass, or None."""
    if not is_person(principal):
        return "only a person who is logged in directly can look at it, not an agent or a workload"
    if is_behind(grant, principal.root.id):
        return "nobody reviews what was done by or for oneself"
    if not grant.approvers & principal.root.groups:
        return f"only members of these groups review it: {', '.join(sorted(grant.approvers))}"
    if not comment.strip():
        return "say what you found: the review needs a comment"
    return None
