"""Programs that speak SSH and that only tests run, apart from our own packages.

``python -m tests.support.ssh_programs`` installs them into the cache that runs share
(`hoopgw.demo.cache`): 70 MB in all. They are run as programs, and never imported: their licences
are not ours (Ansible: GPL-3, AsyncSSH: EPL-2).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hoopgw.demo.cache import cache

PROGRAMS: Final[Mapping[str, str]] = {
    "ansible-core": "2.19.14",
    "asyncssh": "2.24.1",
    "ssh-audit": "3.9.0",
}
_TIMEOUT: Final = 600.0


def folder(name: str) -> Path:
    """Return where a program's packages are, or will be."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache() / f"{name}-{PROGRAMS[name]}-python{python}"


def is_there(name: str) -> bool:
    """Say whether it is installed."""
    return folder(name).is_dir()


def command(*argv: str) -> list[str]:
    """Return what runs Python without a package of ours; see `environment`."""
    return [sys.executable, "-S", *argv]


def environment(name: str, home: Path, **more: str) -> dict[str, str]:
    """Return the environment in which a program finds its packages, and nothing of the caller's."""
    return {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "HOME": str(home),
        "PYTHONPATH": str(folder(name)),
        **more,
    }


def install(name: str) -> Path:
    """Return the folder of a program's packages, installing them if they are not there.

    Raises:
        subprocess.SubprocessError: pip failed.

    """
    wanted = folder(name)
    if is_there(name):
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".installing-", dir=wanted.parent))
    try:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
                *("--target", str(draft / "packages"), f"{name}=={PROGRAMS[name]}"),
            ],
            check=True,
            timeout=_TIMEOUT,
        )
        try:
            (draft / "packages").rename(wanted)
        except OSError:
            if not is_there(name):  # else another run was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return wanted


if __name__ == "__main__":
    for each in PROGRAMS:
        print(install(each))
