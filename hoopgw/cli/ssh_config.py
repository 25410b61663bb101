"""``hoopgw ssh-config``: set OpenSSH's client up, once."""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import Home
from hoopgw.cli.output import Output, json_option
from hoopgw.cli.ssh_folder import SshFolder
from hoopgw.cli.ssh_include import OwnConfig, difference, with_line, without_line
from hoopgw.client.ssh import Choices, Plan, complete, taken_names
from hoopgw.client.ssh_texts import config_text, environment


@click.command("ssh-config")
@click.argument("targets", nargs=-1)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="[TARGET=]NAME",
    help="The account that is meant if none is named; repeatable.",
)
@click.option("--install", is_flag=True, help="Include it from ~/.ssh/config, after asking.")
@click.option("--remove", is_flag=True, help="Take the line out again, and remove keys and files.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--targets", "names", is_flag=True, help="Print all that can be typed behind ssh.")
@click.option("--env", is_flag=True, help="Print what a job's shell needs, for eval.")
@json_option
def ssh_config(
    targets: tuple[str, ...],
    accounts: Sequence[str],
    *,
    install: bool,
    remove: bool,
    yes: bool,
    names: bool,
    env: bool,
) -> None:
    """Print the configuration with which `ssh TARGET` just works, or install it.

    It is for all SSH targets that you may connect to, or for TARGETS only, and is kept up to date
    whenever a certificate is renewed. Certificates are got when they are needed.
    """
    if sum((install, remove, names, env)) > 1:
        raise click.UsageError("--install, --remove, --targets and --env: choose one")
    folder, own = SshFolder(Home.current()), OwnConfig.of(Path.home())
    if remove:
        _remove(folder, own, yes=yes)
        return
    if names and (kept := folder.kept()) is not None:
        plan = kept.plan  # a shell that completes words does not wait for the network
    else:
        plan = folder.refresh(_choices(folder, own, targets, accounts))
    _check(plan, targets)
    if install:
        _install(folder, own, plan, yes=yes)
    elif names:
        click.echo("\n".join(complete(plan)))
    elif env:
        _print(environment(folder.files.config))
    elif Output.current().is_json:
        Output.current().json(_as_dict(folder, plan))
    else:
        click.echo(config_text(plan, folder.files), nl=False)


def _choices(
    folder: SshFolder, own: OwnConfig, targets: tuple[str, ...], accounts: Sequence[str]
) -> Choices:
    """Return what the person chooses; what is not said stays as it was chosen before."""
    kept = folder.kept()
    before = Choices() if kept is None else kept.choices
    chosen = dict(before.accounts)
    for text in accounts:
        place, equals, account = text.rpartition("=")
        if not account or (equals and not place):
            raise click.UsageError("--account: give NAME, or TARGET=NAME")
        chosen[place or "*"] = account
    return Choices(
        only=frozenset(targets),
        accounts=chosen,
        taken=taken_names(own.texts(folder.files.config)),
        login=getpass.getuser(),
    )


def _check(plan: Plan, targets: tuple[str, ...]) -> None:
    known = {target.name for target in plan.targets}
    if missing := [name for name in targets if name not in known]:
        raise CommandError(f"there is no SSH target {missing[0]!r} that you may connect to")
    if not known:
        raise CommandError(
            "there is no SSH target that you may connect to: `hoopgw targets` lists what there is"
        )


def _install(folder: SshFolder, own: OwnConfig, plan: Plan, *, yes: bool) -> None:
    before = own.read()
    after = with_line(before, folder.files.config)
    if after != before:
        _change(own, before, after, yes=yes)
    output = Output.current()
    if output.is_json:
        output.json({**_as_dict(folder, plan), "changed": after != before})
        return
    words = [target.alias for target in plan.targets if target.usual]
    words += [target.names[0] for target in plan.targets if not target.usual and target.names]
    output.say("ready: " + ", ".join(f"ssh {word}" for word in words[:5]), style="green")
    for target in plan.targets:
        if target.alias != target.name:
            output.say(f"{target.name} is called {target.alias}, as you have a Host of that name")
        if not target.names:
            output.say(f"{target.name}: no account is known; --account {target.name}=NAME says one")


def _remove(folder: SshFolder, own: OwnConfig, *, yes: bool) -> None:
    before = own.read()
    after = without_line(before, folder.files.config)
    if after != before:
        _change(own, before, after, yes=yes)
    folder.remove()
    output = Output.current()
    if output.is_json:
        output.json({"changed": after != before})
    else:
        output.say("removed" if after != before else f"{own.path} did not include it")


def _change(own: OwnConfig, before: str, after: str, *, yes: bool) -> None:
    """Write the person's own file, when they agree with what is changed."""
    if not yes:
        click.echo(difference(own.path, before, after), err=True)
        click.confirm(f"Change {own.path} like this?", abort=True, err=True)
    own.write(after)


def _print(variables: Mapping[str, str]) -> None:
    output = Output.current()
    if output.is_json:
        output.json(dict(variables))
        return
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _as_dict(folder: SshFolder, plan: Plan) -> dict[str, object]:
    return {
        "config": str(folder.files.config),
        "known_hosts": str(folder.files.known_hosts),
        "gateway": plan.gateway,
        "targets": [
            {
                "name": target.name,
                "alias": target.alias,
                "host": target.host,
                "port": target.port,
                "accounts": list(target.accounts),
                "usual": target.usual,
                "names": list(target.names),
                "key": str(folder.files.key(target.bundle)),
                "certificate": str(folder.files.certificate(target.bundle)),
            }
            for target in plan.targets
        ],
    }
