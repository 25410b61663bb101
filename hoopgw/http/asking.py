"""Heads of requests as they go to a target. Pure."""

from __future__ import annotations

from typing import Final, cast

from hoopgw.http.messages import Pair, RequestHead
from hoopgw.http.wire import CHUNKED, encode_request

_DROPPED: Final = frozenset({b"content-length", b"expect"})
_CHUNKS: Final = (b"Transfer-Encoding", b"chunked")
_WITHOUT_LENGTH: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "CONNECT"})
"""Methods for which no length means that there is no body."""


def bodyless(head: RequestHead) -> bytes:
    """Return the bytes of a request without a body, for `UpstreamConnection.ask`.

    Raises:
        ValueError: the head has no host, or a field with more than one line.

    """
    return encode_head(head, framing_of(head.method, b"", b"")[1])


def encode_head(head: RequestHead, framing: Pair | None, *, upgrade: bool = False) -> bytes:
    """Return a head as it goes to a target, without what concerns one connection only.

    Args:
        head: with ``Host``.
        framing: the field that says how long the body is; None: none is needed.
        upgrade: whether to pass on that the protocol is to be changed.

    Raises:
        ValueError: the head has no host, or a field with more than one line.

    """
    if b"host" not in head.headers:
        raise ValueError("a request names its host")
    pairs = list(head.headers.end_to_end(_DROPPED).pairs)
    if framing is not None:
        pairs.append(framing)
    if upgrade:
        pairs.append((b"Connection", b"Upgrade"))
        pairs += [(b"Upgrade", value) for value in head.headers.all(b"upgrade")]
    return encode_request(head.method, head.target, pairs)


def framing_of(
    method: str, whole: bytes | None, body: bytes | int | None
) -> tuple[int, Pair | None]:
    """Return how much is written to `Call.outgoing`, and the field that frames the body.

    Args:
        method: of the request.
        whole: its body, if all of it is here.
        body: that, or its length; None: that is not known.

    """
    if whole is not None:
        if not whole and method in _WITHOUT_LENGTH:
            return 0, None
        return 0, (b"Content-Length", b"%d" % len(whole))
    if body is None:
        return CHUNKED, _CHUNKS
    length = cast("int", body)
    return length, (b"Content-Length", b"%d" % length)
