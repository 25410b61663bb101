"""A configuration file.

Invariant: whatever the bytes, loading returns a configuration or raises `ConfigError`, and the
error has a line for each finding and never the value of what may be a secret.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from hoopgw.config import load, load_agent
from hoopgw.errors import ConfigError
from tests.support.processes import TOP

_CONF: Final = TOP / "conf"
SEEDS: Final = tuple(path.read_bytes() for path in sorted(_CONF.glob("*.toml")))
_SECRET: Final = b"hunter2"


def fuzz(data: bytes) -> None:
    """Load it as a gateway's and as an agent's."""
    with tempfile.TemporaryDirectory(prefix="hg-") as folder:
        path = Path(folder) / "fuzz.toml"
        path.write_bytes(data.replace(b'source = "', b'source = "' + _SECRET))
        for loader in (load, load_agent):
            said = f"{path}: "
            try:
                loader(path, {"postgres"})
            except ConfigError as error:
                said = str(error)
            assert said.startswith(f"{path}: ")
            assert _SECRET.decode() not in said
