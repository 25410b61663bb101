"""The records of a session, as they are written to the spool and the log.

One record is one MessagePack array, whose first element is the type's tag; the bytes that the
worker wrote are the bytes that the log hashes, so nothing is encoded twice. Fields are only ever
added at the end, with a default, and a tag is never used again for another meaning.

``session`` is the gateway session (one connection of one principal to one target), ``sequence``
counts its records from 0 without a gap, ``at`` is nanoseconds since the epoch.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What all records share. Not written itself."""

    session: str
    sequence: int
    at: int


class HopRecord(msgspec.Struct, frozen=True, array_like=True):
    """One hop of the chain, as `hoopgw.events.Hop`."""

    id: str
    name: str
    kind: str
    groups: list[str]
    attributes: dict[str, str | list[str]] = {}
    """What the issuer said of a root for policy."""


class SessionStarted(Record, frozen=True, tag="session.started"):
    """A principal was authenticated and a target chosen."""

    protocol: str
    target: str
    account: str
    """The account on the target."""
    chain: list[HopRecord]
    login: str
    """The log-in's ``sid``."""
    method: str
    """How the principal proved itself: ``token``, ``session-password`` ..."""
    address: str
    """Where the client connects from."""
    agent: str
    """The agent that opened the target."""
    persons: list[str] = []
    """Natural persons behind a root that is none itself, as `hoopgw.events.Origin`."""
    attributes: dict[str, str] = {}
    """What else the issuer said of the log-in: the run, the pod, the application."""


class SessionRefused(Record, frozen=True, tag="session.refused"):
    """A log-in failed, or no agent could open the target; nothing else follows."""

    protocol: str
    target: str
    account: str
    address: str
    reason: str


class TextDefined(Record, frozen=True, tag="text.defined"):
    """A text that later intents name by number, so that it is kept once."""

    number: int
    text: bytes


class Intent(Record, frozen=True, tag="intent"):
    """An operation was decided. Written before its first byte goes to the target."""

    action: str
    resources: list[str]
    text: bytes | int
    """The exact bytes, or the number of a `TextDefined`."""
    parameters: bytes
    """What was bound to the text, in the protocol's own encoding; empty if nothing."""
    digest: bytes
    decision: str
    """``allow``, ``review`` or ``deny``."""
    because: list[str]
    policy: str
    reason: str = ""
    parameters_size: int = 0
    """Bytes that were bound, where ``parameters`` is only their beginning."""


class ReviewSettled(Record, frozen=True, tag="review.settled"):
    """The end of a hold: ``approved``, ``denied``, ``expired``, ``withdrawn``."""

    intent: int
    """Sequence of the `Intent` with decision ``review``."""
    request: str
    outcome: str
    voters: list[str]


class Result(Record, frozen=True, tag="result"):
    """How an operation that ran came out."""

    intent: int
    outcome: str
    """The target's own word: ``SELECT 3``, ``ERROR 42P01``."""
    rows: int
    masked: int
    """Values that were masked."""
    sent: int
    """Bytes of the answer that went to the client."""
    output: bytes
    """The beginning of what the client got (after masking), in the protocol's own bytes."""
    duration: int
    """Nanoseconds from forwarding to the end of the answer."""
    received: int = 0
    """Bytes that the client sent along: COPY data."""
    received_digest: bytes = b""
    """Their SHA-256."""


class SessionEnded(Record, frozen=True, tag="session.ended"):
    """Nothing follows it in this session."""

    reason: str


AnyRecord: TypeAlias = (
    SessionStarted | SessionRefused | TextDefined | Intent | ReviewSettled | Result | SessionEnded
)

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord)

encode = _ENCODER.encode
"""Record to bytes."""


def decode(data: bytes) -> AnyRecord:
    """Bytes to record.

    Raises:
        msgspec.MsgspecError: they are no record.

    """
    try:
        return _DECODER.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these through
        raise msgspec.DecodeError(str(error)) from error
