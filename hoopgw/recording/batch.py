"""What is done to each record of a batch, from a spool to the log: cut, frame, hash, count.

Pure, and the only part of a record's way into the log that costs something for each record: what
is behind it is done once for many. So this is what has a compiled twin, which makes no object for
a record; `plain_take` is the reference, in the words of `framing` and `merkle`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import field, frozen

from hoopgw.recording.framing import RECORD_LIMIT, record_frames, spool_records
from hoopgw.recording.merkle import leaf_hashes
from hoopgw.transport import accelerated

Counted: TypeAlias = tuple[str, int, int, int, int, int]
"""A session, its first and last record here, its intents, and those of them denied and held."""


@frozen
class Batch:
    """Whole records, as they were cut from a spool."""

    count: int
    """How many there are."""
    taken: int
    """Bytes of the spool that they took; what is behind is an incomplete frame, or damage."""
    fault: str | None
    """Why nothing behind can be read, if so."""
    frames: bytes = field(repr=False)
    """For the log."""
    leaves: bytes = field(repr=False)
    """Their hashes, one behind the other."""
    counted: Sequence[Counted] = ()
    """Results and intents, if they were looked at already; records are numbered from 0."""
    others: Sequence[tuple[int, bytes]] = field(default=(), repr=False)
    """The records that were not, with their numbers, in order."""


def plain_take(data: bytes) -> Batch:
    """Make a batch of spool bytes (without the header). Never raises; looks at no record."""
    cut = spool_records(data)
    return Batch(
        len(cut.records),
        cut.taken,
        cut.fault,
        b"".join(record_frames(cut.records)),
        b"".join(leaf_hashes(cut.records)),
        (),
        list(enumerate(cut.records)),
    )


take: Callable[[bytes], Batch] = plain_take
"""`plain_take`, or its compiled twin where that was built (`hoopgw.transport.accelerated`)."""
if accelerated.is_wanted("hoopgw.recording._batch"):
    from hoopgw.recording import _batch

    def _compiled_take(data: bytes) -> Batch:
        count, taken, damaged, frames, leaves, counted, others = _batch.take(data, RECORD_LIMIT)
        fault = spool_records(data[taken:]).fault if damaged else None
        return Batch(count, taken, fault, frames, leaves, counted, others)

    if _batch.can_hash():
        take = _compiled_take
