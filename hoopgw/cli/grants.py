"""``hoopgw request`` and ``hoopgw grants``: access for a while, asked for and decided on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.ids import path_part
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.terminal import clip, printable

_STATES: Final = (
    "requested",
    "active",
    "denied",
    "expired",
    "withdrawn",
    "consumed",
    "revoked",
)
_WAIT_STEP: Final = 25
"""Seconds that one call to the gateway waits."""
_REASON_WIDTH: Final = 40


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """Read a duration such as 15m."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    if value[-1:] not in units or not value[:-1].isdecimal() or len(value) > 7:
        raise click.BadParameter("give a number and a unit, such as 90s, 15m or 2h")
    return float(value[:-1]) * units[value[-1]]


_for = click.option(
    "--for",
    "seconds",
    required=True,
    metavar="15m",
    callback=_seconds,
    help="For how long: a number with s, m or h.",
)
_reason = click.option("--reason", required=True, help="Why, for those who decide.")
_wait = click.option(
    "--wait", is_flag=True, help="Wait until it is decided; exit status 1 if it is not granted."
)
_comment = click.option("--comment", default="", help="For the requester and the record.")


@click.command("request")
@click.option("--target", required=True, help="What it is for, as `hoopgw targets` names it.")
@click.option("--grant", help="What is asked for, as a refusal or `hoopgw grants offers` names it.")
@click.option("--action", help="Instead: what it must allow, such as read or select.")
@_for
@_reason
@click.option(
    "--scope",
    type=click.Choice(["window", "session", "call"]),
    default="window",
    show_default=True,
    help="Until its end, in one session, or for the one statement of --digest.",
)
@click.option("--digest", help="Of the statement, as its refusal said.")
@_wait
@json_option
def request(
    target: str,
    grant: str | None,
    action: str | None,
    seconds: float,
    reason: str,
    scope: str,
    digest: str | None,
    *,
    wait: bool,
) -> None:
    """Ask for access that you do not have, for a while.

    An agent asks for its own chain, and for nobody else.
    """
    if (grant is None) == (action is None):
        raise click.UsageError("give --grant or --action")
    body: dict[str, Any] = {"target": target, "seconds": seconds, "reason": reason, "scope": scope}
    body |= {"grant": grant} if grant is not None else {"action": action}
    if digest is not None:
        body["digest"] = digest
    _asked(Home.current().api().post("/v1/grants", body), wait=wait)


@click.group()
def grants() -> None:
    """Access for a while: see it, decide on it, extend it, end it."""


@grants.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def list_grants(state: str | None, limit: int) -> None:
    """List grants, the newest first: your own, and those that you may decide."""
    _print(Home.current().api().get("/v1/grants", state=state, limit=limit), "there are no grants")


@grants.command()
@click.option("--target", required=True)
@json_option
def offers(target: str) -> None:
    """List what you can ask for on a target."""
    output = Output.current()
    answer = Home.current().api().get("/v1/grants/offers", target=target)
    if output.is_json:
        output.json(answer)
        return
    output.rows(
        ("grant", "for at most", "scopes", "approved by", "persons"),
        [
            (
                offer["grant"],
                f"{offer['seconds'] / 60:.0f}m",
                offer["scopes"],
                "nobody: in an emergency" if offer["breakglass"] else offer["groups"],
                offer["needed"],
            )
            for offer in answer["offers"]
        ],
        empty="the policy offers you nothing on it",
    )


@grants.command()
@click.argument("grant")
@_wait
@json_option
def show(grant: str, *, wait: bool) -> None:
    """Show GRANT: who asked for what, why, and who said what."""
    answer = Home.current().api().get(f"/v1/grants/{path_part(grant)}")
    output = Output.current()
    if wait:
        answer = _decided(answer)
    if output.is_json:
        output.json(answer)
    else:
        _show(output, answer)


@grants.command()
@click.argument("grant")
@_comment
@json_option
def approve(grant: str, comment: str) -> None:
    """Approve GRANT. What you or your agents ask for needs somebody else."""
    _act(grant, "approve", comment)


@grants.command()
@click.argument("grant")
@_comment
@json_option
def deny(grant: str, comment: str) -> None:
    """Deny GRANT; you may deny your own too."""
    _act(grant, "deny", comment)


@grants.command()
@click.argument("grant")
@_comment
@json_option
def revoke(grant: str, comment: str) -> None:
    """End GRANT now, with the sessions that only it allowed; or take a request back."""
    _act(grant, "revoke", comment)


@grants.command()
@click.argument("grant")
@_for
@_reason
@_wait
@json_option
def extend(grant: str, seconds: float, reason: str, *, wait: bool) -> None:
    """Ask for more of GRANT: a request of its own, which somebody has to approve."""
    path = f"/v1/grants/{path_part(grant)}/extend"
    _asked(Home.current().api().post(path, {"seconds": seconds, "reason": reason}), wait=wait)


