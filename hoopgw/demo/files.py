"""The demonstration's folder: what it is made of, how it is found again, how it goes away.

The folder is the demonstration's only state. ``demo.json`` (0600) says which process runs it and
where everything is, so that ``hoopgw demo login`` works from another terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import frozen

from hoopgw.demo.processes import DemoError

_FILE: Final = "demo.json"
_SIZE_LIMIT: Final = 1 << 20


@frozen(kw_only=True)
class Facts:
    """What another terminal must know of a running demonstration."""

    pid: int
    gateway: str
    """URL of the control listener."""
    issuer: str
    """URL of the issuer."""
    postgres_port: int
    """Where the gateway takes PostgreSQL connections."""
    people: dict[str, str] = attrs.field(repr=False)
    """Name to password at the issuer."""
    agent_secret: str = attrs.field(repr=False)


@frozen
class DemoFolder:
    """Paths of one demonstration."""

    path: Path

    @property
    def ca(self) -> Path:
        """What callers trust."""
        return self.path / "state" / "keys" / "ca.crt"

    @property
    def gateway_config(self) -> Path:
        """The gateway's configuration."""
        return self.path / "hoopgw.toml"

    @property
    def agent_config(self) -> Path:
        """The agent's configuration."""
        return self.path / "agent.toml"

    @property
    def state(self) -> Path:
        """The gateway's state folder."""
        return self.path / "state"

    @property
    def secrets(self) -> Path:
        """The credentials of the target: the agent's files."""
        return self.path / "agent-secrets"

    @property
    def cloud(self) -> Path:
        """What the demonstration's Azure has to itself."""
        return self.path / "cloud"

    @property
    def programs(self) -> Path:
        """Programs for the demonstration's people."""
        return self.path / "bin"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.path / "logs"

    def home(self, name: str) -> Path:
        """Return where one person's log-in is kept."""
        return self.path / "home" / name

    def make(self) -> None:
        """Make the folder, empty; what a demonstration left that is over is removed.

        Raises:
            DemoError: one runs there, or the folder holds something else.

        """
        if self.path.exists() and any(self.path.iterdir()):
            facts = self._facts()
            if facts is None:
                raise DemoError(
                    f"{self.path} holds something that is no demonstration's: "
                    "give another folder with --folder, or remove it"
                )
            if _is_alive(facts.pid):
                raise DemoError(
                    f"a demonstration runs in {self.path} (process {facts.pid}): "
                    "stop it, or give another folder with --folder"
                )
            self.remove()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Root runs PostgreSQL as somebody else, who must be able to pass; all else inside is 0700.
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for inner in (self.logs, self.secrets, self.path / "home", self.programs):
            inner.mkdir(mode=0o700)

    def remember(self, facts: Facts) -> None:
        """Write what other terminals need."""
        target = self.path / _FILE
        target.touch(mode=0o600)
        target.write_text(json.dumps(attrs.asdict(facts)))

    def facts(self) -> Facts:
        """Read what the running demonstration wrote.

        Raises:
            DemoError: none runs here.

        """
        facts = self._facts()
        if facts is None or not _is_alive(facts.pid):
            raise DemoError(
                f"no demonstration runs in {self.path}: start one with `hoopgw demo`, "
                "or give its folder with --folder"
            )
        return facts

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=False)

    def _facts(self) -> Facts | None:
        try:
            with (self.path / _FILE).open("rb") as file:
                values: Any = json.loads(file.read(_SIZE_LIMIT))
            return Facts(**values)
        except (OSError, ValueError, TypeError):
            return None


def policies() -> Path:
    """Return the folder of the example policies, in a checkout or an installation.

    Raises:
        DemoError: it is nowhere.

    """
    places = [
        Path(__file__).resolve().parents[2] / "conf" / "policies",
        Path.cwd() / "conf" / "policies",
        Path(sys.prefix) / "share" / "hoopgw" / "policies",
    ]
    for place in places:
        if place.is_dir():
            return place
    raise DemoError("the example policies (conf/policies) are not here: give them with --policies")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
