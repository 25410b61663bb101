"""The texts that OpenSSH's client reads: its configuration, its known hosts, and a script. Pure.

Only options that OpenSSH 8.0 knows are written, and none that a build without GSSAPI complains
about.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from hoopgw.client.ssh import AGENT_VARIABLE, CONFIG_VARIABLE, Plan, SshTarget

_TRIES: Final = 150
"""How often the script looks whether another one has got a certificate: for half a minute."""
_LINE: Final = 1_000
"""Characters of names in one line."""


@frozen(kw_only=True)
class ClientFiles:
    """Where a client's files are."""

    folder: Path

    @property
    def config(self) -> Path:
        """The client's configuration."""
        return self.folder / "config"

    @property
    def known_hosts(self) -> Path:
        """The CAs of the gateway's host certificate."""
        return self.folder / "known_hosts"

    @property
    def renew(self) -> Path:
        """The shell script that `ssh` runs before it connects."""
        return self.folder / "renew"

    def key(self, bundle: int) -> Path:
        """Return the private key of a bundle."""
        return self.folder / ("id_ed25519" if bundle == 1 else f"id_ed25519-{bundle}")

    def certificate(self, bundle: int) -> Path:
        """Return its certificate, where OpenSSH looks for it by itself."""
        key = self.key(bundle)
        return key.with_name(f"{key.name}-cert.pub")

    def until(self, bundle: int) -> Path:
        """Return the file that says from when on a certificate is renewed, and not used any more.

        Two numbers: seconds since the epoch, by this machine's clock.
        """
        key = self.key(bundle)
        return key.with_name(f"{key.name}.until")

    def renewing(self, bundle: int) -> Path:
        """Return the folder that is there while the script renews a certificate."""
        key = self.key(bundle)
        return key.with_name(f"{key.name}.renewing")


def config_text(plan: Plan, files: ClientFiles, identity: Sequence[str] = ()) -> str:
    """Return the client's configuration.

    Args:
        plan: what it is told.
        files: where its files are.
        identity: lines that say whom it connects as; without any, who is logged in, with a
            certificate that is renewed before it is used.

    """
    parts = ["# Written by hoopgw, and replaced when targets change: edit your own file instead."]
    for number in plan.bundles:
        members = plan.bundle(number)
        parts += [_asking(target, files) for target in members if not target.usual]
        parts += [] if identity else _renewing(members, files, number)
    parts += [_host(target, files, plan.gateway, name, identity) for target, name in _named(plan)]
    return "\n\n".join(parts) + "\n"


def _renewing(members: Iterable[SshTarget], files: ClientFiles, bundle: int) -> list[str]:
    """Return the blocks that get a certificate when it is needed, and use it only then.

    Inside `hoopgw delegate` the first does not apply: there the child's own agent signs.
    """
    script, made = _quoted(files.renew, in_command=True), []
    for names in _chunks([name for target in members for name in target.names]):
        made += [
            _block(
                f'Match originalhost "{names}" exec "/bin/sh {script} {bundle}"',
                f"IdentityFile {_quoted(files.key(bundle))}",
                f"CertificateFile {_quoted(files.certificate(bundle))}",
                "IdentitiesOnly yes",
            ),
            _block(
                f'Match originalhost "{names}" exec "/bin/sh {script} child"',
                f"IdentityAgent ${AGENT_VARIABLE}",
                "IdentityFile none",
                "IdentitiesOnly no",
            ),
        ]
    return made


def _asking(target: SshTarget, files: ClientFiles) -> str:
    """Return the block that says, before the gateway would refuse, which account may be meant."""
    script = _quoted(files.renew, in_command=True)
    accounts = " ".join(target.accounts[:8])
    return _block(
        f'Match originalhost {target.alias} exec "/bin/sh {script} which {target.name} {accounts}"',
        "ProxyCommand exit 1",
    )


def _named(plan: Plan) -> Iterable[tuple[SshTarget, str]]:
    for target in plan.targets:
        yield target, target.usual
        for account in target.accounts:
            if account != target.usual:
                yield target, account