@grants.command()
@click.option("--target", required=True)
@click.option("--grant", help="Which one, if the policy offers you several.")
@click.option(
    "--for",
    "seconds",
    default="30m",
    show_default=True,
    callback=_seconds,
    help="For how long: a number with s, m or h.",
)
@_reason
@json_option
def breakglass(target: str, grant: str | None, seconds: float, reason: str) -> None:
    """Take access in an emergency, at once. Others are alarmed, and will look at all you did."""
    api = Home.current().api()
    if grant is None:
        found = api.get("/v1/grants/offers", target=target)["offers"]
        names = [offer["grant"] for offer in found if offer["breakglass"]]
        if len(names) != 1:
            raise CommandError(
                f"name one with --grant: {', '.join(names)}"
                if names
                else f"the policy lets you break no glass on {target}"
            )
        grant = names[0]
    body = {"target": target, "grant": grant, "seconds": seconds, "reason": reason}
    _asked(api.post("/v1/grants", body), wait=False)


@grants.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def reviews(limit: int) -> None:
    """List broken glass that nobody has looked at yet, the oldest first."""
    answer = Home.current().api().get("/v1/grants/reviews", limit=limit)
    _print(answer, "all broken glass was looked at")


@grants.command()
@click.argument("grant")
@click.option("--comment", required=True, help="What you found.")
@json_option
def close(grant: str, comment: str) -> None:
    """Close the review of broken glass: you have looked at what GRANT was used for."""
    _act(grant, "close", comment)


def _act(grant: str, verb: str, comment: str) -> None:
    output = Output.current()
    path = f"/v1/grants/{path_part(grant)}/{verb}"
    answer = Home.current().api().post(path, {"comment": comment})
    if output.is_json:
        output.json(answer)
    elif verb == "close":
        output.say(f"the review of {grant} is closed", style="green")
    elif answer["state"] == "requested":
        output.say(f"{grant} is noted; it needs more approvals", style="yellow")
    else:
        output.say(_told(answer), style="green" if answer["state"] == "active" else "red")


def _asked(answer: dict[str, Any], *, wait: bool) -> None:
    """Say what became of what was asked for."""
    output = Output.current()
    if wait:
        if answer["state"] == "requested":
            output.say(_told(answer), style="yellow")
        answer = _decided(answer)
    if output.is_json:
        output.json(answer)
    else:
        output.say(_told(answer), style="yellow" if answer["state"] == "requested" else "green")
    if wait and answer["state"] != "active":
        raise CommandError(f"{answer['id']} is {answer['state']}: {answer['note']}")


def _decided(answer: dict[str, Any], now: Callable[[], float] = time.time) -> dict[str, Any]:
    """Wait until a grant is decided on, or its request is over."""
    api = Home.current().api()
    while answer["state"] == "requested" and now() < (answer["expires"] or 0.0) + _WAIT_STEP:
        answer = api.get(f"/v1/grants/{path_part(answer['id'])}", wait=_WAIT_STEP)
    return answer


def _told(grant: dict[str, Any]) -> str:
    what = f"{grant['grant']} on {grant['target']}"
    if grant["state"] == "active":
        said = f"{grant['id']}: {what} is granted until {moment(grant['until'])}"
        if grant["breakglass"]:
            said += f"; {', '.join(grant['groups'])} will look at all that you do"
        return said
    if grant["state"] == "requested":
        groups = ", ".join(grant["groups"])
        return (
            f"{grant['id']}: {what} is asked for; {groups} may approve it:"
            f" hoopgw grants approve {grant['id']}"
        )
    return f"{grant['id']}: {what} is {grant['state']}: {grant['note']}"


def _print(answer: dict[str, Any], empty: str) -> None:
    output = Output.current()
    if output.is_json:
        output.json(answer)
        return
    rows = [
        (
            grant["id"],
            grant["state"],
            grant["principal"]["path"],
            grant["target"],
            grant["grant"] + (" (glass broken)" if grant["breakglass"] else ""),
            clip(" ".join(grant["reason"].split()), _REASON_WIDTH),
            grant["groups"],
            moment(grant["until"] or grant["expires"]),
        )
        for grant in answer["grants"]
    ]
    columns = ("grant", "state", "who", "target", "what", "reason", "groups", "until")
    output.rows(columns, rows, empty=empty)


def _show(output: Output, grant: dict[str, Any]) -> None:
    output.fields(
        {
            "grant": grant["id"],
            "state": grant["state"],
            "who": grant["principal"]["path"],
            "what": grant["grant"],
            "policy": grant["policy"],
            "target": grant["target"],
            "scope": grant["scope"],
            "for": f"{grant['seconds'] / 60:.0f} minutes",
            "reason": grant["reason"],
            "approvers": grant["groups"],
            "asked": moment(grant["created"]),
            "began": moment(grant["began"]),
            "until": moment(grant["until"]),
            "ended": moment(grant["ended"]),
            "session": grant["session"],
            "extends": grant["extends"],
            "digest": grant["digest"],
            "note": grant["note"],
        }
    )
    if grant["breakglass"]:
        said = f"closed by {grant['reviewer']}: {grant['review_comment']}"
        output.say(f"glass was broken; its review is {said if grant['reviewer'] else 'open'}")
    for line in printable(grant["text"], keep="\n\t").splitlines():
        output.say(f"  {line}", style="bold yellow")
    for vote in grant["votes"]:
        word = "approved" if vote["approve"] else "denied"
        comment = f": {vote['comment']}" if vote["comment"] else ""
        output.say(f"{vote['name']} {word} at {moment(vote['at'])}{comment}")
    if grant["objection"]:
        output.say(f"You cannot approve it: {grant['objection']}.", style="yellow")
