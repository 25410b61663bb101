"""``hoopgw targets``: what there is to reach."""

from __future__ import annotations

import click

from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option


@click.command()
@json_option
def targets() -> None:
    """List the targets, and whether an agent serves them now."""
    output = Output.current()
    answer = Home.current().api().get("/v1/targets")
    if output.is_json:
        output.json(answer)
        return
    rows = [
        (
            target["name"],
            target["protocol"],
            target.get("environment"),
            target.get("agent"),
            "connected" if target.get("connected") else "gone",
        )
        for target in answer["targets"]
    ]
    output.rows(
        ("target", "protocol", "environment", "agent", "state"),
        rows,
        empty="there are no targets",
    )
