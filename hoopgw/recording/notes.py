"""Signed notes and checkpoints, as C2SP specifies them (signed-note, tlog-checkpoint).

A checkpoint is the signed head of the log: its origin, its number of leaves and the Merkle root.
Keys are Ed25519; a key's name is the log's origin. Pure: the clock, files and keys' storage are
elsewhere. Signatures by others (witnesses) are kept and ignored, as the specification asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hoopgw.errors import HoopgwError
from hoopgw.recording.merkle import HASH_SIZE

_ED25519: Final = b"\x01"
_NOTE_LIMIT: Final = 64 * 1024
_SIGNATURES_LIMIT: Final = 100
_DASH: Final = "\N{EM DASH} "
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME: Final = re.compile(r"[^\s+\x00-\x1f]{1,256}")


class NoteError(HoopgwError):
    """A note is malformed, or its signature is not by the key that was asked for."""


def is_origin(name: str) -> bool:
    """Say whether a text may name a log: not empty, no space and no plus sign."""
    return _NAME.fullmatch(name) is not None


@frozen
class Verifier:
    """A public key with the name of the log that it signs."""

    name: str
    key: Ed25519PublicKey = field(repr=False, eq=lambda key: key.public_bytes_raw())

    @property
    def id(self) -> bytes:
        """The first 4 bytes of SHA-256 over the name, a newline, the kind and the key."""
        kind_and_key = _ED25519 + self.key.public_bytes_raw()
        return hashlib.sha256(self.name.encode() + b"\n" + kind_and_key).digest()[:4]

    def encode(self) -> str:
        """Return the key in the usual text form, ``name+id+key``, for auditors and witnesses."""
        key = base64.b64encode(_ED25519 + self.key.public_bytes_raw()).decode()
        return f"{self.name}+{self.id.hex()}+{key}"

    @classmethod
    def decode(cls, text: str) -> Verifier:
        """Parse what `encode` gave.

        Raises:
            NoteError: it is no key, or not of this kind.

        """
        name, _, rest = text.strip().partition("+")
        wanted, _, encoded = rest.partition("+")
        data = _decoded(encoded)
        if not is_origin(name) or data[:1] != _ED25519 or len(data) != 33:
            raise NoteError("this is no Ed25519 verifier key")
        verifier = cls(name, Ed25519PublicKey.from_public_bytes(data[1:]))
        if verifier.id.hex() != wanted:
            raise NoteError("the key's id does not fit the key")
        return verifier


@frozen
class Checkpoint:
    """The head of a log at one size."""

    origin: str
    size: int
    root: bytes = field(repr=bytes.hex)

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign(text: str, name: str, *keys: Ed25519PrivateKey) -> bytes:
    """Return a note that is signed by each of these keys.

    Raises:
        ValueError: the text does not end in a newline, or the name is no key's name.

    """
    if not text.endswith("\n") or not is_origin(name):
        raise ValueError("a note's text ends in a newline, and its key has a name")
    signatures = [Verifier(name, key.public_key()).id + key.sign(text.encode()) for key in keys]
    lines = [f"{_DASH}{name} {base64.b64encode(each).decode()}\n" for each in signatures]
    return f"{text}\n{''.join(lines)}".encode()


def open_note(note: bytes, verifier: Verifier) -> str:
    """Return the text of a note, once its signature by ``verifier`` is seen to be good.

    Raises:
        NoteError: it is malformed, is not signed by this key, or the signature is wrong.

    """
    if len(note) > _NOTE_LIMIT:
        raise NoteError("the note is too long")
    try:
        content = note.decode()
    except UnicodeDecodeError as error:
        raise NoteError("the note is not UTF-8") from error
    if any(ord(character) < 0x20 and character != "\n" for character in content):
        raise NoteError("the note holds control characters")
    text, separator, signatures = content.rpartition("\n\n")
    lines = signatures.split("\n")
    if not separator or lines.pop() or not 0 < len(lines) <= _SIGNATURES_LIMIT:
        raise NoteError("the note has no signature lines")
    text += "\n"
    _verify(text.encode(), [_signature_line(line) for line in lines], verifier)
    return text


def _signature_line(line: str) -> tuple[str, bytes]:
    """Return the key's name and the signature with its id before it."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    signature = _decoded(encoded)
    if not line.startswith(_DASH) or not space or not is_origin(name) or len(signature) < 5:
        raise NoteError("a signature line is malformed")
    return name, signature


def _verify(text: bytes, signatures: list[tuple[str, bytes]], verifier: Verifier) -> None:
    ours = [
        data[4:] for name, data in signatures if (name, data[:4]) == (verifier.name, verifier.id)
    ]
    if not ours:
        raise NoteError(f"the note is not signed by the key of {verifier.name}")
    for signature in ours:
        try:
            verifier.key.verify(signature, text)
        except InvalidSignature as error:
            raise NoteError(f"the signature of {verifier.name} is wrong") from error


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("base64 is malformed") from error
    if base64.b64encode(data).decode() != text:
        raise NoteError("base64 is not canonical")  # else a note could be changed unseen
    return data


def open_checkpoint(note: bytes, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in a note, once its signature and origin are seen to be good.

    Raises:
        NoteError: it is not a good checkpoint of this log.

    """
    lines = open_note(note, verifier).split("\n")
    if len(lines) < 4 or not all(lines[:-1]):
        raise NoteError("a checkpoint has three lines")
    origin, size, root = lines[:3]
    if origin != verifier.name:
        raise NoteError(f"the checkpoint is of another log, {origin}")
    if _SIZE.fullmatch(size) is None or len(digest := _decoded(root)) != HASH_SIZE:
        raise NoteError("the checkpoint's size or root is malformed")
    return Checkpoint(origin, int(size), digest)
