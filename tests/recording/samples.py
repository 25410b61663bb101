"""Records, keys and small logs for these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from hoopgw.recording.batch import Batch, take
from hoopgw.recording.framing import END_WORD, SPOOL_HEADER_SIZE, frames
from hoopgw.recording.log import LogWriter
from hoopgw.recording.notes import Verifier
from hoopgw.recording.records import (
    AnyRecord,
    HopRecord,
    Intent,
    Result,
    SessionEnded,
    SessionStarted,
    encode,
)
from hoopgw.recording.recovery import OpenedLog, open_log

ORIGIN = "gw1.example"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
VERIFIER = Verifier(ORIGIN, KEY.public_key())
SPOOL = b"a spool's 16 B. "
START = 1_700_000_000_000_000_000
ALICE = HopRecord("corp|alice", "alice", "person", ["dba"])
PLANNER = HopRecord("corp|planner", "planner", "agent", [])


def started(session: str, sequence: int = 0) -> SessionStarted:
    """Return the beginning of a session."""
    return SessionStarted(
        session, sequence, START, "postgres", "orders", "reader", [ALICE, PLANNER], "sid-1",
        "token", "127.0.0.1:5555", "local",
    )  # fmt: skip


def intent(session: str, sequence: int, text: bytes | int = b"select 1") -> Intent:
    """Return an intent that was allowed."""
    digest = hashlib.sha256(str(text).encode()).digest()
    at = START + sequence
    resources = ["orders/public.customers"]
    return Intent(
        session, sequence, at, "select", resources, text, b"", digest, "allow", ["p1"], "v1"
    )


def result(session: str, sequence: int, of: int) -> Result:
    """Return the result of an intent."""
    return Result(session, sequence, START + sequence, of, "SELECT 1", 1, 0, 60, b"D...", 1234)


def ended(session: str, sequence: int) -> SessionEnded:
    """Return the end of a session."""
    return SessionEnded(session, sequence, START + sequence, "the client went away")


def whole_session(session: str, operations: int = 2) -> list[AnyRecord]:
    """Return a session from its start to its end."""
    records: list[AnyRecord] = [started(session)]
    for _ in range(operations):
        records.append(intent(session, len(records)))
        records.append(result(session, len(records), len(records) - 1))
    return [*records, ended(session, len(records))]


def encoded(records: Iterable[AnyRecord]) -> list[bytes]:
    """Return the bytes that the log keeps."""
    return [encode(record) for record in records]


def spool_frames(records: Iterable[bytes]) -> bytes:
    """Return records as a worker writes them."""
    return b"".join(len(record).to_bytes(4, "big") + record for record in records)


def spool_end(path: Path) -> int:
    """Return where the records of a spool end, as its header says."""
    return memoryview(path.read_bytes()[:SPOOL_HEADER_SIZE]).cast("Q")[END_WORD]


def spool_bytes(path: Path) -> bytes:
    """Return all that was ever put into a spool, of which nothing was written over."""
    return path.read_bytes()[SPOOL_HEADER_SIZE : spool_end(path)]


def batch(records: Iterable[bytes]) -> Batch:
    """Return records as they are taken from a spool."""
    return take(spool_frames(records))


def records_of(taken: Batch) -> list[bytes]:
    """Return the records in a batch, as the log will have them."""
    return [frame.payload for frame in frames(taken.frames)]


def opened(directory: Path, segment_size: int = 64 * 2**20, recheck: int = 2**28) -> OpenedLog:
    """Open a log with the key of these tests."""
    return open_log(directory, KEY, ORIGIN, segment_size=segment_size, recheck=recheck)


def fill(log: LogWriter, records: list[bytes], many: int = 10, sign: bool = True) -> None:
    """Append records in batches, and sign."""
    offset = 32
    for start in range(0, len(records), many):
        part = batch(records[start : start + many])
        log.roll({SPOOL: offset})
        log.append(SPOOL, offset, part)
        log.commit()
        offset += part.taken
    if sign:
        log.checkpoint()


payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=20)
