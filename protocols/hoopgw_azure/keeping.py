"""What is shown of an answer of which every string is masked: what clients cannot do without. Pure.

They must know how a call came out, when to stop asking, where to ask next, and which of several
keys one is. So a text at such a place is shown, if it is one of those that Azure has there, or what
the caller itself said in the path of its request. Anything else there, and all that is below it, is
masked as the rest is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from hoopgw.documents.detectors import DETECTORS, search

HIDDEN: Final = "***"
_STATES: Final = frozenset(
    {
        *("accepted", "active", "applying", "canceled", "canceling", "cancelled", "completed"),
        *("created", "creating", "deleted", "deleting", "disabled", "enabled", "failed", "failure"),
        *("inprogress", "in progress", "notspecified", "notstarted", "partiallysucceeded"),
        *("pending", "preparing", "processing", "provisioned", "provisioning", "queued", "ready"),
        *("resolving", "running", "scheduled", "started", "starting", "stopped", "stopping"),
        *("submitted", "succeeded", "success", "timedout", "unknown", "updated", "updating"),
        *("validating", "waiting"),
    }
)
_KEYS: Final = frozenset(
    {
        *("key", "key1", "key2", "key3", "key4", "kerb1", "kerb2", "default", "master", "_master"),
        *("primary", "secondary", "primarykey", "secondarykey", "primaryreadonlykey"),
        *("secondaryreadonlykey", "primarymasterkey", "secondarymasterkey"),
        *("rootmanagesharedaccesskey", "iothubowner", "provisioningserviceowner", "clusteradmin"),
        *("clusteruser", "password", "password2"),
    }
)
_PERMISSIONS: Final = frozenset(
    {"full", "read", "write", "readwrite", "listen", "send", "manage", "admin", "query"}
)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{5,8}(\.[0-9]{1,9})?(Z|[+-][0-9:]{5})?"
)
_CODE: Final = re.compile(r"[A-Za-z]{2,64}([._][A-Za-z]{2,64}){0,3}")
_MESSAGE_LIMIT: Final = 4096
_RUN: Final = re.compile(r"[A-Za-z0-9+/_~.=-]{16,}")
"""What may be a token, a key, or a path."""
_HARMLESS: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z]+|[A-Z]?[a-z]+([._-][A-Za-z]?[a-z]+)*\.?"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?|[0-9]+"
)
"""An id, words, a version of an API, a number."""
_SEARCHED: Final = tuple(
    (DETECTORS[name], "redact") for name in ("sas", "connection_string", "jwt", "private_key")
)


@frozen(kw_only=True)
class Request:
    """What an answer is to."""

    words: frozenset[str]
    """Of its path, in lower case: the caller knows them."""
    is_ours: Callable[[str], bool]
    """Whether an absolute URL is the target's own."""

    @classmethod
    def of(cls, path: str, is_ours: Callable[[str], bool]) -> Request:
        """Return it by its path."""
        return cls(words=frozenset(path.lower().split("/")), is_ours=is_ours)


def shown(path: str, said: str, request: Request) -> str:
    """Return what is shown of a text at one of the paths of `KEPT`."""
    return KEPT[path](said, request)


def _one_of(known: frozenset[str]) -> Callable[[str, Request], str]:
    def check(said: str, request: Request) -> str:
        low = said.lower()
        return said if low in known or low in request.words else HIDDEN

    return check


def _of_form(form: re.Pattern[str]) -> Callable[[str, Request], str]:
    return lambda said, _request: said if form.fullmatch(said) else HIDDEN


def _link(said: str, request: Request) -> str:
    return said if request.is_ours(said) else HIDDEN


def message(said: str, request: Request) -> str:
    """Return an error's text without what may be a secret in it.

    What detectors find, and what has the form of a token: 16 characters or more that are no words,
    no id, and not from the request's own path.
    """
    if len(said) > _MESSAGE_LIMIT:
        return HIDDEN
    return _RUN.sub(lambda found: _without_token(found[0], request), search(_SEARCHED, said, b""))


def _without_token(run: str, request: Request) -> str:
    pieces = run.strip(".").split("/")
    known = all(
        not piece or piece.lower() in request.words or _HARMLESS.fullmatch(piece)
        for piece in pieces
    )
    return run if known else HIDDEN


KEPT: Final[Mapping[str, Callable[[str, Request], str]]] = {
    "status": _one_of(_STATES),
    "properties.provisioningState": _one_of(_STATES),
    "nextLink": _link,
    "error.code": _of_form(_CODE),
    "error.message": message,
    "**.keyName": _one_of(_KEYS),
    "**.permissions": _one_of(_PERMISSIONS),
    "**.creationTime": _of_form(_TIME),
}
"""What says, for a path, what may be shown of a text there."""
