"""What Cedar's validator does not see in a policy, found in its parse tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen
from cedarpy import pst

from hoopgw.policy.annotations import Rule

SEE: Final = "see"
"""The action, in each protocol's namespace, that a mask can cure."""

TARGET: Final = "Hoopgw::Target"

AGENT_KIND: Final = "Hoopgw::AgentKind"

_AGENTS_AS_ROOTS: Final = (
    "an agent may log in by itself, as the root of a chain, and would then be permitted "
    "everything; add `when { context.chain.hop > 0 }`"
)

ISSUED: Final = "|"
"""Is in the kind of each agent that proved who it is, and in no name that a parent can give."""

_BY_UNPROVED_NAME: Final = (
    "whoever starts an agent names it, so this permits by a name that nobody has proved; name the "
    'id of an attested one, as in `Hoopgw::AgentKind::"corp|planner"`, or restrict by name in a '
    "forbid instead"
)

_NO_SCOPE: Final = (
    "names no principal, action or resource, so its conditions alone say what it permits; name a "
    "group, an action or a target in its scope"
)

Level: TypeAlias = Literal["error", "warning"]


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong or doubtful, and where."""

    level: Level
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.text}"


def walk(node: object) -> Iterator[Any]:
    """Yield a node of the tree and all below it. Each is a node of `cedarpy.pst`."""
    stack: list[object] = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend(value.values())
        elif isinstance(value, tuple):
            stack.extend(value)
        elif is_dataclass(value) and not isinstance(value, type):
            yield value
            stack.extend(getattr(value, each.name) for each in fields(value))


def is_about_see(policy: pst.Template) -> bool:
    """Whether the policy's scope holds only `see` actions."""
    match policy.action:
        case pst.ActionEq(entity=action):
            return action.id == SEE
        case pst.ActionIn(entities=actions):
            return bool(actions) and all(action.id == SEE for action in actions)
    return False


def target_of(policy: pst.Template) -> str | None:
    """Return the one target to which the policy's scope limits it, if it does."""
    match policy.resource:
        case (
            pst.ScopeEq(entity=pst.EntityUid() as entity)
            | pst.ScopeIn(entity=pst.EntityUid() as entity)
            | pst.ScopeIsIn(entity=pst.EntityUid() as entity)
        ) if str(entity.type) == TARGET:
            return entity.id
    return None


def reads_now(policy: pst.Template) -> bool:
    """Whether the policy's answer may depend on the time."""
    mentions = attributes = 0
    for node in walk(policy.clauses):
        match node:
            case pst.GetAttr(base=pst.Var(name="context"), attr="now"):
                return True
            case pst.GetAttr(base=pst.Var(name="context")):
                attributes += 1
            case pst.HasAttr(base=pst.Var(name="context")):
                attributes += 1
            case pst.Var(name="context"):
                mentions += 1
    # More mentions than attributes: the context as a whole is compared, and the time is in it.
    return mentions > attributes


def lint(
    rule: Rule, policy: pst.Template, attributes: Collection[str]
) -> Iterator[tuple[Level, str]]:
    """Yield what is wrong with one policy.

    Args:
        rule: the policy with its annotations.
        policy: the same in Cedar's tree.
        attributes: every attribute that the schema declares.

    """
    for node in walk(policy.clauses):
        if isinstance(node, pst.HasAttr):
            for name in node.attrs:
                if name not in attributes:
                    # The validator takes it for a condition that is false, and is content.
                    yield "error", f"no schema declares an attribute `{name}`; mend the spelling"
    if rule.groups and rule.id not in _approvals_that_lift(policy.clauses):
        cure = f'unless {{ context.approvals.contains("{rule.id}") }}'
        yield "error", f"an approval could never cure this: add `{cure}`"
    if rule.effect == "permit":
        yield from _broad_permit(policy)


def approvals_named(policy: pst.Template) -> frozenset[str]:
    """Return the ids whose approval a policy asks for."""
    return frozenset(
        name for node in walk(policy.clauses) if (name := _contains_approval(node)) is not None
    )


def _contains_approval(node: object) -> str | None:
    match node:
        case pst.BinaryOp(
            op="contains",
            left=pst.GetAttr(base=pst.Var(name="context"), attr="approvals"),
            right=pst.StringLit(value=name),
        ):
            return name
    return None


def _approvals_that_lift(clauses: Iterable[pst.Clause]) -> frozenset[str]:
    """Return the ids whose approval alone makes a forbid not apply."""
    found: set[str | None] = set()
    for clause in clauses:
        match clause:
            case pst.Unless(expr=expression):
                found.update(map(_contains_approval, _parts(expression, "or")))
            case pst.When(expr=expression):
                for part in _parts(expression, "and"):
                    if isinstance(part, pst.UnaryOp) and part.op == "not":
                        found.add(_contains_approval(part.arg))
    return frozenset(name for name in found if name is not None)


def _parts(expression: pst.Expr, op: Literal["and", "or"]) -> Iterator[pst.Expr]:
    """Yield the operands of a chain of ``&&`` or ``||``."""
    stack: list[pst.Expr] = [expression]
    while stack:
        part = stack.pop()
        if isinstance(part, pst.BinaryOp) and part.op == op:
            stack += [part.left, part.right]
        else:
            yield part


def _broad_permit(policy: pst.Template) -> Iterator[tuple[Level, str]]:
    if _names_unproved_kind(policy):
        yield "warning", _BY_UNPROVED_NAME
    any_action = isinstance(policy.action, pst.ScopeAny)
    any_resource = isinstance(policy.resource, pst.ScopeAny)
    if isinstance(policy.principal, pst.ScopeAny) and any_action:
        if not policy.clauses:
            yield "warning", "permits every action to everybody; name a group or an action"
        elif any_resource:
            yield "warning", _NO_SCOPE
    is_for_agents = (
        isinstance(policy.principal, pst.ScopeIs)
        and str(policy.principal.entity_type) == "Hoopgw::Agent"
    )
    if is_for_agents and any_action and any_resource and not _asks_for_hop(policy):
        yield "warning", _AGENTS_AS_ROOTS


def _names_unproved_kind(policy: pst.Template) -> bool:
    """Whether a policy speaks of agents by a name that whoever started them gave them."""
    return any(
        isinstance(node, pst.EntityUid) and str(node.type) == AGENT_KIND and ISSUED not in node.id
        for node in walk((policy.principal, policy.clauses))
    )


def _asks_for_hop(policy: pst.Template) -> bool:
    return any(
        isinstance(node, pst.GetAttr)
        and node.attr == "hop"
        and node.base == pst.GetAttr(base=pst.Var(name="context"), attr="chain")
        for node in walk(policy.clauses)
    )
