"""How the demonstration's people reach Azure: with `az` where it is, else with plain HTTPS."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import attrs
from attrs import frozen

from hoopgw.demo import azure_cli
from hoopgw.demo.azure_data import VAULT, Call
from hoopgw.demo.azure_settings import ACCOUNT, DOMAIN, HOSTS, MANAGER
from hoopgw.demo.client import Answer
from hoopgw.demo.command import CommandLine
from hoopgw.demo.names import find_names

_PATIENCE: Final = 180.0
_HOOPGW: Final = (sys.executable, "-m", "hoopgw.cli")
_QUIET: Final = {
    "AZURE_CORE_COLLECT_TELEMETRY": "false",
    "AZURE_CORE_NO_COLOR": "true",
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
}


class AzureClient(Protocol):
    """What somebody asks Azure with."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def typed(self, call: Call) -> str:
        """Return the line that does it."""
        ...

    def start(self, who: CommandLine, call: Call) -> subprocess.Popen[str]:
        """Ask in the background; `finish` waits for it."""
        ...


@frozen(kw_only=True)
class AzClient:
    """`az`, under `hoopgw azure run`."""

    program: str
    """As it is called."""
    port: int
    """Of the gateway, for Azure's clients."""
    variables: Mapping[str, str]
    """What it takes that the names of the gateway are found."""

    @property
    def name(self) -> str:
        """Its own."""
        return "az"

    def typed(self, call: Call) -> str:
        """Return the whole line."""
        return shlex.join(["hoopgw", *self._run, "az", *call.az])

    def start(self, who: CommandLine, call: Call) -> subprocess.Popen[str]:
        """Start `az`."""
        wrapped = attrs.evolve(who, more={**who.more, **_QUIET, **self.variables})
        return _start([*_HOOPGW, *self._run, self.program, *call.az], wrapped.environment())

    @property
    def _run(self) -> tuple[str, ...]:
        return "azure", "run", manager_url(self.port), "--"


@frozen(kw_only=True)
class PlainClient:
    """Plain HTTPS requests with a token of the gateway."""

    port: int

    @property
    def name(self) -> str:
        """What it is."""
        return "plain HTTPS requests, as there is no az here"

    def typed(self, call: Call) -> str:
        """Return the request's line."""
        return f"{call.method} {request_url(self.port, call)}"

    def start(self, who: CommandLine, call: Call) -> subprocess.Popen[str]:
        """Fetch a token and send the request."""
        token = str(who.json("token", call.target, "--account", ACCOUNT)["secret"])
        url = request_url(self.port, call)
        program = [sys.executable, "-m", "hoopgw.demo.fetch", call.method, url, str(who.ca)]
        return _start(program, {**who.environment(), "HOOPGW_TOKEN": token})


def find_client(folder: Path, port: int) -> AzureClient:
    """Return what is here to ask with.

    Args:
        folder: where programs may be put.
        port: of the gateway, for Azure's clients.

    """
    names = find_names(folder, HOSTS)
    program = find_az(folder)
    if names is None or program is None:
        return PlainClient(port=port)
    return AzClient(program=program, port=port, variables=names.variables)


def find_az(folder: Path) -> str | None:
    """Return an `az` that is here: of the machine, or of the cache; nothing is installed."""
    if shutil.which("az"):
        return "az"
    if azure_cli.is_there():
        return str(azure_cli.wrapper(folder / "az"))
    return None


def finish(process: subprocess.Popen[str], patience: float = _PATIENCE) -> Answer:
    """Wait for an answer; what comes to none is killed."""
    try:
        output, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += f"\n(there was no answer after {patience:.0f} s)"
    return Answer(output=output, errors=errors, status=process.returncode)


def manager_url(port: int) -> str:
    """Return where Resource Manager is."""
    return f"https://{MANAGER}.{DOMAIN}:{port}"


def request_url(port: int, call: Call) -> str:
    """Return the URL that a call is."""
    host = f"{VAULT}.vault" if call.target == VAULT else call.target
    return f"https://{host}.{DOMAIN}:{port}{call.path}"


def _start(argv: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program without what is somebody's own for Azure."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _QUIET or not name.startswith(("AZURE_", "ARM_", "IDENTITY_", "MSI_"))
    }
    return subprocess.Popen(
        argv,
        env={**kept, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.path.sep,
    )
