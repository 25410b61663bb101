"""Several pieces that are sent as one."""

from __future__ import annotations

from collections.abc import Sequence

from hoopgw.transport.tls import Buffer


def rest_of(pieces: Sequence[Buffer], sent: int) -> bytes:
    """Return what is behind the first ``sent`` bytes; only that is copied."""
    for at, piece in enumerate(pieces):
        if sent < len(piece):
            return b"".join((memoryview(piece)[sent:], *pieces[at + 1 :]))
        sent -= len(piece)
    return b""
