"""Packets sealed and opened: AES-GCM, AES-CTR with an encrypt-then-MAC, and none.

Conch has neither AES-GCM nor encrypt-then-MAC (twisted#6966); its AES-CTR with HMAC over the clear
packet costs eight times the processor of AES-GCM.

A packet is: its length (uint32), the padding's length (one byte), payload, padding, MAC. All
ciphers here leave the length in clear, and authenticate it before anything is decrypted.

References: RFC 4253 section 6, RFC 5647 as OpenSSH's PROTOCOL section 1.6 amends it, and OpenSSH's
PROTOCOL section 1.5 (encrypt-then-MAC).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from struct import Struct
from typing import Final, Protocol

from attrs import frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.negotiation import AES_128_GCM, AES_256_GCM
from hoopgw_ssh.wire import Bytes

PACKET_LIMIT: Final = 262_144
"""Bytes of a packet, once somebody has logged in (OpenSSH's own limit)."""
EARLY_PACKET_LIMIT: Final = 35_000
"""Before; the least that RFC 4253 section 6.1 asks for."""

_U32: Final = Struct(">I")
_NUMBERS: Final = tuple(bytes([number]) for number in range(256))
_BLOCK: Final = 16
_TAG: Final = 16
_KEY_SIZES: Final = {
    AES_128_GCM: 16,
    AES_256_GCM: 32,
    b"aes128-ctr": 16,
    b"aes192-ctr": 24,
    b"aes256-ctr": 32,
}
_DIGESTS: Final = {
    b"hmac-sha2-256-etm@openssh.com": "sha256",
    b"hmac-sha2-512-etm@openssh.com": "sha512",
}


class IntegrityError(ProtocolViolationError):
    """A packet was changed on its way, or made by somebody without the key."""


@frozen
class Keys:
    """What one direction is keyed with (RFC 4253 section 7.2); each at least as long as needed."""

    iv: bytes
    key: bytes
    integrity: bytes


class Sealer(Protocol):
    """Makes packets of one direction, in order."""

    def seal(self, payload: Bytes, sequence: int, more: Bytes = b"") -> Bytes:
        """Return the packet for a payload, which begins with its message number.

        ``more`` is the rest of the payload: what is long need not be copied to come behind.
        """
        ...


class Opener(Protocol):
    """Opens packets of one direction, in order."""

    @property
    def behind(self) -> int:
        """Bytes behind those that the length counts: a tag, or a MAC."""
        ...

    def open(
        self, data: Bytes, at: int, sequence: int, limit: int
    ) -> tuple[memoryview, int] | None:
        """Open the packet that begins at ``at``; None if it is not whole yet.

        Args:
            data: what has come.
            at: where the packet begins in it.
            sequence: the packet's number.
            limit: bytes that a packet may have.

        Returns:
            the payload, with its message number, and where the next packet begins. Of a packet in
            clear the payload is a part of ``data``, of others it is their own.

        Raises:
            ProtocolViolationError: it is malformed, too long, or was tampered with.

        """
        ...


def make_sealer(cipher: bytes, mac: bytes, keys: Keys) -> Sealer:
    """Make what seals with a cipher, and with a MAC if it needs one."""
    key = keys.key[: _KEY_SIZES[cipher]]
    if cipher in (AES_128_GCM, AES_256_GCM):
        return GcmSealer(key, keys.iv[:12])
    return CtrSealer(key, keys.iv[:_BLOCK], _DIGESTS[mac], keys.integrity)


def make_opener(cipher: bytes, mac: bytes, keys: Keys) -> Opener:
    """Make what opens; see `make_sealer`."""
    key = keys.key[: _KEY_SIZES[cipher]]
    if cipher in (AES_128_GCM, AES_256_GCM):
        return GcmOpener(key, keys.iv[:12])
    return CtrOpener(key, keys.iv[:_BLOCK], _DIGESTS[mac], keys.integrity)


class ClearSealer:
    """Before the first key exchange is over. Implements `Sealer`."""

    def seal(self, payload: Bytes, sequence: int, more: Bytes = b"") -> bytes:
        """Return the packet, in clear."""
        del sequence
        size = len(payload) + len(more)
        padding = _padding(size + 5, 8)
        head = _U32.pack(size + padding + 1)
        return b"".join((head, bytes([padding]), payload, more, os.urandom(padding)))


class ClearOpener:
    """Before the first key exchange is over. Implements `Opener`."""

    behind: Final = 0

    def open(
        self, data: Bytes, at: int, sequence: int, limit: int
    ) -> tuple[memoryview, int] | None:
        """Open a packet that is in clear."""
        del sequence
        if (length := _length(data, at, limit, head=4, block=8)) is None:
            return None
        end = at + 4 + length
        if len(data) < end:
            return None
        return _payload(memoryview(data)[at + 4 : end]), end


class GcmSealer:
    """AES-GCM. Implements `Sealer`."""

    __slots__ = ("_count", "_encrypt", "_fixed")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._encrypt = AESGCM(key).encrypt_into
        self._fixed = iv[:4]
        self._count = int.from_bytes(iv[4:], "big")

    def seal(self, payload: Bytes, sequence: int, more: Bytes = b"") -> bytearray:
        """Return the packet: the length is authenticated, the rest encrypted too."""
        del sequence
        size = len(payload) + len(more) + 1
        padding = _padding(size, _BLOCK)
        head = _U32.pack(size + padding)
        clear = b"".join((_NUMBERS[padding], payload, more, os.urandom(padding)))
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF
        packet = bytearray(4 + size + padding + _TAG)
        packet[:4] = head
        with memoryview(packet) as view, view[4:] as sealed:
            self._encrypt(nonce, clear, head, sealed)
        return packet


class GcmOpener:
    """AES-GCM. Implements `Opener`."""

    behind: Final = _TAG
    __slots__ = ("_count", "_decrypt", "_fixed")

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._decrypt = AESGCM(key).decrypt
        self._fixed = iv[:4]
        self._count = int.from_bytes(iv[4:], "big")

    def open(
        self, data: Bytes, at: int, sequence: int, limit: int
    ) -> tuple[memoryview, int] | None:
        """Open a packet."""
        del sequence
        if (length := _length(data, at, limit, head=0, block=_BLOCK)) is None:
            return None
        end = at + 4 + length + _TAG
        if len(data) < end:
            return None
        view = memoryview(data)
        nonce = self._fixed + self._count.to_bytes(8, "big")
        try:
            clear = self._decrypt(nonce, view[at + 4 : end], view[at : at + 4])
        except InvalidTag:
            raise IntegrityError("a packet was tampered with") from None
        self._count = (self._count + 1) & 0xFFFFFFFFFFFFFFFF
        return _payload(memoryview(clear)), end


class CtrSealer:
    """AES-CTR, then a MAC over what is sent. Implements `Sealer`."""

    __slots__ = ("_encrypt", "_mac")

    def __init__(self, key: bytes, iv: bytes, digest: str, integrity: bytes) -> None:
        self._encrypt = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update
        self._mac = hmac.new(integrity[: hashlib.new(digest).digest_size], digestmod=digest)

    def seal(self, payload: Bytes, sequence: int, more: Bytes = b"") -> bytes:
        """Return the packet with its MAC."""
        size = len(payload) + len(more) + 1
        padding = _padding(size, _BLOCK)
        head = _U32.pack(size + padding)
        clear = b"".join((_NUMBERS[padding], payload, more, os.urandom(padding)))
        sealed = self._encrypt(clear)
        mac = self._mac.copy()
        mac.update(_U32.pack(sequence) + head)
        mac.update(sealed)
        return b"".join((head, sealed, mac.digest()))


class CtrOpener:
    """AES-CTR under a MAC. Implements `Opener`."""

    __slots__ = ("_decrypt", "_mac", "behind")

    def __init__(self, key: bytes, iv: bytes, digest: str, integrity: bytes) -> None:
        self._decrypt = Cipher(algorithms.AES(key), modes.CTR(iv)).decryptor().update
        self.behind = hashlib.new(digest).digest_size
        self._mac = hmac.new(integrity[: self.behind], digestmod=digest)

    def open(
        self, data: Bytes, at: int, sequence: int, limit: int
    ) -> tuple[memoryview, int] | None:
        """Open a packet: the MAC first."""
        if (length := _length(data, at, limit, head=0, block=_BLOCK)) is None:
            return None
        end = at + 4 + length
        if len(data) < end + self.behind:
            return None
        view = memoryview(data)
        mac = self._mac.copy()
        mac.update(_U32.pack(sequence))
        mac.update(view[at:end])
        if not hmac.compare_digest(mac.digest(), view[end : end + self.behind]):
            raise IntegrityError("a packet was tampered with")
        return _payload(memoryview(self._decrypt(view[at + 4 : end]))), end + self.behind


def _padding(length: int, block: int) -> int:
    """Return how many bytes to add: at least four, so that blocks are whole."""
    padding = block - length % block
    return padding + block if padding < 4 else padding


def _length(data: Bytes, at: int, limit: int, *, head: int, block: int) -> int | None:
    """Read a packet's length and check it, before its bytes are waited for.

    ``head`` bytes of the length itself count for the blocks.
    """
    if len(data) - at < 4:
        return None
    length: int = _U32.unpack_from(data, at)[0]
    if length > limit:
        raise ProtocolViolationError(f"a packet of {length} bytes; the limit is {limit}")
    if length < block - head or (length + head) % block:
        raise ProtocolViolationError(f"a packet of {length} bytes is not made of whole blocks")
    return length


def _payload(clear: memoryview) -> memoryview:
    """Return what is between the padding's length and the padding."""
    padding = clear[0]
    if not 4 <= padding < len(clear) - 1:
        raise ProtocolViolationError("a packet's padding is not what it can be")
    return clear[1 : len(clear) - padding]
