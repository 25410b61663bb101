"""The compiled twins of plain Python that ``setup.py`` builds where there is a C compiler."""

from __future__ import annotations

import ast
from typing import Final

from hoopgw.transport import accelerated
from tests.support.processes import TOP

ADVICE: Final = "make test installs gcc and Python's headers where it may; then rm .venv/.hoopgw-*"


def twins() -> list[str]:
    """Name all of them, as ``setup.py`` does."""
    for node in ast.parse((TOP / "setup.py").read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no table of modules")


def not_built() -> list[str]:
    """Name those that are missing here: what tests them is skipped, or runs the plain Python."""
    return [name for name in twins() if not accelerated.is_built(name)]
