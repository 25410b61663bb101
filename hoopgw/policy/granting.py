"""What becomes of a verdict through grants: those that are held, and those that would help.

A grant only ever adds permits, and breaking glass only lifts what a policy says that it lifts
(``unless { context.breakglass }``). So what is allowed without a grant is never looked at again,
and uses none up.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from attrs import define, evolve, field

from hoopgw.events import Operation, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Deny, Review, Sight, Use, Verdict
from hoopgw.policy.judging import SightVerdict, judge, judge_sights, permitting
from hoopgw.policy.links import Link, grant_of, links_if_granted, links_of
from hoopgw.policy.offers import Offer
from hoopgw.policy.questions import Inquiry
from hoopgw.policy.sets import PolicySet

K = TypeVar("K", bound=Hashable)

AS_IF: Final = "granted"
"""The id of grants that nobody has."""
TRIED_LIMIT: Final = 20
"""Offers that a refusal names; and grants that could be used up, tried on an operation."""
LINKED_LIMIT: Final = 100
"""Offers that are looked at for it."""
QUESTIONS_LIMIT: Final = 200
"""Questions that are put to say what to ask for against one refusal. The worker does nothing else
meanwhile, and who is refused may ask for anything."""
USES_LIMIT: Final = 600
"""Questions that are put to find a grant that can be used up."""


@define(eq=False)
class Effort:
    """How many questions may still be put about one refusal."""

    left: int
    used: int = field(default=0, init=False)
    is_short: bool = field(default=False, init=False)
    """Whether something was not asked for want of them."""

    def takes(self, inquiry: Inquiry) -> bool:
        """Count the questions of an inquiry, if they may be put; say whether they may."""
        size = len(inquiry.accesses) * len(inquiry.chain)
        if size > self.left:
            self.is_short = True
            return False
        self.left -= size
        self.used += size
        return True


def judge_granted(
    policies: PolicySet,
    inquiry: Inquiry,
    held: tuple[HeldGrant, ...],
    effort: Effort | None = None,
) -> Verdict:
    """Judge an operation of somebody, with the grants that it holds.

    In this order: what is allowed without, by grants, by broken glass; then what people could
    approve; then what can be used up. A refusal says what to ask for, as far as ``effort`` goes
    (`QUESTIONS_LIMIT`): that changes nothing of what is allowed.
    """
    plain = judge(policies, inquiry)
    if plain.errors or isinstance(plain.decision, Allow):
        return plain
    held = _good_here(policies, inquiry, held)
    ready = links_of((g for g in held if g.is_ready and not g.breakglass), policies.offers)
    with_ready = evolve(inquiry, links=ready)
    best = plain
    if ready:
        found = _named(policies, with_ready)
        if found.errors or isinstance(found.decision, Allow):
            return found
        best = _better(best, found)
    glass = links_of((g for g in held if g.breakglass), policies.offers)
    if glass and _is_broken(inquiry, held):
        broken = evolve(inquiry, links=(*ready, *glass), breakglass=True)
        found = evolve(_named(policies, broken), strict=True)
        if found.errors or isinstance(found.decision, Allow):
            return found
        best = _better(best, found)
    if not isinstance(best.decision, Deny):
        return best
    return _refused(policies, with_ready, best, held, effort or Effort(QUESTIONS_LIMIT))


def as_if_granted(
    policies: PolicySet, names: Iterable[str], principal: Principal, operation: Operation
) -> tuple[HeldGrant, ...]:
    """Return grants, called ``granted``, that nobody has, to see what they would change.

    Args:
        policies: whose offers they are of.
        names: of the offers.
        principal: who would hold them.
        operation: on whose targets.

    Raises:
        ValueError: there is no such offer, or it is not for this principal.

    """
    asked = Inquiry(chain=principal.chain, accesses=operation.accesses, now=0)
    return tuple(
        _as_if(policies.offer(name), name, principal, target)
        for name in names
        for target in sorted(asked.targets)
    )


def _as_if(offer: Offer | None, name: str, principal: Principal, target: str) -> HeldGrant:
    if offer is None:
        raise ValueError(f"no template offers {name!r}")
    target = offer.target or target
    if refused := offer.refuses(principal.chain, target):
        raise ValueError(refused)
    return HeldGrant(
        id=AS_IF,
        template=offer.template,
        terms=offer.terms,
        target=target,
        chain=tuple((hop.kind, hop.id) for hop in principal.chain),
        nodes=tuple(node.id for node in principal.nodes),
        login=principal.login,
        breakglass=bool(offer.breakglass),
        until=0.0,
    )


def _better(best: Verdict, found: Verdict) -> Verdict:
    is_better = isinstance(best.decision, Deny) and isinstance(found.decision, Review)
    return found if is_better else best


def _named(policies: PolicySet, inquiry: Inquiry) -> Verdict:
    """Judge an operation, and name the grants by which the verdict holds."""
    verdict = judge(policies, inquiry)
    rules: Iterable[str] = verdict.because
    if isinstance(verdict.decision, Review):
        # It is because of what forbids; what would permit it once it is approved is asked for.
        rules = sorted(frozenset[str]().union(*(permitting(policies, inquiry) or ())))
    named = dict.fromkeys(map(grant_of, rules))
    return evolve(verdict, grants=tuple(name for name in named if name))


def _refused(
    policies: PolicySet,
    inquiry: Inquiry,
    verdict: Verdict,
    held: tuple[HeldGrant, ...],
    effort: Effort,
) -> Verdict:
    """Say of a refusal what can be used up, or asked for, against it."""
    assert isinstance(verdict.decision, Deny)
    is_final = bool(verdict.because)  # a forbid that no grant lifts
    uses = () if is_final else tuple(_uses(policies, inquiry, held))
    return evolve(
        verdict,
        decision=evolve(verdict.decision, uses=uses),
        cures=() if is_final else _cures(policies, inquiry, effort, breaks=False),
        breakglass=_cures(policies, inquiry, effort, breaks=True),
    )


def _uses(policies: PolicySet, inquiry: Inquiry, held: Iterable[HeldGrant]) -> Iterable[Use]:
    """Yield the grants that would do if they can be used."""
    waiting = [grant for grant in held if not grant.is_ready and not grant.breakglass]
    links = {grant: links_of((grant,), policies.offers) for grant in waiting[:TRIED_LIMIT]}
    effort = Effort(USES_LIMIT)
    for grant in _helping(policies, inquiry, links, effort):
        if not effort.takes(inquiry):
            return
        found = judge(policies, evolve(inquiry, links=(*inquiry.links, *links[grant])))
        if isinstance(found.decision, Allow):
            yield Use(
                grant=grant.id,
                digest=grant.digest if grant.scope == "call" else None,
                max_rows=found.decision.max_rows,
                because=found.because,
            )


def _cures(
    policies: PolicySet, inquiry: Inquiry, effort: Effort, *, breaks: bool
) -> tuple[str, ...]:
    """Name the offers each of which would turn a refusal into something else."""
    offers = [offer for offer in policies.offers.values() if bool(offer.breakglass) == breaks]
    if not offers or len(inquiry.targets) != 1:
        return ()
    (target,) = inquiry.targets
    able = (offer for offer in offers if offer.refuses(inquiry.chain, target) is None)
    links = {
        offer: links_if_granted(offer, inquiry.chain, target)
        for offer in islice(able, LINKED_LIMIT)
    }
    helping = _helping(policies, evolve(inquiry, breakglass=breaks), links, effort)
    return tuple(offer.name for offer in helping[:TRIED_LIMIT])


def _helping(
    policies: PolicySet, inquiry: Inquiry, links: Mapping[K, tuple[Link, ...]], effort: Effort
) -> Sequence[K]:
    """Return whose links, alone, would turn a refusal into something else.

    All are linked at once: a template only permits, so what is permitted with one of them is what
    that one, or none of them, permits.
    """
    added = {link.rule: key for key, mine in links.items() for link in mine}
    if not added or not effort.takes(inquiry):
        return ()
    every = tuple(link for mine in links.values() for link in mine)
    permits = permitting(policies, evolve(inquiry, links=(*inquiry.links, *every)))
    if permits is None:
        return ()
    lacking = [found for found in permits if found <= added.keys()]
    enough = [{added[rule] for rule in found} for found in lacking]
    return [key for key, mine in links.items() if mine and all(key in each for each in enough)]


def judge_sights_granted(
    policies: PolicySet, inquiry: Inquiry, held: tuple[HeldGrant, ...]
) -> list[SightVerdict]:
    """Judge how fields are shown to somebody, with the grants that it holds.

    As `judge_sights`; a grant shows more of a field, or makes no difference.
    """
    plain = judge_sights(policies, inquiry)
    ready = [grant for grant in _good_here(policies, inquiry, held) if grant.is_ready]
    links = links_of(ready, policies.offers)
    if not links or all(_clearness(each) == 0 for each in plain):
        return plain
    breaks = _is_broken(inquiry, ready)
    granted = judge_sights(policies, evolve(inquiry, links=links, breakglass=breaks))
    return [
        then if not first.errors and _clearness(then) < _clearness(first) else first
        for first, then in zip(plain, granted, strict=True)
    ]


def _good_here(
    policies: PolicySet, inquiry: Inquiry, held: Iterable[HeldGrant]
) -> tuple[HeldGrant, ...]:
    """Return the grants that count for what is asked.

    Those of its targets, whose template is still what was approved, and is for who holds it: who
    left the group that a grant is for has it no more, and what broke glass is broken on one target.
    """
    good = []
    for grant in held:
        offer = policies.offers.get(grant.template)
        if (
            grant.target in inquiry.targets
            and offer is not None
            and (offer.terms, bool(offer.breakglass)) == (grant.terms, grant.breakglass)
            and offer.refuses(inquiry.chain, grant.target) is None
        ):
            good.append(grant)
    return tuple(good)


def _is_broken(inquiry: Inquiry, held: Iterable[HeldGrant]) -> bool:
    """Whether glass is broken on each target that the question is about."""
    return inquiry.targets <= {grant.target for grant in held if grant.breakglass}


def _clearness(judged: SightVerdict) -> int:
    """Return 0 for a clear value, 1 for a masked one, 2 for none."""
    match judged.sight:
        case Sight(mask=None):
            return 0
        case Sight():
            return 1
    return 2
