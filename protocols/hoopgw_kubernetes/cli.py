"""``hoopgw kubeconfig``: how kubectl, helm and every client of Kubernetes reach a cluster."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import yaml

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.token import find_target, listener_of, only_account
from hoopgw_kubernetes.model import PREFIX
from hoopgw_kubernetes.operations import PROTOCOL

VERSION: Final = "client.authentication.k8s.io/v1beta1"
"""Of what client-go asks its credential plug-ins for; known since 1.11, and to the newest."""
_LIFETIME: Final = 300.0
"""Seconds that a token is good for, where the gateway does not say."""
_EARLY: Final = 30.0
"""Seconds before its end when a client asks for another one."""


@click.command()
@click.argument("target")
@click.option("--account", help="The account on the cluster. May be left out if there is only one.")
@click.option("--credential", is_flag=True, help="What kubectl calls: print a token for it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to a file of its own, for KUBECONFIG, and not to the screen.",
)
@json_option
def kubeconfig(target: str, account: str | None, *, credential: bool, out: Path | None) -> None:
    """Print what kubectl needs to reach the cluster TARGET.

    As in: hoopgw kubeconfig blue --out ~/.kube/blue; KUBECONFIG=~/.kube/blue kubectl get pods

    It holds no secret: kubectl calls hoopgw for a token when it needs one.
    """
    home = Home.current()
    if credential:
        click.echo(json.dumps(_credential(home, target, account)))
        return
    found = find_target(home, target)
    if found["protocol"] != PROTOCOL:
        raise CommandError(f"{target} is no cluster: its protocol is {found['protocol']}")
    config = _config(home, found, account or only_account(found))
    if Output.current().is_json:
        Output.current().json(config)
        return
    text = yaml.safe_dump(config, sort_keys=False)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch(mode=0o600)
        out.write_text(text)
    except OSError as error:
        raise CommandError(f"{out}: cannot be written: {error.strerror}") from error
    Output.current().say(f"KUBECONFIG={out} kubectl get pods", style="green")


def _credential(home: Home, target: str, account: str | None) -> dict[str, Any]:
    """Return what client-go takes from a credential plug-in."""
    given = home.exchange(target, account=account or "", is_password=False)
    until = float(given.get("expires") or time.time() + _LIFETIME) - _EARLY
    moment = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"token": str(given["access_token"]), "expirationTimestamp": moment}
    return {"apiVersion": VERSION, "kind": "ExecCredential", "status": status}


def _config(home: Home, target: dict[str, Any], account: str) -> dict[str, Any]:
    host, port = listener_of(target, home)
    name = str(target["name"])
    shown = f"[{host}]" if ":" in host else host
    cluster: dict[str, str] = {"server": f"https://{shown}:{port}/{PREFIX}/{name}"}
    kept = home.ca_of(home.load())
    if kept is not None:
        ca = base64.b64encode(kept.read_bytes()).decode()
        cluster["certificate-authority-data"] = ca
    caller = {
        "apiVersion": VERSION,
        "command": "hoopgw",
        "args": ["kubeconfig", name, "--credential", "--account", account],
        "installHint": "hoopgw is what this cluster is reached through; log in: hoopgw login",
        "interactiveMode": "Never",
    }
    called = f"hoopgw-{name}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": called, "cluster": cluster}],
        "users": [{"name": called, "user": {"exec": caller}}],
        "contexts": [{"name": called, "context": {"cluster": called, "user": called}}],
        "current-context": called,
    }
