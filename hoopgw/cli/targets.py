"""``hoopgw targets``: what there is to reach."""

from __future__ import annotations

import click

from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option


@click.command()
@click.option("--all", "everything", is_flag=True, help="All there are, for those who oversee.")
@json_option
def targets(*, everything: bool) -> None:
    """List what you may connect to, as which accounts, and whether an agent serves it now.

    What is "on request" must be granted first: hoopgw request --target NAME.
    """
    output = Output.current()
    wanted = "true" if everything else None
    answer = Home.current().api().get("/v1/targets", all=wanted)
    if output.is_json:
        output.json(answer)
        return
    by_ssh = [target["name"] for target in answer["targets"] if target["protocol"] == "ssh"]
    rows = [
        (
            target["name"],
            target["protocol"],
            target.get("environment"),
            target.get("accounts"),
            target.get("access"),
            target.get("agent"),
            "connected" if target.get("connected") else "gone",
        )
        for target in answer["targets"]
    ]
    output.rows(
        ("target", "protocol", "environment", "accounts", "access", "agent", "state"),
        rows,
        empty="there is no target that you may connect to",
    )
    if by_ssh:
        output.say(f"by SSH: hoopgw ssh-config --install, once; then ssh {by_ssh[0]}", style="dim")
