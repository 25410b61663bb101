"""mitmproxy, the other yardstick before an HTTPS server: MIT, from PyPI, apart from our packages.

It is installed into a folder of its own below `tests.support.npm.cache` (``$XDG_CACHE_HOME``, or
``~/.cache``) and sees no package of ours, nor we one of its. Nothing of hoopgw needs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.upstream import NotInstalledError, Web
from tests.support.certificates import Pair
from tests.support.npm import cache
from tests.support.processes import Processes, free_port

VERSION: Final = "11.0.2"
_TIMEOUT: Final = 600.0
_PROGRAM: Final = "from mitmproxy.tools.main import mitmdump; mitmdump()"


def folder() -> Path:
    """Return where its packages are, or will be."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache() / f"mitmproxy-{VERSION}-python{python}"


def install() -> Path:
    """Return the folder of its packages, installing them if they are not there.

    Raises:
        NotInstalledError: that is not possible; the text says why.

    """
    wanted = folder()
    if wanted.is_dir():
        return wanted
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    draft = None
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".installing-", dir=wanted.parent))
        subprocess.run(
            [*pip, "--target", str(draft / "packages"), f"mitmproxy=={VERSION}"],
            check=True,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
        (draft / "packages").rename(wanted)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalledError(f"mitmproxy {VERSION} could not be installed ({error})") from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return wanted


def start(processes: Processes, own: Path, pair: Pair, port: int, ca: Path) -> Web:
    """Start it as a reverse proxy of a port, with TLS on both sides, verified to the server.

    Raises:
        NotInstalledError: it cannot be installed.

    """
    packages = install()
    own.mkdir()
    both = own / "both.pem"
    both.touch(mode=0o600)
    both.write_text(pair.key.read_text() + pair.certificate.read_text())
    here = free_port()
    options = {
        "confdir": own,
        "listen_host": "127.0.0.1",
        "listen_port": here,
        "ssl_verify_upstream_trusted_ca": ca,
        "stream_large_bodies": "64k",  # so that it does not wait for the whole of a large answer
        "flow_detail": 0,
    }
    running = processes.start(
        "mitmproxy",
        [
            *(sys.executable, "-S", "-c", _PROGRAM, "-q"),
            *("--mode", f"reverse:https://127.0.0.1:{port}", "--certs", f"*={both}"),
            *(word for name, value in options.items() for word in ("--set", f"{name}={value}")),
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(own), "PYTHONPATH": str(packages)},
    )
    running.wait_for_port(here)
    return Web(running=running, port=here)
