"""``hoopgw policy what-if``: what a changed folder of policies would have made of what was done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import click

from hoopgw.cli.decision_source import Source, source_options
from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.policy_folder import InvalidError, config_option, load_policies
from hoopgw.policy.recorded import Question, Retrial, Skipped
from hoopgw.policy.what_if import Group, WhatIf

_NANO: Final = 1e9
_CHAINS_SHOWN: Final = 3
_FAULTS_SHOWN: Final = 10
_folder = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command("what-if")
@click.option("--policies", "new", type=_folder, required=True, help="The changed folder.")
@click.option(
    "--against",
    type=_folder,
    help="Compare with what this folder says, instead of with what was decided then.",
)
@source_options
@click.option("--target", help="Only what was asked of this target.")
@click.option("--chain", help="Only this chain and what it started, such as alice/planner.")
@config_option
@click.option(
    "--fail-on",
    type=click.Choice(["any", "wider", "narrower"]),
    help="Exit with status 1 if something changes so.",
)
@json_option
def what_if(
    new: Path,
    against: Path | None,
    since: int | None,
    folder: Path | None,
    key: str | None,
    target: str | None,
    chain: str | None,
    config: Path | None,
    fail_on: str | None,
) -> None:
    """Judge recorded operations again, by the changed policies in --policies.

    Asks the gateway for what was recorded (administrators and auditors may), or reads a log folder.

    Exit status: 0 done, 1 something changes (with --fail-on) or it did not work, 2 wrong use, 3 not
    logged in, 4 the gateway does not answer, 5 the policies are not valid, or nothing could be
    judged.
    """
    output = Output.current()
    compared = WhatIf(
        Retrial(load_policies(new, config)),
        None if against is None else Retrial(load_policies(against, config)),
    )
    wanted = [name.strip() for name in chain.split("/")] if chain else []

    def take(found: Question | Skipped) -> None:
        if isinstance(found, Question) and not _is_wanted(found, target, wanted):
            return
        compared.take(found)

    Source(folder, since, key).questions(take)
    if output.is_json:
        output.json(_document(compared, since))
    else:
        _show(output, compared)
    _conclude(compared, fail_on)


def _is_wanted(question: Question, target: str | None, chain: list[str]) -> bool:
    if target is not None and question.target != target:
        return False
    return [hop.name for hop in question.chain][: len(chain)] == chain


def _document(compared: WhatIf, since: int | None) -> dict[str, Any]:
    return {
        "since": None if since is None else since / _NANO,
        "judged": compared.judged,
        "changed": compared.changed,
        "wider": compared.count("wider"),
        "narrower": compared.count("narrower"),
        "other_policies": compared.other_policies,
        "not_asked": compared.not_asked,
        "unjudged": compared.unjudged,
        "erring": compared.erring,
        "groups": [_group(group) for group in compared.groups],
        "faults": [{"leaf": fault.leaf, "why": fault.why} for fault in compared.faults],
    }


def _group(group: Group) -> dict[str, Any]:
    change = group.change
    return {
        "change": change.title,
        "direction": change.direction,
        "decided_before": change.decided_before,
        "decided_after": change.decided_after,
        "count": group.count,
        "first": group.first / _NANO,
        "last": group.last / _NANO,
        "reason": group.reason,
        "chains": dict(group.chains.most_common()),
        "actions": dict(group.actions.most_common()),
        "resources": dict(group.resources.most_common()),
        "examples": [
            {
                "session": example.session,
                "sequence": example.sequence,
                "path": example.path,
                "target": example.target,
                "text": example.text,
            }
            for example in group.examples
        ],
    }


def _show(output: Output, compared: WhatIf) -> None:
    rows = [
        (
            group.change.title,
            group.count,
            ", ".join(group.change.decided_after),
            ", ".join(group.change.decided_before),
            _most(group.chains),
            _most(group.actions),
            "; ".join(example.text for example in group.examples[:1]),
        )
        for group in compared.groups
    ]
    output.rows(
        ("change", "count", "decided by", "was decided by", "who", "action", "for example"),
        rows,
        empty="nothing changes",
    )
    output.say(
        f"{compared.changed} of {compared.judged} recorded decisions change: "
        f"{compared.count('wider')} wider, {compared.count('narrower')} narrower"
    )
    if compared.other_policies:
        output.say(f"{compared.other_policies} come out the same by other policies", style="dim")
    if compared.not_asked:
        output.say(
            f"{compared.not_asked} were refused by the gateway itself, whatever policy says",
            style="dim",
        )
    if compared.erring:
        output.say(
            f"for {compared.erring} a changed policy errs, which refuses them",
            style="red",
        )
    for fault in compared.faults[:_FAULTS_SHOWN]:
        output.say(f"record {fault.leaf} is not judged: {fault.why}", style="yellow")
    if compared.unjudged > _FAULTS_SHOWN:
        output.say(f"and {compared.unjudged - _FAULTS_SHOWN} more records", style="yellow")


def _most(counted: Counter[str]) -> str:
    shown = [f"{name} ({count})" for name, count in counted.most_common(_CHAINS_SHOWN)]
    more = len(counted) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _conclude(compared: WhatIf, fail_on: str | None) -> None:
    if compared.unjudged and not compared.judged:
        raise InvalidError(f"none of {compared.unjudged} records could be judged")
    if fail_on is None:
        return
    counts = {
        "any": compared.changed,
        "wider": compared.count("wider"),
        "narrower": compared.count("narrower"),
    }
    if counts[fail_on]:
        raise CommandError(f"{counts[fail_on]} recorded decisions change")
