"""HTTP messages as values: heads, whole requests and responses, and the limits that they keep.

Nothing here reads bytes from a peer or opens anything; `hoopgw.http.wire` does the first, and
`hoopgw.http.server` and `hoopgw.http.client` the second. Whoever answers requests is written as a
function of these values.

Methods and targets are text, as their grammar is ASCII; header fields are bytes, as theirs is not.

Reference: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, gt

from hoopgw.transport import accelerated

Pair: TypeAlias = tuple[bytes, bytes]
"""A header field: its name as it was sent, and its value without white space around it."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that concern one connection only, and are never forwarded (RFC 9110, section 7.6.1)."""

_LONE: Final = frozenset({b"keep-alive", b"close", b"upgrade", b"chunked"})
"""Members that mostly come alone."""

REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


@frozen(kw_only=True)
class Limits:
    """How much one connection may ask of us. Sizes are bytes, times are seconds."""

    start_line: int = field(default=16_384, validator=gt(0))
    """Azure's links to next pages have targets of several KB."""
    head: int = field(default=65_536, validator=gt(0))
    """Start line and header fields together."""
    headers: int = field(default=128, validator=gt(0))
    """Header fields in a head, and in trailers."""
    trailers: int = field(default=8_192, validator=gt(0))
    chunk_line: int = field(default=256, validator=gt(20))
    """The size of a chunk, with its extensions."""
    chunk_extensions: int = field(default=16_384, validator=ge(0))
    """Extensions of all chunks of a body together."""
    body: int = field(default=2**30, validator=ge(0))
    """A body, streamed. Who collects one gives a limit of its own."""
    informational: int = field(default=8, validator=ge(0))
    """Answers of status 1xx before the real one."""


def plain_left_out(
    pairs: tuple[Pair, ...], keys: tuple[bytes, ...], names: Collection[bytes]
) -> tuple[tuple[Pair, ...], tuple[bytes, ...]]:
    """Return pairs and their keys without those of some names."""
    kept = [at for at, key in enumerate(keys) if key not in names]
    if len(pairs) != len(keys):
        raise ValueError("each pair has its key")
    return tuple([pairs[at] for at in kept]), tuple([keys[at] for at in kept])


def plain_by_key(
    pairs: tuple[Pair, ...], keys: tuple[bytes, ...]
) -> dict[bytes, tuple[bytes, ...]]:
    """Return all values by key, in order."""
    found: dict[bytes, tuple[bytes, ...]] = {}
    for key, (_name, value) in zip(keys, pairs, strict=True):
        found[key] = (*found[key], value) if key in found else (value,)
    return found


_left_out, _by_key = plain_left_out, plain_by_key
if accelerated.is_wanted("hoopgw.http._fields"):
    from hoopgw.http import _fields

    _left_out, _by_key = _fields.left_out, _fields.by_key


def _names(pairs: tuple[Pair, ...]) -> str:
    return "(" + ", ".join(name.decode("latin-1") for name, _value in pairs) + ")"


