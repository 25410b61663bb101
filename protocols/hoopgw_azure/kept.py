"""What the recording keeps of a request's body, and reviewers see: without what looks secret.

Pure. The digest covers the whole body all the same. What is hidden here goes by names, so a secret
under a name that nobody would expect is kept; ``docs/azure.md`` says so.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from hoopgw_azure.calls import Query
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.strict_json import decode

KEPT_LIMIT: Final = 65_536
"""Bytes of a body that is kept; a longer one is said to be that long."""
HIDDEN: Final = "********"
_NAMES: Final = re.compile(
    r"(?i).*(password|passwd|secret|token|credential|connectionstring|privatekey|passphrase"
    r"|accesskey|sharedkey|storagekey|accountkey|apikey|primarykey|secondarykey|sas(uri|url)?"
    r"|pfx|pwd|jwt|assertion)"
    r"|securevalue|protectedsettings|customdata|userdata|keyvalue|keydata|authorization"
)
_SECURE: Final = frozenset({"securestring", "secureobject"})
_IN_QUERIES: Final = frozenset({"code", "sig", "key", "subscription-key", "t", "c", "s", "h"})
"""Keys of functions and gateways; and what Azure signs the addresses of operations' states with."""
_VAULT: Final = frozenset({"value", "key", "k", "d", "p", "q", "dp", "dq", "qi", "pwd"})


def kept(body: bytes, media_type: str, *, vault: bool = False) -> bytes:
    """Return what is kept of a body.

    Args:
        body: the whole of it.
        media_type: that it says to be, in lower case.
        vault: whether it goes to a key vault, whose secrets are called ``value``.

    """
    if not body:
        return b""
    if len(body) > KEPT_LIMIT:
        return b"<%d bytes>" % len(body)
    if media_type not in ("", "application/json", "text/json"):
        return b"<%d bytes of %b>" % (len(body), media_type.encode("ascii", "replace"))
    try:
        value = decode(body, relaxed=True).value
    except UnclearRequestError:
        return b"<%d bytes that are no JSON>" % len(body)
    shown = _hide(value, frozenset(), _VAULT if vault else frozenset())
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def kept_query(query: Query) -> Query:
    """Return a query without the values of what looks secret."""
    return tuple(
        (name, HIDDEN if _NAMES.fullmatch(low) or low in _IN_QUERIES else value)
        for name, value in query
        for low in (name.lower(),)
    )


def _hide(value: Any, secure: frozenset[str], names: frozenset[str]) -> Any:
    """Return a value without secrets; ``secure`` are parameters that a template says are."""
    if isinstance(value, list):
        return [_hide(each, secure, names) for each in value]
    if not isinstance(value, dict):
        return value
    secure |= _secure(value.get("template"))
    said = {name.lower(): inside for name, inside in value.items()}
    # As in lists of settings.
    is_setting = isinstance(said.get("name"), str) and _NAMES.fullmatch(said["name"])
    own = names | {"value"} if is_setting else names
    found: dict[str, Any] = {}
    for name, inside in value.items():
        low = name.lower()
        if low in own or low in secure or _NAMES.fullmatch(low):
            # A parameter of that name that a template defines is no secret itself.
            found[name] = _outline(inside)
        else:
            found[name] = _hide(inside, secure, names)
    return found


def _outline(value: Any) -> Any:
    """Return what tells that something is there, and what a template says of its type."""
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return {"type": value["type"], **({"value": HIDDEN} if "value" in value else {})}
    if isinstance(value, dict) and value.keys() == {"reference"}:
        return value  # to a vault: the secret is there, and not here
    return value if value is None or isinstance(value, bool) else HIDDEN


def _secure(template: Any) -> frozenset[str]:
    parameters = template.get("parameters") if isinstance(template, dict) else None
    if not isinstance(parameters, dict):
        return frozenset()
    return frozenset(
        name.lower()
        for name, said in parameters.items()
        if isinstance(said, dict) and str(said.get("type", "")).lower() in _SECURE
    )
