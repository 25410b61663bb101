"""``hoopgw agent``: let agents join, and see how they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from hoopgw import config as configuration
from hoopgw.cli.home import Home
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.control.local import call_local
from hoopgw.link import enrol
from hoopgw.terminal import printable

_TOKEN_LIMIT: Final = 4096

_local = click.option(
    "--local",
    "config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Ask the gateway of this hoopgw.toml through its own socket, without a log-in: for the "
    "user that it runs as.",
)


@click.group()
def agent() -> None:
    """Enrol agents, and list them."""


@agent.command()
@click.argument("name")
@_local
@json_option
def token(name: str, config: Path | None) -> None:
    """Make a token with which the agent NAME can join: once, within 15 minutes."""
    output = Output.current()
    answer = (
        Home.current().api().post("/v1/join-tokens", {"agent": name})
        if config is None
        else call_local(_socket(config), "local_join_token", agent=name)
    )
    if output.is_json:
        output.json(answer)
        return
    click.echo(printable(str(answer["token"])))
    click.echo(
        f"Good once, for agent {name}, until {moment(answer['expires'])}. "
        "On its host: hoopgw agent join TOKEN --config agent.toml",
        err=True,
    )


@agent.command()
@click.argument("token", required=False)
@click.option(
    "--token-file",
    type=click.File("r"),
    help="Read the token from this file (- is standard input): arguments show in process lists.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default="agent.toml",
    show_default=True,
    help="The agent's configuration.",
)
@json_option
def join(token: str | None, token_file: Any, config: Path) -> None:
    """Enrol this agent with TOKEN: makes its key, and fetches its certificate."""
    output = Output.current()
    if (token is None) == (token_file is None):
        raise click.UsageError("give the token, or --token-file, and not both")
    text = token if token is not None else str(token_file.read(_TOKEN_LIMIT))
    settings = configuration.load_agent(config)
    joined = enrol.join(text, settings.state, settings.name)
    expires = joined.ends
    if output.is_json:
        output.json({"agent": settings.name, "gateway": joined.enrolment.url, "expires": expires})
        return
    output.say(
        f"agent {settings.name} has joined {joined.enrolment.url}; its certificate is good until "
        f"{moment(expires)} and renews itself",
        style="green",
    )
    output.say(f"start it: twistd hoopgw-agent --config {config}")


@agent.command("list")
@_local
@json_option
def list_agents(config: Path | None) -> None:
    """List agents: whether they are enrolled, and connected now."""
    output = Output.current()
    answer = (
        Home.current().api().get("/v1/agents")
        if config is None
        else call_local(_socket(config), "local_agents")
    )
    if output.is_json:
        output.json(answer)
        return
    rows = [
        (
            entry["name"],
            "connected" if entry["connected"] else "gone",
            entry["idle"],
            entry["targets"],
            moment(entry["enrolled"]),
            moment(entry["expires"]),
            "revoked" if entry["revoked"] else "",
        )
        for entry in answer["agents"]
    ]
    output.rows(
        ("agent", "state", "idle", "targets", "enrolled", "certificate until", "note"),
        rows,
        empty="no agent has joined; make a token with: hoopgw agent token NAME",
    )


@agent.command()
@click.argument("name")
@_local
@json_option
def revoke(name: str, config: Path | None) -> None:
    """Put the agent NAME out: its connections end, and only a new token lets it join again."""
    output = Output.current()
    answer = (
        Home.current().api().post(f"/v1/agents/{path_part(name)}/revoke")
        if config is None
        else call_local(_socket(config), "local_revoke_agent", agent=name)
    )
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"agent {name} is out" if answer["revoked"] else f"no agent {name} was enrolled")


def _socket(config: Path) -> Path:
    return configuration.load(config).paths.control_socket
