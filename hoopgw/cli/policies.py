"""``hoopgw policy``: check, test and explain a folder of Cedar policies, without a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from attrs import asdict

from hoopgw import config as configuration
from hoopgw import registry
from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.policy.cases import CaseResult, run_cases, untested
from hoopgw.policy.check import check as check_policies
from hoopgw.policy.sets import PolicySet

_directory = click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False, exists=True), default="policies"
)
_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A gateway's configuration: only its protocols' words are known then.",
)


@click.group()
def policy() -> None:
    """Check, test and explain policies."""


@policy.command()
@_directory
@_config
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@json_option
def check(directory: Path, config: Path | None, *, strict: bool) -> None:
    """Say all that is wrong with the policies in DIRECTORY (default: policies)."""
    output = Output.current()
    findings = check_policies(directory, _schemas(config))
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


@policy.command("test")
@_directory
@_config
@click.option("--strict", is_flag=True, help="Fail if a policy decides no case.")
@json_option
def test_cases(directory: Path, config: Path | None, *, strict: bool) -> None:
    """Run the cases (*.cases.toml) beside the policies in DIRECTORY."""
    output = Output.current()
    policies = PolicySet.load(directory, _schemas(config))
    results = run_cases(policies, directory)
    missed = untested(policies, results)
    failures = [result for result in results if not result.is_passed]
    failed = bool(failures or not results or (strict and missed))
    if output.is_json:
        output.json(
            {
                "ok": not failed,
                "cases": [
                    {"file": r.file, "name": r.name, "ok": r.is_passed, "problems": r.problems}
                    for r in results
                ],
                "untested": missed,
            }
        )
    for result in failures:
        output.say(f"FAILED {result.file}: {result.name}", style="red")
        for problem in result.problems:
            output.say(f"  {problem}")
        for line in result.explanation.lines():
            output.say(f"  {line}", style="dim")
    for name in missed:
        output.say(f"no case is decided by policy {name}", style="yellow")
    _conclude(output, directory, results, failures, missed if strict else ())


@policy.command()
@click.argument("case")
@_directory
@_config
@json_option
def explain(case: str, directory: Path, config: Path | None) -> None:
    """Say, hop by hop, why the case named CASE comes out as it does.

    CASE is a name from the *.cases.toml files in DIRECTORY, or a part of one that is in no other.
    """
    output = Output.current()
    results = run_cases(PolicySet.load(directory, _schemas(config)), directory)
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


def _schemas(config: Path | None) -> Mapping[str, str]:
    """Return the Cedar schemas of the protocols that count."""
    named = (
        registry.names(registry.PROTOCOLS)
        if config is None
        else configuration.load(config).protocols
    )
    return {name: spec.cedar_schema for name, spec in registry.load(sorted(named)).items()}


def _conclude(
    output: Output,
    directory: Path,
    results: Sequence[CaseResult],
    failures: Sequence[CaseResult],
    missed: Sequence[str],
) -> None:
    if not results:
        raise CommandError(f"{directory} has no *.cases.toml file; hoopgw-policy(7) tells how")
    if failures:
        raise CommandError(f"{len(failures)} of {len(results)} cases failed")
    if missed:
        raise CommandError(f"{len(missed)} policies decide no case: {', '.join(missed)}")
    output.say(f"{len(results)} cases passed", style="green")
