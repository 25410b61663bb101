"""The recorder process's life: turns, timers, and the socket to the workers.

A *turn* reads the spools, appends, and syncs. Each costs whoever shares the processor more than the
time that it takes, as caches are cold behind it: so turns are short, one piece before the sync and
next to nothing behind it, and as far apart as they may be. While there is something to do, a turn
ends 45 ms after the last one began, so that what a worker wrote is synced within 50 ms. After some
that found nothing, workers are told that the recorder is idle, and the next write wakes it; then it
only looks at its folder twenty times a second. How far it came is told to workers five times a
second, or sooner if it took much: that only bounds how far it may be behind, and what place they
have. Who waits for a sync is answered at once.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IReactorTime,
    IReactorUNIX,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from hoopgw.errors import ConfigError, RecorderError
from hoopgw.ipc import Body, Peer, peer_uid
from hoopgw.recording.framing import DamagedError
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.intake import BrokenLogError, Intake
from hoopgw.recording.log import LogWriter
from hoopgw.recording.notes import Verifier
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.recording.recovery import EvidenceError, open_log
from hoopgw.recording.spool import SEGMENT_SIZE

log = Logger()

SYNCED_WITHIN: Final = 0.045
"""Seconds from the beginning of a turn to the end of the next, while records come."""
_PAUSE: Final = 0.005
"""Seconds between turns at least, unless there is more, however long a sync takes."""
PROGRESS_EVERY: Final = 0.2
"""Seconds between two words to the workers on how far the recorder is, if nothing else is new."""
PROGRESS_BYTES: Final = SEGMENT_SIZE // 4
"""Bytes behind which workers are told sooner: they wait for their place."""
IDLE_EVERY: Final = 0.05
"""Seconds between looks at the spools while nothing comes; a worker's ``wake`` comes first."""
TURN_TIME: Final = 0.005
"""Seconds after which a turn syncs what it has read, although there is more."""
_IDLE_AFTER: Final = 5
"""Turns without news after which the recorder is idle."""
RETRY_EVERY: Final = 0.5
"""Seconds until the log is tried again after the disk was full."""
CHECKPOINT_EVERY: Final = 10.0
CHECKPOINT_RECORDS: Final = 1000
"""A checkpoint is made after so many seconds, or so many records."""
CHECKPOINT_APART: Final = 1.0
"""Seconds between two checkpoints at least: each costs syncs here and at every agent."""
INDEX_EVERY: Final = 0.5
_WISHES_LIMIT: Final = 100_000
"""Calls of ``sync`` that may be under way."""
_LAST_TURNS: Final = 100
"""Turns that a stopping recorder makes at most, to take what is left."""

Progress: TypeAlias = tuple[bytes, int, bool, str]
"""Spool, offset, whether the recorder is idle, and its objection."""


@define(eq=False)
class _Wish:
    """A worker waits until its spool is synced up to an offset."""

    spool: bytes
    offset: int
    answer: Deferred[Body]


class LogKeys(Protocol):
    """Where the log's key is kept."""

    def prepare(self) -> Ed25519PrivateKey:
        """Make the next key, and keep it beside the present one. Raises `ConfigError`."""
        ...

    def promote(self) -> None:
        """Put the next key in place of the present one. Raises `ConfigError`."""
        ...


