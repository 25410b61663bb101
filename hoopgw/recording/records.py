"""The records of a session, as they are written to the spool and the log.

One record is one MessagePack array, whose first element is the type's tag; the bytes that the
worker wrote are the bytes that the log hashes, so nothing is encoded twice. Fields are only ever
added at the end, with a default, and a tag is never used again for another meaning.

``session`` is the gateway session (one connection of one principal to one target), ``sequence``
counts its records from 0 without a gap, ``at`` is nanoseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from hoopgw.events import purposes_of, trail_of


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What all records share. Not written itself."""

    session: str
    sequence: int
    at: int


class CapRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a hop was narrowed to, as `hoopgw.events.Cap`."""

    target: str
    actions: list[str]


class HopRecord(msgspec.Struct, frozen=True, array_like=True):
    """One hop of the chain, as `hoopgw.events.Hop`: all of it that policy may see."""

    id: str
    name: str
    kind: str
    groups: list[str]
    attributes: dict[str, str | list[str]] = {}
    """What the issuer said of a root for policy."""
    caps: list[CapRecord] | None = None
    attested: bool = False
    isolated: bool = False
    node: str = ""
    """Of a child: the delegation that made it, as `hoopgw.events.Node.id`."""
    purpose: str = ""
    """Of a child: what it was made for, as its parent said; nobody has verified it."""


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
    proved: bool = False
    """Whether the caller proved to hold the key that the log-in is bound to."""


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


class ResourceRecord(msgspec.Struct, frozen=True, array_like=True):
    """One resource, as `hoopgw.events.Resource`."""

    type: str
    id: str
    parents: list[int]
    """Places in the same list, all before this one."""
    labels: list[str]


class AccessRecord(msgspec.Struct, frozen=True, array_like=True):
    """One action on one resource, as `hoopgw.events.Access`."""

    action: str
    resource: int
    """Its place in the list of resources."""


class DecisionInput(Record, frozen=True, tag="decision.input"):
    """What policy was asked, kept once for all that asked the same; see `hoopgw.recording.inputs`.

    Whoever asked is in the `SessionStarted` of the session whose record names it.
    """

    id: bytes
    """The first 16 bytes of a digest over what follows: what other records name it by."""
    accesses: list[AccessRecord]
    resources: list[ResourceRecord]
    context: dict[str, str | bool | int | list[str]]


class GrantRecord(msgspec.Struct, frozen=True, array_like=True):
    """A grant in force, as `hoopgw.grants.held.HeldGrant`."""

    id: str
    template: str
    terms: str
    target: str
    chain: list[list[str]]
    nodes: list[str]
    scope: str
    session: str
    digest: bytes
    breakglass: bool
    until: float


class GrantsHeld(Record, frozen=True, tag="grants.held"):
    """What somebody held when policy was asked, kept once as a `DecisionInput` is."""

    id: bytes
    """As that of a `DecisionInput`, over what follows."""
    grants: list[GrantRecord]


class SessionJudged(Record, frozen=True, tag="session.judged"):
    """Policy let the session begin."""

    input: bytes
    because: list[str]
    policy: str
    decided: int = 0
    """As in `Intent`."""
    granted: bytes = b""
    """As in `Intent`."""


class ShownRecord(msgspec.Struct, frozen=True, array_like=True):
    """How fields are shown, as `hoopgw.policy.decision.Sight` or `Hidden`."""

    mask: str | None
    hidden: bool
    because: list[str]


class FieldsShown(Record, frozen=True, tag="fields.shown"):
    """How policy shows the session what is classified."""

    input: bytes
    """Its accesses are the fields."""
    outcomes: list[ShownRecord]
    shown: list[int]
    """For each field, which of the outcomes."""
    policy: str
    decided: int = 0
    """As in `Intent`."""
    granted: bytes = b""
    """As in `Intent`."""


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
    input: bytes = b""
    """The id of the `DecisionInput` that policy judged; empty if policy was not asked."""
    decided: int = 0
    """Seconds since the epoch as policy saw them; 0 if no policy reads the time."""
    limit: int = 0
    """Rows that policy lets it show; 0 is no limit."""
    judged: str = ""
    """What policy said, where the gateway refused what policy did not."""
    granted: bytes = b""
    """The id of the `GrantsHeld` by which policy judged; empty if nothing was held."""


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


class FileMoved(Record, frozen=True, tag="file.moved"):
    """What an operation has moved of one file; before its `Result`."""

    intent: int
    path: str
    """Where it lies on the target; of a stream that names no files, what the command named."""
    upload: bool
    """Whether it went to the target."""
    size: int
    """Bytes, each counted once."""
    digest: bytes
    """SHA-256 of them, in the order of the file."""
    offset: int
    """Where in the file they begin."""
    extent: str
    """``whole``; ``range``: a piece without holes; ``partial``: with holes, or written twice, so
    that the digest is of the beginning only; ``stream``: a protocol's own bytes, as they came."""
    content: int = -1
    """The `ContentOpened` that has what was moved; -1: it was not kept."""


