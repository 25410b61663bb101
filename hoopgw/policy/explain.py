"""Why a verdict is what it is, hop by hop, in words."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from hoopgw.events import Access, Operation, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.annotations import Rule
from hoopgw.policy.caps import uncovered
from hoopgw.policy.cures import how_to_ask, how_to_break_glass
from hoopgw.policy.decision import Allow, Decision, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.granting import judge_granted, judge_sights_granted
from hoopgw.policy.links import links_of
from hoopgw.policy.lint import SEE
from hoopgw.policy.questions import Answer, Inquiry, ask
from hoopgw.policy.sets import PolicySet


@frozen(kw_only=True)
class Step:
    """One question: one hop, one access."""

    hop: str
    kind: str
    action: str
    resource: str
    is_allowed: bool
    permits: tuple[str, ...]
    """The permits that hold, whether or not a forbid overrides them."""
    forbids: tuple[str, ...]
    errors: tuple[str, ...]
    cap: str = ""
    """What the caps of the hop lack, if they do not cover it; no policy can make up for that."""

    def __str__(self) -> str:
        """Say it in one line."""
        begin = f"{self.hop} ({self.kind}), {self.action} {self.resource}: "
        if self.cap:
            return begin + f"refused, as {self.cap}"
        if self.errors:
            return begin + f"refused, as the policy erred: {'; '.join(self.errors)}"
        if self.is_allowed:
            return begin + f"allowed by {', '.join(self.permits)}"
        if not self.permits:
            missing = "no permit holds"
            return (
                begin
                + f"refused, as {missing}"
                + (f", and by {', '.join(self.forbids)}" if self.forbids else "")
            )
        return (
            begin + f"permitted by {', '.join(self.permits)}, but refused by "
            f"{', '.join(self.forbids)}"
        )


@frozen(kw_only=True)
class Explanation:
    """A verdict, and each step to it."""

    outcome: Verdict | Sight | Hidden
    """A `Sight` or `Hidden` if the question was one field's ``see``."""
    steps: tuple[Step, ...]
    rules: tuple[Rule, ...]
    """The rules that the steps name, in the set's order, with the places of their texts."""
    target: str = "TARGET"
    """What it is about, if that is one target."""

    def lines(self) -> Iterator[str]:
        """Say it in words, for a terminal."""
        yield f"outcome: {_words(self.outcome)}"
        for step in self.steps:
            yield f"  {step}"
        for rule in self.rules:
            yield f"  {rule.id} is the {rule.effect} at {rule.file}:{rule.line}"
        if isinstance(self.outcome, Verdict):
            yield from (f"  {line}" for line in _remedies(self.outcome, self.target))


def explain(
    policies: PolicySet,
    principal: Principal,
    operation: Operation,
    now: int,
    approvals: frozenset[str] = frozenset(),
    held: tuple[HeldGrant, ...] = (),
) -> Explanation:
    """Explain what the policy says of an operation, or of seeing one field.

    Args:
        policies: the set that is asked.
        principal: who would ask.
        operation: what for; its text and digest do not matter.
        now: seconds since the epoch.
        approvals: rules whose approval is taken as given.
        held: what was granted to who asks.

    """
    return explain_inquiry(
        policies,
        Inquiry(
            chain=principal.chain,
            accesses=operation.accesses,
            context=operation.context,
            approvals=approvals,
            now=now,
            proved=principal.proved,
        ),
        held,
    )


def explain_inquiry(
    policies: PolicySet, inquiry: Inquiry, held: tuple[HeldGrant, ...] = ()
) -> Explanation:
    """Explain what the policy says to a question, with what whoever asks is granted."""
    outcome: Verdict | Sight | Hidden = judge_granted(policies, inquiry, held)
    if is_sight(inquiry.accesses):
        outcome = judge_sights_granted(policies, inquiry, held)[0].sight
    links = links_of((grant for grant in held if grant.is_ready), policies.offers)
    if links:
        breaks = any(grant.breakglass for grant in held)
        inquiry = evolve(inquiry, links=links, breakglass=inquiry.breakglass or breaks)
    try:
        answers = ask(policies.all, policies.schema, inquiry)
        permits = ask(policies.permits, policies.schema, inquiry)
    except Exception as error:  # it is the explanation: the verdict above refused for it
        step = _erring(inquiry, f"{type(error).__name__}: {error}")
        return Explanation(outcome=outcome, steps=(step,), rules=())
    targets = inquiry.targets
    named = {rule.id: rule for answer in (*answers, *permits) for rule in answer.rules}
    return Explanation(
        outcome=outcome,
        steps=tuple(
            _step(policies, inquiry, answer, permit)
            for answer, permit in zip(answers, permits, strict=True)
        ),
        rules=tuple(sorted(named.values(), key=lambda rule: rule.order)),
        target=next(iter(targets)) if len(targets) == 1 else "TARGET",
    )


def is_sight(accesses: tuple[Access, ...]) -> bool:
    """Whether one field's ``see`` is asked for, which is answered by a mask, not a review."""
    return len(accesses) == 1 and accesses[0].action.rpartition("::")[2] == SEE


def _remedies(verdict: Verdict, target: str) -> Iterator[str]:
    for name in verdict.cures:
        yield f"a grant would help: {how_to_ask(target, name)}"
    for name in verdict.breakglass:
        yield f"in an emergency: {how_to_break_glass(target, name)}"


def _step(policies: PolicySet, inquiry: Inquiry, answer: Answer, permit: Answer) -> Step:
    upto = inquiry.chain[: inquiry.chain.index(answer.hop) + 1]
    missing = uncovered(policies.schema.groups, upto, [answer.access])
    own = missing is not None and missing.hop == answer.hop
    return Step(
        hop=answer.hop.name,
        kind=answer.hop.kind,
        action=answer.access.action.rpartition("::")[2],
        resource=answer.access.resource.id,
        is_allowed=answer.is_allowed and not own,
        permits=tuple(rule.id for rule in permit.rules),
        forbids=tuple(rule.id for rule in answer.rules if rule.effect == "forbid"),
        errors=(*answer.errors, *permit.errors),
        cap=str(missing) if own else "",
    )


def _erring(inquiry: Inquiry, error: str) -> Step:
    root, access = inquiry.chain[0], inquiry.accesses[0]
    return Step(
        hop=root.name,
        kind=root.kind,
        action=access.action.rpartition("::")[2],
        resource=access.resource.id,
        is_allowed=False,
        permits=(),
        forbids=(),
        errors=(error,),
    )


def _words(outcome: Verdict | Sight | Hidden) -> str:
    match outcome:
        case Sight(mask=mask):
            return "shown in clear" if mask is None else f"shown with mask {mask}"
        case Hidden(reason=reason):
            return f"hidden: {reason}"
        case Verdict(decision=decision):
            return _decision_words(decision)


def _decision_words(decision: Decision) -> str:
    match decision:
        case Allow(max_rows=rows):
            return "allowed" if rows is None else f"allowed, {rows} rows at most"
        case Deny(reason=reason):
            return f"refused: {reason}"
        case Review(remedies=remedies):
            asked = "; ".join(
                f"{remedy.needed} of {', '.join(sorted(remedy.groups))} ({remedy.rule})"
                for remedy in remedies
            )
            return f"held until approved by {asked}"
