"""How Cedar's answers become a verdict: pure, without cache or clock.

1. An access that the caps of some hop do not cover: deny, without asking further.
2. Ask for every access and every hop. An error anywhere: deny.
3. All allowed: allow, with the smallest limit of all permits that hold.
4. No permit, or a forbid that cannot be cured: deny.
5. Only curable forbids: ask the standing set, which lacks them. If that does not allow every hop,
   a grant was missing all along: deny. Otherwise offer all remedies; every one is needed.

So a chain may do what each of its hops may and all of its caps hold, and an annotation never widens
what plain Cedar says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from attrs import evolve, frozen

from hoopgw.policy.annotations import Rule, strictest
from hoopgw.policy.caps import CAPS, uncovered
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.questions import Answer, Inquiry, ask
from hoopgw.policy.sets import Compiled, PolicySet

_SAID: Final = {
    "connect": "connect to {}",
    "unknown": "do on {} what cannot be told beforehand",
    "shell": "open a shell on {}",
    "subsystem": "use the subsystem {}",
    "setenv": "set the variable {}",
    "forward": "forward to {}",
    "listen": "listen at {}",
    "agent_forward": "forward an agent to {}",
    "x11": "forward X11 from {}",
}
"""How a refusal says what was asked for, where an action's name is no verb before its resource."""
UNJUDGED: Final = "the policy could not be evaluated for this operation"


def judge(policies: PolicySet, inquiry: Inquiry) -> Verdict:
    """Judge an operation."""
    missing = uncovered(policies.schema.groups, inquiry.chain, inquiry.accesses)
    if missing is not None:
        return Verdict(decision=Deny(reason=str(missing)), because=(CAPS,), policy=policies.version)
    answers, errors = _ask(policies, policies.all, inquiry)
    if errors:
        return _verdict(policies, Deny(reason=UNJUDGED), (), errors)
    if all(answer.is_allowed for answer in answers):
        return _verdict(policies, Allow(max_rows=_max_rows(answers)), _rules(answers))
    refused = [answer for answer in answers if not answer.is_allowed]
    forbids = _rules(refused)
    final = [rule for rule in forbids if rule.remedy is None]
    if final:
        return _verdict(policies, Deny(reason=final[0].refusal), final)
    without = _first_without_grant(refused)
    if without is None:
        standing, errors = _ask(policies, policies.standing, inquiry)
        if errors:
            return _verdict(policies, Deny(reason=UNJUDGED), (), errors)
        without = _first_refused(standing)
        if without is None:
            remedies = tuple(rule.remedy for rule in forbids if rule.remedy is not None)
            review = Review(remedies=remedies, max_rows=_max_rows(standing))
            return _verdict(policies, review, forbids)
    return _verdict(policies, Deny(reason=_no_grant(without, inquiry)), ())


def permitting(policies: PolicySet, inquiry: Inquiry) -> tuple[frozenset[str], ...] | None:
    """Return the permits by which each question is allowed, or would be once it is approved.

    In the order accesses, then hops; by the ``@id``, or `Link.rule`. None if one of them is refused
    for good, or could not be judged: exactly where `judge` comes to `Deny`.
    """
    if uncovered(policies.schema.groups, inquiry.chain, inquiry.accesses) is not None:
        return None
    answers, errors = _ask(policies, policies.all, inquiry)
    refused = [answer for answer in answers if not answer.is_allowed]
    if errors or any(rule.remedy is None for rule in _rules(refused)):
        return None
    if refused:
        # Where no permit holds, none will: that is seen without asking again.
        if _first_without_grant(refused) is not None:
            return None
        answers, errors = _ask(policies, policies.standing, inquiry)
        if errors or _first_refused(answers) is not None:
            return None
    return tuple(frozenset(rule.id for rule in answer.rules) for answer in answers)


@frozen(kw_only=True)
class SightVerdict:
    """How one field is shown, and what erred on the way."""

    sight: Sight | Hidden
    errors: tuple[str, ...] = ()


