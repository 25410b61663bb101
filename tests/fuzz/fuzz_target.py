"""Targets of requests.

Invariant: a target is read or refused with `LocatorError`, what is read is read alike from its
canonical form, and decoding or tidying it up once more changes nothing.
"""

from __future__ import annotations

import posixpath
from typing import Final
from urllib.parse import unquote

from hoopgw.http.path import Locator, LocatorError, locate

SEEDS: Final = (
    b"/subscriptions/1/resourceGroups/rg?api%2Dversion=2&$filter=a%20eq%20'b'",
    b"/secrets/NAME/",
    b"https://arm.gw:9443/a%20b/%C3%A9?x&y=%2F",
    b"/a/../%2e%2e;%2f//%00%25.",
)


def fuzz(data: bytes) -> None:
    """Read a target."""
    try:
        found = locate(data.decode("latin-1"))
    except LocatorError:
        return
    assert locate(found.canonical) == Locator(found.segments, found.slash)
    assert all(unquote(segment) == segment for segment in found.segments)
    path = "/" + "/".join(found.segments)
    assert posixpath.normpath(path) == path
