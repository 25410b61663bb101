"""Test cases for policies: what is asked, and what must come out.

They stand beside the policies in ``*.cases.yaml`` files (or ``*.cases.toml``, the same in another
notation); hoopgw-policy(7) describes the format. A case is judged by the same code as live
operations, without their cache.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from attrs import frozen

from hoopgw.errors import PolicyError
from hoopgw.events import (
    Access,
    Cap,
    ContextValue,
    Hop,
    HopKind,
    Node,
    Operation,
    Principal,
    Resource,
)
from hoopgw.policy import strict_yaml
from hoopgw.policy.annotations import Rule
from hoopgw.policy.decision import Allow, Deny, Hidden, Review, Sight, Verdict
from hoopgw.policy.explain import Explanation, explain, is_sight
from hoopgw.policy.granting import as_if_granted
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import FILE_LIMIT
from hoopgw.wire_values import attributes_from_dict

_PARENTS_LIMIT: Final = 16
"""Levels of resources."""

Expected: TypeAlias = Literal["allow", "review", "deny", "clear", "masked", "hidden"]
_Context: TypeAlias = dict[str, str | bool | int | list[str]]


class _Cap(msgspec.Struct, forbid_unknown_fields=True):
    target: str
    actions: list[str]


class _Hop(msgspec.Struct, forbid_unknown_fields=True):
    kind: HopKind = "person"
    groups: list[str] = []
    caps: list[_Cap] | None = None
    attested: bool = False
    isolated: bool = False
    attributes: dict[str, str | list[str]] = {}


class _Resource(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    id: str | None = None
    parents: list[str] = []
    labels: list[str] = []


class _Case(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    who: list[str]
    action: str
    on: list[str]
    expect: Expected
    context: _Context = {}
    approvals: list[str] = []
    grants: list[str] = []
    proved: bool = False
    now: datetime | int | None = None
    mask: str | None = None
    by: list[str] | None = None
    reason: str | None = None
    max_rows: int | None = None
    cures: list[str] | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    hops: dict[str, _Hop]
    resources: dict[str, _Resource]
    cases: list[_Case]
    context: _Context = {}


@frozen(kw_only=True)
class Difference:
    """One thing that is not as expected."""

    name: str
    """The case's key."""
    expected: str
    got: str
    note: str = ""

    def __str__(self) -> str:
        said = {
            "expect": f"expected {self.expected}, got {self.got}",
            "max_rows": f"expected {self.expected} rows at most, got {self.got}",
            "reason": f"expected the reason to have {self.expected!r}, got {self.got!r}",
        }.get(self.name, f"expected {self.name} {self.expected}, got {self.got}")
        return f"{said}: {self.note}" if self.note else said


@frozen(kw_only=True)
class CaseResult:
    """One case, and how it came out."""

    file: str
    line: int
    """Where the case begins; 0 if its notation does not tell."""
    name: str
    asked: str
    """Who asks for what, in one line."""
    differences: tuple[Difference, ...]
    """What is not as expected."""
    errors: tuple[str, ...]
    """What erred: a case never passes with it."""
    explanation: Explanation

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words; nothing if it passed."""
        erred = (f"the policy erred: {'; '.join(self.errors)}",) if self.errors else ()
        return (*erred, *map(str, self.differences))

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def is_passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.problems


def run_cases(policies: PolicySet, directory: Path) -> tuple[CaseResult, ...]:
    """Run all files of cases in a directory, sorted by name.

    Raises:
        PolicyError: one cannot be read or is not of the format; the text names the key.

    """
    paths = (path for kind in ("yaml", "yml", "toml") for path in directory.glob(f"*.cases.{kind}"))
    return tuple(result for path in sorted(paths) for result in _run_file(policies, path))


@frozen(kw_only=True)
class Coverage:
    """How often one policy decided a case."""

    rule: Rule
    cases: tuple[str, ...]
    """Names of the cases that it decided: as a permit that held, or as a forbid that refused."""


def coverage(policies: PolicySet, results: Iterable[CaseResult]) -> tuple[Coverage, ...]:
    """Say for each policy, and each template that can be granted, which cases it decided."""
    decided: dict[str, list[str]] = {}
    for result in results:
        for name in result.explanation.outcome.because:
            # Of a grant, the template that it links.
            decided.setdefault(name.partition("/")[0], []).append(result.name)
    offered = (rule for rule in policies.all.templates if rule.id in policies.offers)
    rules = sorted((*policies.rules, *offered), key=lambda rule: rule.order)
    return tuple(Coverage(rule=rule, cases=tuple(decided.get(rule.id, ()))) for rule in rules)


def untested(policies: PolicySet, results: Iterable[CaseResult]) -> tuple[str, ...]:
    """Return the ids of the policies that decided no case, in the set's order."""
    return tuple(each.rule.id for each in coverage(policies, results) if not each.cases)


def _run_file(policies: PolicySet, path: Path) -> Iterator[CaseResult]:
    file, lines = _load(path)
    for number, case in enumerate(file.cases):
        try:
            principal, operation = _question(file, case)
            held = as_if_granted(policies, case.grants, principal, operation)
        except ValueError as error:
            raise PolicyError(f"{path}: case {case.name!r}: {error}") from error
        explanation = explain(
            policies, principal, operation, _seconds(case.now), frozenset(case.approvals), held
        )
        outcome = explanation.outcome
        yield CaseResult(
            file=path.name,
            line=lines[number] if lines else 0,
            name=case.name,
            asked=f"{' / '.join(case.who)} asks {case.action} on {', '.join(case.on)}",
            differences=tuple(_differences(case, outcome)),
            errors=outcome.errors if isinstance(outcome, Verdict) else (),
            explanation=explanation,
        )


