"""asciinema's own player, from npm, on which tests play what hoopgw exports.

``python -m tests.support.player`` installs it into the cache that runs share: 3 MB. It is run as a
program, without a screen, and is no part of hoopgw.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support import npm
from tests.support.processes import PATIENCE

_FOLDER: Final = Path(__file__).resolve().parents[1] / "streams" / "player"


def is_there() -> bool:
    """Say whether it is installed."""
    manifest = (_FOLDER / "package.json").read_bytes()
    return npm.is_possible() and (npm.folder("player", manifest) / "node_modules").is_dir()


def install() -> Path:
    """Return the folder with its packages, installing them if they are not there."""
    return npm.install("player", (_FOLDER / "package.json").read_bytes())


def play(file: Path) -> list[list[Any]]:
    """Play a file; return what the player would show: kinds of events, each with what it says.

    Raises:
        AssertionError: the player does not take it.

    """
    command = ["node", str(_FOLDER / "play.mjs"), str(install()), str(file)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
    if done.returncode != 0:
        raise AssertionError(f"the player does not take it: {done.stderr.decode(errors='replace')}")
    shown: list[list[Any]] = json.loads(done.stdout)
    return shown


if __name__ == "__main__":
    print(install())
