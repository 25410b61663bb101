"""Heads of HTTP/1.1 messages: from the bytes up to the blank line to a value, strictly.

Each function gets a whole head and returns a value or raises a `MessageError`; nothing is guessed,
mended or skipped. What proxies are known to read differently is refused: bare LF, folded lines,
space around a name, two lengths, a length beside a transfer coding, another coding than exactly
``chunked``, two hosts, a target that names another host, control characters.

The functions that each message needs have compiled twins, in ``_heads``: a twin takes what is
plainly good, and leaves everything else to the plain function, which says what is wrong with it.

Reference: RFC 9112 (sections 2 to 6), RFC 9110 (sections 5 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from hoopgw.http.errors import (
    CodingError,
    ExpectationError,
    HeadTooLargeError,
    MalformedError,
    TargetTooLongError,
    VersionError,
)
from hoopgw.http.messages import REASONS, Headers, Limits, Pair, RequestHead, ResponseHead
from hoopgw.transport import accelerated

CHUNKED: Final = -1
"""Framing: chunks, up to the one of size 0."""
UNTIL_CLOSE: Final = -2
"""Framing: all that comes until the connection ends."""
TUNNEL: Final = -3
"""Framing: what follows is no HTTP any more."""

_BLANK: Final = b"\r\n\r\n"
_CONTROLS: Final = bytes(set(range(0x20)) - {0x09}) + b"\x7f"
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_KNOWN: Final = {
    spelled: name
    for name in (
        b"accept accept-encoding accept-language authorization cache-control commandname "
        b"connection content-encoding content-length content-type date etag expires host "
        b"if-match if-none-match last-modified location parametersetname pragma request-context "
        b"retry-after server strict-transport-security transfer-encoding upgrade user-agent vary "
        b"www-authenticate x-content-type-options x-ms-client-request-id "
        b"x-ms-correlation-request-id x-ms-keyvault-region x-ms-keyvault-service-version "
        b"x-ms-ratelimit-remaining-subscription-reads x-ms-request-id "
        b"x-ms-return-client-request-id x-ms-routing-request-id x-ms-version"
    ).split()
    for spelled in (name, name.title())
}
"""Names that are often met, as they are mostly spelled: they need no further look."""
# RFC 3986 knows none of "<>\#; the other characters that it does not know are sent by browsers.
_TARGET: Final = rb"[!$-;=?-\[\]-~]+"
_REQUEST_LINE: Final = re.compile(rb"([A-Z]{1,32}) (" + _TARGET + rb") HTTP/(\d\.\d)\r\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/(\d\.\d) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.)*[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
    rb"|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_SENT: Final = re.compile(r"[!-~]+")
_ABSOLUTE: Final = re.compile(r"https?://([^/?]+)(?=[/?]|$)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_VERSIONS: Final = {b"1.1": "1.1", b"1.0": "1.0"}
_STAYS: Final = (b"keep-alive",)
"""The values of ``Connection`` that are met most."""
_MEMBERS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"})
"""What ``Connection`` names that is no field which somebody relies on."""

SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-type",
        b"expect",
        b"host",
        b"location",
        b"proxy-authorization",
        b"range",
        b"transfer-encoding",
        b"upgrade",
        b"x-http-method-override",
        b"x-ms-version",
    }
)
"""Fields that may be there once: of two, each reader takes another one."""

_CONFUSED: Final = frozenset({b"content_length", b"transfer_encoding", b"host_", b"content_type"})
"""Names that some servers take for the ones with a hyphen."""


class EncodeResponse(Protocol):
    """Writes an answer's head; see `plain_encode_response`."""

    def __call__(self, status: int, pairs: Iterable[Pair], reason: bytes = b"") -> bytes:
        """Return it; raises `ValueError`."""
        ...


