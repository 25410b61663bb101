"""What labels of blobs and containers mean in all the ways that Blob storage tells of them. Pure.

A label's path goes from the blob or container: ``Metadata.owner``, ``Tags.TagSet.Tag.Value``,
``Properties.Content-MD5``. The same is said in lists (XML), in the header of an answer
(``x-ms-meta-owner``), and of tags in a document of their own; what is masked in one is in all.

Who may not see tags may not look for blobs by them either, nor ask for one on condition of them:
what comes back, or does not, would tell.

Reference: Azure Blob Storage REST API, List Blobs, List Containers, Get Blob Properties, Get Blob
Tags, Find Blobs by Tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from hoopgw.documents.automaton import NOTHING, State
from hoopgw.documents.rules import Rules
from hoopgw.errors import DocumentError
from hoopgw.http.messages import Headers, Pair, RequestHead
from hoopgw.masking import mask_text
from hoopgw_azure.calls import Call

CONTAINERS_TYPE: Final = "microsoft.storage/storageaccounts/blobservices/containers"
BLOBS_TYPE: Final = f"{CONTAINERS_TYPE}/blobs"

_LISTED: Final = {
    BLOBS_TYPE: ("EnumerationResults", "Blobs", "Blob"),
    CONTAINERS_TYPE: ("EnumerationResults", "Containers", "Container"),
}
ITEMS: Final = (
    *(".".join(path) for path in _LISTED.values()),
    "EnumerationResults.Blobs.BlobPrefix",
)
"""Where a list has its items."""
_METADATA: Final = b"x-ms-meta-"
_PROPERTIES: Final = {
    b"content-md5": "Content-MD5",
    b"x-ms-blob-content-md5": "Content-MD5",
    b"content-disposition": "Content-Disposition",
    b"content-language": "Content-Language",
    b"x-ms-copy-source": "CopySource",
    b"x-ms-copy-status-description": "CopyStatusDescription",
}
"""Header fields whose texts are somebody's own."""
_TAG: Final = ("Tags", "TagSet", "Tag", "Value")


def type_of(operation: str) -> str:
    """Return what an answer to a reading operation describes, by the name of that operation."""
    low = operation.lower()
    if low == "unknown" or low.startswith(f"{BLOBS_TYPE}/"):
        return BLOBS_TYPE
    return CONTAINERS_TYPE if low.startswith(f"{CONTAINERS_TYPE}/") else ""


def has_document(call: Call, method: str) -> bool:
    """Whether an answer is a document of Blob storage's own, and not a blob or nothing."""
    verb = call.touches[0].verb
    return verb == "mint" or (method == "GET" and verb == "listData")


def paths(path: str) -> Iterator[str]:
    """Yield where a label's path leads in each document."""
    yield path
    for item in ITEMS:
        yield f"{item}.{path}"


def headers_shown(headers: Headers, call: Call, rules: Rules, key: bytes) -> Headers:
    """Return an answer's header fields as they are shown."""
    listed = _LISTED.get(call.type)
    if listed is None:
        return headers
    item = _at(rules.start, *listed)
    return Headers.of(
        pair for each in headers if (pair := _shown(each, item, call, key)) is not None
    )


def _shown(pair: Pair, item: State, call: Call, key: bytes) -> Pair | None:
    """Return a field as it is shown; None: not at all."""
    name = pair[0].lower()
    if name.startswith(_METADATA):
        state = _at(item, "Metadata", name.removeprefix(_METADATA).decode("latin-1"))
    elif name in _PROPERTIES:
        state = _at(item, "Properties", _PROPERTIES[name])
    else:
        return pair
    effect = state.effect
    kind = effect.whole or effect.strings
    if kind is None:
        return pair
    shown = mask_text(kind, pair[1].decode("latin-1"), key)
    return None if shown is None else (pair[0], shown.encode("latin-1", "replace"))


def refuse_unclear(call: Call, head: RequestHead, rules: Rules) -> None:
    """Refuse what would tell of tags that are masked, or of what is masked in ways unknown.

    Raises:
        DocumentError: it would.

    """
    if call.touches[0].verb == "unknown":
        raise DocumentError("nothing is known of such answers, and something is masked here")
    asks = call.operation.endswith("/filter/action") or b"x-ms-if-tags" in head.headers
    if asks and _hides_tags(rules):
        raise DocumentError("tags are masked here, so that blobs cannot be found by them")


@lru_cache(256)
def _hides_tags(rules: Rules) -> bool:
    listed = _LISTED[BLOBS_TYPE]
    return any(_at(rules.start, *above, *_TAG).effect != NOTHING for above in ((), listed)) or any(
        _at(rules.start, *listed, *_TAG[:end]).effect.whole is not None for end in range(4)
    )


def _at(state: State, *names: str) -> State:
    """Return the state of what is inside of another, by rules for it or for what it is in."""
    for name in names:
        if state.effect.whole is not None:
            return state
        state = state.member(name)[1]
    return state
