"""``hoopgw policy``: check, test and explain policies, and see what a change of them would do."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import asdict

from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.policy_cases import test_cases
from hoopgw.cli.policy_folder import (
    config_option,
    directory_argument,
    load_policies,
    schemas,
    valid_or_fail,
)
from hoopgw.cli.policy_prove import prove
from hoopgw.cli.policy_suggest import suggest_policy
from hoopgw.cli.policy_whatif import what_if
from hoopgw.policy.cases import run_cases
from hoopgw.policy.check import check as check_policies


@click.group()
def policy() -> None:
    """Check, test and explain policies."""


@policy.command()
@directory_argument
@config_option
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@json_option
def check(directory: Path, config: Path | None, *, strict: bool) -> None:
    """Say all that is wrong with the policies in DIRECTORY (default: policies).

    Exit status: 0 nothing, 1 something, 2 wrong use.
    """
    output = Output.current()
    findings = check_policies(directory, schemas(config))
    errors = sum(finding.level == "error" for finding in findings)
    failed = bool(errors or (strict and findings))
    if output.is_json:
        output.json({"ok": not failed, "findings": [asdict(f) for f in findings]})
    for finding in findings:
        output.say(str(finding), style="red" if finding.level == "error" else "yellow")
    if failed:
        count = len(findings) if strict else errors
        raise CommandError(f"{directory} has {count} {'fault' if count == 1 else 'faults'} to mend")
    output.say(f"the policies in {directory} are right", style="green")


@policy.command()
@click.argument("case")
@directory_argument
@config_option
@json_option
def explain(case: str, directory: Path, config: Path | None) -> None:
    """Say, hop by hop, why the case named CASE comes out as it does.

    CASE is a name from the cases in DIRECTORY, or a part of one that is in no other.
    """
    output = Output.current()
    policies = load_policies(directory, config)
    with valid_or_fail():
        results = run_cases(policies, directory)
    matching = [r for r in results if r.name == case] or [r for r in results if case in r.name]
    if len(matching) != 1:
        known = matching or results
        names = ", ".join(repr(r.name) for r in known[:10]) or "none"
        count = "no case" if not matching else f"{len(matching)} cases"
        raise CommandError(f"{count} in {directory} match {case!r}; there are: {names}")
    explanation = matching[0].explanation
    lines = list(explanation.lines())
    if output.is_json:
        output.json(
            {
                "case": matching[0].name,
                "file": matching[0].file,
                "lines": lines,
                "steps": [asdict(step) for step in explanation.steps],
            }
        )
    for line in lines:
        output.say(line)


policy.add_command(test_cases)
policy.add_command(what_if)
policy.add_command(prove)
policy.add_command(suggest_policy)
policy.add_command(check, "lint")