def judge_sights(policies: PolicySet, inquiry: Inquiry) -> list[SightVerdict]:
    """Judge how fields are shown; each access of the inquiry is a `see`.

    The answers are in the order of the accesses, and each is what it would be if asked alone.
    """
    try:
        answers = ask(policies.all, policies.schema, inquiry)
        standing: Sequence[Answer] = ()
        if not all(answer.is_allowed for answer in answers):
            standing = ask(policies.standing, policies.schema, inquiry)
    except Exception as error:  # whatever it is, it must not open the gate
        if len(inquiry.accesses) > 1:
            alone = [evolve(inquiry, accesses=(access,)) for access in inquiry.accesses]
            return [each for one in alone for each in judge_sights(policies, one)]
        return [_unseen((f"{type(error).__name__}: {error}",))]
    hops = len(inquiry.chain)
    return [
        _sight(policies, inquiry, answers[start : start + hops], standing[start : start + hops])
        for start in range(0, len(answers), hops)
    ]


def _sight(
    policies: PolicySet,
    inquiry: Inquiry,
    answers: Sequence[Answer],
    standing: Sequence[Answer],
) -> SightVerdict:
    """Judge one field from the answers for each hop."""
    missing = uncovered(policies.schema.groups, inquiry.chain, [answers[0].access])
    if missing is not None:
        return SightVerdict(sight=Hidden(reason=str(missing), because=(CAPS,)))
    errors = _errors([*answers, *standing])
    if errors:
        return _unseen(errors)
    if all(answer.is_allowed for answer in answers):
        return SightVerdict(sight=Sight(mask=None, because=_ids(_rules(answers))))
    refused = [answer for answer in answers if not answer.is_allowed]
    forbids = _rules(refused)
    final = [rule for rule in forbids if rule.mask is None]
    if final:
        return SightVerdict(sight=Hidden(reason=final[0].refusal, because=_ids(final)))
    without = _first_without_grant(refused) or _first_refused(standing)
    if without is not None:
        return SightVerdict(sight=Hidden(reason=_no_grant(without, inquiry)))
    mask = strictest({rule.mask for rule in forbids if rule.mask is not None})
    return SightVerdict(sight=Sight(mask=mask, because=_ids(forbids)))


def _unseen(errors: tuple[str, ...]) -> SightVerdict:
    return SightVerdict(sight=Hidden(reason=UNJUDGED), errors=errors)


def _ask(
    policies: PolicySet, asked: Compiled, inquiry: Inquiry
) -> tuple[Sequence[Answer], tuple[str, ...]]:
    """Return the answers, or none and what went wrong."""
    try:
        answers = ask(asked, policies.schema, inquiry)
    except Exception as error:  # whatever it is, it must not open the gate
        return (), (f"{type(error).__name__}: {error}",)
    return answers, _errors(answers)


def _errors(answers: Iterable[Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(error for answer in answers for error in answer.errors))


def _verdict(
    policies: PolicySet,
    decision: Allow | Review | Deny,
    because: Collection[Rule],
    errors: tuple[str, ...] = (),
) -> Verdict:
    return Verdict(decision=decision, because=_ids(because), policy=policies.version, errors=errors)


def _rules(answers: Iterable[Answer]) -> list[Rule]:
    """Return the rules of all answers once each, in the set's order."""
    found = {rule.id: rule for answer in answers for rule in answer.rules}
    return sorted(found.values(), key=lambda rule: rule.order)


def _ids(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(rule.id for rule in rules)


def _max_rows(answers: Iterable[Answer]) -> int | None:
    limits = [rule.max_rows for answer in answers for rule in answer.rules]
    return min((limit for limit in limits if limit is not None), default=None)


def _first_without_grant(answers: Iterable[Answer]) -> Answer | None:
    return next((each for each in answers if not each.is_allowed and not each.rules), None)


def _first_refused(answers: Iterable[Answer]) -> Answer | None:
    return next((each for each in answers if not each.is_allowed), None)


def _no_grant(answer: Answer, inquiry: Inquiry) -> str:
    path = " / ".join(hop.name for hop in inquiry.chain)
    whose = f", as {answer.hop.name} may not" if len(inquiry.chain) > 1 else ""
    what = wanted(answer.access.action, answer.access.resource.id)
    return f"no policy permits {path} to {what}{whose}"


def wanted(action: str, resource: str) -> str:
    """Say in words what is asked for, as in ``no policy permits alice to ...``."""
    name = action.rpartition("::")[2]
    words = _SAID.get(name)
    return f"{name} {resource}" if words is None else words.format(resource)
