"""What an agent knows of its gateway's log: it keeps the newest checkpoint, and lets none go back.

A gateway that rewrites its log, or is set back to an earlier state of it, can hide that from
itself, and not from whoever kept a later checkpoint. So the agent keeps one in its state folder,
and takes another in its place only with a proof that the log has grown from the one to the other.
While it has a checkpoint and has not been shown, since it connected, that the log goes on from
there, it opens no target. The log's public key is pinned when the agent joins; another takes its
place only when the pinned one itself hands the log over to it (`hoopgw.recording.succession`).

References: RFC 6962 section 2.1.2, C2SP tlog-checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import ConfigError, LinkError, UnavailableError
from hoopgw.recording.checkpoints import write_atomically
from hoopgw.recording.merkle import verify_consistency
from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint
from hoopgw.recording.succession import read_handover

log = Logger()

FILE: Final = "checkpoint"
PATIENCE: Final = 60.0
"""Seconds that a proof may fail to come before no target is opened any more."""
SHOW_PATIENCE: Final = 5.0
"""Seconds that opening a target waits for a gateway that has just been connected to."""
_LIMIT: Final = 64 * 1024

Prove: TypeAlias = Callable[[int, int], Awaitable[list[bytes]]]
"""Asks the gateway for a proof between two sizes of its log; raises `UnavailableError`."""

_NOT_YET: Final = "the gateway has not shown that its log goes on from what this agent has seen"


@define(eq=False)
class LogWitness:
    """Watches one gateway's log.

    Args:
        folder: the agent's state folder.
        key: the log's public key; empty if the agent joined before it was told one.
        clock: for patience.
        on_successor: called with the key that the log was handed over to.

    Raises (when made):
        ConfigError: the key or the checkpoint that was kept cannot be used.

    """

    _folder: Path
    _key: str
    _clock: IReactorTime
    _on_successor: Callable[[str], None] = lambda _key: None
    """Keeps the key that the log was handed over to, before it is trusted; may raise."""
    _verifier: Verifier | None = field(init=False)
    _kept: Checkpoint | None = field(default=None, init=False)
    _fault: str = field(default="", init=False)
    """What the gateway did that it must not; only an operator mends that."""
    _unproven: float = field(default=float("-inf"), init=False)
    """Since when a checkpoint waits for its proof; infinite if none does."""
    _next: tuple[bytes, Prove, tuple[bytes, ...]] | None = field(default=None, init=False)
    _looking: Deferred[None] | None = field(default=None, init=False)
    _waiting: set[Deferred[None]] = field(factory=set, init=False)
    """Targets that are to be opened, and wait for the gateway to show its log."""

    def __attrs_post_init__(self) -> None:
        try:
            self._verifier = Verifier.decode(self._key) if self._key else None
            self._kept = self._load()
        except NoteError as error:
            raise ConfigError(
                f"{self._folder / FILE}: is no checkpoint of the log that this agent watches "
                f"({error}); keep it as evidence, and join again"
            ) from error
        if self._verifier is None:
            log.warn("this agent does not watch the gateway's log: join again to make it")
        if self._kept is None:
            self._unproven = float("inf")

    @property
    def objection(self) -> str:
        """Why no target is opened; empty if nothing speaks against it."""
        if self._fault:
            return self._fault
        late = self._clock.seconds() - self._unproven > PATIENCE
        return _NOT_YET if late else ""

    async def ready(self) -> None:
        """Wait until targets may be opened.

        Raises:
            LinkError: they may not, or the gateway does not show its log.

        """
        if self.objection and not self._fault:
            waiting: Deferred[None] = Deferred()
            self._waiting.add(waiting)
            try:
                await waiting.addTimeout(SHOW_PATIENCE, self._clock)
            except DeferredTimeoutError:
                log.warn("the gateway did not show its log in time")
            finally:
                self._waiting.discard(waiting)
        if objection := self.objection:
            raise LinkError(f"the agent opens no target: {objection}")

    def connected(self) -> None:
        """Take it that the gateway may be another one than before: it has to show its log."""
        if self._kept is not None:
            self._unproven = float("-inf")

    def show(self, note: bytes, prove: Prove, handovers: tuple[bytes, ...] = ()) -> None:
        """Look at a checkpoint that the gateway shows; the newest one, if there are several.

        Args:
            note: the checkpoint.
            prove: gets proofs.
            handovers: checkpoints with which the log's key was handed over, in order.

        """
        if self._verifier is None or not note:
            return
        self._next = note, prove, handovers
        if self._looking is None:
            self._looking = Deferred.fromCoroutine(self._look())
            self._looking.addErrback(self._not_looked).addCallback(self._looked)

    async def _look(self) -> None:
        while self._next is not None and not self._fault:
            (note, prove, handovers), self._next = self._next, None
            self._unproven = min(self._unproven, self._clock.seconds())
            if await self._follow(handovers, prove) and await self._is_good(note, prove):
                self._unproven = float("inf")
        if not self.objection or self._fault:
            for waiting in list(self._waiting):
                waiting.callback(None)

    async def _follow(self, handovers: tuple[bytes, ...], prove: Prove) -> bool:
        """Take the keys that the log was handed over to since; say whether that went well."""
        for note in handovers:
            try:
                handover = read_handover(note)
            except NoteError as error:
                self._found(f"the gateway shows a hand-over of its log that is not good: {error}")
                return False
            if handover is None or handover.old != self._verifier:
                continue  # it was followed before, or is of a time before this agent
            if not await self._is_good(note, prove):
                return False
            # first the note that leads to the new key: with the new key alone, what was kept before
            # could not be read after a restart
            write_atomically(self._folder / FILE, note)
            self._on_successor(handover.new.encode())
            self._verifier = handover.new
            log.warn("the gateway's log has a new key: {public}", public=handover.new.encode())
        return True

    async def _is_good(self, note: bytes, prove: Prove) -> bool:
        """Say whether the log goes on from what was kept, and keep what is new."""
        assert self._verifier is not None  # `show` looks
        try:
            shown = open_checkpoint(note, self._verifier)
        except NoteError as error:
            self._found(f"the gateway shows a checkpoint that is not of its log: {error}")
            return False
        kept = self._kept
        if kept is not None and shown.size < kept.size:
            self._found(f"the gateway's log was set back from {kept.size} to {shown.size} records")
        elif kept is not None and shown.size == kept.size:
            if shown.root != kept.root:
                self._found(f"the gateway shows two logs of {kept.size} records")
        elif kept is not None and not await self._proved(kept, shown, prove):
            return False
        elif not self._fault:
            self._keep(note, shown)
        return not self._fault

    async def _proved(self, kept: Checkpoint, shown: Checkpoint, prove: Prove) -> bool:
        try:
            proof = await prove(kept.size, shown.size)
        except (UnavailableError, DeferredTimeoutError, KeyError, TypeError) as error:
            log.warn("the gateway did not prove that its log goes on: {error}", error=error)
            return False  # it is asked again with the next checkpoint, and not for ever
        if not verify_consistency(kept.size, shown.size, proof, kept.root, shown.root):
            self._found(f"the gateway's log of {kept.size} records was rewritten")
            return False
        return True

    def _found(self, fault: str) -> None:
        self._fault = fault
        log.critical("no target is opened any more: {fault}", fault=fault)

    def _keep(self, note: bytes, shown: Checkpoint) -> None:
        self._kept = shown
        try:
            write_atomically(self._folder / FILE, note)
        except OSError as error:  # the one in memory serves until it can be written
            log.error("the log's checkpoint cannot be kept: {error}", error=error)

    def _load(self) -> Checkpoint | None:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._folder / FILE, flags), "rb") as file:
                note = file.read(_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self._folder / FILE}: cannot be read: {error.strerror}") from error
        if self._verifier is None:
            return None
        handover = read_handover(note)
        if handover is not None and handover.new == self._verifier:
            return handover.checkpoint  # stopped before it kept one that the new key signed
        return open_checkpoint(note, self._verifier)

    def _not_looked(self, failure: Failure) -> None:
        log.failure("a checkpoint could not be looked at", failure)

    def _looked(self, _result: None) -> None:
        self._looking = None


def forget(folder: Path) -> None:
    """Forget the checkpoint: an operator has joined the agent to a gateway anew."""
    (folder / FILE).unlink(missing_ok=True)
