"""What a client may ask for when it connects: target, account, settings. Pure.

The target's StartupMessage is built anew from what is allowed here; nothing of the client's packet
is passed on (``replication``, ``options=-c role=...`` and unknown parameters never reach it).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from attrs import field, frozen

from hoopgw_postgres.wire import Startup

SETTINGS: Final = frozenset(
    {
        "application_name",
        "bytea_output",
        "datestyle",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "lock_timeout",
        "statement_timeout",
        "timezone",
        "transaction_timeout",
        "work_mem",
    }
)
"""Settings that a client may give at start; none changes what a statement's text means."""

_UTF8: Final = frozenset({"utf8", "unicode"})
_OPTION: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][A-Za-z0-9_.\-]*)=((?:\\.|[^\s\\])*)\s*")


@frozen
class StartupRefusedError(Exception):
    """The client asks for something that it can not have; becomes a FATAL error."""

    code: str
    text: str
    hint: str | None = None


@frozen(kw_only=True)
class Wanted:
    """What the client asks for."""

    target: str
    database: str
    """Empty: the target's own default."""
    account: str
    handle: str
    """Of a session password; empty when a token is to come."""
    settings: Mapping[str, str] = field(factory=dict)


def wanted(startup: Startup, targets: Collection[str]) -> Wanted:
    """Read a StartupMessage.

    ``user`` is the account on the target, or ``account~handle`` for a session password;
    ``database`` is ``target`` or ``target/database``.

    Raises:
        StartupRefusedError: with the SQLSTATE and the text for the client.

    """
    parameters = dict(startup.parameters)
    for name in startup.options:
        del parameters[name]
    user = parameters.pop("user", "")
    if not user:
        raise StartupRefusedError("28000", "no PostgreSQL user name specified in startup packet")
    place = parameters.pop("database", "") or user
    if parameters.pop("replication", "off").lower() not in ("off", "false", "no", "0"):
        raise StartupRefusedError("0A000", "hoopgw does not pass replication connections")
    target, _, database = place.partition("/")
    if target not in targets:
        raise StartupRefusedError(
            "3D000",
            f'hoopgw knows no target "{target}"',
            "Connect with dbname=TARGET or dbname=TARGET/DATABASE; 'hoopgw targets' lists them.",
        )
    account, tilde, handle = user.rpartition("~")
    if not tilde:
        account, handle = user, ""
    options = parameters.pop("options", "")
    settings = _settings({**parameters, **_options(options)})
    return Wanted(
        target=target, database=database, account=account, handle=handle, settings=settings
    )


def _options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = len(text) - len(text.lstrip())
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None:
            raise StartupRefusedError(
                "0A000", "hoopgw takes only '-c name=value' in the connection's options"
            )
        found[match[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()
    return found


def _settings(asked: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name, value in asked.items():
        key = name.lower()
        if key == "client_encoding":
            if value.strip("'\" ").lower().replace("-", "").replace("_", "") not in _UTF8:
                raise StartupRefusedError(
                    "0A000",
                    f'hoopgw speaks UTF8 only, not client_encoding "{value}"',
                    "Set PGCLIENTENCODING=UTF8, or client_encoding=UTF8 in the connection.",
                )
        elif key in SETTINGS:
            settings[key] = value
        else:
            raise StartupRefusedError(
                "0A000",
                f'hoopgw does not pass the setting "{name}" at connection start',
                "Leave it out, or SET it in the session if the policy allows that.",
            )
    return settings
