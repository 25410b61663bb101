"""Checkpoints: signed notes.

Invariant: only the very bytes that our key signed are a checkpoint; all else is a `NoteError`.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.recording.notes import Checkpoint, NoteError, Verifier, open_checkpoint, sign

_NAME: Final = "gw1"
_KEY: Final = Ed25519PrivateKey.generate()
_VERIFIER: Final = Verifier(_NAME, _KEY.public_key())
_CHECKPOINT: Final = Checkpoint(_NAME, 5, b"r" * 32)
_GOOD: Final = sign(_CHECKPOINT.text(), _NAME, _KEY)
SEEDS: Final = (b"\0" + _GOOD, b"\1" + _CHECKPOINT.text().encode())


def fuzz(data: bytes) -> None:
    """Open the bytes as a note, or text of the bytes signed with our key."""
    if not data:
        return
    note = data[1:]
    if data[0] % 2:
        try:
            note = sign(note.decode(), _NAME, _KEY)
        except (ValueError, NoteError):
            return
    try:
        checkpoint = open_checkpoint(note, _VERIFIER)
    except NoteError:
        return
    assert note == sign(checkpoint.text(), _NAME, _KEY) or note.startswith(
        checkpoint.text().encode()
    )
    assert data[0] % 2 or checkpoint == _CHECKPOINT, "a checkpoint of another is good"
