"""What OpenSSH's client calls targets, and which certificates it needs for them. Pure.

A certificate is for 32 targets and 32 accounts at most, so targets are put in *bundles*, each with
a certificate of its own; few people need a second one. A target stays in its bundle while it fits,
because the configuration of a running `ssh` names that bundle's files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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


def read_hosts(given: Any) -> list[str]:
    """Return the CAs that `HOSTS_PATH` tells; none if they cannot be read."""
    keys = given.get("keys") if isinstance(given, dict) else None
    lines = [str(line) for line in keys] if isinstance(keys, list) else []
    return lines if all(line.isprintable() for line in lines) else []


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
