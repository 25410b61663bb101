"""``hoopgw init``: a new gateway's configuration, keys and certificates."""

from __future__ import annotations

import importlib.resources
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from hoopgw import config as configuration
from hoopgw.cli.output import Output, json_option
from hoopgw.config import GatewayConfig
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.keyfiles import create_state, renew_gateway_certificate

_LOCAL: Final = ("127.0.0.1", "localhost")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="hoopgw.toml")
@click.option("--name", default="gw1", show_default=True, help="The gateway's name.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default="state",
    show_default=True,
    help="The state folder, for a new FILE; relative to it.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="A name or address that callers use, for the certificate. May be repeated.",
)
@click.option(
    "--renew-certificate",
    is_flag=True,
    help="Only issue the listeners' certificate anew, for the names in FILE.",
)
@click.option(
    "--upgrade",
    is_flag=True,
    help="Only make what a state folder of an earlier release lacks; control does so too when it "
    "starts.",
)
@json_option
def init(
    file: Path,
    name: str,
    state: Path,
    hosts: tuple[str, ...],
    *,
    renew_certificate: bool,
    upgrade: bool,
) -> None:
    """Make a gateway: FILE if it is missing, policies to start from, keys and certificates.

    Keys that are there already are never overwritten.
    """
    output = Output.current()
    made: list[Path] = []
    now = datetime.now(UTC)
    if renew_certificate:
        config = configuration.load(file)
        renew_gateway_certificate(config.paths, config.tls.names, now)
        made.append(config.paths.gateway_certificate)
    elif upgrade:
        config = configuration.load(file)
        made += KeyBook(config.paths, config.tls.names, config.interception.names).complete(now)
    else:
        made += write_configuration(file, name, state, hosts)
        config = configuration.load(file)
        create_state(config.paths, config.tls.names, now, config.interception.names)
        made.append(config.paths.state)
    if output.is_json:
        output.json({"made": [str(path) for path in made], "ca": str(config.paths.ca_certificate)})
        return
    for path in made:
        output.say(f"made {path}", style="green")
    if not renew_certificate and not upgrade:
        _say_next(output, config)


def write_configuration(file: Path, name: str, state: Path, hosts: tuple[str, ...]) -> list[Path]:
    """Write the commented configuration and a first policy, where there are none."""
    made: list[Path] = []
    if not file.exists():
        names = list(dict.fromkeys([*_LOCAL, *hosts])) if hosts else [*_LOCAL]
        values = {
            "@FILE@": str(file),
            "@STATE@": json.dumps(str(state)),
            "@NAME@": json.dumps(name),
            "@NAMES@": json.dumps(names),
        }
        text = template("hoopgw.toml")
        for mark, value in values.items():
            text = text.replace(mark, value)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        made.append(file)
        policies = file.parent / "policies"
        if not policies.exists():
            policies.mkdir()
            (policies / "access.cedar").write_text(template("access.cedar"))
            made.append(policies)
    return made


def template(name: str) -> str:
    """Return one of the files that a new gateway starts from."""
    return (importlib.resources.files("hoopgw.cli") / "templates" / name).read_text()


def _say_next(output: Output, config: GatewayConfig) -> None:
    output.say(
        f"""
Next, as told in hoopgw(1):
  1. name your issuer and your targets in {config.path}
  2. hoopgw config check {config.path} && hoopgw policy check {config.policy.directory}
  3. twistd hoopgw -c {config.path}
  4. hoopgw --gateway {config.control.url} --ca {config.paths.ca_certificate} login
  5. hoopgw agent token NAME, and on the agent's host: hoopgw agent join TOKEN
Callers trust {config.paths.ca_certificate}: copy it from here to their machines."""
    )
