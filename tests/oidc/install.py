"""Install the test provider's npm packages into a cache folder: ``python -m tests.oidc.install``.

The folder is ``$XDG_CACHE_HOME/hoopgw-tests`` (``~/.cache`` without it), or what
``HOOPGW_TEST_CACHE`` says. An installation that is there is used as it is, so this can run before
every test run; scripts of packages are not run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
_TIMEOUT: Final = 300.0


def is_possible() -> bool:
    """Say whether node and npm are on this machine."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def install() -> Path:
    """Return the folder that has ``node_modules``, installing them if they are not there.

    Raises:
        OSError: npm is not there, or the folder cannot be written.
        subprocess.SubprocessError: npm failed.

    """
    wanted = (HERE / "package.json").read_bytes()
    folder = cache() / f"oidc-provider-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if (folder / "node_modules").is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".installing-", dir=folder.parent))
    try:
        (draft / "package.json").write_bytes(wanted)
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"],
            cwd=draft,
            check=True,
            timeout=_TIMEOUT,
            stdout=subprocess.DEVNULL,
        )
        try:
            draft.rename(folder)
        except OSError:
            if not (folder / "node_modules").is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def cache() -> Path:
    """Return the folder for what tests install besides Python packages of ours."""
    given = os.environ.get("HOOPGW_TEST_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hoopgw-tests"


if __name__ == "__main__":
    print(install())
