"""Streams to mask, and a plain reader of whole texts to compare with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import strategies as st

from hoopgw.streams.mask_finding import PlainFinder
from hoopgw.streams.mask_rules import Rules, of_literal, of_pattern, standard
from hoopgw.streams.mask_views import part
from hoopgw.streams.masks import StreamMask

JWT = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
KEY = (
    b"-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\nMIIEowIBAAKCAQEA\r\n"
    b"MIIE=\r\n-----END RSA PRIVATE KEY-----"
)
SECRETS = {
    "aws_key": b"AKIAIOSFODNN7EXAMPLE",
    "github_token": b"ghp_" + b"aB3dE6gH9" * 4,
    "slack_token": b"xoxb-123456789012-abcdefABCDEF",
    "jwt": JWT,
    "private_key": KEY,
    "connection_string": b"hunter2!",
    "ssn": b"123-45-6789",
    "card": b"4111 1111 1111 1111",
    "email": b"alice.b+c@mail.example.com",
    "ticket": b"TICKET-00417",
    "literal": b"correct horse",
}
BEFORE = {"connection_string": b"password="}
RULES = Rules(
    (
        *standard(),
        of_pattern("ticket", r"TICKET-[0-9]{5,9}"),
        of_literal("literal", b"correct horse"),
    )
)
PIECES = (
    *(BEFORE.get(name, b"") + secret for name, secret in SECRETS.items()),
    *(secret[: len(secret) // 2] for secret in SECRETS.values()),
    *(secret[len(secret) // 2 :] for secret in SECRETS.values()),
    b"password: ",
    b"https://user:pass@host/",
    b"user@host:~$ ",
    b"-----END",
    b"4111111111111112",
    b"AK",
    b"eyJ",
    b"\xc3\xbc",
    b"\xff",
    b" ",
    b"\r\n",
    b".",
    b"x",
    b"7",
)
COLOURS = (b"\x1b[0m", b"\x1b[1;31m", b"\x1b[K", b"\x00", b"\x1b(B", b"\x1b]0;title\x07")
MOVES = (b"\x1b[5C", b"\x1b[2;1H", b"\x1bM")
ODD = (b"\x1b", b"\x1b[", b"\x1b]0;", b"\x1b]8;;https://u:pw@h/\x1b\\", b"\x9b", b"\x1b\x1b[")


def streams(*more: bytes) -> st.SearchStrategy[bytes]:
    """Draw streams that have secrets, and parts of some, and whatever else is given."""
    piece = st.sampled_from(PIECES + more) | st.binary(max_size=4)
    return st.lists(piece, max_size=24).map(b"".join)


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return a stream in pieces."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def shown(stream: bytes, cuts: Sequence[int] = (), rules: Rules = RULES, columns: int = 0) -> bytes:
    """Return what is shown of a stream that comes in pieces."""
    mask = StreamMask(rules, columns)
    return b"".join(mask.feed(piece) for piece in cut(stream, cuts)) + mask.rest()


def singly(stream: bytes, rules: Rules = RULES, columns: int = 0) -> bytes:
    """Return what is shown of a stream that comes byte by byte."""
    return shown(stream, range(len(stream)), rules, columns)


def reference(stream: bytes, rules: Rules = RULES) -> bytes:
    """Return what is shown of a stream without escapes: all patterns, over all of it."""
    hidden = list[tuple[int, int]]()
    for rule in rules.rules:
        for match in rule.pattern.full.finditer(stream):
            if rule.accept is None or rule.accept(match.group().decode("latin-1")):
                hidden.append(match.span(match.lastgroup or 0))
    pieces, at, end = list[bytes](), 0, -1
    for start, stop in sorted(hidden):
        if start >= end:
            pieces += (stream[max(at, 0) : start], b"***")
        end = at = max(end, stop)
    return b"".join(pieces) + stream[at:]


PLAIN = Rules(RULES.rules, finder=PlainFinder, part=part)
"""The same rules, without anything compiled."""
