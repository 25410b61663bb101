"""A set of policies: parsed, validated and linted once, then only asked.

Three handles are kept of one set. *All* decides. *Standing* lacks the curable forbids: on a
refusal Cedar names only the forbids, so this one says whether a permit was there at all before a
remedy is offered. *Permits* serves explanations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import cedarpy
from attrs import define, evolve, field, frozen
from cedarpy import pst

from hoopgw.errors import PolicyError
from hoopgw.masking import KINDS
from hoopgw.policy.annotations import Rule, apply_annotations
from hoopgw.policy.cache import Recent
from hoopgw.policy.links import Link
from hoopgw.policy.lint import (
    Finding,
    Level,
    approvals_named,
    is_about_see,
    lint,
    reads_now,
    target_of,
)
from hoopgw.policy.lower_case import capitals
from hoopgw.policy.offers import Offer, read_offer
from hoopgw.policy.schema import Schema
from hoopgw.policy.text import (
    BrokenTextError,
    SourceFile,
    Statement,
    read_directory,
    statements,
    version_of,
)

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SLICES_LIMIT: Final = 1000
"""Targets, or combinations of them, that are kept ready."""
_SHOWN_LIMIT: Final = 20
"""Findings in the text of one error."""
_TEXT_LIMIT: Final = 500


@define(eq=False)
class Compiled:
    """Policies parsed for asking.

    Cedar looks at every policy for every question, about a microsecond each. Most of a big set
    name one target in their scope, so each target is asked about with those that could apply; and
    of what was granted, with the links of the chain that asks.
    """

    rules: tuple[Rule, ...] = field(repr=False)
    templates: tuple[Rule, ...] = field(repr=False, default=())
    """In force for nobody, until linked."""
    _slices: Recent[frozenset[str], Slice] = field(init=False, repr=False)
    _linked: Recent[tuple[frozenset[str], tuple[Link, ...]], Slice] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._slices = Recent(_SLICES_LIMIT)
        self._linked = Recent(_SLICES_LIMIT)

    def for_targets(self, targets: frozenset[str], links: tuple[Link, ...] = ()) -> Slice:
        """Return those that can apply to resources below these targets, or below none."""
        if links:
            linked = self._linked.get((targets, links))
            if linked is None:
                linked = self.for_targets(targets).with_links(links)
                self._linked.put((targets, links), linked)
            return linked
        found = self._slices.get(targets)
        if found is None:
            rules = (*self.rules, *self.templates)
            found = Slice.of(
                [rule for rule in rules if rule.target is None or rule.target in targets]
            )
            self._slices.put(targets, found)
        return found


@frozen(eq=False)
class Slice:
    """A parsed set, and which rule Cedar means by ``policy7``."""

    handle: cedarpy.PolicySet = field(repr=False)
    rules: Mapping[str, Rule] = field(repr=False)
    templates: Mapping[str, Rule] = field(repr=False)
    """By their own ``@id``."""

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Slice:
        """Parse the texts of rules whose ids are unique."""
        by_id = {rule.id: rule for rule in rules}
        handle = cedarpy.PolicySet.from_str(
            "\n".join(rule.text for rule in by_id.values()), release_gil=True
        )
        parsed = handle.to_pst()
        templates = (policy.annotations["id"] for policy in parsed.templates.values())
        return cls(
            handle,
            {name: by_id[p.annotations["id"]] for name, p in parsed.static_policies.items()},
            {name: by_id[name] for name in templates},
        )

    def with_links(self, links: Iterable[Link]) -> Slice:
        """Return this with templates linked; those of another target are left out."""
        numbered = {
            f"link{number}": link
            for number, link in enumerate(links)
            if link.template in self.templates
        }
        handle = self.handle.with_linked_batch(
            [
                {"template_id": link.template, "new_id": name, "values": link.values()}
                for name, link in numbered.items()
            ]
        )
        rules = {
            name: evolve(self.templates[link.template], id=link.rule)
            for name, link in numbered.items()
        }
        return Slice(handle, {**self.rules, **rules}, self.templates)


@frozen(kw_only=True, eq=False)
class PolicySet:
    """A valid set of policies. `hoopgw.policy.judging` asks it."""

    version: str
    schema: Schema = field(repr=False)
    all: Compiled = field(repr=False)
    standing: Compiled = field(repr=False)
    permits: Compiled = field(repr=False)
    reads_now: bool
    """Whether an answer may depend on the time."""
    offers: Mapping[str, Offer] = field(factory=dict, repr=False)
    """What may be asked for, by the ``@id`` of its template."""
    warnings: tuple[Finding, ...] = ()

    @classmethod
    def load(
        cls, directory: Path, schemas: Mapping[str, str], kinds: Collection[str] = KINDS
    ) -> PolicySet:
        """Load all ``*.cedar`` files of a directory.

        May take a second for a thousand policies, most of it without Python's lock: a reload
        belongs into a thread.

        Args:
            directory: where the files are; files below it are not read.
            schemas: a protocol's name to its Cedar schema.
            kinds: the masks that ``@mask`` may name.

        Raises:
            PolicyError: with each error's file, line and fix.

        """
        return cls.from_files(read_directory(directory), Schema.load(schemas), kinds)

    @classmethod
    def from_files(
        cls, files: Sequence[SourceFile], schema: Schema, kinds: Collection[str] = KINDS
    ) -> PolicySet:
        """Make a set of texts that were read already.

        Raises:
            PolicyError: as `load`.

        """
        made, findings = examine(files, schema, kinds)
        if made is None:
            errors = [str(finding) for finding in findings if finding.level == "error"]
            if len(errors) > _SHOWN_LIMIT:
                errors[_SHOWN_LIMIT:] = [f"and {len(errors) - _SHOWN_LIMIT} more errors"]
            raise PolicyError("\n".join(errors))
        return made

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All policies that are in force. A template is not, until it is linked."""
        return self.all.rules

    def offer(self, name: str) -> Offer | None:
        """Return what is asked for by a name."""
        return next((offer for offer in self.offers.values() if offer.name == name), None)


