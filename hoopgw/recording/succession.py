"""How the log's key is handed over to a new one, in the log itself.

A hand-over is a checkpoint with one line more, which names the old key and the new one, signed by
both. So whoever pins the old key learns the new one from the old key's own signature, at a size and
a root that can be proved; and whoever pins the new one learns from its signature which key signed
what went before. Behind a hand-over the old key signs nothing: what it signs there is a forgery.

Pure. Reference: C2SP tlog-checkpoint, whose extension lines the new line is one of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint, open_note, sign

MARK: Final = "hoopgw-handover-1"
"""Begins the line; the keys follow, each as `Verifier.encode` gives it."""


@frozen
class Handover:
    """One key gives the log to the next."""

    checkpoint: Checkpoint
    old: Verifier
    new: Verifier


def make_handover(head: Checkpoint, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> bytes:
    """Return the checkpoint with which ``old`` gives the log to ``new``."""
    keys = [Verifier(head.origin, key.public_key()).encode() for key in (old, new)]
    return sign(f"{head.text()}{MARK} {' '.join(keys)}\n", head.origin, old, new)


def read_handover(note: bytes) -> Handover | None:
    """Return what a note hands over; None if it is another note.

    Both signatures have been checked. Whether the old key is the log's is for the caller to know.

    Raises:
        NoteError: it says that it is a hand-over, and is not a good one.

    """
    if MARK.encode() not in note:
        return None
    lines = note.decode(errors="replace").split("\n")
    found = [line for line in lines[3:] if line.startswith(MARK + " ")]
    if len(found) != 1 or lines[3] != found[0] or lines[4]:
        raise NoteError("a hand-over names its keys in its fourth line, which is its last")
    keys = found[0].split(" ")[1:]
    if len(keys) != 2:
        raise NoteError("a hand-over names two keys")
    old, new = (Verifier.decode(key) for key in keys)
    if old == new or old.name != new.name:
        raise NoteError("a hand-over is from one key of a log to another")
    checkpoint = open_checkpoint(note, old)
    open_note(note, new)
    return Handover(checkpoint, old, new)


def succession(handovers: Iterable[Handover], pinned: Verifier) -> Sequence[Verifier]:
    """Return a log's keys in their order, if the pinned key is one of them.

    Args:
        handovers: all of the log's, in order.
        pinned: what the caller trusts.

    Raises:
        NoteError: they do not follow one another, or the pinned key is none of them.

    """
    keys: list[Verifier] = []
    for handover in handovers:
        if keys and keys[-1] != handover.old:
            raise NoteError("a hand-over is not from the key that had the log")
        if handover.new in keys:
            raise NoteError("a hand-over is to a key that had the log before")
        keys += [handover.new] if keys else [handover.old, handover.new]
    keys = keys or [pinned]
    if pinned not in keys:
        raise NoteError(f"no checkpoint is signed by the key of {pinned.name} that is trusted")
    return keys
