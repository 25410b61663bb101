"""Cedar's expressions as formulas over a request that is not known yet.

Each expression becomes a value and the condition under which it errs. What has no formula becomes
two free booleans, one for each: the solver may choose them, so it finds every request that the real
engine might allow, and "there is none" is true of the real engine as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import z3
from attrs import define, field, frozen
from cedarpy import pst

from hoopgw.policy.symbols import (
    LONG,
    Bool,
    Entity,
    Fields,
    Situation,
    StringSet,
    Uid,
    UnsupportedError,
    text_term,
)

FALSE: Final = z3.BoolVal(False)
_TRUE: Final = z3.BoolVal(True)
_COMPARED: Final = {
    "less": lambda a, b: a < b,
    "less_eq": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_eq": lambda a, b: a >= b,
}
_COMPUTED: Final = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


@frozen(eq=False)
class Value:
    """What an expression is, and when it errs instead."""

    it: Any
    """A z3 term, an `Entity`, a `StringSet`, `Fields`, a `Uid`, a tuple of values, or an action."""
    errs: Bool = FALSE
    literal: str | None = None
    """The text, if it is one that is written out."""


class _Action:
    """Stands for the variable ``action``."""


@define(eq=False)
class HopView:
    """The question about one hop.

    Args:
        name: of the hop, for the names of free booleans.
        situation: what is asked.
        hop: who.
        context: as this hop's question has it.

    """

    name: str
    situation: Situation
    hop: Entity
    context: Fields
    free: list[tuple[Bool, Bool]] = field(factory=list, init=False)
    """The free booleans: values, and errors."""
    _known: dict[Any, Value] = field(factory=dict, init=False)

    def holds(self, policy: pst.Template, granted: Bool = _TRUE) -> Value:
        """Say when a policy is satisfied, and when it errs.

        Args:
            policy: one policy, or a template.
            granted: of a template, whether it is linked for this hop and target.

        """
        scope = z3.And(
            granted,
            self._scope(policy.principal, self.hop),
            self._action_scope(policy.action),
            self._scope(policy.resource, self.situation.resource),
        )
        value, errs = scope, FALSE
        for clause in policy.clauses:
            condition = self.truth(clause.expr)
            # Clauses are looked at in order, the first that fails ends it.
            errs = z3.Or(errs, z3.And(value, condition.errs))
            met = condition.it if isinstance(clause, pst.When) else z3.Not(condition.it)
            value = z3.And(value, met)
        return Value(value, errs)

    def truth(self, expression: pst.Expr) -> Value:
        """Return a truth value; free booleans for what has none."""
        known = self._known.get(expression)
        if known is None:
            try:
                known = self._truth(expression)
            except UnsupportedError:
                number = len(self.free)
                pair = z3.Bool(f"{self.name} free {number}"), z3.Bool(f"{self.name} errs {number}")
                self.free.append(pair)
                known = Value(*pair)
            self._known[expression] = known
        return known

    # Scopes

    def _scope(self, scope: pst.PrincipalOrResourceConstraint, entity: Entity) -> Bool:
        match scope:
            case pst.ScopeEq(entity=pst.EntityUid() as uid):
                return entity.equals(_uid(uid))
            case pst.ScopeIn(entity=pst.EntityUid() as uid):
                return entity.is_in(_uid(uid))
            case pst.ScopeIs(entity_type=kind):
                return entity.is_a(str(kind))
            case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
                return z3.And(entity.is_a(str(kind)), entity.is_in(_uid(uid)))
            case pst.ScopeIsIn(entity_type=kind):
                return entity.is_a(str(kind))
        return _TRUE  # anything, or a slot: what it stands for is this very hop or target

    def _action_scope(self, scope: pst.ActionConstraint) -> Bool:
        match scope:
            case pst.ActionEq(entity=uid):
                return self._is_action([uid], exactly=True)
            case pst.ActionIn(entities=uids):
                return self._is_action(uids, exactly=False)
        return _TRUE

    def _is_action(self, uids: Sequence[pst.EntityUid], *, exactly: bool) -> Bool:
        situation = self.situation
        names = [action_name(uid) for uid in uids]
        if exactly:
            known = enumerate(situation.actions)
            return z3.Or([situation.action == n for n, name in known if name in names])
        return situation.is_action(*names)

    # Truth values

    def _truth(self, expression: pst.Expr) -> Value:
        match expression:
            case pst.BoolLit(value=literal):
                return Value(z3.BoolVal(literal))
            case pst.UnaryOp(op="not", arg=arg):
                inner = self.truth(arg)
                return Value(z3.Not(inner.it), inner.errs)
            case pst.BinaryOp(op=("and" | "or") as op, left=left, right=right):
                return self._joined(op, self.truth(left), self.truth(right))
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                test, yes, no = self.truth(cond), self.truth(then), self.truth(other)
                errs = z3.Or(test.errs, z3.If(test.it, yes.errs, no.errs))
                return Value(z3.If(test.it, yes.it, no.it), errs)
            case pst.HasAttr(base=base, attrs=attrs):
                return self._has(base, attrs)
            case pst.Like(base=base, pattern=pattern):
                text = self._term(base)
                return Value(z3.InRe(_text(text.it), _pattern(pattern)), text.errs)
            case pst.Is():
                return self._is(expression)
            case pst.BinaryOp():
                return self._compared(expression)
        value = self._term(expression)
        if not z3.is_bool(value.it):
            raise UnsupportedError("no truth value")
        return value

    @staticmethod
    def _joined(op: str, left: Value, right: Value) -> Value:
        if op == "and":
            return Value(z3.And(left.it, right.it), z3.Or(left.errs, z3.And(left.it, right.errs)))
        errs = z3.Or(left.errs, z3.And(z3.Not(left.it), right.errs))
        return Value(z3.Or(left.it, right.it), errs)

    def _has(self, base: pst.Expr, attrs: Sequence[str]) -> Value:
        owner = self._term(base)
        it, there = owner.it, _TRUE
        for attr in attrs:
            fields = _fields(it)
            there = z3.And(there, fields.has(attr))
            if attr != attrs[-1]:
                it = fields.get(attr)
        return Value(there, owner.errs)

    def _is(self, expression: pst.Is) -> Value:
        entity = self._term(expression.base)
        if not isinstance(entity.it, Entity):
            raise UnsupportedError("`is` of something else than principal or resource")
        it = entity.it.is_a(str(expression.entity_type))
        if expression.in_expr is None:
            return Value(it, entity.errs)
        inside = self._inside(entity, self._term(expression.in_expr))
        return Value(z3.And(it, inside.it), z3.Or(entity.errs, z3.And(it, inside.errs)))

    def _compared(self, expression: pst.BinaryOp) -> Value:
        op = expression.op
        left, right = self._term(expression.left), self._term(expression.right)
        errs = z3.Or(left.errs, right.errs)
        match op:
            case "eq":
                return Value(self._equal(left.it, right.it), errs)
            case "not_eq":
                return Value(z3.Not(self._equal(left.it, right.it)), errs)
            case "in":
                return self._inside(left, right)
            case "contains":
                return Value(self._contains(left.it, right), errs)
            case "contains_all" | "contains_any":
                join = z3.And if op == "contains_all" else z3.Or
                parts = [self._contains(left.it, each) for each in _members(right.it)]
                return Value(join(parts), errs)
        if op in _COMPARED:
            return Value(_COMPARED[op](_number(left.it), _number(right.it)), errs)
        raise UnsupportedError(op)

    def _equal(self, left: Any, right: Any) -> Bool:
        if isinstance(right, Entity | _Action):
            left, right = right, left
        if isinstance(left, Entity) and _is_uid(right):
            return left.equals(right)
        if isinstance(left, _Action) and _is_uid(right):
            return self._is_action([_pst(right)], exactly=True)
        if left is right and isinstance(left, Entity):
            return _TRUE
        if z3.is_expr(left) and z3.is_expr(right) and left.sort() == right.sort():
            return left == right
        raise UnsupportedError("a comparison of these")

    def _inside(self, left: Value, right: Value) -> Value:
        errs = z3.Or(left.errs, right.errs)
        several = isinstance(right.it, tuple) and not _is_uid(right.it)
        uids = [each.it for each in right.it] if several else [right.it]
        if not all(_is_uid(uid) for uid in uids):
            raise UnsupportedError("`in` something that is not named")
        if isinstance(left.it, Entity):
            return Value(z3.Or([left.it.is_in(uid) for uid in uids]), errs)
        if isinstance(left.it, _Action):
            return Value(self._is_action([_pst(uid) for uid in uids], exactly=False), errs)
        raise UnsupportedError("`in` of something else than principal, action or resource")

    def _contains(self, owner: Any, member: Value) -> Bool:
        if isinstance(owner, StringSet) and member.literal is not None:
            return owner.contains(member.literal)
        if isinstance(owner, tuple) and not _is_uid(owner):
            return z3.Or([self._equal(each.it, member.it) for each in _members(owner)])
        raise UnsupportedError("contains")

    # Everything else

    def _term(self, expression: pst.Expr) -> Value:
        match expression:
            case pst.Var(name=name):
                return Value(self._variable(name))
            case pst.LongLit(value=number):
                return Value(z3.IntVal(number))
            case pst.StringLit(value=text):
                return Value(text_term(text), literal=text)
            case pst.EntityLit(value=uid):
                return Value(_uid(uid))
            case pst.GetAttr(base=base, attr=attr):
                owner = self._term(base)
                fields = _fields(owner.it)
                return Value(fields.get(attr), z3.Or(owner.errs, z3.Not(fields.has(attr))))
            case pst.Set(elements=elements):
                members = tuple(self._term(each) for each in elements)
                return Value(members, z3.Or([each.errs for each in members]))
            case pst.UnaryOp(op="neg", arg=arg):
                inner = self._term(arg)
                return self._checked(-_number(inner.it), inner.errs)
            case pst.BinaryOp(op=("add" | "sub" | "mul") as op, left=left, right=right):
                return self._computed(op, self._term(left), self._term(right))
            case pst.BoolLit() | pst.Like() | pst.HasAttr() | pst.Is() | pst.BinaryOp():
                return self.truth(expression)
            case pst.UnaryOp(op="not"):
                return self.truth(expression)
        raise UnsupportedError(type(expression).__name__)

    def _variable(self, name: str) -> Any:
        match name:
            case "principal":
                return self.hop
            case "resource":
                return self.situation.resource
            case "context":
                return self.context
        return _Action()

    def _computed(self, op: str, left: Value, right: Value) -> Value:
        first, second = _number(left.it), _number(right.it)
        if op == "mul" and not (z3.is_int_value(first) or z3.is_int_value(second)):
            raise UnsupportedError("a product of two unknowns")
        return self._checked(_COMPUTED[op](first, second), z3.Or(left.errs, right.errs))

    @staticmethod
    def _checked(number: Any, errs: Bool) -> Value:
        return Value(number, z3.Or(errs, number < -LONG, number >= LONG))


def action_name(uid: pst.EntityUid) -> str:
    """Return an action as `hoopgw.events.Access.action`."""
    return "::".join((*uid.type.namespace, uid.id))


def _uid(uid: pst.EntityUid) -> Uid:
    return str(uid.type), uid.id


def _pst(uid: Uid) -> pst.EntityUid:
    *namespace, basename = uid[0].split("::")
    return pst.EntityUid(pst.EntityType(basename, tuple(namespace)), uid[1])


def _is_uid(it: Any) -> bool:
    return isinstance(it, tuple) and len(it) == 2 and all(isinstance(part, str) for part in it)


def _fields(it: Any) -> Fields:
    if isinstance(it, Entity):
        return it.attributes
    if isinstance(it, Fields):
        return it
    raise UnsupportedError("an attribute of something else")


def _members(it: Any) -> tuple[Value, ...]:
    if isinstance(it, tuple) and not _is_uid(it):
        return it
    raise UnsupportedError("a set that is not written out")


def _number(it: Any) -> Any:
    if z3.is_expr(it) and z3.is_int(it):
        return it
    raise UnsupportedError("no number")


def _text(it: Any) -> Any:
    if z3.is_expr(it) and z3.is_string(it):
        return it
    raise UnsupportedError("no text")


def _pattern(pattern: Sequence[pst.PatternElem]) -> Any:
    parts: list[Any] = []
    for each in pattern:
        if isinstance(each, pst.Wildcard):
            parts.append(z3.Star(z3.AllChar(z3.ReSort(z3.StringSort()))))
        else:
            parts.append(z3.Re(text_term(each.value)))
    if not parts:
        return z3.Re(text_term(""))
    return parts[0] if len(parts) == 1 else z3.Concat(*parts)
