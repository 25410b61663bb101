"""Programs from npm that only tests run, in a cache folder that runs share.

The folder is ``$XDG_CACHE_HOME/hoopgw-tests`` (``~/.cache`` without it), or what
``HOOPGW_TEST_CACHE`` says. An installation that is there is used as it is, so this can run before
every test run; scripts of packages are not run.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from hoopgw.demo.cache import cache

_TIMEOUT: Final = 600.0


def is_possible() -> bool:
    """Say whether node and npm are on this machine."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def folder(name: str, manifest: bytes) -> Path:
    """Return where the packages of a ``package.json`` are, or will be."""
    return cache() / f"{name}-{hashlib.sha256(manifest).hexdigest()[:12]}"


def install(name: str, manifest: bytes) -> Path:
    """Return the folder that has ``node_modules``, installing them if they are not there.

    Args:
        name: of the folder, before a hash.
        manifest: the ``package.json``, with exact versions.

    Raises:
        OSError: npm is not there, or the folder cannot be written.
        subprocess.SubprocessError: npm failed.

    """
    wanted = folder(name, manifest)
    if (wanted / "node_modules").is_dir():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".installing-", dir=wanted.parent))
    try:
        (draft / "package.json").write_bytes(manifest)
        subprocess.run(
            [
                *("npm", "install", "--loglevel=error", "--ignore-scripts"),
                *("--no-audit", "--no-fund", "--no-package-lock"),
            ],
            cwd=draft,
            check=True,
            timeout=_TIMEOUT,
            stdout=subprocess.DEVNULL,
        )
        try:
            draft.rename(wanted)
        except OSError:
            if not (wanted / "node_modules").is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return wanted
