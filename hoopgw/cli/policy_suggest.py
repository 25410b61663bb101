"""``hoopgw policy suggest``: a least-privilege policy from what a chain really did."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hoopgw.cli.decision_source import Source, source_options
from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.policy_folder import InvalidError, config_option, schemas
from hoopgw.policy.recorded import Question, Skipped
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import examine
from hoopgw.policy.suggest import Actions, Deeds, Resources, Style, TooMuchError, suggest
from hoopgw.policy.text import SourceFile

_FAULTS_SHOWN: Final = 5


@click.command("suggest")
@click.option("--chain", required=True, help="Whose, root first: alice or alice/planner.")
@source_options
@click.option("--target", help="Only what was done on this target.")
@click.option(
    "--resources",
    type=click.Choice(["exact", "parent", "target"]),
    default="exact",
    show_default=True,
    help="Name what was used, what that is directly in (a database), or the target.",
)
@click.option(
    "--actions",
    type=click.Choice(["exact", "groups"]),
    default="exact",
    show_default=True,
    help="Name the very actions, or the groups that hold them (read, write).",
)
@click.option("--group", help="Permit a group of the root, instead of the root alone.")
@click.option("--name", default="suggested", show_default=True, help="Begins the @id of each.")
@config_option
@json_option
def suggest_policy(
    chain: str,
    since: int | None,
    folder: Path | None,
    key: str | None,
    target: str | None,
    resources: Resources,
    actions: Actions,
    group: str | None,
    name: str,
    config: Path | None,
) -> None:
    """Write a policy that allows what --chain was allowed, and no more.

    Each hop is a name or an id. What was refused or held is left out. The text goes to standard
    output; read it before you use it: it says what was done, not what should be.

    Exit status: 0 done, 1 nothing to suggest, 2 wrong use, 3 not logged in, 4 the gateway does not
    answer, 5 what was recorded cannot be used.
    """
    output = Output.current()
    schema = Schema.load(schemas(config))
    deeds, faults = Deeds(), list[Skipped]()
    wanted = [hop.strip() for hop in chain.split("/")]

    def take(found: Question | Skipped) -> None:
        if isinstance(found, Skipped):
            if found.is_fault and len(faults) < _FAULTS_SHOWN:
                faults.append(found)
        elif _is(found, wanted) and target in (None, found.target):
            deeds.take(found)

    style = Style(resources=resources, actions=actions, group=group, name=name)
    try:
        Source(folder, since, key).questions(take)
        made = suggest(deeds, style, dict(schema.groups))
    except (TooMuchError, ValueError) as error:
        raise CommandError(f"{chain}: {error}") from error
    _check(made.cedar, schema)
    if output.is_json:
        output.json(
            {
                "cedar": made.cedar,
                "caps": made.caps,
                "allowed": deeds.allowed,
                "held": deeds.held,
                "refused": deeds.refused,
                "other_chains": deeds.others,
            }
        )
        return
    click.echo(made.cedar)
    for fault in faults:
        click.echo(f"hoopgw: record {fault.leaf} is left out: {fault.why}", err=True)
    if deeds.others:
        click.echo(
            f"hoopgw: {deeds.others} decisions are of other chains of these names and left out; "
            "name hops by id",
            err=True,
        )


def _is(question: Question, wanted: list[str]) -> bool:
    return len(question.chain) == len(wanted) and all(
        each in (hop.name, hop.id) for hop, each in zip(question.chain, wanted, strict=True)
    )


def _check(cedar: str, schema: Schema) -> None:
    """See that a gateway would take it."""
    _, findings = examine([SourceFile(name="suggested.cedar", text=cedar)], schema)
    errors = [str(finding) for finding in findings if finding.level == "error"]
    if errors:
        raise InvalidError(
            "what was recorded does not fit the schema of the protocols that are installed here: "
            + errors[0]
        )
