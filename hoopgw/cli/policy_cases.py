"""``hoopgw policy test``: the cases beside a folder of policies, and what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.policy_folder import (
    config_option,
    directory_argument,
    load_policies,
    valid_or_fail,
)
from hoopgw.policy.cases import CaseResult, Coverage, coverage, run_cases
from hoopgw.policy.junit import junit as junit_document


@click.command("test")
@directory_argument
@config_option
@click.option("--strict", is_flag=True, help="Fail if a policy decides no case.")
@click.option("--coverage", "shows", is_flag=True, help="Show which cases each policy decides.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write the results to this file, as JUnit's XML, for a CI service.",
)
@json_option
def test_cases(
    directory: Path, config: Path | None, *, strict: bool, shows: bool, junit: Path | None
) -> None:
    """Run the cases (*.cases.yaml) beside the policies in DIRECTORY.

    Exit status: 0 all passed, 1 one failed (or, with --strict, a policy decides none), 2 wrong use,
    5 the policies or cases are not valid.
    """
    output = Output.current()
    policies = load_policies(directory, config)
    with valid_or_fail():
        results = run_cases(policies, directory)
    covered = coverage(policies, results)
    if junit is not None:
        junit.write_text(junit_document(results), "utf-8")
    missed = [each.rule.id for each in covered if not each.cases]
    if output.is_json:
        output.json(_document(results, covered, strict=strict))
    for result in results:
        if not result.is_passed:
            _show_failure(output, result)
    if shows:
        _show_coverage(output, covered)
    else:
        for name in missed:
            output.say(f"no case is decided by policy {name}", style="yellow")
    _conclude(output, directory, results, missed if strict else ())


def _document(
    results: Sequence[CaseResult], covered: Sequence[Coverage], *, strict: bool
) -> dict[str, Any]:
    missed = [each.rule.id for each in covered if not each.cases]
    failed = any(not result.is_passed for result in results)
    return {
        "ok": not (failed or not results or (strict and missed)),
        "cases": [
            {
                "file": result.file,
                "line": result.line,
                "name": result.name,
                "ok": result.is_passed,
                "problems": result.problems,
                "differences": [
                    {"key": each.name, "expected": each.expected, "got": each.got}
                    for each in result.differences
                ],
                "because": result.explanation.outcome.because,
            }
            for result in results
        ],
        "untested": missed,
        "coverage": [
            {
                "id": each.rule.id,
                "effect": each.rule.effect,
                "file": each.rule.file,
                "line": each.rule.line,
                "cases": each.cases,
            }
            for each in covered
        ],
    }


def _show_failure(output: Output, result: CaseResult) -> None:
    output.say(f"FAILED {result.place}: {result.name}", style="red")
    output.say(f"  {result.asked}")
    for error in result.errors:
        output.say(f"  the policy erred: {error}", style="red")
    for each in result.differences:
        output.say(f"  - {each.name}: {each.expected}", style="green")
        output.say(f"  + {each.name}: {each.got}", style="red")
        output.say(f"    {each}")
    for line in result.explanation.lines():
        output.say(f"  {line}", style="dim")


def _show_coverage(output: Output, covered: Sequence[Coverage]) -> None:
    if output.is_json:
        return
    rows = [
        (
            each.rule.id,
            each.rule.effect,
            f"{each.rule.file}:{each.rule.line}",
            len(each.cases) or "none",
            each.cases[0] if each.cases else "",
        )
        for each in covered
    ]
    output.rows(("policy", "effect", "place", "cases", "for example"), rows)
    tested = sum(bool(each.cases) for each in covered)
    percent = 100 * tested // len(covered) if covered else 0
    output.say(f"{tested} of {len(covered)} policies decide a case ({percent} %)")


def _conclude(
    output: Output, directory: Path, results: Sequence[CaseResult], missed: Sequence[str]
) -> None:
    failures = sum(not result.is_passed for result in results)
    if not results:
        raise CommandError(f"{directory} has no *.cases.yaml file; hoopgw-policy(7) tells how")
    if failures:
        raise CommandError(f"{failures} of {len(results)} cases failed")
    if missed:
        raise CommandError(f"{len(missed)} policies decide no case: {', '.join(missed)}")
    output.say(f"{len(results)} cases passed", style="green")
