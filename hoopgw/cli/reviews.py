"""``hoopgw requests``: operations that are held until somebody approves them."""

from __future__ import annotations

from itertools import dropwhile
from typing import Any, Final

import click

from hoopgw.cli.home import Home
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.terminal import clip, printable

_TEXT_WIDTH: Final = 60
_STATES: Final = ("requested", "approved", "denied", "expired", "withdrawn", "consumed")


@click.group("requests")
def requests_() -> None:
    """See what waits for approval, and approve or deny it."""


@requests_.command("list")
@click.option(
    "--state", type=click.Choice(_STATES), help="Only requests in this state; all otherwise."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def list_requests(state: str | None, limit: int) -> None:
    """List requests, the newest first: your own, and those that you may decide."""
    output = Output.current()
    answer = Home.current().api().get("/v1/requests", state=state, limit=limit)
    if output.is_json:
        output.json(answer)
        return
    rows = [
        (
            request["id"],
            request["state"],
            request["principal"]["path"],
            request["target"],
            clip(summary(request["text"]), _TEXT_WIDTH),
            request.get("groups"),
            moment(request["expires"] if request["state"] == "requested" else request["settled"]),
        )
        for request in answer["requests"]
    ]
    output.rows(
        ("request", "state", "who", "target", "operation", "groups", "until"),
        rows,
        empty="nothing waits for approval",
    )


def summary(text: str) -> str:
    """Return a request's words in one line, without the notes that stand before them."""
    lines = text.splitlines()
    words = list(dropwhile(lambda line: line.startswith("# "), lines)) or lines
    return " ".join(" ".join(words).split())


@requests_.command()
@click.argument("request")
@json_option
def show(request: str) -> None:
    """Show REQUEST: who asks for what, in the exact words, and who said what."""
    output = Output.current()
    answer = Home.current().api().get(f"/v1/requests/{path_part(request)}")
    if output.is_json:
        output.json(answer)
    else:
        _show(output, answer)


@requests_.command()
@click.argument("request")
@click.option("--comment", default="", help="For the requester and the record.")
@json_option
def approve(request: str, comment: str) -> None:
    """Approve REQUEST: exactly these bytes, once. Your own needs somebody else."""
    _vote(request, "approve", comment)


@requests_.command()
@click.argument("request")
@click.option("--comment", default="", help="For the requester and the record.")
@json_option
def deny(request: str, comment: str) -> None:
    """Deny REQUEST; you may deny your own too."""
    _vote(request, "deny", comment)


@requests_.command()
@click.argument("request")
@click.argument("text")
@json_option
def reason(request: str, text: str) -> None:
    """Say why you want what REQUEST asks for; some policies want to know before anybody votes."""
    output = Output.current()
    answer = (
        Home.current().api().post(f"/v1/requests/{path_part(request)}/reason", {"reason": text})
    )
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"the reason for {request} is noted", style="green")


@requests_.command()
@click.argument("request")
@json_option
def withdraw(request: str) -> None:
    """Take your own REQUEST back: what waits for it is refused."""
    output = Output.current()
    answer = Home.current().api().post(f"/v1/requests/{path_part(request)}/withdraw")
    if output.is_json:
        output.json(answer)
    else:
        output.say(f"{request} is {answer['state']}")


def _vote(request: str, vote: str, comment: str) -> None:
    output = Output.current()
    answer = (
        Home.current().api().post(f"/v1/requests/{path_part(request)}/{vote}", {"comment": comment})
    )
    if output.is_json:
        output.json(answer)
        return
    state = answer["state"]
    if state == "requested":
        output.say(f"{request} is noted; it needs more approvals", style="yellow")
    else:
        output.say(f"{request} is {state}", style="green" if state == "approved" else "red")


def _show(output: Output, request: dict[str, Any]) -> None:
    output.fields(
        {
            "request": request["id"],
            "state": request["state"],
            "who": request["principal"]["path"],
            "target": request["target"],
            "action": request["action"],
            "reason": request.get("reason"),
            "needs": "; ".join(
                f"{remedy['needed']} of {', '.join(remedy['groups'])} ({remedy['rule']})"
                for remedy in request["remedies"]
            ),
            "asked": moment(request["created"]),
            "expires": moment(request["expires"]),
            "digest": request["digest"],
            "note": request.get("note"),
        }
    )
    output.say("")
    for line in printable(request["text"], keep="\n\t").splitlines():
        output.say(f"  {line}", style="bold yellow")
    for vote in request.get("votes", []):
        word = "approved" if vote["approve"] else "denied"
        comment = f": {vote['comment']}" if vote.get("comment") else ""
        output.say(f"{vote['name']} {word} at {moment(vote['at'])}{comment}")
    if request["state"] == "requested" and request.get("objection"):
        output.say(f"You cannot approve it: {request['objection']}.", style="yellow")
