"""Azure's SDKs as programs use them: ``python -m tests.support.azure_sdks`` installs JavaScript's.

Those for Python come with `az` (`hoopgw.demo.azure_cli`) and with our own packages.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

from tests.support import azure_cli, npm

_MANIFEST: Final = json.dumps(
    {
        "name": "hoopgw-test-azure-sdks",
        "private": True,
        "dependencies": {
            "@azure/arm-resources": "7.0.0",
            "@azure/identity": "4.13.1",
            "@azure/keyvault-secrets": "4.11.2",
        },
    }
).encode()
_PROGRAMS: Final = Path(__file__).resolve().parents[1] / "azure" / "programs"


def is_there() -> bool:
    """Say whether JavaScript's are installed, and can run."""
    return npm.is_possible() and (_folder() / "@azure").is_dir()


def install() -> Path:
    """Return the folder of their packages; see `tests.support.npm.install`."""
    return npm.install("azure-sdks", _MANIFEST)


def javascript() -> tuple[list[str], dict[str, str]]:
    """Return what runs the program in JavaScript, and the environment that finds its packages."""
    return ["node", str(_PROGRAMS / "read.cjs")], {"NODE_PATH": str(_folder())}


def python() -> tuple[list[str], dict[str, str]]:
    """Return what runs the program in Python, and the environment that finds its packages."""
    path = os.pathsep.join((str(azure_cli.folder()), sysconfig.get_path("purelib")))
    program = [sys.executable, "-S", str(_PROGRAMS / "read.py")]
    return ["env", f"PYTHONPATH={path}", *program], {}


def _folder() -> Path:
    return npm.folder("azure-sdks", _MANIFEST) / "node_modules"


if __name__ == "__main__":
    print(install())
