"""``hoopgw config``: is the configuration right, before a service is started with it."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import asdict
from twisted.internet.task import Clock

from hoopgw import config as configuration
from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option


@click.group()
def config() -> None:
    """Check configuration files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="hoopgw.toml")
@click.option("--agent", is_flag=True, help="FILE is an agent's (agent.toml), not a gateway's.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
@json_option
def check(file: Path, *, agent: bool, strict: bool) -> None:
    """Say all that is wrong with FILE (default: hoopgw.toml).

    Errors keep a service from starting; warnings are probably not meant.
    """
    output = Output.current()
    judge = configuration.check_agent_file if agent else configuration.check
    findings = judge(file)
    if agent and not any(finding.severity == "error" for finding in findings):
        # Imported here: it brings all that an agent is made of.
        from hoopgw import agent_tap

        findings += agent_tap.check_targets(Clock(), configuration.load_agent(file))
    errors = sum(finding.severity == "error" for finding in findings)
    failed = bool(errors or (strict and findings))
    if output.is_json:
        output.json(
            {"file": str(file), "ok": not failed, "findings": [asdict(f) for f in findings]}
        )
    for finding in findings:
        output.say(str(finding), style="red" if finding.severity == "error" else "yellow")
    if failed:
        count = len(findings) if strict else errors
        raise CommandError(f"{file} has {count} {'fault' if count == 1 else 'faults'} to mend")
    output.say(f"{file} is right", style="green")
