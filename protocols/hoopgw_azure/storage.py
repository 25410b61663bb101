"""Blob storage's data plane: from method, path, query and headers to the data action. Pure.

Requests that prove themselves (SharedKey, SAS) go past identity: whoever holds the key is
everybody. They are refused wherever they are recognised: by the scheme in ``Authorization``, by
``sig`` in the query, and by both in the source of a copy. Batches are refused as they are; a client
can send the parts.

Reference: Azure Blob Storage REST API; Azure RBAC, data actions of Microsoft.Storage.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve, frozen

from hoopgw.events import Resource
from hoopgw.http.messages import Headers, RequestHead
from hoopgw.http.path import LocatorError, locate, read_path, read_query
from hoopgw.sessions.refusals import Refusal
from hoopgw_azure.asked import Asked
from hoopgw_azure.blob_masking import type_of
from hoopgw_azure.calls import NO_SECRETS, Call, Query, Secrets, Touch, Verb
from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.resources import Place

ACCOUNTS: Final = "Microsoft.Storage/storageAccounts"
SERVICES: Final = f"{ACCOUNTS}/blobServices"
CONTAINERS: Final = f"{SERVICES}/containers"
BLOBS: Final = f"{CONTAINERS}/blobs"

COPY_SOURCE: Final = b"x-ms-copy-source"
"""The field that says what a blob is copied from."""

_LOGIN: Final = (
    "az: --auth-mode login, and no key, connection string or SAS; SDKs: a token credential"
)
_SIGNED: Final = frozenset({"sharedkey", "sharedkeylite"})
_SIGNATURES: Final = frozenset({"sig", "skoid", "sktid", "se", "sr"})
"""Parameters that only a shared access signature has. Others of its have innocent namesakes."""

_URL: Final = re.compile(r"https://([A-Za-z0-9.:-]+)(/[^?#]*)\??([^#]*)")

_Row = tuple[Verb, str]

_SERVICE: Final[dict[tuple[str, str, str], _Row]] = {
    ("GET", "", "list"): ("listData", f"{CONTAINERS}/read"),
    ("GET", "", "blobs"): ("listData", f"{BLOBS}/filter/action"),
    ("GET", "service", "properties"): ("readData", f"{SERVICES}/read"),
    ("PUT", "service", "properties"): ("writeData", f"{SERVICES}/write"),
    ("GET", "service", "stats"): ("readData", f"{SERVICES}/read"),
    ("POST", "service", "userdelegationkey"): (
        "mint",
        f"{SERVICES}/generateUserDelegationKey/action",
    ),
    ("GET", "account", "properties"): ("readData", f"{ACCOUNTS}/read"),
    ("HEAD", "account", "properties"): ("readData", f"{ACCOUNTS}/read"),
}
_CONTAINER: Final[dict[tuple[str, str], _Row]] = {
    ("GET", ""): ("listData", f"{CONTAINERS}/read"),
    ("HEAD", ""): ("listData", f"{CONTAINERS}/read"),
    ("GET", "metadata"): ("listData", f"{CONTAINERS}/read"),
    ("HEAD", "metadata"): ("listData", f"{CONTAINERS}/read"),
    ("GET", "acl"): ("listData", f"{CONTAINERS}/getAcl/action"),
    ("HEAD", "acl"): ("listData", f"{CONTAINERS}/getAcl/action"),
    ("GET", "list"): ("listData", f"{BLOBS}/read"),
    ("GET", "blobs"): ("listData", f"{BLOBS}/filter/action"),
    ("PUT", ""): ("writeData", f"{CONTAINERS}/write"),
    ("PUT", "metadata"): ("writeData", f"{CONTAINERS}/write"),
    ("PUT", "acl"): ("grant", f"{CONTAINERS}/setAcl/action"),
    ("PUT", "lease"): ("writeData", f"{CONTAINERS}/lease/action"),
    ("PUT", "undelete"): ("writeData", f"{CONTAINERS}/write"),
    ("DELETE", ""): ("deleteData", f"{CONTAINERS}/delete"),
}
_WRITES: Final = (
    *("", "block", "blocklist", "page", "appendblock", "metadata", "properties", "tier"),
    *("snapshot", "lease", "copy", "undelete", "seal", "incrementalcopy"),
)
_BLOB: Final[dict[tuple[str, str], _Row]] = {
    ("GET", ""): ("readData", f"{BLOBS}/read"),
    ("HEAD", ""): ("listData", f"{BLOBS}/read"),
    ("GET", "metadata"): ("listData", f"{BLOBS}/read"),
    ("HEAD", "metadata"): ("listData", f"{BLOBS}/read"),
    ("GET", "blocklist"): ("listData", f"{BLOBS}/read"),
    ("GET", "pagelist"): ("listData", f"{BLOBS}/read"),
    ("GET", "tags"): ("listData", f"{BLOBS}/tags/read"),
    ("POST", "query"): ("readData", f"{BLOBS}/read"),
    **{("PUT", comp): ("writeData", f"{BLOBS}/write") for comp in _WRITES},
    ("PUT", "tags"): ("writeData", f"{BLOBS}/tags/write"),
    ("DELETE", ""): ("deleteData", f"{BLOBS}/delete"),
}


@frozen
class Account:
    """A storage account that is a target."""

    name: str
    in_path: bool = False
    """Whether its name is the first segment of each path, as in emulators."""
    hosts: frozenset[str] = frozenset()
    """Under which clients know its blobs, with the port if there is one, in lower case."""
    host: str = ""
    """Its own, in lower case: under which the account itself knows its blobs."""


def call(asked: Asked, place: Place, account: Account) -> Call:
    """Return what a request does.

    Raises:
        UnclearRequestError: it may be read in more than one way, or proves itself.

    """
    refuse_signed(asked)
    segments = _within(asked.segments, account)
    comp = (asked.parameter("comp") or "").lower()
    kind = (asked.parameter("restype") or "").lower()
    if comp == "batch":
        raise UnclearRequestError("batches are not taken; send the requests one by one")
    verb, operation = _row(asked.method, segments, kind, comp)
    resource = _resource(segments, asked.slash, place, account)
    touches = [Touch(verb=verb, resource=resource, operation=operation.lower())]
    if asked.header(b"x-ms-blob-public-access"):
        touches.append(
            Touch(verb="grant", resource=resource, operation=f"{CONTAINERS}/setAcl/action".lower())
        )
    copied = _source(asked, place, account)
    opaque = ("copySource",) if copied is not None and copied.verb == "unknown" else ()
    touches += [copied] if copied is not None else []
    return Call(
        operation=operation,
        touches=tuple(touches),
        type=type_of(operation) if verb in ("listData", "readData", "unknown") else "",
        secrets=Secrets(everything=True) if verb == "mint" else NO_SECRETS,
        mints=verb == "mint",
        grants=any(touch.verb == "grant" for touch in touches),
        extra=(("opaque", opaque),) if opaque else (),
    )


def with_own_source(headers: Headers, account: Account, authority: str) -> Headers:
    """Return a request's fields in which the source of a copy is where the account finds it.

    Clients name the source as they know it, by a name of the gateway that the account could not
    reach, and must not: the copy is its own, and so is the token for it. What names another
    host, or cannot be read, stays as it is; `call` says what that is.

    Args:
        headers: as they came.
        account: that is asked.
        authority: by which the client reached us.

    """
    written = headers.all(COPY_SOURCE)
    match = _URL.fullmatch(written[0].decode("latin-1")) if len(written) == 1 else None
    if match is None or not account.host:
        return headers
    if _usual(match[1]) not in {_usual(each) for each in (authority, *account.hosts)}:
        return headers
    mark = "?" if match[3] else ""
    own = f"https://{account.host}{match[2]}{mark}{match[3]}"
    return headers.replaced(COPY_SOURCE, own.encode("latin-1"))


def _usual(host: str) -> str:
    return host.lower().removesuffix(":443")


def explained(head: RequestHead | None, refusal: Refusal) -> Refusal:
    """Return a refusal that says what is wrong with a request that proves itself.

    Without a token of ours such a request comes from nobody, and is refused before it is read.
    """
    if head is None or refusal.kind != "unauthenticated":
        return refusal
    try:
        place = locate(head.target)
        refuse_signed(
            Asked(method=head.method, segments=(), query=place.query, headers=head.headers)
        )
    except UnclearRequestError as error:
        # Not 401: clients would show the key again, or ask for another log-in.
        return evolve(refusal, kind="denied", text=str(error), hint=_LOGIN)
    except LocatorError:
        return refusal
    return refusal


def refuse_signed(asked: Asked) -> None:
    """Refuse a request that proves itself by a key of the account.

    Raises:
        UnclearRequestError: it does.

    """
    if asked.header(b"authorization").split(" ")[0].lower() in _SIGNED:
        raise UnclearRequestError(
            "keys of a storage account are not taken here; use a token of the gateway"
        )
    if _is_signed(asked.query):
        raise UnclearRequestError(
            "shared access signatures are not taken here; use a token of the gateway"
        )
    if asked.header(b"x-ms-copy-source-authorization"):
        raise UnclearRequestError("a copy that brings a token for its source is not taken")


def _is_signed(query: Query) -> bool:
    names = {name.lower() for name, _ in query}
    return "sig" in names or "skoid" in names or len(names & _SIGNATURES) > 1


def _within(segments: tuple[str, ...], account: Account) -> tuple[str, ...]:
    if not account.in_path:
        return segments
    if segments[:1] != (account.name,):
        raise UnclearRequestError(f"this path must begin with /{account.name}")
    return segments[1:]


def _row(method: str, segments: tuple[str, ...], kind: str, comp: str) -> _Row:
    unknown: _Row = ("unknown", "unknown")
    if not segments:
        return _SERVICE.get((method, kind, comp), unknown)
    if len(segments) == 1:
        # Without restype=container one segment is a blob of the container $root.
        found = _CONTAINER.get((method, comp)) if kind == "container" else None
        return found or unknown
    return (_BLOB.get((method, comp)) if not kind else None) or unknown


def _resource(segments: tuple[str, ...], slash: bool, place: Place, account: Account) -> Resource:
    found = Resource(type="Azure::Account", id=account.name, parents=(place.target,))
    if not segments:
        return found
    found = Resource(
        type="Azure::Container",
        id=f"{account.name}/{segments[0]}",
        parents=(found,),
        labels=place.labels_of(segments[0].lower()),
    )
    if len(segments) == 1:
        return found
    name = "/".join(segments) + ("/" if slash else "")
    return Resource(
        type="Azure::Blob",
        id=f"{account.name}/{name}",
        parents=(found,),
        labels=place.labels_of(name.lower()),
    )


def _source(asked: Asked, place: Place, account: Account) -> Touch | None:
    """Return the reading of what is copied from; ``unknown`` if that is not in this account."""
    written = asked.header(COPY_SOURCE)
    if not written:
        return None
    here = Resource(type="Azure::Account", id=account.name, parents=(place.target,))
    unknown = Touch(verb="unknown", resource=here, operation="unknown")
    match = _URL.fullmatch(written)
    query = match[3] if match is not None else written.partition("?")[2]
    try:
        signed = _is_signed(read_query(query))
    except LocatorError as error:
        raise UnclearRequestError("the query of the copy's source is not clear") from error
    if signed:
        raise UnclearRequestError("a copy whose source has a shared access signature is not taken")
    known = {_usual(each) for each in (*account.hosts, account.host) if each}
    if match is None or _usual(match[1]) not in known or "+" in match[2]:
        return unknown
    try:
        segments, slash = read_path(match[2])
    except LocatorError:
        return unknown
    if account.in_path:
        if segments[:1] != (account.name,):  # another account of the same emulator
            return unknown
        segments = segments[1:]
    if len(segments) < 2:
        return unknown
    resource = _resource(segments, slash, place, account)
    return Touch(verb="readData", resource=resource, operation=f"{BLOBS}/read".lower())
