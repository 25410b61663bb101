"""``hoopgw ssh-certificate``: what `ssh` logs in with, renewed when it is about to end."""

from __future__ import annotations

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option, moment
from hoopgw.cli.ssh_folder import Renewed, SshFolder


@click.command("ssh-certificate")
@click.argument("targets", nargs=-1)
@click.option(
    "--bundle", type=click.IntRange(1), help="Of the targets in this bundle.", hidden=True
)
@click.option("--force", is_flag=True, help="Also if the one that is there is good for a while.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but what goes wrong.")
@json_option
def ssh_certificate(
    targets: tuple[str, ...], bundle: int | None, *, force: bool, quiet: bool
) -> None:
    """Get a certificate for `ssh` to TARGETS, or to all, if the present one is about to end.

    The configuration that `hoopgw ssh-config` makes runs it before each connection, so there is no
    need to type it.
    """
    folder = SshFolder(Home.current())
    bundles = (bundle,) if bundle is not None else _bundles(folder, targets)
    made = [renewed for each in bundles if (renewed := folder.renew(each, force=force))]
    output = Output.current()
    if output.is_json:
        output.json({"certificates": [_as_dict(each) for each in made]})
    elif not quiet:
        for each in made:
            output.say(f"{', '.join(each.targets)}: good until {moment(each.expires)}")
        if not made:
            output.say("the certificate is good for some minutes more")


def _bundles(folder: SshFolder, names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the bundles of targets; of all, if none is named."""
    plan = folder.refresh()
    if not names:
        if not plan.bundles:
            raise CommandError("there is no SSH target that you may connect to")
        return plan.bundles
    found = {name: plan.find(name) for name in names}
    if missing := [name for name, target in found.items() if target is None]:
        known = ", ".join(target.name for target in plan.targets) or "none"
        raise CommandError(
            f"there is no SSH target {missing[0]!r} that you may connect to; these are: {known}"
        )
    return tuple(sorted({target.bundle for target in found.values() if target is not None}))


def _as_dict(renewed: Renewed) -> dict[str, object]:
    return {
        "targets": list(renewed.targets),
        "accounts": list(renewed.accounts),
        "serial": renewed.serial,
        "expires": renewed.expires,
    }