def plain_request_head(head: bytes, limits: Limits) -> RequestHead:
    """Read a request's head, with its blank line.

    Raises:
        MessageError: it cannot be taken.

    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise _bad_start(head, limits)
    method, target, version = line.groups()
    if len(method) + len(target) + 11 > limits.start_line:
        raise TargetTooLongError(f"the request line is longer than {limits.start_line} bytes")
    if version not in _VERSIONS:
        raise VersionError("only HTTP/1.1 is spoken here")
    headers = parse_fields(head, line.end(), limits)
    found = RequestHead(method.decode(), target.decode(), headers, _VERSIONS[version])
    _check_host(found)
    by_name = headers.by_name
    if b"expect" in by_name and by_name[b"expect"][0].lower() != b"100-continue":
        raise ExpectationError("nothing but 100-continue can be expected")
    return found


def plain_response_head(head: bytes, limits: Limits) -> ResponseHead:
    """Read an answer's head, with its blank line.

    Raises:
        MessageError: it cannot be taken.

    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise _bad_start(head, limits)
    version, status, reason = line.groups()
    if version not in _VERSIONS:
        raise VersionError("the answer is not in HTTP/1.1")
    headers = parse_fields(head, line.end(), limits)
    return ResponseHead(int(status), headers, reason or b"", _VERSIONS[version])


def parse_fields(block: bytes, start: int, limits: Limits) -> Headers:
    """Read header fields, or trailers, from ``start`` up to the blank line at the end.

    Raises:
        MessageError: a line is no field, there are too many, or some contradict each other.

    """
    pairs: list[Pair] = []
    keys: list[bytes] = []
    by_name: dict[bytes, tuple[bytes, ...]] = {}
    for line in _lines(block, start, limits):
        name, colon, value = line.partition(b":")
        key = _KNOWN.get(name)
        if key is None:
            if _NAME.fullmatch(name) is None:
                raise MalformedError("a header line is malformed")
            key = name.lower()
        if not colon:
            raise MalformedError("a header line is malformed")
        value = value.strip(b" \t")
        keys.append(key)
        pairs.append((name, value))
        by_name[key] = (*by_name[key], value) if key in by_name else (value,)
    headers = Headers(tuple(pairs), by_name, tuple(keys))
    if len(by_name) != len(pairs):
        for name in SINGLE:
            if len(by_name.get(name, ())) > 1:
                raise MalformedError(f"{name.decode()} is given more than once")
    if b"connection" in by_name:
        _check_connection(headers)
    if not _CONFUSED.isdisjoint(by_name):
        raise MalformedError("a header name has an underscore instead of a hyphen")
    return headers


def _lines(block: bytes, start: int, limits: Limits) -> list[bytes]:
    if block[-4:] != _BLANK:
        raise MalformedError("there is no blank line")
    lines = block[start:-4].split(b"\r\n") if start < len(block) - 2 else []
    # With a CR and LF at the end of each line, and of the blank one, all control bytes are counted.
    if len(block) - start - len(block[start:].translate(None, _CONTROLS)) != 2 * len(lines) + 2:
        raise MalformedError("a header line has a control character")
    if len(lines) > limits.headers:
        raise HeadTooLargeError(f"there are more than {limits.headers} header fields")
    return lines


def request_framing(head: RequestHead) -> int:
    """Return how long a request's body is, or `CHUNKED` (RFC 9112, section 6.3).

    After ``CONNECT`` nothing is a body; what follows is a tunnel, or nothing if it is refused.

    Raises:
        MessageError: that cannot be said for certain.

    """
    framing = _framing(head.version, head.headers)
    if head.method == "CONNECT" and framing not in (None, 0):
        raise MalformedError("CONNECT has no body")
    return 0 if framing is None else framing


def response_framing(head: ResponseHead, method: str) -> int:
    """Return how long an answer's body is, or how its end is known (RFC 9112, section 6.3).

    Args:
        head: the answer's.
        method: of the request that it answers.

    Raises:
        MessageError: that cannot be said for certain.

    """
    framing = _framing(head.version, head.headers)
    status = head.status
    if status == 101 or (method == "CONNECT" and 200 <= status < 300):
        if framing not in (None, 0):
            raise MalformedError("a tunnel has no length")
        return TUNNEL
    if status < 200 or status == 204:
        if framing not in (None, 0):
            raise MalformedError(f"an answer of status {status} has no body")
        return 0
    if method == "HEAD" or status == 304:
        return 0
    return UNTIL_CLOSE if framing is None else framing


def stays_open(version: str, headers: Headers) -> bool:
    """Say whether the connection may be used again after a message (RFC 9112, section 9.3)."""
    if version != "1.1":
        return False
    connection = headers.by_name.get(b"connection")
    return connection in (None, _STAYS) or b"close" not in headers.members(b"connection")