class GrantStep(Record, frozen=True, tag="grant.step"):
    """What became of a just-in-time grant; in the recording of the control process."""

    grant: str
    step: str
    """``requested``, ``approved``, ``denied``, ``withdrawn``, ``used``, ``expired``, ``revoked``,
    ``consumed``, ``break-glass`` or ``after-review``."""
    name: str
    """What was asked for."""
    template: str
    """The policy that it links."""
    terms: str
    """Digest of that policy's text."""
    chain: list[HopRecord]
    """Who asked."""
    nodes: list[str]
    target: str
    scope: str
    seconds: int
    by: str
    """Who did this, if it was not who asked."""
    used_in: str
    """The session that used it."""
    digest: bytes
    """Of the one operation that it is for."""
    until: int
    """When it ends, in nanoseconds since the epoch; 0 if it has not begun."""
    extends: str
    text: str
    """The reason, or what was said to it."""
    login: str = ""
    """The log-in that it is of, if its root is no person."""


class ContentOpened(Record, frozen=True, tag="content.opened"):
    """What goes over one stream or channel is kept beside the log, in a file, from now on."""

    number: int
    """Of the content in its session, from 0."""
    intent: int
    """Sequence of the `Intent` that allowed it; -1 if there is none."""
    kind: str
    """``shell``, ``exec``, ``subsystem`` ..."""
    title: str
    """For people."""
    term: str
    """The client's ``TERM``; empty if there is no terminal."""
    columns: int
    rows: int
    holds: list[str]
    """What of it is kept: ``input``, ``output``."""


class ContentPiece(Record, frozen=True, tag="content.piece"):
    """A part of a content was written; with it the log covers all up to its end."""

    number: int
    size: int
    """Bytes of the file, from its beginning to the end of this piece."""
    digest: bytes
    """Their SHA-256: each covers all before it."""


class ContentEnded(Record, frozen=True, tag="content.ended"):
    """Nothing follows in a content."""

    number: int
    size: int
    """Bytes of the file."""
    digest: bytes
    """Their SHA-256."""
    outcome: str
    """``exit 0``, ``signal TERM``, or why it broke off."""
    input: int
    """Bytes that the client sent, kept or not."""
    output: int
    """Bytes that it was shown."""
    stderr: int
    mended: bool = False
    """Whether the recorder wrote this, because the worker died; then what was sent and shown is
    counted from what is in the file."""


class ContentRemoved(Record, frozen=True, tag="content.removed"):
    """A content was removed, as the configuration says; in the recording of the gateway itself."""

    of: str
    """The session that it was of."""
    number: int
    size: int
    why: str


class SessionEnded(Record, frozen=True, tag="session.ended"):
    """Nothing follows it in this session."""

    reason: str


class SessionFrozen(Record, frozen=True, tag="session.frozen"):
    """Somebody has stopped all that goes through a live session, either way."""

    by: str
    """Who: the names of its chain."""
    by_id: str
    """The id of the last of them."""
    reason: str


class SessionThawed(Record, frozen=True, tag="session.thawed"):
    """Somebody has let it go on."""

    by: str
    """As in `SessionFrozen`."""
    by_id: str
    reason: str


def trail(chain: Sequence[HopRecord]) -> str:
    """Return a chain as `hoopgw.events.Principal.trail`."""
    return trail_of((hop.name, hop.node) for hop in chain)


def purposes(chain: Sequence[HopRecord]) -> str:
    """Return what the hops of a chain were made for, as their parents said; empty if none did."""
    return purposes_of((hop.name, hop.purpose) for hop in chain)


AnyRecord: TypeAlias = (
    SessionStarted
    | SessionRefused
    | SessionJudged
    | FieldsShown
    | TextDefined
    | DecisionInput
    | GrantsHeld
    | Intent
    | ReviewSettled
    | Result
    | FileMoved
    | GrantStep
    | ContentOpened
    | ContentPiece
    | ContentEnded
    | ContentRemoved
    | SessionEnded
    | SessionFrozen
    | SessionThawed
)

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord)

encode = _ENCODER.encode
"""Record to bytes."""


def template(record: Record, *names: str) -> tuple[bytes, ...]:
    """Return a record's encoding without some of its fields, cut where these are.

    Joined again with ``msgspec``'s encodings of other values between the parts, it is the encoding
    of a record that is the same but for these: a test holds it. ``names`` are in their order.
    """
    fields = record.__struct_fields__
    size = len(fields) + 1
    head = bytes([0x90 | size]) if size < 16 else b"\xdc" + size.to_bytes(2, "big")
    parts = [head + _ENCODER.encode(record.__struct_config__.tag)]
    for name in fields:
        if name in names:
            parts.append(b"")
        else:
            parts[-1] += _ENCODER.encode(getattr(record, name))
    return tuple(parts)


def decode(data: bytes) -> AnyRecord:
    """Bytes to record.

    Raises:
        msgspec.MsgspecError: they are no record.

    """
    try:
        return _DECODER.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these through
        raise msgspec.DecodeError(str(error)) from error
