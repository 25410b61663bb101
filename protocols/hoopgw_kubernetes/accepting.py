"""In which forms an answer may come: those that can be masked. Pure.

JSON can be masked, alone and as a Table; protobuf, CBOR and YAML cannot. kubectl and client-go list
JSON behind whatever else they like, and take it.

Reference: Kubernetes API Concepts, "Resource encodings".
"""

from __future__ import annotations

from email.message import Message
from typing import Final

JSON: Final = "application/json"
_FORMS: Final = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})


def maskable(accept: str, *, tables: bool) -> str:
    """Return what to ask for instead of what a client asks for, so that it can be masked.

    Args:
        accept: the client's field; empty if there is none.
        tables: whether a Table may come: of a kind whose columns show nothing that is masked.

    """
    kept = [form for each in accept.split(",") if (form := _form(each, tables=tables))]
    return ",".join(dict.fromkeys(kept)) or JSON


def _form(media: str, *, tables: bool) -> str:
    """Return one form as we ask for it; empty: not at all."""
    message = Message()
    message["content-type"] = media.strip()
    if message.get_content_type() != JSON:
        return ""
    wanted = message.get_param("as", "")
    if not wanted:
        return JSON
    if wanted not in _FORMS or (wanted == "Table" and not tables):
        return ""
    version, group = message.get_param("v", "v1"), message.get_param("g", "meta.k8s.io")
    if version not in ("v1", "v1beta1") or group != "meta.k8s.io":
        return ""
    return f"{JSON};as={wanted};v={version};g={group}"
