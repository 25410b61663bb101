"""The control process: ``python -m hoopgw.processes.control --config FILE``.

Tokens, reviews, enrolment, the admin API; see `hoopgw.control`. It is the only writer of the store,
and never on the data path. It ends with status 2 when the configuration or the state folder cannot
be used: starting it again would not help.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from hoopgw import config
from hoopgw.clock import go_forward
from hoopgw.control.service import ControlService
from hoopgw.errors import ConfigError, HoopgwError
from hoopgw.logs import start_logging
from hoopgw.processes import lifeline

log = Logger()

FAILED: Final = 1
REFUSED: Final = 2


def main() -> int:
    """Run until stopped; returns the exit status."""
    parser = argparse.ArgumentParser(description="The control process of a hoopgw gateway.")
    parser.add_argument("--config", type=Path, required=True, help="hoopgw.toml")
    options = parser.parse_args()
    start_logging("control")
    from twisted.internet import reactor

    go_forward(reactor)
    try:
        settings = config.load(options.config)
    except ConfigError as error:
        log.error("{error}", error=error)
        return REFUSED
    return serve(settings, reactor)


def serve(settings: config.GatewayConfig, reactor: Any) -> int:
    """Run the control process on a reactor until that stops; returns the exit status."""
    try:
        service = ControlService(settings, reactor)
        service.start()
    except ConfigError as error:
        log.error("{error}", error=error)
        return REFUSED
    except (HoopgwError, OSError) as error:
        log.error("control cannot start: {error}", error=error)
        return FAILED
    lifeline.hold(reactor)
    reactor.addSystemEventTrigger("before", "shutdown", service.stop)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
