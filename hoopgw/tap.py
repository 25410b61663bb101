"""``twistd hoopgw``: the supervisor, which starts the gateway's processes and keeps them up."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from hoopgw import config
from hoopgw.errors import ConfigError
from hoopgw.processes.supervisor import Supervisor

log = Logger()


class Options(usage.Options):
    """Options of ``twistd hoopgw``."""

    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "/etc/hoopgw/hoopgw.toml", "Configuration file."],
    ]


def makeService(options: Options) -> MultiService:
    """Build the gateway's service tree; nothing is started yet."""
    from twisted.internet import reactor

    path = Path(options["config"])
    try:
        settings = config.load(path)
    except ConfigError as error:
        raise usage.UsageError(str(error)) from error
    log.info("gateway {name}, state in {state}", name=settings.name, state=str(settings.state))
    service = MultiService()
    service.addService(
        Supervisor(
            path=path.resolve(),
            control_socket=settings.paths.control_socket,
            reactor=reactor,
            end_with=lambda status: end_with(reactor, status),
        )
    )
    return service


def end_with(reactor: Any, status: int) -> None:
    """Stop the reactor, and let this process end with a status: twistd itself knows only success.

    The process leaves last of all, when twistd has removed its pid file.
    """
    atexit.register(_leave, status)
    try:
        reactor.stop()
    except ReactorNotRunning:
        log.info("the gateway is stopping already")


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
