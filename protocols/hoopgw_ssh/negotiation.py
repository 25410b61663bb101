"""What two sides of a key exchange offer, and what they choose: pure values.

Conch's own choice knows nothing of ciphers that authenticate by themselves: it refuses a peer whose
MACs it does not have, though none is needed (twisted 26.10, `SSHTransportBase.ssh_KEXINIT`).

References: RFC 4253 section 7.1 (KEXINIT), RFC 5647 section 5.1 as OpenSSH reads it (with AES-GCM
the MAC is not negotiated), RFC 8308 section 2.1 (ext-info), OpenSSH's PROTOCOL section 1.10
(strict key exchange, the remedy for Terrapin).
"""

from __future__ import annotations

import secrets
from typing import Final

from attrs import field, frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw_ssh.wire import KEXINIT, Reader, name_list

EXT_INFO_CLIENT: Final = b"ext-info-c"
EXT_INFO_SERVER: Final = b"ext-info-s"
STRICT_CLIENT: Final = b"kex-strict-c-v00@openssh.com"
STRICT_SERVER: Final = b"kex-strict-s-v00@openssh.com"
_MARKS: Final = frozenset({EXT_INFO_CLIENT, EXT_INFO_SERVER, STRICT_CLIENT, STRICT_SERVER})

AES_256_GCM: Final = b"aes256-gcm@openssh.com"
AES_128_GCM: Final = b"aes128-gcm@openssh.com"
AEAD: Final = (AES_128_GCM, AES_256_GCM)
"""Ciphers that authenticate by themselves, fastest first."""
CTR: Final = (b"aes256-ctr", b"aes192-ctr", b"aes128-ctr")
MACS: Final = (b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com")
COMPRESSIONS: Final = (b"none",)
"""No other: what is inflated before anybody has logged in has no bound."""


@frozen
class Choice:
    """What a key exchange goes on with. ``up`` is from client to server, ``down`` back."""

    kex: bytes
    host_key: bytes
    cipher_up: bytes
    cipher_down: bytes
    mac_up: bytes
    """Empty where the cipher authenticates by itself."""
    mac_down: bytes


@frozen(kw_only=True)
class Offer:
    """One side's KEXINIT. All lists are in the order of preference."""

    kex: tuple[bytes, ...]
    """With the marks of extensions, such as `STRICT_CLIENT`."""
    host_keys: tuple[bytes, ...]
    ciphers_up: tuple[bytes, ...]
    ciphers_down: tuple[bytes, ...]
    macs_up: tuple[bytes, ...]
    macs_down: tuple[bytes, ...]
    compressions_up: tuple[bytes, ...] = COMPRESSIONS
    compressions_down: tuple[bytes, ...] = COMPRESSIONS
    guesses: bool = False
    """Whether a first packet of the guessed key exchange follows."""
    cookie: bytes = field(factory=lambda: secrets.token_bytes(16), repr=False)

    def encode(self) -> bytes:
        """Return the payload, its message number included."""
        lists = (
            self.kex,
            self.host_keys,
            self.ciphers_up,
            self.ciphers_down,
            self.macs_up,
            self.macs_down,
            self.compressions_up,
            self.compressions_down,
            (),
            (),
        )
        return b"".join(
            (
                bytes([KEXINIT]),
                self.cookie,
                *map(name_list, lists),
                bytes([self.guesses]),
                b"\0\0\0\0",
            )
        )

    def prefers_aead(self) -> bool:
        """Whether AES-GCM is offered in both directions."""
        return all(
            not names.isdisjoint(AEAD)
            for names in (frozenset(self.ciphers_up), frozenset(self.ciphers_down))
        )


def parse_offer(body: bytes) -> Offer:
    """Parse a KEXINIT, after its message number. Raises `ProtocolViolationError`."""
    reader = Reader(body)
    cookie = reader.take(16)
    lists = [reader.names() for _ in range(8)]
    reader.string()  # languages are of no use to anybody
    reader.string()
    guesses = reader.boolean()
    reader.uint32()
    reader.end()
    return Offer(
        kex=lists[0],
        host_keys=lists[1],
        ciphers_up=lists[2],
        ciphers_down=lists[3],
        macs_up=lists[4],
        macs_down=lists[5],
        compressions_up=lists[6],
        compressions_down=lists[7],
        guesses=guesses,
        cookie=cookie,
    )


def choose(client: Offer, server: Offer) -> Choice:
    """Choose: of each list the client's first that the server has too.

    Raises:
        ProtocolViolationError: of something there is nothing in common; the text says of what.

    """
    up = _first("cipher", client.ciphers_up, server.ciphers_up)
    down = _first("cipher", client.ciphers_down, server.ciphers_down)
    _first("compression", client.compressions_up, server.compressions_up)
    _first("compression", client.compressions_down, server.compressions_down)
    return Choice(
        kex=_first("key exchange", [n for n in client.kex if n not in _MARKS], server.kex),
        host_key=_first("host key", client.host_keys, server.host_keys),
        cipher_up=up,
        cipher_down=down,
        mac_up=b"" if up in AEAD else _first("MAC", client.macs_up, server.macs_up),
        mac_down=b"" if down in AEAD else _first("MAC", client.macs_down, server.macs_down),
    )


def guessed_wrong(client: Offer, server: Offer) -> bool:
    """Whether the client's guess, if it made one, is to be thrown away (RFC 4253 section 7)."""
    return client.guesses and (
        client.kex[:1] != server.kex[:1] or client.host_keys[:1] != server.host_keys[:1]
    )


def _first(what: str, client: tuple[bytes, ...] | list[bytes], server: tuple[bytes, ...]) -> bytes:
    for name in client:
        if name in server:
            return name
    theirs = b", ".join(client[:8]).decode("ascii", "replace") or "none"
    raise ProtocolViolationError(f"no {what} in common: the client has {theirs}")
