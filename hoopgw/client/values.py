"""What the client library speaks of: targets, what opens them, and what a child may do. Pure."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from attrs import field, frozen

from hoopgw.client.errors import BAD_REQUEST, NOT_IN_CAPS, REFUSED, Refused
from hoopgw.events import Budget, Cap
from hoopgw.wire_values import budget_from_dict

Caps: TypeAlias = "Iterable[str | Cap] | None"
"""``orders:Postgres::read``, or `Cap` values; None is no narrower than the parent."""

ANY: Final = "*"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,7})\s*([smhd]?)")


@frozen(kw_only=True)
class Target:
    """Something that can be reached through the gateway, as the gateway describes it."""

    name: str
    protocol: str
    host: str = ""
    """Of the gateway's listener for the protocol; empty if it has none."""
    port: int = 0
    accounts: tuple[str, ...] = ()
    """On the target, as far as the gateway tells."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "host": self.host,
            "port": self.port,
            "accounts": list(self.accounts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Target:
        """Return what `as_dict` gave; raises `KeyError`, `TypeError` or `ValueError`."""
        return cls(
            name=str(values["name"]),
            protocol=str(values["protocol"]),
            host=str(values["host"]),
            port=int(values["port"]),
            accounts=tuple(map(str, values["accounts"])),
        )


@frozen(kw_only=True)
class Token:
    """A chain with a proof, for one audience."""

    value: str = field(repr=False)
    expires: float
    """Seconds since the epoch; it is good once, until then."""


@frozen(kw_only=True)
class Requested:
    """Access that was asked for, as it stands now."""

    id: str
    state: str
    """``requested`` or ``active``; or how it ended: ``denied``, ``expired``, ``withdrawn``,
    ``consumed``, ``revoked``."""
    until: float | None
    """Seconds since the epoch: its end, once it is granted."""
    groups: tuple[str, ...] = ()
    """Who may decide on it."""
    note: str = ""

    @property
    def is_granted(self) -> bool:
        """Whether it can be used now."""
        return self.state == "active"

    @classmethod
    def from_dict(cls, values: Any) -> Requested:
        """Read the gateway's answer. Raises `Refused` if it cannot be read."""
        try:
            until = values["until"]
            return cls(
                id=str(values["id"]),
                state=str(values["state"]),
                until=None if until is None else float(until),
                groups=tuple(map(str, values.get("groups", ()))),
                note=str(values.get("note") or ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused(REFUSED, "the gateway's answer cannot be read") from error


@frozen(kw_only=True)
class Access:
    """What one connection to a target is opened with: good once, for two minutes at most.

    Connecting again needs another one: ask `Identity.password` each time. A connection pool takes
    a function (psycopg_pool's ``kwargs``, asyncpg's ``password``).
    """

    target: str
    host: str
    port: int
    database: str
    """What the client calls the database: the target, or ``target/database``."""
    user: str
    """The account on the target."""
    password: str = field(repr=False)
    ca: str | None
    """PEM file to trust for the gateway; None is the system's CAs."""
    expires: float

    def psycopg(self) -> dict[str, Any]:
        """Return the arguments of ``psycopg.connect``, or of any other client over libpq."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "sslmode": "verify-full",
            "sslrootcert": self.ca or "system",
        }

    def asyncpg(self) -> dict[str, Any]:
        """Return the arguments of ``asyncpg.connect``."""
        return {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": self.password,
            "ssl": ssl.create_default_context(cafile=self.ca),
        }

    def environment(self) -> dict[str, str]:
        """Return libpq's environment variables, for one connection of ``psql``."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": self.ca or "system",
        }

    @property
    def url(self) -> str:
        """One URL with everything in it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = urlencode({"sslmode": "verify-full", "sslrootcert": self.ca or "system"})
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{who}@{host}:{self.port}/{quote(self.database, safe='')}?{query}"


def parse_caps(given: Caps) -> tuple[Cap, ...] | None:
    """Read caps; those for one target become one.

    Raises:
        Refused: one cannot be read.

    """
    if given is None:
        return None
    found: dict[str, set[str]] = {}
    for cap in given:
        target, actions = _cap(cap)
        found.setdefault(target, set()).update(actions)
    if not found:
        raise Refused(BAD_REQUEST, "no caps at all would leave a child that may do nothing")
    return tuple(Cap(target=name, actions=frozenset(acts)) for name, acts in found.items())


def _cap(given: str | Cap) -> tuple[str, frozenset[str]]:
    if isinstance(given, Cap):
        return given.target, given.actions
    target, colon, rest = given.partition(":")
    actions = frozenset(action.strip() for action in rest.split(","))
    if not colon or not target or not all(actions):
        raise Refused(
            BAD_REQUEST,
            f"{given[:100]!r} is no cap",
            hint="write TARGET:ACTION, such as orders:Postgres::read or 'orders:*'",
        )
    return target, actions


def parse_duration(text: str) -> float:
    """Return seconds for ``90``, ``90s``, ``10m``, ``2h`` or ``1d``.

    Raises:
        Refused: it is none, or nothing.

    """
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if seconds < 1:
        raise Refused(BAD_REQUEST, f"{text[:40]!r} is no time", hint="write 90s, 10m, 2h or 1d")
    return float(seconds)


def parse_budget(given: Iterable[str]) -> Budget | None:
    """Return a budget for texts such as ``operations=1000``; None for none.

    Raises:
        Refused: one cannot be read.

    """
    amounts: dict[str, int] = {}
    for text in given:
        name, _, amount = text.partition("=")
        if name in amounts or not amount.isascii() or not amount.isdigit() or len(amount) > 18:
            raise Refused(BAD_REQUEST, f"{text[:60]!r} is no budget", hint="write operations=1000")
        amounts[name] = int(amount)
    try:
        return budget_from_dict(amounts) if amounts else None
    except ValueError as error:
        raise Refused(BAD_REQUEST, str(error)) from error


def covers(caps: Sequence[Cap] | None, target: str) -> bool:
    """Whether caps leave anything to do on a target."""
    return caps is None or any(cap.target in (ANY, target) for cap in caps)


def check_within(wanted: Sequence[Cap] | None, held: Sequence[Cap] | None) -> None:
    """Refuse caps that are plainly wider than those of whoever delegates.

    The gateway asks every hop of the chain for everything, so wider caps could never give more;
    this tells it early. Whether one action is part of another group only the gateway knows.

    Raises:
        Refused: a target, or all actions, are asked for that the parent has not.

    """
    if held is None or wanted is None:
        return
    for cap in wanted:
        above = [h for h in held if h.target in (ANY, cap.target)]
        if not above or (ANY in cap.actions and not any(ANY in h.actions for h in above)):
            raise Refused(
                NOT_IN_CAPS,
                f"{cap.target}:{','.join(sorted(cap.actions))} is more than the delegation has",
                hint=f"it has {shown(held)}",
                ask={"target": cap.target, "actions": sorted(cap.actions)},
            )


def shown(caps: Sequence[Cap] | None) -> str:
    """Return caps as they are written on the command line."""
    if caps is None:
        return "all that its parent has"
    return " ".join(f"{cap.target}:{','.join(sorted(cap.actions))}" for cap in caps)