@frozen
class Headers:
    """Header fields in the order in which they were sent. Names are looked up in any case."""

    pairs: tuple[Pair, ...] = field(default=(), repr=_names)
    """Values stay out of ``repr``: they hold tokens."""
    _by_name: dict[bytes, tuple[bytes, ...]] | None = field(default=None, eq=False, repr=False)
    """Who has read the pairs gives it."""
    _keys: tuple[bytes, ...] | None = field(default=None, eq=False, repr=False)
    """And the names in lower case, in order."""

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Headers:
        """Make them of any pairs."""
        return cls(tuple(pairs))

    @property
    def by_name(self) -> Mapping[bytes, tuple[bytes, ...]]:
        """All values by the name in lower case."""
        found = self._by_name
        if found is None:
            found = _by_key(self.pairs, self.keys)
            object.__setattr__(self, "_by_name", found)  # kept, as it follows from the pairs
        return found

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All names in lower case, in the order of the pairs."""
        found = self._keys
        if found is None:
            found = tuple([name.lower() for name, _value in self.pairs])
            object.__setattr__(self, "_keys", found)
        return found

    def get(self, name: bytes) -> bytes | None:
        """Return a field's value; several are one list (RFC 9110, section 5.3); None if absent."""
        values = self.by_name.get(name.lower())
        if values is None:
            return None
        return values[0] if len(values) == 1 else b", ".join(values)

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Return every value of a field, in order."""
        return self.by_name.get(name.lower(), ())

    def members(self, name: bytes) -> tuple[bytes, ...]:
        """Return what a list field holds, in lower case: ``close``, ``upgrade`` ..."""
        value = self.get(name)
        if value is None:
            return ()
        value = value.lower()
        if value in _LONE:
            return (value,)
        return tuple(part for piece in value.split(b",") if (part := piece.strip(b" \t")))

    def without(self, names: Collection[bytes]) -> Headers:
        """Leave fields out. ``names`` are in lower case."""
        return self.changed(names)

    def replaced(self, name: bytes, value: bytes) -> Headers:
        """Give a field one value, whatever it had before."""
        return self.changed((name.lower(),), (name, value))

    def added(self, *pairs: Pair) -> Headers:
        """Add fields at the end."""
        return Headers((*self.pairs, *pairs))

    def changed(self, without: Collection[bytes], *added: Pair) -> Headers:
        """Leave fields out, named in lower case, and add others at the end, in one step."""
        pairs, keys = _left_out(self.pairs, self.keys, without)
        if not added:
            return self if len(pairs) == len(self.pairs) else Headers(pairs, None, keys)
        return Headers(pairs + added, None, keys + tuple([name.lower() for name, _ in added]))

    def besides(self, names: Collection[bytes]) -> tuple[Pair, ...]:
        """Return the pairs without those of some names, which are in lower case."""
        return _left_out(self.pairs, self.keys, names)[0]

    def only(self, names: Collection[bytes]) -> list[Pair]:
        """Return the pairs of some names, which are in lower case."""
        return [pair for key, pair in zip(self.keys, self.pairs, strict=True) if key in names]

    def end_to_end(self, without: AbstractSet[bytes] = frozenset(), *added: Pair) -> Headers:
        """Leave out what concerns one connection only, also what ``Connection`` names.

        Args:
            without: fields to leave out besides, in lower case.
            added: fields to add at the end.

        """
        drop = HOP_BY_HOP | without if without else HOP_BY_HOP
        if b"connection" in self.keys:
            named = self.members(b"connection")
            if not HOP_BY_HOP.issuperset(named):
                drop = drop.union(named)
        return self.changed(drop, *added)

    def __contains__(self, name: bytes) -> bool:
        return name.lower() in self.by_name

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


NO_HEADERS: Final = Headers()


@frozen
class RequestHead:
    """What a request asks for, before its body."""

    method: str
    """In capitals."""
    target: str = field(repr=False)
    """As it was sent, still encoded; `hoopgw.http.path` reads it. May hold secrets."""
    headers: Headers = NO_HEADERS
    version: str = "1.1"

    @property
    def host(self) -> str:
        """The name that the client asked for, in lower case, with the port if it gave one."""
        return (self.headers.get(b"host") or b"").decode("latin-1").lower()

    @property
    def content_length(self) -> int | None:
        """How long the body says to be; None where it does not say."""
        return _length(self.headers)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self.version == "1.1" and b"expect" in self.headers

    @property
    def upgrade(self) -> tuple[bytes, ...]:
        """The protocols that the client would change to, in lower case; none for most."""
        if b"upgrade" not in self.headers.by_name:
            return ()
        asked = b"upgrade" in self.headers.members(b"connection")
        return self.headers.members(b"upgrade") if asked else ()


@frozen
class ResponseHead:
    """What an answer says, before its body."""

    status: int
    headers: Headers = NO_HEADERS
    reason: bytes = b""
    """Empty: the usual one for the status."""
    version: str = "1.1"

    @property
    def content_length(self) -> int | None:
        """How long the body says to be; None where it does not say."""
        return _length(self.headers)


@frozen
class Request:
    """A whole request."""

    head: RequestHead
    body: bytes = field(default=b"", repr=lambda body: f"<{len(body)} bytes>")
    trailers: Headers = NO_HEADERS

    @property
    def method(self) -> str:
        """In capitals."""
        return self.head.method

    @property
    def target(self) -> str:
        """As it was sent, still encoded."""
        return self.head.target

    @property
    def headers(self) -> Headers:
        """Of the head."""
        return self.head.headers


@frozen
class Response:
    """A whole answer."""

    head: ResponseHead
    body: bytes = field(default=b"", repr=lambda body: f"<{len(body)} bytes>")
    trailers: Headers = NO_HEADERS

    @classmethod
    def of(
        cls,
        status: int,
        body: bytes = b"",
        content_type: bytes = b"",
        headers: Iterable[Pair] = (),
    ) -> Response:
        """Make an answer. ``Content-Length`` is added when it is sent."""
        pairs = tuple(headers)
        if content_type:
            pairs = ((b"Content-Type", content_type), *pairs)
        return cls(ResponseHead(status, Headers(pairs)), body)

    @classmethod
    def of_json(cls, status: int, value: Any, headers: Iterable[Pair] = ()) -> Response:
        """Make an answer of what JSON can say."""
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls.of(status, body, b"application/json; charset=utf-8", headers)

    @property
    def status(self) -> int:
        """Of the head."""
        return self.head.status

    @property
    def headers(self) -> Headers:
        """Of the head."""
        return self.head.headers


def _length(headers: Headers) -> int | None:
    values = headers.by_name.get(b"content-length")
    return int(values[0]) if values and len(values) == 1 and values[0].isdigit() else None