def examine(
    files: Sequence[SourceFile], schema: Schema, kinds: Collection[str] = KINDS
) -> tuple[PolicySet | None, tuple[Finding, ...]]:
    """Return the set, or None if there are errors, and everything found on the way."""
    examination = _Examination(schema, kinds)
    for file in files:
        try:
            for statement in statements(file):
                examination.add(statement)
        except BrokenTextError as error:
            examination.report(file.name, error.line, str(error))
    examination.check_references()
    if not examination.has_errors:
        examination.validate()
    findings = tuple(examination.findings)
    if examination.has_errors:
        return None, findings
    rules, policies = examination.in_force, examination.policies
    templates = tuple(examination.rules[name] for name in examination.offers)
    made = PolicySet(
        version=version_of(files),
        schema=schema,
        all=Compiled(rules, templates),
        standing=Compiled(tuple(rule for rule in rules if not rule.is_curable), templates),
        permits=Compiled(tuple(rule for rule in rules if rule.effect == "permit"), templates),
        reads_now=any(map(reads_now, policies)),
        offers=examination.offers,
        warnings=findings,
    )
    return made, findings


@define(eq=False)
class _Examination:
    """Statements on their way to a set."""

    schema: Schema
    kinds: Collection[str]
    rules: dict[str, Rule] = field(factory=dict, init=False)
    policies: list[pst.Template] = field(factory=list, init=False)
    templates: set[str] = field(factory=set, init=False)
    offers: dict[str, Offer] = field(factory=dict, init=False)
    findings: list[Finding] = field(factory=list, init=False)

    @property
    def has_errors(self) -> bool:
        return any(finding.level == "error" for finding in self.findings)

    @property
    def in_force(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules.values() if rule.id not in self.templates)

    def report(self, file: str, line: int, text: str, level: Level = "error") -> None:
        """Add a finding; Cedar's own texts may quote a whole schema."""
        shown = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]} …"
        self.findings.append(Finding(level=level, file=file, line=line, text=shown))

    def add(self, statement: Statement) -> None:
        """Parse one policy, read its annotations and lint it."""
        report = partial(self.report, statement.file, statement.line)
        try:
            parsed = cedarpy.PolicySet.from_str(statement.text).to_pst()
        except ValueError as error:
            report(f"this does not parse: {error}")
            return
        found = [*parsed.static_policies.values(), *parsed.templates.values()]
        if len(found) != 1:
            report("this is not one policy; end each with a semicolon")
            return
        name = found[0].annotations.get("id", "")
        if not _ID.fullmatch(name):
            report('give it an @id("name") of letters, digits, ".", "_" and "-" (64 at most)')
        elif name in self.rules:
            twin = self.rules[name]
            report(f"@id {name!r} is taken by {twin.file}:{twin.line}; give it another")
        else:
            self._add(name, found[0], statement)
            if parsed.templates:
                self.templates.add(name)
            self._add_offer(name, found[0], statement)

    def _add(self, name: str, policy: pst.Template, statement: Statement) -> None:
        plain = Rule(
            id=name,
            effect=policy.effect,
            file=statement.file,
            line=statement.line,
            order=len(self.rules),
            text=statement.text,
            target=target_of(policy),
        )
        rule, problems = apply_annotations(
            plain, policy.annotations, is_about_see(policy), self.kinds
        )
        for problem in problems:
            self.report(rule.file, rule.line, problem)
        for level, text in lint(rule, policy, self.schema.attributes):
            self.report(rule.file, rule.line, text, level)
        for problem in capitals(policy, self.schema.lower):
            self.report(rule.file, rule.line, problem)
        self.rules[name] = rule
        self.policies.append(policy)

    def _add_offer(self, name: str, policy: pst.Template, statement: Statement) -> None:
        """Read what a template offers."""
        is_template = name in self.templates
        report = partial(self.report, statement.file, statement.line)
        offer, problems = read_offer(name, statement.text, policy, is_template=is_template)
        for problem in problems:
            report(problem)
        if offer is None:
            if is_template and not problems:
                report('nobody can ask for this template: give it @grant("name")', "warning")
            return
        twin = next((each for each in self.offers.values() if each.name == offer.name), None)
        if twin is not None:
            report(f"@grant {offer.name!r} is the name of {twin.template} too; give it another")
        self.offers[name] = offer

    def check_references(self) -> None:
        """Find approvals asked for that nobody could be asked to give."""
        curable = {rule.id for rule in self.rules.values() if rule.groups}
        for rule, policy in zip(self.rules.values(), self.policies, strict=True):
            for name in sorted(approvals_named(policy) - curable):
                self.report(
                    rule.file,
                    rule.line,
                    f"context.approvals never contains {name!r}: no policy with an @approval has "
                    "that @id",
                )

    def validate(self) -> None:
        """Let Cedar validate the whole, in its strict mode."""
        text = "\n".join(rule.text for rule in self.rules.values())
        parsed = cedarpy.policies_to_pst(text)
        result = cedarpy.validate_policies(text, self.schema.handle, release_gil=True)
        for error in result.errors:
            # Cedar names no @id for a template, so it is taken from the tree of the same text.
            found = {**parsed.static_policies, **parsed.templates}.get(error.policy_id)
            rule = self.rules[found.annotations["id"]] if found else None
            said = re.sub(r"^for policy `policy[0-9]+`, ", "", error.error)
            self.report(rule.file if rule else "policies", rule.line if rule else 1, said)
        if not result.validation_passed and not result.errors:
            self.report("policies", 1, "Cedar does not validate this, and does not say why")
