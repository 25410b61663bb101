"""``POST /batch``: requests inside of one, each judged as if it had come alone. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from hoopgw.events import ContextValue
from hoopgw.http.messages import NO_HEADERS
from hoopgw_azure.arm import api_version
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import NO_SECRETS, Call, Secrets
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.strict_json import Json, decode, has_member, member, text_of

REQUESTS_LIMIT: Final = 20
"""Azure's own limit."""
_ABSOLUTE: Final = re.compile(r"https://([A-Za-z0-9.:-]+)(/.*)")
_HEADERS: Final = frozenset({"commandname", "x-ms-client-request-id", "x-ms-command-name"})
"""What a request inside may bring of its own: names for logs only."""


def is_batch(asked: Asked) -> bool:
    """Whether a request is a batch."""
    return tuple(word.lower() for word in asked.segments) == ("batch",)


def call(asked: Asked, hosts: frozenset[str], one: Callable[[Asked], Call]) -> Call:
    """Return what all requests of a batch do together.

    Args:
        asked: the batch.
        hosts: that their URLs may name.
        one: what reads one of them.

    Raises:
        UnclearRequestError: one of them cannot be judged.

    """
    if asked.method != "POST":
        raise UnclearRequestError("a batch is a POST")
    if asked.media_type not in ("application/json", ""):
        raise UnclearRequestError("the body of a batch must be application/json")
    requests = member(decode(asked.body).value, "requests")
    if not isinstance(requests, Sequence) or isinstance(requests, str) or not requests:
        raise UnclearRequestError("a batch must have a list of requests")
    if len(requests) > REQUESTS_LIMIT:
        raise UnclearRequestError(f"a batch has at most {REQUESTS_LIMIT} requests")
    calls = [one(_inside(each, hosts)) for each in requests]
    if any(each.body is not None for each in calls):
        raise UnclearRequestError("a template inside of a batch must be plain JSON")
    return _together(calls, api_version(asked.query))


def _inside(request: Json, hosts: frozenset[str]) -> Asked:
    method, url = text_of(request, "httpMethod"), text_of(request, "url")
    if method is None or url is None:
        raise UnclearRequestError("each request of a batch needs httpMethod and url")
    for name in ("headers", "requestHeaders"):
        brought = member(request, name)
        names = {key.lower() for key in brought} if isinstance(brought, dict) else set[str]()
        if brought and (not names or not names <= _HEADERS):
            raise UnclearRequestError("a request of a batch brings headers of its own")
    body = member(request, "content" if has_member(request, "content") else "body")
    if has_member(request, "content") and has_member(request, "body"):
        raise UnclearRequestError("a request of a batch has two bodies")
    sent = b"" if body is None else json.dumps(body).encode()
    found = Asked.of(method.upper(), _target(url, hosts), NO_HEADERS, sent)
    if found.slash:
        raise UnclearRequestError("a request of a batch ends in a slash")
    if is_batch(found):
        raise UnclearRequestError("a batch inside of a batch is not taken")
    return found


def _target(url: str, hosts: frozenset[str]) -> str:
    """Return a URL without its host, if that is one of ours."""
    if url.startswith("/") and not url.startswith("//"):
        return url
    match = _ABSOLUTE.fullmatch(url)
    if match is None or match[1].lower() not in hosts:
        raise UnclearRequestError("a request of a batch is for another host")
    return match[2]


def _together(calls: Sequence[Call], version: str) -> Call:
    names = dict.fromkeys(each.operation for each in calls)
    secrets = NO_SECRETS
    for each in calls:
        secrets |= each.secrets
    if secrets:
        # The answers are members of one body: where each is, its own paths do not say.
        secrets = Secrets(everything=True)
    return Call(
        operation=", ".join(names),
        touches=tuple(dict.fromkeys(touch for each in calls for touch in each.touches)),
        api_version=version,
        secrets=secrets,
        mints=any(each.mints for each in calls),
        executes=any(each.executes for each in calls),
        grants=any(each.grants for each in calls),
        extra=_merged(calls),
        notes=(f"a batch of {len(calls)} requests", *(n for each in calls for n in each.notes)),
    )


def _merged(calls: Sequence[Call]) -> tuple[tuple[str, ContextValue], ...]:
    found: dict[str, ContextValue] = {}
    for each in calls:
        for name, value in each.extra:
            before = found.get(name)
            if isinstance(value, tuple):
                above = before if isinstance(before, tuple) else ()
                found[name] = tuple(sorted({*above, *value}))
            else:
                found[name] = bool(before) or value
    return tuple(sorted(found.items()))
