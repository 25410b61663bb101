"""How OpenSSH's client reaches targets: which certificates it needs, and its configuration. Pure.

A certificate is for 32 targets and 32 accounts at most, so targets are put in *bundles*, each with
a certificate of its own; few people need a second one. A target stays in its bundle while it fits,
because the configuration of a running `ssh` names that bundle's files.

Only options that OpenSSH 8.0 knows are written, and none that a build without GSSAPI complains
about.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from hoopgw.client.errors import REFUSED, UNKNOWN_ACCOUNT, UNKNOWN_TARGET, Refused
from hoopgw.client.values import Target
from hoopgw.identity.certified import TARGETS_LIMIT
from hoopgw.identity.ssh_certificates import LOGINS_LIMIT, PERMISSIONS

PROTOCOL: Final = "ssh"
AGENT_VARIABLE: Final = "HOOPGW_SSH_AGENT"
"""Inside `hoopgw delegate`: the socket that signs for the child."""
CONFIG_VARIABLE: Final = "HOOPGW_SSH_CONFIG"
"""A configuration that `hoopgw ssh` uses inside `hoopgw delegate`."""
HOSTS_PATH: Final = "/pki/ssh-hosts.json"
"""Where the gateway tells the CAs of its host certificate: ``{"keys": [...]}``."""
AHEAD: Final = 120.0
"""Seconds before its end at which a certificate is renewed."""
LAST: Final = 15.0
"""Seconds before its end at which it is not used any more."""
_NOT_ASKED: Final = frozenset({"permit-user-rc"})
"""Permissions that nobody needs: policy says what of the others may be used."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""What can stand in a ``Host`` line and mean itself only."""
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_TRIES: Final = 150
"""How often the script looks whether another one has got a certificate: for half a minute."""
_LINE: Final = 1_000
"""Characters of names in one line."""


@frozen(kw_only=True)
class SshTarget:
    """A target, as `ssh` is told of it."""

    name: str
    alias: str
    """What people type; another than the name where that is taken."""
    host: str
    port: int
    accounts: tuple[str, ...]
    usual: str = ""
    """The account that is used if none is named; empty if nobody said."""
    bundle: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """All that people may type for it."""
        named = tuple(f"{account}+{self.name}" for account in self.accounts)
        return (self.alias, *named) if self.usual else named

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "alias": self.alias,
            "host": self.host,
            "port": self.port,
            "accounts": list(self.accounts),
            "usual": self.usual,
            "bundle": self.bundle,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SshTarget:
        """Return what `as_dict` gave; raises `KeyError`, `TypeError` or `ValueError`."""
        return cls(
            name=str(values["name"]),
            alias=str(values["alias"]),
            host=str(values["host"]),
            port=int(values["port"]),
            accounts=tuple(map(str, values["accounts"])),
            usual=str(values["usual"]),
            bundle=int(values["bundle"]),
        )


@frozen(kw_only=True)
class Choices:
    """What a person has chosen."""

    only: frozenset[str] = frozenset()
    """Targets; all if none is named."""
    accounts: Mapping[str, str] = field(factory=dict)
    """Target to the account that is usual there; ``*`` for every target that has it."""
    taken: frozenset[str] = frozenset()
    """Names that the person's own configuration has."""
    login: str = ""
    """The person's name on this machine: usual where there is such an account."""


@frozen(kw_only=True)
class Plan:
    """All targets that `ssh` is told of."""

    gateway: str
    """The name that the gateway's host certificate is checked for."""
    targets: tuple[SshTarget, ...] = ()

    def find(self, name: str) -> SshTarget | None:
        """Return the target that somebody means by a name."""
        for target in self.targets:
            if name in (target.name, *target.names):
                return target
        return None

    @property
    def bundles(self) -> tuple[int, ...]:
        """Numbers of the bundles."""
        return tuple(sorted({target.bundle for target in self.targets}))

    def bundle(self, number: int) -> tuple[SshTarget, ...]:
        """Return the targets of one bundle."""
        return tuple(target for target in self.targets if target.bundle == number)


def make_plan(
    found: Iterable[Target], gateway: str, choices: Choices, before: Plan | None = None
) -> Plan:
    """Return what `ssh` is told.

    Args:
        found: what the gateway lists.
        gateway: its host name.
        choices: of the person.
        before: the plan until now. While a target's agent is away, its accounts are those of then.

    """
    known = {} if before is None else {target.name: target for target in before.targets}
    made: list[SshTarget] = []
    for each in sorted(found, key=lambda target: target.name):
        fits = each.protocol == PROTOCOL and each.port and _NAME.fullmatch(each.name)
        if not fits or (choices.only and each.name not in choices.only):
            continue
        old = known.get(each.name)
        accounts = each.accounts or (() if old is None else old.accounts)
        usual = _usual(each.name, accounts, choices)
        wanted = choices.accounts.get(each.name, "")
        named = [name for name in dict.fromkeys((usual, wanted, *accounts)) if name]
        kept = [name for name in named if _ACCOUNT.fullmatch(name)][:LOGINS_LIMIT]
        target = SshTarget(
            name=each.name,
            alias=f"hoopgw-{each.name}" if each.name in choices.taken else each.name,
            host=each.host,
            port=each.port,
            accounts=tuple(sorted(kept)),
            usual=usual if usual in kept else "",
            bundle=0 if old is None else old.bundle,
        )
        made.append(evolve(target, bundle=_bundle(target, made)))
    return Plan(gateway=gateway, targets=tuple(made))