def _load(path: Path) -> tuple[_File, list[int]]:
    """Return a file, and the line of each of its cases if the notation tells."""
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise PolicyError(f"{path} is bigger than {FILE_LIMIT} bytes; split it")
        if path.suffix == ".toml":
            return msgspec.convert(tomllib.loads(data.decode()), _File), []
        found, lines = strict_yaml.load(data.decode(), str(path))
        file = msgspec.convert(found, _File)
        return file, [lines[id(case)] for case in found["cases"]]
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of tomllib, msgspec and UTF-8
        raise PolicyError(f"{path} is not a file of test cases: {error}") from error


def _seconds(now: datetime | int | None) -> int:
    if isinstance(now, datetime):
        return int(now.timestamp())
    return now or 0


def _question(file: _File, case: _Case) -> tuple[Principal, Operation]:
    """Make what the policy is asked.

    Raises:
        ValueError: the case names what the file does not define.

    """
    if not case.who or not case.on:
        raise ValueError("`who` and `on` must name at least one")
    accesses = tuple(
        Access(action=case.action, resource=_resource(file.resources, name, 0)) for name in case.on
    )
    context = case.context if is_sight(accesses) else {**file.context, **case.context}
    operation = Operation(
        protocol="",
        target="",
        action=case.action,
        accesses=accesses,
        text="",
        context={name: _value(value) for name, value in context.items()},
        digest=b"",
    )
    chain = tuple(_hop(file.hops, name) for name in case.who)
    nodes = tuple(Node(id=hop.id) for hop in chain[1:])
    principal = Principal(chain=chain, nodes=nodes, session="", expires=0.0, proved=case.proved)
    return principal, operation


def _value(value: str | bool | int | list[str]) -> ContextValue:
    return tuple(value) if isinstance(value, list) else value


def _hop(hops: Mapping[str, _Hop], name: str) -> Hop:
    if name not in hops:
        raise ValueError(f"there is no [hops.{name}]")
    hop = hops[name]
    return Hop(
        id=name,
        name=name,
        kind=hop.kind,
        groups=frozenset(hop.groups),
        caps=None
        if hop.caps is None
        else tuple(Cap(target=cap.target, actions=frozenset(cap.actions)) for cap in hop.caps),
        attested=hop.attested,
        isolated=hop.isolated,
        attributes=attributes_from_dict(hop.attributes),
    )


def _resource(resources: Mapping[str, _Resource], name: str, level: int) -> Resource:
    if name not in resources:
        raise ValueError(f"there is no [resources.{name}]")
    if level > _PARENTS_LIMIT:
        raise ValueError(f"[resources.{name}] lies in itself")
    found = resources[name]
    return Resource(
        type=found.type,
        id=name if found.id is None else found.id,
        parents=tuple(_resource(resources, parent, level + 1) for parent in found.parents),
        labels=frozenset(found.labels),
    )


def _differences(case: _Case, outcome: Verdict | Sight | Hidden) -> Iterator[Difference]:
    got, by = _name(outcome), _by(outcome)
    if got != case.expect:
        note = _reason(outcome) or "by " + by
        yield Difference(name="expect", expected=case.expect, got=got, note=note)
        return
    if case.by is not None and set(case.by) != set(outcome.because):
        expected = ", ".join(sorted(case.by)) or "nothing"
        yield Difference(name="by", expected=expected, got=by)
    if case.reason is not None and case.reason not in _reason(outcome):
        yield Difference(name="reason", expected=case.reason, got=_reason(outcome))
    mask = outcome.mask if isinstance(outcome, Sight) else None
    if case.mask != mask and (case.mask is not None or case.expect == "masked"):
        yield Difference(name="mask", expected=str(case.mask), got=str(mask))
    decision = outcome.decision if isinstance(outcome, Verdict) else None
    rows = None if decision is None or isinstance(decision, Deny) else decision.max_rows
    if case.max_rows is not None and case.max_rows != rows:
        yield Difference(name="max_rows", expected=str(case.max_rows), got=str(rows))
    cures = outcome.cures + outcome.breakglass if isinstance(outcome, Verdict) else ()
    if case.cures is not None and sorted(case.cures) != sorted(cures):
        expected, found = (", ".join(sorted(each)) or "nothing" for each in (case.cures, cures))
        yield Difference(name="cures", expected=expected, got=found)


def _name(outcome: Verdict | Sight | Hidden) -> Expected:
    match outcome:
        case Sight(mask=mask):
            return "clear" if mask is None else "masked"
        case Hidden():
            return "hidden"
        case Verdict(decision=Allow()):
            return "allow"
        case Verdict(decision=Review()):
            return "review"
    return "deny"


def _by(outcome: Verdict | Sight | Hidden) -> str:
    return ", ".join(outcome.because) or "no policy"


def _reason(outcome: Verdict | Sight | Hidden) -> str:
    match outcome:
        case Hidden(reason=reason) | Verdict(decision=Deny(reason=reason)):
            return reason
    return ""
