"""``hoopgw delegate``: run a command with an identity of its own, narrower than yours."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import click

from hoopgw.broker.command import Account
from hoopgw.broker.delegating import Errand, run_here, run_inside
from hoopgw.broker.doors import DoorSpec, installed_doors, with_needs
from hoopgw.cli.failure import CommandError, NotLoggedInError, UnreachableError
from hoopgw.cli.home import Home
from hoopgw.cli.output import json_option, moment
from hoopgw.client.errors import EXPIRED, NOT_LOGGED_IN, UNREACHABLE, Refused
from hoopgw.client.link import BrokerLink, BrokerSigner
from hoopgw.client.logins import KeptLogins
from hoopgw.client.signers import ChildSigner, ChildTerms, LoginSigner, Signer, Standing, end_of
from hoopgw.client.values import parse_budget, parse_caps, parse_duration, shown
from hoopgw.terminal import printable

_EVERY: Final = "*"


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--to", "name", required=True, metavar="NAME", help="What the child is called.")
@click.option(
    "--allow",
    "caps",
    multiple=True,
    metavar="TARGET:ACTION[,...]",
    help="What it may do at most, such as orders:Postgres::read; repeatable. Without: all you may.",
)
@click.option("--ttl", metavar="TIME", help="How long it lives: 90s, 10m, 2h. Usual: 1h.")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="WHAT=N",
    help="How much it may ask for in all: operations, rows, bytes, reviews; repeatable.",
)
@click.option(
    "--nest", type=click.IntRange(0, 5), help="How many generations it may delegate to in turn."
)
@click.option("--purpose", default="", metavar="TEXT", help="The prompt or job step, for the log.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="[TARGET=]NAME",
    help="The account that clients use when they name none; repeatable.",
)
@click.option("--user", metavar="NAME", help="Run it as this user of the machine. Needs root.")
@click.option(
    "--keep-env",
    multiple=True,
    metavar="NAME",
    help="Let it inherit this variable, though it may lead to a credential; repeatable.",
)
@click.option("--clean-env", is_flag=True, help="Let it inherit PATH, HOME and the like only.")
@click.option("--keep", is_flag=True, help="Do not revoke the delegation when the command ends.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say who the child is.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
def delegate(
    name: str,
    caps: Sequence[str],
    ttl: str | None,
    budgets: Sequence[str],
    nest: int | None,
    purpose: str,
    accounts: Sequence[str],
    user: str | None,
    keep_env: Sequence[str],
    command: Sequence[str],
    *,
    clean_env: bool,
    keep: bool,
    quiet: bool,
) -> None:
    """Run COMMAND with a child identity: narrower than yours, and with your key out of its reach.

    hoopgw delegate --to planner --allow orders:Postgres::read --ttl 10m -- psql service=orders

    Clients inside just work, and so does `hoopgw delegate`. Its exit status is the command's.
    """
    doors = installed_doors()
    home = Home.current()
    try:
        logins = KeptLogins(home)
        parent: Signer = (
            BrokerSigner(BrokerLink(home.broker)) if home.broker else LoginSigner(logins)
        )
        terms = ChildTerms(
            name=name,
            expires=end_of(parent, parse_duration(ttl) if ttl else None, time.time()),
            caps=with_needs(parse_caps(caps or None), doors),
            nest=nest,
            budget=parse_budget(budgets),
            purpose=purpose,
        )
        errand = Errand(
            command=command,
            terms=terms,
            accounts=_accounts(accounts, parent),
            account=Account.find(user) if user else None,
            keep_env=keep_env,
            clean_env=clean_env,
            told=_say_nothing if quiet else partial(_tell, is_other_user=user is not None),
        )
        status = _run(errand, parent, logins, doors, keep=keep)
    except Refused as refused:
        raise _failure(refused) from refused
    sys.exit(status)


def _run(
    errand: Errand,
    parent: Signer,
    logins: KeptLogins,
    doors: Mapping[str, DoorSpec],
    *,
    keep: bool,
) -> int:
    """Run it with a broker of our own, or with the one that we are inside of."""
    if isinstance(parent, BrokerSigner):
        return run_inside(errand, parent.link, os.environ)
    ended = _forget if keep else _revoking(logins)
    login_file = logins.home.folder / "login.json"
    return run_here(errand, parent, login_file, doors, ended, os.environ)


def _accounts(given: Sequence[str], parent: Signer) -> dict[str, str]:
    """Return target to account; a name alone is for every target that has such an account."""
    known = parent.targets()
    found: dict[str, str] = {}
    for text in given:
        place, equals, account = text.rpartition("=")
        if equals:
            found[place] = account
        else:
            found |= {t.name: text for t in known if not t.accounts or text in t.accounts}
    for target in known:
        if len(target.accounts) == 1:
            found.setdefault(target.name, target.accounts[0])
    return found


def _say_nothing(_standing: Standing) -> None:
    """Leave standard error to the command."""


def _tell(standing: Standing, *, is_other_user: bool) -> None:
    """Say who the child is, and what it is not kept from; standard output is the command's."""
    if standing.isolated:
        apart = "isolated: it cannot read your key"
    elif is_other_user:
        apart = "not isolated: it has your terminal, or can read your log-in"
    else:
        apart = (
            "not isolated: it runs as your own user, so this tells who did what, "
            "and does not contain it"
        )
    may = printable(shown(standing.caps))
    click.echo(
        f"hoopgw: {printable(standing.path)} until {moment(standing.expires)}, may {may}; {apart}",
        err=True,
    )


def _revoking(logins: KeptLogins) -> Callable[[ChildSigner], None]:
    def revoke(signer: ChildSigner) -> None:
        try:
            logins.revoke(signer)
        except Refused as refused:
            if refused.code != EXPIRED:
                click.echo(
                    f"hoopgw: {signer.terms.name} could not be revoked "
                    f"({printable(refused.detail)}): it ends at {moment(signer.terms.expires)}",
                    err=True,
                )

    return revoke


def _forget(_signer: ChildSigner) -> None:
    """Leave it to end by itself."""


def _failure(refused: Refused) -> CommandError:
    match refused.code:
        case code if code in (NOT_LOGGED_IN, EXPIRED):
            return NotLoggedInError(str(refused))
        case code if code == UNREACHABLE:
            return UnreachableError(str(refused))
    return CommandError(str(refused))