@define(eq=False)
class RecorderService(Service):
    """Runs the recorder over a spool folder and a log folder.

    Args:
        spool_dir: where workers write.
        log_dir: where the log is.
        key: signs checkpoints.
        origin: the log's name.
        socket_path: where workers connect.
        reactor: clock and sockets.
        give_up: called when the recorder cannot go on; the process must end and be started anew.
        keys: where the next key is kept when this one is handed over; None refuses that.

    """

    _spool_dir: Path
    _log_dir: Path
    _key: Ed25519PrivateKey = field(repr=False)
    _origin: str
    _socket_path: Path
    _reactor: IReactorTime
    _give_up: Callable[[], None]
    _keys: LogKeys | None = field(default=None, repr=False)
    _log: LogWriter = field(init=False)
    _index: SessionIndex = field(init=False)
    _intake: Intake = field(init=False)
    _port: IListeningPort = field(init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _peers: dict[Peer, str] = field(factory=dict, init=False)
    """Connections to the workers that they are from; empty until one has said hello."""
    _told: dict[Peer, Progress] = field(factory=dict, init=False)
    _tell_at: float = field(default=0.0, init=False)
    """When workers are told again how far it is."""
    _untold: int = field(default=0, init=False)
    """Bytes that were taken since they were told."""
    _followers: set[Peer] = field(factory=set, init=False)
    """Connections that are told each checkpoint."""
    _wishes: list[_Wish] = field(factory=list, init=False)
    _objection: str = field(default="", init=False)
    _broken: bool = field(default=False, init=False)
    """Whether nothing may be written any more."""
    _quiet: int = field(default=0, init=False)
    """Turns in a row that found nothing."""
    _signed_at: float = field(default=0.0, init=False)
    _indexed_at: float = field(default=0.0, init=False)
    _index_fails: bool = field(default=False, init=False)

    def startService(self) -> None:
        """Open the log, take what the spools hold, and serve.

        Raises:
            EvidenceError: the log was changed.
            OSError: a folder or the socket cannot be used.

        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not typed
        self._spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = open_log(self._log_dir, self._key, self._origin)
        self._log = opened.writer
        try:
            self._index = SessionIndex.open(self._log_dir, self._log.size)
        except DamagedError as error:
            raise EvidenceError(f"the log in {self._log_dir} cannot be read: {error}") from error
        self._intake = Intake(self._spool_dir, self._log, self._index, opened.positions)
        self._socket_path.unlink(missing_ok=True)  # the log's lock says that nobody else serves it
        unix = IReactorUNIX(self._reactor)
        self._port = unix.listenUNIX(str(self._socket_path), _Peers(self), mode=0o600)
        self._signed_at = self._reactor.seconds()
        self._soon()
        log.info("recording as {origin}: {size} records", origin=self._origin, size=self._log.size)

    def stopService(self) -> Deferred[None] | None:
        """Take what is left, sign, and close."""
        super().stopService()  # type: ignore[no-untyped-call]  # as above
        if self._call is not None and self._call.active():
            self._call.cancel()
        stopped: Deferred[None] | None = self._port.stopListening()
        if not self._broken:
            self._finish()
        self._fail_wishes("the recorder stops")
        for peer in list(self._peers):
            peer.close()
        self._intake.close()
        return stopped

    def _finish(self) -> None:
        """Take what is left, sign, and close; the next start does what cannot be done now."""
        try:
            for _ in range(_LAST_TURNS):
                if not self._intake.turn().more:
                    break
            if self._log.unsigned:
                self._log.checkpoint()
            self._fulfil()
            self._log.close()
        except (OSError, BrokenLogError) as error:
            log.error("stopping with records left in the spools: {error}", error=error)
        try:
            self._index.close()
        except sqlite3.Error as error:
            log.warn("the index of sessions will be mended: {error}", error=error)

    @property
    def size(self) -> int:
        """Records in the log."""
        return self._log.size

    @property
    def has_taken_all(self) -> bool:
        """Whether the log has all that those workers have written that are gone."""
        return not self._objection and not self._broken and not self._intake.has_ended_spools

    # Turns

    def _soon(self, delay: float = 0.0) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = self._reactor.callLater(delay, self._turn)

    def _turn(self) -> None:
        """Make one turn, and say when the next one is."""
        try:
            delay = self._work()
        except OSError as error:
            self._object(error)
            delay = RETRY_EVERY
        except Exception:
            # A bug, or a log that cannot be rolled back: opening it anew finds out what is there.
            log.failure("the recorder cannot go on")
            self._broken = True
            self._fail_wishes("the recorder cannot go on")
            self._give_up()
            return
        self._tell_all()
        self._soon(delay)

    def _work(self) -> float:
        began = self._reactor.seconds()
        end = began + TURN_TIME
        turn = self._intake.turn(lambda: self._reactor.seconds() >= end)
        took = self._reactor.seconds() - began
        self._log.settle()
        self._sign_if_due()
        if self._objection:
            log.info("the log can be written again")
            self._objection = ""
            self._tell_at = 0.0
        self._index_if_due()
        self._fulfil()
        self._untold += turn.read
        was_idle = self._idle
        self._quiet = 0 if turn.read else self._quiet + 1
        if self._idle != was_idle:
            self._tell_at = 0.0
        if turn.more:
            return 0.0
        return IDLE_EVERY if self._idle else max(SYNCED_WITHIN - 2 * took, _PAUSE)

    @property
    def _idle(self) -> bool:
        return self._quiet >= _IDLE_AFTER

    def _object(self, error: OSError) -> None:
        if not self._objection:
            log.error("the log cannot be written: {error}", error=error)
        self._objection = f"the log cannot be written: {error.strerror or error}"
        self._tell_at = 0.0
        self._fail_wishes(self._objection)

    def _sign_if_due(self) -> None:
        now, unsigned = self._reactor.seconds(), self._log.unsigned
        due = CHECKPOINT_APART if unsigned >= CHECKPOINT_RECORDS else CHECKPOINT_EVERY
        if unsigned and now - self._signed_at >= due:
            self._log.checkpoint()
            self._signed_at = now
            self._tell_followers()

    def _tell_followers(self) -> None:
        newest = self._newest()
        for peer in self._followers:
            peer.tell("checkpoint", **newest)

    def _index_if_due(self) -> None:
        now = self._reactor.seconds()
        if self._index.dirty and now - self._indexed_at >= INDEX_EVERY:
            self._indexed_at = now
            try:
                self._index.flush()
            except sqlite3.Error as error:
                if not self._index_fails:
                    log.error("the index of sessions is behind: {error}", error=error)
                self._index_fails = True
            else:
                self._index_fails = False

    # Workers

    def joined(self, peer: Peer) -> None:
        """Take a new connection."""
        self._peers[peer] = ""

    def left(self, peer: Peer) -> None:
        """Forget a connection."""
        self._peers.pop(peer, None)
        self._told.pop(peer, None)
        self._followers.discard(peer)

    def hello(self, peer: Peer, body: Body) -> Body:
        """Learn whose connection it is."""
        worker = str(body["worker"])
        if not any(name == worker for other, name in self._peers.items() if other is not peer):
            self._intake.objections.pop(worker, None)  # it has started anew
        self._peers[peer] = worker
        self._told.pop(peer, None)
        self._tell_at = 0.0
        self._soon()
        return {"origin": self._origin}

    def wake(self, peer: Peer, _body: Body) -> Body:
        """Begin a turn: a worker has written."""
        self._told.pop(peer, None)
        self._tell_at = 0.0
        if self._idle:
            self._quiet = 0
            if not self._objection:
                self._soon()
        return {}

    def sync(self, body: Body) -> Deferred[Body]:
        """Answer once a spool is synced up to an offset."""
        if self._objection:
            raise RecorderError(self._objection)
        if len(self._wishes) >= _WISHES_LIMIT:
            raise RecorderError("too many wait for the recorder to sync")
        spool, offset = body.get("spool"), body.get("offset")
        if not isinstance(spool, bytes) or not isinstance(offset, int):
            raise RecorderError("sync needs a spool and an offset")
        wish = _Wish(spool, offset, Deferred())
        self._wishes.append(wish)
        self._soon()
        return wish.answer

    def follow(self, peer: Peer, _body: Body) -> Body:
        """Give the newest checkpoint, and tell each later one."""
        self._followers.add(peer)
        return self._newest()

    def consistency(self, body: Body) -> Body:
        """Prove that the log of one size goes on from that of another."""
        first, second = body.get("first"), body.get("second")
        if not isinstance(first, int) or not isinstance(second, int):
            raise RecorderError("a proof needs two sizes")
        if not 0 <= first <= second <= self._log.size:
            raise RecorderError(f"the log has {self._log.size} records")
        try:
            return {"proof": LogReader(self._log_dir).consistency(first, second)}
        except (ReadError, OSError) as error:
            raise RecorderError(f"no proof can be made: {error}") from error

    def hand_over(self, _body: Body) -> Body:
        """Give the log to a new key, for ``hoopgw keys rotate log``; answers with its public part.

        The note is the point of no return: behind it only the new key signs. What a crash leaves
        undone after it, the next start does (`hoopgw.processes.recorder`).
        """
        if self._keys is None or self._broken or self._objection:
            raise RecorderError("the recorder cannot hand the log over now")
        self._log.settle()
        key = self._keys.prepare()
        try:
            self._log.hand_over(key)
            self._keys.promote()
        except (ConfigError, OSError) as error:
            log.failure("handing the log over broke off; the next start sees how far it came")
            self._broken = True
            self._fail_wishes("the recorder cannot go on")
            self._give_up()
            raise RecorderError(f"handing the log over broke off: {error}") from error
        try:
            self._log.settle()
        except OSError as error:
            self._object(error)  # the next turn tries again
        self._signed_at = self._reactor.seconds()
        self._tell_followers()
        verifier = Verifier(self._origin, key.public_key())
        log.info("the log has a new key: {public}", public=verifier.encode())
        return {"key": verifier.encode()}

    def _newest(self) -> Body:
        reader = LogReader(self._log_dir)
        try:
            return {"note": reader.note(), "handovers": reader.handovers()}
        except ReadError:
            return {"note": b"", "handovers": []}  # none was signed yet

    def _tell_all(self) -> None:
        now = self._reactor.seconds()
        soon = self._untold >= PROGRESS_BYTES or self._intake.objections
        if now < self._tell_at and not soon:
            return
        self._tell_at, self._untold = now + PROGRESS_EVERY, 0
        reached = self._intake.progress()
        for peer, worker in list(self._peers.items()):
            if not worker:
                continue
            spool, offset = reached.get(worker, (b"", 0))
            objection = self._intake.objections.get(worker) or self._objection
            progress = (spool, offset, self._idle, objection)
            if self._told.get(peer) != progress:
                self._told[peer] = progress
                peer.tell(
                    "progress", spool=spool, offset=offset, idle=self._idle, objection=objection
                )

    def _fulfil(self) -> None:
        """Answer those whose records have been synced."""
        left = []
        for wish in self._wishes:
            position = self._intake.position(wish.spool)
            if position is None:
                wish.answer.errback(RecorderError("the recorder does not know this spool"))
            elif position >= wish.offset:
                wish.answer.callback({})
            else:
                left.append(wish)
        self._wishes = left

    def _fail_wishes(self, why: str) -> None:
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish.answer.errback(RecorderError(why))


class _Peers(Factory):
    """Makes the recorder's end of a worker's connection."""

    noisy = False

    def __init__(self, service: RecorderService) -> None:
        self._service = service
        self._uid = os.geteuid()

    def _connected(self, peer: Peer) -> None:
        """Take a connection of our own user; the socket's mode has kept out the others before."""
        transport: Any = peer.transport
        if (uid := peer_uid(transport.getHandle())) != self._uid:
            log.error("user {uid} was refused at the recorder's socket", uid=uid)
            transport.abortConnection()
            return
        self._service.joined(peer)

    def buildProtocol(self, addr: IAddress | UNIXAddress | None) -> Peer:
        """Serve one connection."""
        service = self._service
        peer: Peer = Peer(
            {
                "hello": lambda body: service.hello(peer, body),
                "wake": lambda body: service.wake(peer, body),
                "sync": service.sync,
                "follow": lambda body: service.follow(peer, body),
                "consistency": service.consistency,
                "hand_over": service.hand_over,
            },
            service._reactor,
            on_ready=self._connected,
            on_lost=service.left,
        )
        return peer
