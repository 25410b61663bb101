"""The server's side of SCRAM-SHA-256, with and without channel binding. Pure.

PostgreSQL sends the user name in its startup packet, and libpq leaves the one inside SCRAM empty
(``n=``). RFC 5802's grammar does not allow that and scramp refuses it, so this side is our own; the
agent's side, as a client, is scramp's.

Whatever comes in, the only exception is `ScramError`. An exchange is good only if `finish` returns.

References: RFC 5802, RFC 5929 section 4, RFC 7677; PostgreSQL's ``auth-scram.c``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

from attrs import define, field

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
_BINDING: Final = b"p=tls-server-end-point"
_NONCE_BYTES: Final = 18
_NONCE_LIMIT: Final = 1024
_MESSAGE_LIMIT: Final = 8192


class ScramError(Exception):
    """The exchange is malformed, or the proof is wrong. The text is for the log."""


@define(eq=False)
class ScramServer:
    """One exchange.

    Args:
        mechanism: that the client chose; both are on offer.
        certificate_hash: what a channel binding must hold (``tls-server-end-point``).
        salt: of the verifier.
        iterations: of the verifier.
        stored_key: of the verifier.
        server_key: of the verifier.
        nonce: ours; random if it is not given.

    """

    _mechanism: str
    _certificate_hash: bytes = field(repr=False)
    _salt: bytes
    _iterations: int
    _stored_key: bytes = field(repr=False)
    _server_key: bytes = field(repr=False)
    _nonce: str = field(factory=lambda: _encode(secrets.token_bytes(_NONCE_BYTES)))
    _header: bytes = field(default=b"", init=False)
    _both: bytes = field(default=b"", init=False)
    """The nonces of both, once the exchange has begun."""
    _begun: bytes = field(default=b"", init=False)
    """The part of AuthMessage that the first two messages make."""

    def begin(self, message: bytes) -> bytes:
        """Take the client's first message, and return ours.

        Raises:
            ScramError: it is malformed, or not the mechanism that was chosen.

        """
        if len(message) > _MESSAGE_LIMIT or message.count(b",") < 3:
            raise ScramError("the first message is malformed")
        flag, identity, bare = message.split(b",", 2)
        if identity:
            raise ScramError("another authorisation identity was asked for")
        self._check_flag(flag)
        self._header = flag + b",,"
        parts = bare.split(b",")
        # n=name, r=nonce, then extensions that may be ignored; m= would have to be understood.
        if not parts[0].startswith(b"n=") or not parts[1].startswith(b"r="):
            raise ScramError("the first message is malformed")
        nonce = parts[1][2:]
        if not 0 < len(nonce) <= _NONCE_LIMIT or not all(0x21 <= byte <= 0x7E for byte in nonce):
            raise ScramError("the client's nonce is not one")
        self._both = nonce + self._nonce.encode()
        answer = b"r=%b,s=%b,i=%d" % (
            self._both,
            base64.b64encode(self._salt),
            self._iterations,
        )
        self._begun = bare + b"," + answer
        return answer

    def finish(self, message: bytes) -> bytes:
        """Take the client's final message, and return ours: the client has proved itself.

        Raises:
            ScramError: the proof is wrong, or not for this connection.

        """
        if not self._begun or len(message) > _MESSAGE_LIMIT:
            raise ScramError("the final message is out of order or too long")
        without_proof, mark, proof = message.rpartition(b",p=")
        parts = without_proof.split(b",")
        if not mark or len(parts) < 2:
            raise ScramError("the final message is malformed")
        if not hmac.compare_digest(parts[0], b"c=" + base64.b64encode(self._bound())):
            raise ScramError("the channel binding is wrong")
        if not hmac.compare_digest(parts[1], b"r=" + self._both):
            raise ScramError("the nonce is wrong")
        signed = self._begun + b"," + without_proof
        signature = hmac.digest(self._stored_key, signed, "sha256")
        shown = _decode(proof)
        if len(shown) != len(signature):
            raise ScramError("the proof is malformed")
        client_key = bytes(a ^ b for a, b in zip(shown, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._stored_key):
            raise ScramError("the proof is wrong")
        self._begun = b""  # once only
        return b"v=" + base64.b64encode(hmac.digest(self._server_key, signed, "sha256"))

    def _check_flag(self, flag: bytes) -> None:
        """Compare what the client says of channel binding with the mechanism that it chose."""
        if self._mechanism == PLUS:
            if flag != _BINDING:
                raise ScramError("the channel binding is of a kind that is not on offer")
        elif flag == b"y":
            # The client believes that we have none, while we offer it: somebody stands in between
            # (RFC 5802, section 6).
            raise ScramError("channel binding was hidden from the client")
        elif self._mechanism != PLAIN or flag != b"n":
            raise ScramError("the first message does not fit the mechanism")

    def _bound(self) -> bytes:
        return self._header + (self._certificate_hash if self._mechanism == PLUS else b"")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: bytes) -> bytes:
    """Decode base64 in its one canonical form: nothing in a message is without meaning."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ScramError("the proof is no base64") from error
    if base64.b64encode(data) != text:
        raise ScramError("the proof is no canonical base64")
    return data
