"""``hoopgw policy prove``: what must never happen, proved of a folder of policies, or refuted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.policy_folder import config_option, load_policies, valid_or_fail
from hoopgw.policy.queries import read_queries

if TYPE_CHECKING:
    from hoopgw.policy.prove import Proof, Prover

_STYLES: Final = {
    "proved": "green",
    "refuted": "red",
    "unconfirmed": "yellow",
    "unknown": "yellow",
}
_TITLES: Final = {
    "proved": "proved",
    "refuted": "REFUTED",
    "unconfirmed": "NOT PROVED",
    "unknown": "NOT PROVED",
}


@click.command("prove")
@click.argument(
    "queries",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default="policies/queries.yaml",
)
@click.option(
    "--policies",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder of policies; that of QUERIES unless given.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.001, 3600),
    default=10.0,
    show_default=True,
    help="Seconds for each query.",
)
@config_option
@json_option
def prove(queries: Path, directory: Path | None, timeout: float, config: Path | None) -> None:
    """Prove what QUERIES say must never happen (default: policies/queries.yaml).

    "Proved" is true of every request. What is refuted comes with a request that the policy engine
    was asked and allows. What is neither could not be decided.

    Exit status: 0 all proved, 1 one is not, 2 wrong use, 5 the policies or queries are not valid.
    """
    output = Output.current()
    policies = load_policies(directory or queries.parent, config)
    with valid_or_fail():
        asked = read_queries(queries, policies.schema)
    prover = _prover(policies, timeout)
    proofs: list[Proof] = []
    for query in asked:
        proof = prover.prove(query)
        proofs.append(proof)
        _show(output, proof)
    if output.is_json:
        output.json(_document(proofs))
    _conclude(output, proofs)


def _prover(policies: Any, timeout: float) -> Prover:
    try:
        from hoopgw.policy.prove import Prover
    except ImportError as error:
        raise CommandError(
            "proofs need the solver z3, which is not installed: pip install 'hoopgw[prove]'"
        ) from error
    return Prover(policies, timeout)


def _show(output: Output, proof: Proof) -> None:
    output.say(
        f"{_TITLES[proof.result]:<10} {proof.query.name}  ({proof.seconds * 1000:.0f} ms)",
        style=_STYLES[proof.result],
    )
    if proof.is_proved:
        return
    output.say(f"  {proof.query.place}")
    if proof.why:
        output.say(f"  {proof.why}")
    if proof.counterexample is not None:
        for line in proof.counterexample.lines():
            output.say(f"    {line}", style="" if proof.result == "refuted" else "dim")
    if proof.explanation is not None:
        for line in proof.explanation.lines():
            output.say(f"  {line}", style="dim")


def _document(proofs: Sequence[Proof]) -> dict[str, Any]:
    return {
        "ok": all(proof.is_proved for proof in proofs),
        "queries": [
            {
                "name": proof.query.name,
                "file": proof.query.file,
                "line": proof.query.line,
                "result": proof.result,
                "seconds": round(proof.seconds, 3),
                "why": proof.why,
                "counterexample": None
                if proof.counterexample is None
                else list(proof.counterexample.lines()),
                "explanation": None
                if proof.explanation is None
                else list(proof.explanation.lines()),
            }
            for proof in proofs
        ],
    }


def _conclude(output: Output, proofs: Sequence[Proof]) -> None:
    failed = [proof for proof in proofs if not proof.is_proved]
    if not proofs:
        raise CommandError("there are no queries")
    if failed:
        refuted = sum(proof.result == "refuted" for proof in failed)
        raise CommandError(
            f"{len(failed)} of {len(proofs)} queries are not proved, {refuted} of them refuted"
        )
    output.say(f"{len(proofs)} queries are proved", style="green")
