"""Questions after asynchronous operations, by their form. Pure.

Azure answers a long operation with 202 and the address of its state, in ``Azure-AsyncOperation`` or
``Location``. The answer to that address may hold what the operation returned, secrets included, so
it is judged and masked as the operation was. Whose address it is, only the state of the gateway can
say; here it is recognised, and otherwise judged by its own name.
"""

from __future__ import annotations

import re
from typing import Final

from hoopgw.http.path import LocatorError, locate
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import ArmPath, parse

_STATES: Final = re.compile(
    r"\w*(operation(status|statuses|result|results)|operationsstatus|asyncoperations?)|\w+operations"
)
_LOCATED: Final = "operations"
"""A question only below ``locations``: APIs have operations, too."""
_STORED: Final = frozenset({"microsoft.edge/disconnectedoperations"})
"""Types of that form that are resources of their own."""


def is_state(path: str) -> bool:
    """Whether a path, still encoded, is the address of such a question."""
    try:
        return is_poll("GET", parse(locate(path or "/").segments))
    except (LocatorError, UnclearRequestError):
        return False


def is_poll(method: str, path: ArmPath) -> bool:
    """Whether a request has the form of such a question."""
    if method != "GET":
        return False
    if not path.parts:
        low = [word.lower() for word in path.plain]
        return len(low) == 2 and bool(_STATES.fullmatch(low[0]))
    part = path.parts[-1]
    if part.type.lower() in _STORED:
        return False
    # One without a name is a provider's list of what it can do.
    before = ""
    for kind, _ in zip(part.types, part.names, strict=False):
        word = kind.lower()
        if _STATES.fullmatch(word) or (word == _LOCATED and before == "locations"):
            return True
        before = word
    return False
