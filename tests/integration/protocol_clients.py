"""Real clients of each protocol, as tests of chains use them: the same story for all of them.

Whoever adds a protocol writes one `ProtocolClient` and lists it in `CLIENTS`; the tests of
revocation then run for it, too.
"""

from __future__ import annotations

import subprocess
import typing
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from tests.support.gateway import PSQL_15, WRITER, GatewayRig

_PATIENCE: Final = 60.0


class Running(typing.Protocol):
    """A client in the middle of an operation."""

    def ended(self, patience: float) -> str:
        """Wait until the client has ended by itself, and return what it told its user."""
        ...

    def kill(self) -> None:
        """End it, whatever it does; harmless if it has ended."""
        ...


class ProtocolClient(typing.Protocol):
    """What a protocol's client can do with a chain of delegation."""

    @property
    def name(self) -> str:
        """For the test's id."""
        ...

    @property
    def target(self) -> str:
        """The target of the rig that it speaks to."""
        ...

    def is_there(self) -> bool:
        """Whether the program is installed."""
        ...

    def busy(self, rig: GatewayRig, chain: str) -> Running:
        """Log in with a chain, and begin something that the target works on for minutes."""
        ...

    def held(self, rig: GatewayRig, chain: str) -> Running:
        """Log in with a chain, and ask for something that people must approve."""
        ...

    def refusal(self, rig: GatewayRig, chain: str) -> str | None:
        """Log in with a chain, and do something small; return what was said if it was refused."""
        ...


@define(eq=False)
class _Program:
    """A program under way. Implements `Running`."""

    process: subprocess.Popen[str]

    def ended(self, patience: float) -> str:
        output, errors = self.process.communicate(timeout=patience)
        return output + errors

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@frozen
class Psql:
    """psql 15. Implements `ProtocolClient`."""

    name: str = field(default="psql", init=False)
    target: str = field(default="pg15", init=False)

    def is_there(self) -> bool:
        return Path(PSQL_15).exists()

    def busy(self, rig: GatewayRig, chain: str) -> Running:
        return self._start(rig, chain, "SELECT pg_sleep(300)")

    def held(self, rig: GatewayRig, chain: str) -> Running:
        return self._start(rig, chain, "TRUNCATE notes")

    def refusal(self, rig: GatewayRig, chain: str) -> str | None:
        running = self._start(rig, chain, "SELECT 1")
        said = running.ended(_PATIENCE)
        return None if running.process.returncode == 0 else said

    def _start(self, rig: GatewayRig, chain: str, statement: str) -> _Program:
        return _Program(
            subprocess.Popen(
                [PSQL_15, "-X", "-A", "-t", "-q", "-c", statement],
                env=rig.environment(self.target, WRITER, token=chain),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )


CLIENTS: Final[tuple[ProtocolClient, ...]] = (Psql(),)
