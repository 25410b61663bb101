"""Who may approve, and when it is enough. Pure; nothing here reads a clock or a store.

- Nobody approves what any member of the asking chain asked for, whatever groups or rights one has,
  nor what a workload asks that one set off.
- Persons vote, and only for themselves: no agent, no workload, nobody through a chain.
- A voter is a member of at least one group that a remedy asks.
- Every remedy needs its number of distinct persons. Remedies that ask the same groups are one
  demand, with the larger number. Different demands need different persons: a person who is in two
  groups counts for one of them.
- It is enough when there are as many as needed, or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from hoopgw.events import Principal
from hoopgw.policy.decision import Remedy
from hoopgw.store.rows import Request, Vote


def is_person(principal: Principal) -> bool:
    """Whether a natural person acts here, without anything in between."""
    return len(principal.chain) == 1 and principal.root.kind == "person"


def asked_it(request: Request, person: str) -> bool:
    """Whether someone is a member of the chain that asked, or set off the workload at its root."""
    principal = request.principal
    return person in principal.origin.persons or any(hop.id == person for hop in principal.chain)


def is_own(request: Request, principal: Principal) -> bool:
    """Whether a request was made by this principal, or by what it started."""
    return principal.includes(request.principal)


def objection(request: Request, voter: Principal, *, approve: bool) -> str | None:
    """Say why someone may not vote so, or None. The state of the request is not looked at."""
    if not is_person(voter):
        return "only a person who is logged in directly can vote, not an agent or a workload"
    own = asked_it(request, voter.root.id)
    if own and approve:
        return "nobody can approve what was asked by or for oneself"
    if own:
        return None
    if not any(remedy.groups & voter.root.groups for remedy in request.remedies):
        wanted = ", ".join(groups_asked(request.remedies))
        return f"only members of these groups can vote on this: {wanted}"
    if approve and not request.reason and any(remedy.prompt for remedy in request.remedies):
        return "the requester has not given a reason yet, and the policy asks for one"
    return None


def may_see(request: Request, principal: Principal, *, oversees: bool) -> bool:
    """Whether a request is shown to someone.

    Args:
        request: the one.
        principal: who wants to see it.
        oversees: whether that is an administrator or auditor.

    """
    if oversees or is_own(request, principal):
        return True
    if not is_person(principal):
        return False
    root = principal.root
    if root.id in request.principal.origin.persons:
        return True
    return any(remedy.groups & root.groups for remedy in request.remedies)


def groups_asked(remedies: Iterable[Remedy]) -> list[str]:
    """Return the groups whose members are asked, sorted."""
    return sorted(frozenset[str]().union(*(remedy.groups for remedy in remedies)))


def is_enough(request: Request, votes: Sequence[Vote]) -> bool:
    """Whether the votes approve a request. Votes that should not be there do not count."""
    places = [
        _Place(demand.groups) for demand in _demands(request.remedies) for _ in range(demand.needed)
    ]
    persons = {
        vote.person: vote.groups
        for vote in votes
        if vote.approve and vote.request == request.id and not asked_it(request, vote.person)
    }
    if any(not vote.approve for vote in votes if vote.request == request.id):
        return False
    taken: dict[int, str] = {}
    return bool(places) and all(
        _seat(number, places, persons, taken, set()) for number in range(len(places))
    )


@frozen
class _Place:
    """One approval that is needed, by a member of any of these groups."""

    groups: frozenset[str]


@frozen
class _Demand:
    groups: frozenset[str]
    needed: int


def _demands(remedies: Iterable[Remedy]) -> list[_Demand]:
    needed: dict[frozenset[str], int] = {}
    for remedy in remedies:
        needed[remedy.groups] = max(needed.get(remedy.groups, 0), remedy.needed)
    return [_Demand(groups, number) for groups, number in needed.items()]


def _seat(
    number: int,
    places: Sequence[_Place],
    persons: dict[str, frozenset[str]],
    taken: dict[int, str],
    tried: set[str],
) -> bool:
    """Find a person for a place, moving others to places that suit them too (Kuhn's matching)."""
    for person, groups in persons.items():
        if person in tried or not groups & places[number].groups:
            continue
        tried.add(person)
        other = next((place for place, sitter in taken.items() if sitter == person), None)
        if other is None or _seat(other, places, persons, taken, tried):
            taken[number] = person
            return True
    return False
