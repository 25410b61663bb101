"""How a fuzz target cuts its input."""

from __future__ import annotations

import itertools


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return what is to be fed, whole and in pieces; the first bytes say where to cut."""
    count = data[0] % 8 if data else 0
    wishes, body = data[1 : 1 + count], data[1 + count :]
    places = sorted({wish % (len(body) + 1) for wish in wishes} | {0, len(body)})
    return body, [body[start:end] for start, end in itertools.pairwise(places)]
