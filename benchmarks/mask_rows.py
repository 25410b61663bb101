"""What masking costs by the row, and understanding a statement by the piece: no server, no network.

``python -m benchmarks.mask_rows``, best pinned: ``taskset -c 1 python -m benchmarks.mask_rows``.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from typing import Final

from rich.console import Console
from rich.progress import Progress

from benchmarks.figures import Figure, Section, at_most, show
from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.copy import CopyMasker
from hoopgw_postgres.masking import RowMasker
from hoopgw_postgres.shape import shape
from hoopgw_postgres.values import compile_mask

_ROWS: Final = 450
_TEXT: Final = 25
_KEY: Final = b"k" * 32
_STATEMENT: Final = b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711"


def values(number: int) -> list[bytes]:
    """Return one row: eight texts, 115 bytes."""
    return [
        b"%d" % number,
        b"name%06d" % number,
        b"user%06d@example.com" % number,
        b"city",
        b"41111111%08d" % number,
        b"2024-01-01",
        b"3.14159",
        b"some more text %d" % number,
    ]


def data_row(row: list[bytes]) -> bytes:
    """Return a DataRow message."""
    body = struct.pack(">H", len(row))
    body += b"".join(struct.pack(">I", len(value)) + value for value in row)
    return b"D" + struct.pack(">I", len(body) + 4) + body


def copy_row(row: list[bytes]) -> bytes:
    """Return a CopyData message in text format."""
    body = b"\t".join(row) + b"\n"
    return b"d" + struct.pack(">I", len(body) + 4) + body


def masker(kinds: Mapping[int, str]) -> RowMasker:
    """Return a masker of these columns."""
    return RowMasker(8, {i: compile_mask(kind, _TEXT, 0, _KEY) for i, kind in kinds.items()})


def nanoseconds(
    once: Callable[[], object], each: int, rounds: int, seconds: float
) -> tuple[float, ...]:
    """Return the least time per piece in each of some rounds: what no other process disturbed."""
    samples = []
    for _ in range(rounds):
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            before = time.perf_counter()
            once()
            best = min(best, time.perf_counter() - before)
        samples.append(best / each * 1e9)
    return tuple(samples)


def run(progress: Progress, rounds: int, seconds: float) -> list[Section]:
    """Measure; see `benchmarks.__main__`."""
    rows = b"".join(data_row(values(number)) for number in range(_ROWS))
    copied = b"".join(copy_row(values(number)) for number in range(_ROWS))
    analyser = Analyser()
    pieces: list[tuple[str, Callable[[], object], int, float | None]] = [
        *(
            (f"row, {kind} of column {index}", _masking(masker({index: kind}), rows), _ROWS, bound)
            for index, kind, bound in (
                (2, "redact", 400.0),
                (2, "null", 400.0),
                (2, "email", None),
                (4, "last4", None),
                (2, "hash", None),
                (7, "redact", None),
            )
        ),
        (
            "row, redact of three",
            _masking(masker(dict.fromkeys((0, 2, 4), "redact")), rows),
            _ROWS,
            None,
        ),
        ("COPY row, redact of column 2", _copying(copied), _ROWS, None),
        ("shape of a statement of 54 bytes", lambda: shape(_STATEMENT), 1, 3000.0),
        ("facts of it, in process", lambda: analyser.facts(_STATEMENT), 1, None),
    ]
    task = progress.add_task("rows", total=len(pieces))
    figures = []
    for name, once, each, bound in pieces:
        samples = nanoseconds(once, each, rounds, seconds / 10)
        target = None if bound is None else at_most(bound)
        figures.append(Figure(name=name, samples=samples, unit="ns", target=target))
        progress.advance(task)
    method = f"least time in each round, {_ROWS} rows of {len(rows) // _ROWS} bytes at once"
    return [Section(name="Masking rows, pure Python", method=method, figures=figures)]


def _masking(rows_masker: RowMasker, rows: bytes) -> Callable[[], object]:
    _, count, masked = rows_masker.mask_rows(rows)
    assert count == _ROWS <= masked
    return lambda: rows_masker.mask_rows(rows)


def _copying(copied: bytes) -> Callable[[], object]:
    copy_masker = CopyMasker("text", False, 8, {2: compile_mask("redact", _TEXT, 0, _KEY)})
    assert copy_masker.mask_rows(copied)[1:] == (_ROWS, _ROWS)
    return lambda: copy_masker.mask_rows(copied)


if __name__ == "__main__":
    with Progress(transient=True) as shown:
        sections = run(shown, 5, 3.0)
    for section in sections:
        show(Console(), section)