def _usual(name: str, accounts: Sequence[str], choices: Choices) -> str:
    """Return the account that a target is meant with if none is named; empty if that is open."""
    chosen, general = choices.accounts.get(name), choices.accounts.get("*")
    if chosen is not None:
        return chosen
    if general is not None and (general in accounts or not accounts):
        return general
    if len(accounts) == 1:
        return accounts[0]
    return choices.login if choices.login in accounts else ""


def _bundle(target: SshTarget, others: Sequence[SshTarget]) -> int:
    """Return the bundle that a target was in, if it fits there still; or the first that it fits."""
    last: int = max((other.bundle for other in others), default=0)
    candidates: list[int] = [target.bundle, *range(1, last + 1)]
    for number in candidates:
        members = [other for other in others if other.bundle == number]
        accounts = set(target.accounts).union(*(other.accounts for other in members))
        if number and len(members) < TARGETS_LIMIT and len(accounts) <= LOGINS_LIMIT:
            return number
    return last + 1


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


def read_hosts(given: Any) -> list[str]:
    """Return the CAs that `HOSTS_PATH` tells; none if they cannot be read."""
    keys = given.get("keys") if isinstance(given, dict) else None
    lines = [str(line) for line in keys] if isinstance(keys, list) else []
    return lines if all(line.isprintable() for line in lines) else []


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


@frozen(kw_only=True)
class Issued:
    """A certificate that the gateway gave."""

    text: str = field(repr=False)
    """As OpenSSH keeps it."""
    authorities: tuple[str, ...]
    """The CAs of the gateway's host certificate, one a line."""
    serial: str
    lifetime: float
    """Seconds."""

    @classmethod
    def read(cls, given: Any) -> Issued:
        """Read the gateway's answer. Raises `Refused` if it cannot be read."""
        try:
            issued = cls(
                text=str(given["certificate"]),
                authorities=tuple(str(line) for line in given["host_authorities"]),
                serial=str(given["serial"]),
                lifetime=float(given["lifetime"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(REFUSED, "the gateway's certificate cannot be read") from error
        if not all(line.isprintable() for line in (issued.text, *issued.authorities)):
            raise Refused(REFUSED, "the gateway's certificate cannot be read")
        return issued

    @property
    def soft(self) -> float:
        """Seconds after which it is renewed."""
        return self.lifetime - min(AHEAD, self.lifetime / 4)

    @property
    def hard(self) -> float:
        """Seconds after which it is not used any more."""
        return self.lifetime - min(LAST, self.lifetime / 8)


def wanted_certificate(members: Sequence[SshTarget], public_key: str) -> dict[str, Any]:
    """Return what is asked of ``/v1/certificates`` for the targets of a bundle.

    Raises:
        Refused: no account is known that it could be for.

    """
    accounts = sorted({account for target in members for account in target.accounts})
    if not members:
        raise Refused(UNKNOWN_TARGET, "there is no SSH target that you may connect to")
    if not accounts:
        name = members[0].name
        raise Refused(
            UNKNOWN_ACCOUNT,
            f"no account on {name} is known, as its agent is away",
            hint=f"name one with --account {name}=ACCOUNT",
        )
    return {
        "ssh_key": public_key,
        "targets": [target.name for target in members],
        "accounts": accounts,
        "permissions": sorted(PERMISSIONS - _NOT_ASKED),
    }


def taken_names(texts: Iterable[str]) -> frozenset[str]:
    """Return the names that ``Host`` lines of configurations have; patterns are no names."""
    found: set[str] = set()
    for line in (line for text in texts for line in text.splitlines()):
        words = line.replace("=", " ", 1).split()
        if words[:1] and words[0].lower() == "host":
            found.update(word.strip('"') for word in words[1:])
    return frozenset(name for name in found if _NAME.fullmatch(name))


def complete(plan: Plan, targets: Collection[str] = ()) -> list[str]:
    """Return all that can be typed behind `ssh`, for a shell's completion."""
    return sorted(
        name
        for target in plan.targets
        if not targets or target.name in targets
        for name in target.names
    )