def _framing(version: str, headers: Headers) -> int | None:
    by_name = headers.by_name
    length = by_name.get(b"content-length")
    if b"transfer-encoding" in by_name:
        if length is not None:
            raise MalformedError("there is a length beside a transfer coding")
        if version != "1.1":
            raise MalformedError("HTTP/1.0 has no transfer codings")
        coding = by_name[b"transfer-encoding"][0].lower()
        if coding != b"chunked":
            raise CodingError("no transfer coding but chunked is taken")
        return CHUNKED
    if length is None:
        return None
    if _LENGTH.fullmatch(length[0]) is None:
        raise MalformedError("the length is no number")
    return int(length[0])


def _check_host(head: RequestHead) -> None:
    """Refuse a request that names no host, or two (RFC 9112, section 3.2)."""
    hosts = head.headers.by_name.get(b"host")
    if hosts is None or _HOST.fullmatch(hosts[0]) is None:
        raise MalformedError("Host must name the host")
    target = head.target
    if target[0] == "/":
        if head.method == "CONNECT":
            raise MalformedError("CONNECT names a host and port")
        return
    host = hosts[0].decode().lower()
    if head.method == "CONNECT":
        if target.lower() != host or ":" not in target.rpartition("]")[2]:
            raise MalformedError("CONNECT names a host and port, and Host the same")
        return
    if target == "*":
        if head.method != "OPTIONS":
            raise MalformedError("only OPTIONS may ask for *")
        return
    absolute = _ABSOLUTE.match(target)
    if absolute is None or absolute[1].lower() != host:
        raise MalformedError("the target must be a path, or a URL whose host is that of Host")


def _check_connection(headers: Headers) -> None:
    """Refuse that ``Connection`` takes a field out which somebody after us relies on."""
    by_name = headers.by_name
    for member in headers.members(b"connection"):
        if member not in _MEMBERS and member in by_name:
            raise MalformedError("Connection names a field that it must not take out")


def _bad_start(head: bytes, limits: Limits) -> MalformedError | TargetTooLongError:
    if head.find(b"\r\n", 0, limits.start_line + 2) < 0:
        return TargetTooLongError(f"the first line is longer than {limits.start_line} bytes")
    return MalformedError("the first line is malformed")


def plain_encode_request(method: str, target: str, pairs: Iterable[Pair]) -> bytes:
    """Return a request's head as it goes over the wire.

    Raises:
        ValueError: something in it would end its line.

    """
    if _SENT.fullmatch(target) is None or not method.isalpha():
        raise ValueError("a request line has method and target in ASCII, without spaces")
    return f"{method} {target} HTTP/1.1\r\n".encode("ascii") + encode_fields(pairs)


def plain_encode_response(status: int, pairs: Iterable[Pair], reason: bytes = b"") -> bytes:
    """Return an answer's head as it goes over the wire.

    Raises:
        ValueError: something in it would end its line.

    """
    line = b"HTTP/1.1 %d %b\r\n" % (status, reason or REASONS.get(status, b"Unknown"))
    if line.count(b"\n") != 1 or line.count(b"\r") != 1:
        raise ValueError("a reason is one line")
    return line + encode_fields(pairs)


def encode_fields(pairs: Iterable[Pair]) -> bytes:
    """Return header fields, or trailers, as they go over the wire, with the blank line.

    Raises:
        ValueError: one of them would be more than a line.

    """
    lines = [b"%b: %b\r\n" % pair for pair in pairs]
    block = b"".join(lines)
    # Values may come from a target's JSON: none may begin a line of its own.
    count = len(lines)
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        raise ValueError("a header field is one line")
    return block + b"\r\n"


parse_request_head: Callable[[bytes, Limits], RequestHead] = plain_request_head
"""`plain_request_head`, or its compiled twin where that was built (`accelerated`)."""
parse_response_head: Callable[[bytes, Limits], ResponseHead] = plain_response_head
"""The same of `plain_response_head`."""
encode_request: Callable[[str, str, Iterable[Pair]], bytes] = plain_encode_request
"""The same of `plain_encode_request`."""
encode_response: EncodeResponse = plain_encode_response
"""The same of `plain_encode_response`."""
if accelerated.is_wanted("hoopgw.http._heads"):
    from hoopgw.http import _heads

    parse_request_head = _heads.request_head
    parse_response_head = _heads.response_head
    encode_request = _heads.encode_request
    encode_response = _heads.encode_response