def _host(
    target: SshTarget, files: ClientFiles, gateway: str, account: str, identity: Sequence[str]
) -> str:
    named = f"{account or 'ACCOUNT'}+{target.name}"
    pattern = f"{target.alias} {named}" if account == target.usual else named
    pattern = pattern if account else target.alias
    return _block(
        f"Host {pattern}",
        f"HostName {target.host}",
        f"Port {target.port}",
        f"User {named}",
        f"HostKeyAlias {gateway}",
        f"UserKnownHostsFile {_quoted(files.known_hosts)}",
        "GlobalKnownHostsFile /dev/null",
        "StrictHostKeyChecking yes",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "PreferredAuthentications publickey",
        "AddKeysToAgent no",
        "ServerAliveInterval 30",
        "ServerAliveCountMax 4",
        # After what a Match has said, which counts: without a certificate nothing else is shown.
        *(identity or ("IdentityFile none", "IdentitiesOnly yes")),
    )


def known_hosts_text(gateway: str, authorities: Iterable[str]) -> str:
    """Return the known hosts: every CA that is accepted for the gateway's host certificate."""
    return "".join(f"@cert-authority {gateway} {line}\n" for line in authorities)


def script_text(command: str, folder: str) -> str:
    """Return the script that `ssh` runs before each connection, so it starts no Python if it can.

    Args:
        command: renews one bundle, whose number is put behind it.
        folder: where the client's files are.

    """
    return f"""# Written by hoopgw. `ssh` runs it before it connects: it gets a new certificate,
# if the one that is there is about to end.
if [ "$1" = child ]; then
    [ -n "${AGENT_VARIABLE}" ]
    exit
fi
if [ "$1" = which ]; then
    target=$2
    shift 2
    echo "hoopgw: which account on $target? ssh ACCOUNT+$target, with ${{*:-one that is there}}" >&2
    exit 0
fi
if [ -n "${AGENT_VARIABLE}$HOOPGW_BROKER" ]; then
    [ -n "${AGENT_VARIABLE}" ] || echo "hoopgw: no SSH target was delegated to this process" >&2
    exit 1
fi
key=id_ed25519
[ "$1" = 1 ] || key=id_ed25519-$1
key={folder}/$key
began=$(date +%s)
state() {{
    soft=0 hard=0
    [ -r "$key.until" ] && read -r soft hard < "$key.until"
    now=$(date +%s)
    [ "$soft" -gt "$now" ] 2>/dev/null
}}
state && exit 0
if [ "$hard" -gt "$now" ] 2>/dev/null; then
    # It is good for a little while: this connection uses it, and one of all renews it meanwhile.
    mkdir "$key.renewing" 2>/dev/null && (
        {command} "$1"
        rmdir "$key.renewing"
    ) </dev/null >/dev/null 2>&1 &
    exit 0
fi
# One of all gets the next one, and says what goes wrong; the others wait, and say it too.
tries=0
while ! mkdir "$key.renewing" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -gt {_TRIES} ] && break # whoever was at it has been killed
    sleep 0.2 2>/dev/null || sleep 1
    state && exit 0
    failed=0
    [ -r "$key.failed" ] && read -r failed < "$key.failed"
    if [ "$failed" -ge "$began" ] 2>/dev/null; then
        tail -n +2 "$key.failed" >&2
        exit 1
    fi
done
trap 'rmdir "$key.renewing" 2>/dev/null' EXIT
trap 'exit 130' HUP INT TERM
said=$({command} "$1" 2>&1 </dev/null) && exit 0
status=$?
umask 077
printf '%s\n' "$(date +%s)" "$said" > "$key.failed"
[ -z "$said" ] || printf '%s\n' "$said" >&2
exit $status
"""


def _chunks(names: Sequence[str]) -> list[str]:
    """Return names with commas between, in lines that no client finds too long."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(name) < _LINE:
            lines[-1] += f",{name}"
        else:
            lines.append(name)
    return lines


def _block(head: str, *lines: str) -> str:
    return "\n    ".join((head, *lines))


def _quoted(path: Path, *, in_command: bool = False) -> str:
    """Return a path as a word of the configuration, or of a command in it (see `is_usable`)."""
    text = str(path)
    if in_command:
        return f"'{text}'"
    return f'"{text}"' if " " in text else text


def is_usable(path: Path) -> bool:
    """Whether files in a folder can be named in OpenSSH's configuration, in all versions."""
    text = str(path)
    return path.is_absolute() and text.isprintable() and not set(text) & set("\"'\\#$%")


def environment(config: Path) -> dict[str, str]:
    """Return variables with which programs that run `ssh` use a configuration."""
    command = f"ssh -F {shlex.quote(str(config))}"
    return {
        CONFIG_VARIABLE: str(config),
        "GIT_SSH_COMMAND": command,
        "RSYNC_RSH": command,
        "ANSIBLE_SSH_COMMON_ARGS": f"-F {shlex.quote(str(config))}",
    }
