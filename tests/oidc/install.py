"""Install the test provider's npm packages: ``python -m tests.oidc.install``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support import npm

HERE: Final = Path(__file__).resolve().parent


def install() -> Path:
    """Return the folder that has ``node_modules``; see `tests.support.npm.install`."""
    return npm.install("oidc-provider", (HERE / "package.json").read_bytes())


if __name__ == "__main__":
    print(install())
