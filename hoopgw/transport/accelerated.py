"""Whether the compiled twins of hot functions are there, and wanted.

They are built at install where a C compiler is found (``setup.py``); nothing needs them. The plain
Python next to each is the reference, and what runs without them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

VARIABLE: Final = "HOOPGW_PLAIN"
"""Environment variable that, set to 1, keeps a process to plain Python."""


def is_built(name: str) -> bool:
    """Say whether a compiled module was built."""
    return find_spec(name) is not None


def is_wanted(name: str) -> bool:
    """Say whether a compiled module is to be used: it was built, and nobody objects."""
    return os.environ.get(VARIABLE) != "1" and is_built(name)
