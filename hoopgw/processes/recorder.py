"""The recorder process: ``python -m hoopgw.processes.recorder --config FILE``.

Takes records from the workers' spools into the Merkle log; see `hoopgw.recording`. It holds the
key that signs checkpoints and nothing else, and serves ``run/recorder.sock`` to the workers. It
ends with status 1 when it cannot go on, and with 2 when it must not begin: the log was changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.logger import Logger

from hoopgw import config
from hoopgw.errors import ConfigError, HoopgwError
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.logs import start_logging
from hoopgw.processes import lifeline
from hoopgw.processes.priority import give_way
from hoopgw.recording.service import RecorderService

log = Logger()

FAILED: Final = 1
REFUSED: Final = 2


def main() -> int:
    """Run until stopped; returns the exit status."""
    parser = argparse.ArgumentParser(description="The recorder of a hoopgw gateway.")
    parser.add_argument("--config", type=Path, required=True, help="hoopgw.toml")
    options = parser.parse_args()
    start_logging("recorder")
    try:
        settings = config.load(options.config)
        key = signing_key(settings.paths.log_key)
    except ConfigError as error:
        log.error("{error}", error=error)
        return REFUSED
    from twisted.internet import reactor

    lifeline.hold(reactor)
    give_way()
    return serve(settings, key, reactor)


def serve(settings: config.GatewayConfig, key: Ed25519PrivateKey, reactor: Any) -> int:
    """Run the recorder on a reactor until that stops; returns the exit status."""
    failures: list[int] = []

    def give_up() -> None:
        failures.append(FAILED)
        reactor.stop()

    paths = settings.paths
    service = RecorderService(
        paths.spool, paths.log, key, settings.name, paths.recorder_socket, reactor, give_up
    )
    try:
        service.startService()
    except HoopgwError as error:
        log.error("{error}", error=error)
        return REFUSED
    except OSError as error:
        log.error("the recorder cannot start: {error}", error=error)
        return FAILED
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return failures[0] if failures else 0


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the key that signs checkpoints.

    Raises:
        ConfigError: the file cannot be used.

    """
    key = load_signing_key(path).private_key
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: is no private Ed25519 key as JWK")
    return key


if __name__ == "__main__":
    sys.exit(main())
