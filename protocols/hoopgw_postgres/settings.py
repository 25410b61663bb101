"""Settings that no statement may change, in any session.

Two kinds: those that change what the bytes of later statements and answers mean, which the gateway
relies on, and those that change who asks, which the verdict on a session relies on. That the server
reports a change (and the gateway then ends the session) comes too late: what is sent behind the
statement would have been judged under the old meaning.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hoopgw_postgres.statements import Facts, Setting

_TRUE: Final = frozenset({"on", "true", "yes", "1", "t", "y"})
_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "client_encoding": frozenset({"utf8", "utf-8", "unicode"}),
    "standard_conforming_strings": _TRUE,
    "backslash_quote": frozenset({"safe_encoding"}),
}
"""Setting to the values that it may be set to; all of them mean what it is already."""
_WRITING: Final = frozenset({"insert", "update", "delete", "merge", "copy_in"})
_ACCOUNTS: Final = frozenset({"role", "session_authorization"})


def refused_setting(facts: Facts) -> str | None:
    """Return why a text must not change a setting that it changes; None if it may."""
    for statement in facts.statements:
        if any(r.name == "pg_settings" and r.role in _WRITING for r in statement.relations):
            return "settings are changed with SET, not through pg_settings"
        for setting in statement.settings:
            reason = _reason(setting)
            if reason is not None:
                return reason
    return None


def _reason(setting: Setting) -> str | None:
    if not setting.name:
        return "set_config needs the setting's name as a literal"
    if setting.computed and setting.name in {*_VALUES, *_ACCOUNTS, "search_path"}:
        return f"{setting.name} may only be set to a literal"
    if setting.value is None:
        return None  # to what it was when the session began
    if setting.name in _ACCOUNTS:
        return f"{setting.name} cannot be set: the account was chosen at log-in"
    allowed = _VALUES.get(setting.name)
    if allowed is not None and setting.value.lower() not in allowed:
        return f"{setting.name} cannot be set to another value here"
    return None
