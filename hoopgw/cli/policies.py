"""``hoopgw policy``: check, test and explain policies, and see what a change of them would do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from attrs import asdict

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment
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
from hoopgw.policy.lint import Finding

_REQUEST: Final = re.compile(r"[a-z]{1,3}-[0-9a-f]{16}")
_OPERATION: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._~-]{0,127})/([0-9]{1,18})")


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
    _report(output, directory, check_policies(directory, schemas(config)), strict=strict)


def _report(output: Output, directory: Path, findings: Sequence[Finding], *, strict: bool) -> None:
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
@directory_argument
@config_option
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.001, 3600),
    default=60.0,
    show_default=True,
    help="Seconds to look for policies that are never reached.",
)
@json_option
def lint(directory: Path, config: Path | None, *, strict: bool, timeout: float) -> None:
    """Do what `check` does, and find policies in DIRECTORY that never make a difference.

    The latter needs the solver: pip install 'hoopgw[prove]'.

    Exit status: 0 nothing, 1 something, 2 wrong use.
    """
    output = Output.current()
    findings = list(check_policies(directory, schemas(config)))
    if all(finding.level != "error" for finding in findings):
        try:
            from hoopgw.policy.reach import unreachable
        except ImportError:
            output.say("without hoopgw[prove], what is never reached is not looked for", "yellow")
        else:
            findings += unreachable(load_policies(directory, config), timeout)
    _report(output, directory, findings, strict=strict)


@policy.command()
@click.argument("what")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default="policies")
@config_option
@json_option
def explain(what: str, directory: Path, config: Path | None) -> None:
    """Say, hop by hop, why WHAT comes out as it does.

    WHAT is the id of a request for approval (r-...) or a recorded operation (SESSION/NUMBER): then
    the gateway is asked what its policy says now. Or it is the name of a test case in DIRECTORY, or
    a part of one that is in no other.
    """
    output = Output.current()
    if _REQUEST.fullmatch(what):
        _explain_recorded(output, f"/v1/requests/{what}/explain")
    elif match := _OPERATION.fullmatch(what):
        _explain_recorded(output, f"/v1/sessions/{match[1]}/explain", sequence=match[2])
    else:
        _explain_case(output, what, directory, config)


def _explain_recorded(output: Output, path: str, **query: str) -> None:
    answer = Home.current().api().get(path, **query)
    if output.is_json:
        output.json(answer)
        return
    recorded = answer["recorded"]
    decided = ", ".join(recorded["because"]) or "no policy"
    output.say(f"{answer['path']} on {answer['target']}, {moment(answer['at'])}")
    for access in answer["asked"]:
        output.say(f"  {access['action']} {access['resource']}")
    output.say(f"then: {recorded['decision']}, by {decided} (policy {recorded['policy']})")
    output.say(f"now (policy {answer['policy']}):")
    for line in answer["lines"]:
        output.say(f"  {line}")


def _explain_case(output: Output, case: str, directory: Path, config: Path | None) -> None:
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
