"""The real `az`, apart from our own packages: ``python -m hoopgw.demo.azure_cli`` installs it.

It is kept in ``$XDG_CACHE_HOME/hoopgw-tests`` (``~/.cache`` without it), or in what
``HOOPGW_TEST_CACHE`` says. An installation that is there is used as it is;
the first one takes some minutes and 800 MB.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from hoopgw.demo.cache import cache

VERSION: Final = "2.91.0"
_TIMEOUT: Final = 1500.0


def folder() -> Path:
    """Return where its packages are, or will be."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache() / f"azure-cli-{VERSION}-python{python}"


def is_there() -> bool:
    """Say whether it is installed."""
    return folder().is_dir()


def command() -> list[str]:
    """Return what runs it; PYTHONPATH must be `folder`, and it sees no package of ours."""
    return [sys.executable, "-S", "-m", "azure.cli"]


def wrapper(path: Path) -> Path:
    """Write a program that is `az`, and return its path."""
    called = shlex.join(command())
    path.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(folder()))} exec {called} "$@"\n')
    path.chmod(0o700)
    return path


def install() -> Path:
    """Return the folder of its packages, installing them if they are not there.

    Raises:
        subprocess.SubprocessError: pip failed.

    """
    wanted = folder()
    if is_there():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".installing-", dir=wanted.parent))
    try:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
                *("--target", str(draft / "packages"), f"azure-cli=={VERSION}"),
            ],
            check=True,
            timeout=_TIMEOUT,
        )
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(draft / "packages")],
            timeout=_TIMEOUT,
            stdout=subprocess.DEVNULL,
            check=False,  # some files of it are templates, and no Python
        )
        try:
            (draft / "packages").rename(wanted)
        except OSError:
            if not is_there():  # else another run was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return wanted


if __name__ == "__main__":
    print(install())
