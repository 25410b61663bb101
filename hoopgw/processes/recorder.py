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

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from hoopgw import config
from hoopgw.clock import go_forward
from hoopgw.errors import ConfigError, HoopgwError
from hoopgw.identity.keybook import KeyBook
from hoopgw.identity.keyfiles import LogKeyFiles, load_log_key
from hoopgw.logs import start_logging
from hoopgw.processes import lifeline
from hoopgw.processes.priority import give_way
from hoopgw.recording.checkpoints import CheckpointFiles
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.content_mending import EVERY, ContentMender
from hoopgw.recording.notes import NoteError
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
    except ConfigError as error:
        log.error("{error}", error=error)
        return REFUSED
    from twisted.internet import reactor

    go_forward(reactor)
    lifeline.hold(reactor)
    give_way()
    return serve(settings, reactor)


def serve(settings: config.GatewayConfig, reactor: Any) -> int:
    """Run the recorder on a reactor until that stops; returns the exit status."""
    failures: list[int] = []

    def give_up() -> None:
        failures.append(FAILED)
        reactor.stop()

    paths = settings.paths
    keys = LogKeyFiles(KeyBook(paths))
    try:
        finish_handover(paths.log, keys)
        service = RecorderService(
            paths.spool,
            paths.log,
            load_log_key(paths.log_key),
            settings.name,
            paths.recorder_socket,
            reactor,
            give_up,
            keys,
        )
        service.startService()
    except HoopgwError as error:
        log.error("{error}", error=error)
        return REFUSED
    except OSError as error:
        log.error("the recorder cannot start: {error}", error=error)
        return FAILED
    mender = ContentMender(ContentFolder(paths.contents), paths.log, paths.spool)
    mending = mend(mender, service, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", mending.stop)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    return failures[0] if failures else 0


def mend(mender: ContentMender, service: RecorderService, reactor: Any) -> LoopingCall:
    """Close contents that workers left, now and again, in a thread; stop it at the end."""

    def look() -> Deferred[Any]:
        has_taken_all = service.has_taken_all
        looking: Deferred[Any] = deferToThreadPool(
            reactor,
            reactor.getThreadPool(),
            lambda: mender.look(has_taken_all=has_taken_all),
        )
        return looking.addErrback(
            lambda failure: log.failure("looking for contents that were left failed", failure)
        )

    loop = LoopingCall(look)
    loop.clock = reactor
    loop.start(EVERY, now=False)
    return loop


def finish_handover(folder: Path, keys: LogKeyFiles) -> None:
    """Do what was left of a hand-over that a crash broke off; see `RecorderService.hand_over`.

    Raises:
        ConfigError: a key cannot be read or moved.
        OSError: the log's folder cannot be written.

    """
    successor = keys.successor()
    if successor is None:
        return
    files = CheckpointFiles(folder)
    try:
        found = files.last_handover()
    except NoteError as error:
        raise ConfigError(f"{folder}: ends with a hand-over that is not good: {error}") from error
    if found is not None and found[1].new.key == successor.public_key():
        files.settle(*found)
        keys.promote()
        log.warn("the log was handed over to a new key just before the recorder stopped")
    else:
        keys.withdraw()


if __name__ == "__main__":
    sys.exit(main())
