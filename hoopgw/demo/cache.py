"""Where the tests and the demonstration keep programs that are no packages of ours."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """Return ``$XDG_CACHE_HOME/hoopgw-tests`` (``~/.cache``), or ``HOOPGW_TEST_CACHE``."""
    given = os.environ.get("HOOPGW_TEST_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hoopgw-tests"
