"""``hoopgw chains``: what was delegated to whom, and how to take it back."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment

_NODE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEPTH_LIMIT: Final = 16
"""Levels of the tree; a chain has fewer."""
_LIMIT: Final = 1000


@click.group()
def chains() -> None:
    """List and revoke what was delegated to agents and their children."""


@chains.command("list")
@click.option("--all", "everybody", is_flag=True, help="Everybody's, for those who oversee.")
@json_option
def list_chains(*, everybody: bool) -> None:
    """Show delegations that live, below the log-ins that they descend from.

    The gateway learns of a delegation when it is first used, or given out by the gateway itself.
    """
    output, api = Output.current(), Home.current().api()
    root = None if everybody else api.get("/v1/me")["chain"][0]["id"]
    nodes: list[dict[str, Any]] = api.get("/v1/nodes", root=root, limit=_LIMIT)["nodes"]
    if output.is_json:
        output.json({"nodes": nodes})
        return
    rows = [
        (
            "  " * depth + str(node["name"]),
            node["kind"],
            "attested" if node["attested"] else "-",
            node["id"],
            node["purpose"],
            moment(node["first_seen"]),
            moment(node["expires"]),
        )
        for depth, node in _tree(nodes)
    ]
    columns = ("delegated to", "kind", "identity", "node", "purpose", "since", "until")
    output.rows(columns, rows, empty="nothing is delegated")


@chains.command(context_settings={"ignore_unknown_options": True})  # ids may begin with a dash
@click.argument("node")
@click.option("--reason", default="", help="Shown to those whose sessions end.")
@json_option
def revoke(node: str, reason: str) -> None:
    """End a delegation, with all below it: its sessions are cut now.

    NODE is the id that `hoopgw chains list` shows. To the same key it cannot be delegated again.
    """
    output = Output.current()
    if not _NODE.fullmatch(node):
        raise click.UsageError(f"{node[:80]!r} is no id of a delegation; see `hoopgw chains list`")
    body = {"reason": reason} if reason else {}
    answer = Home.current().api().post(f"/v1/nodes/{node}/revoke", body)
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"{node} is revoked, with all below it")


def _tree(nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give log-ins, and below each what descends from it, each with its depth."""
    below: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    known = {str(node["id"]): node for node in nodes}
    logins: dict[str, str] = {}
    for name, node in known.items():
        parent, login = str(node["parent"]), str(node["login"])
        # One whose parent is not shown, as it is not the caller's, stands below the log-in itself.
        below[parent if parent in known and parent != name else login].append(node)
        logins[login] = str(node["root"])
    for login, root in logins.items():
        yield 0, _login_row(login, root)
        yield from _below(below, login, 1)


def _below(
    below: dict[str, list[Mapping[str, Any]]], parent: str, depth: int
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for node in below.pop(parent, ()):  # taken out: whatever the gateway says, no circle is walked
        yield depth, node
        if depth < _DEPTH_LIMIT:
            yield from _below(below, str(node["id"]), depth + 1)


def _login_row(login: str, root: str) -> dict[str, Any]:
    row = dict.fromkeys(("attested", "purpose", "first_seen", "expires"))
    return {**row, "name": root, "kind": "log-in", "id": login}
