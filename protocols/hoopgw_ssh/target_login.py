"""The agent logs in at a target: SSH's authentication protocol, as a client.

Conch's client signs with SHA-1 for RSA keys, and knows no certificates (twisted 26.10,
`twisted.conch.ssh.userauth`); the signatures here are paramiko's.

What is tried is what the account's credential is for, and nothing else: nothing is guessed, and a
password is never given to a server whose host key was not checked.

References: RFC 4252, RFC 4256 (keyboard-interactive), RFC 8332 (RSA with SHA-2).
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any, Final, Protocol

import paramiko
from attrs import define, field, frozen
from paramiko.pkey import PublicBlob
from twisted.conch.ssh.service import SSHService

from hoopgw.errors import LinkError, ProtocolViolationError
from hoopgw_ssh.wire import Bytes, Reader, string

USERAUTH_REQUEST: Final = 50
USERAUTH_FAILURE: Final = 51
USERAUTH_SUCCESS: Final = 52
USERAUTH_BANNER: Final = 53
INFO_REQUEST: Final = 60
INFO_RESPONSE: Final = 61

_SERVICE: Final = b"ssh-connection"
_QUESTIONS_LIMIT: Final = 4
"""Rounds of questions that are answered with one password."""
_KEY_LIMIT: Final = 64 * 1024
_KINDS: Final = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class Login(Protocol):
    """What an account logs in with."""

    def first(self, session: bytes, algorithms: frozenset[bytes]) -> tuple[bytes, bytes]:
        """Return a method's name, and what it adds to the request, with the user left out.

        Args:
            session: the session id, which signatures are over.
            algorithms: that the server takes (``server-sig-algs``); empty if it did not say.

        """
        ...

    def answer(self, prompts: int) -> list[bytes] | None:
        """Answer questions; None if there is no answer."""
        ...


@frozen
class PasswordLogin:
    """A password: as such, or as the answer to the one question. Implements `Login`."""

    password: bytes = field(repr=False)
    interactive: bool = False

    def first(self, session: bytes, algorithms: frozenset[bytes]) -> tuple[bytes, bytes]:
        """Ask with it."""
        del session, algorithms
        if self.interactive:
            return b"keyboard-interactive", string(b"") + string(b"")
        return b"password", b"\0" + string(self.password)

    def answer(self, prompts: int) -> list[bytes] | None:
        """Give it, to one question."""
        return [self.password] if prompts == 1 else [] if not prompts else None


@frozen
class KeyLogin:
    """A private key, perhaps with a certificate. Implements `Login`."""

    user: bytes
    key: paramiko.PKey = field(repr=False)
    certificate: bytes = field(default=b"", repr=False)
    """As a blob; empty if the key alone is shown."""

    def first(self, session: bytes, algorithms: frozenset[bytes]) -> tuple[bytes, bytes]:
        """Sign the session id and the request itself."""
        name = self.key.get_name().encode()
        signing = name
        if name == b"ssh-rsa":
            better = [each for each in (b"rsa-sha2-512", b"rsa-sha2-256") if each in algorithms]
            signing = better[0] if better else b"rsa-sha2-512"
        shown = self.certificate or self.key.asbytes()
        algorithm = signing + b"-cert-v01@openssh.com" if self.certificate else signing
        method = b"publickey"
        body = b"\1" + string(algorithm) + string(shown)
        request = b"".join(
            (
                string(session),
                bytes([USERAUTH_REQUEST]),
                string(self.user),
                string(_SERVICE),
                string(method),
                body,
            )
        )
        wanted = signing.decode() if name == b"ssh-rsa" else None
        signature = self.key.sign_ssh_data(request, wanted).asbytes()
        return method, body + string(signature)

    def answer(self, prompts: int) -> list[bytes] | None:
        """Have none."""
        del prompts
        return None


def read_key(secret: bytes) -> tuple[paramiko.PKey, bytes]:
    """Read a private key (OpenSSH or PEM, without a passphrase), and a certificate below it.

    Raises:
        LinkError: it is none; the text has nothing of it.

    """
    if len(secret) > _KEY_LIMIT:
        raise LinkError("the agent's key for the account is too long")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        raise LinkError("the agent's key for the account cannot be read") from None
    key_text, marker, rest = text.partition("-----END")
    end, _, below = rest.partition("\n")
    for kind in _KINDS:
        try:
            key = kind.from_private_key(StringIO(f"{key_text}{marker}{end}\n"))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
        return key, _certificate(below)
    raise LinkError("the agent's key for the account cannot be read, or needs a passphrase")


def _certificate(text: str) -> bytes:
    if not text.strip():
        return b""
    try:
        blob: bytes = PublicBlob.from_string(text.strip()).key_blob
    except (ValueError, IndexError):
        raise LinkError("what follows the agent's key is no certificate") from None
    return blob


@define(eq=False)
class TargetLogin(SSHService):
    """Runs one log-in over a transport, and says how it ended.

    Args:
        user: the account.
        login: its credential.
        done: called once, with None or with why it failed.

    """

    user: bytes
    login: Login = field(repr=False)
    done: Callable[[LinkError | None], None] = field(repr=False)
    transport: Any = field(default=None, init=False, repr=False)
    _rounds: int = field(default=0, init=False)

    name = b"ssh-userauth"

    def serviceStarted(self) -> None:
        """Ask to be let in."""
        told = self.transport.peerExtensions.get(b"server-sig-algs", b"")
        method, body = self.login.first(
            self.transport.sessionID, frozenset(told.split(b",")) if told else frozenset()
        )
        self.transport.sendPacket(
            USERAUTH_REQUEST, string(self.user) + string(_SERVICE) + string(method) + body
        )

    def serviceStopped(self) -> None:
        """Do nothing: the transport tells of its end."""

    def packetReceived(self, messageNum: int, payload: Bytes) -> None:
        """Take an answer."""
        if messageNum == USERAUTH_SUCCESS:
            self.done(None)
        elif messageNum == USERAUTH_FAILURE:
            reader = Reader(payload)
            may = b", ".join(reader.names()).decode("ascii", "replace")
            partial = " and wants more" if reader.boolean() else ""
            self.done(
                LinkError(
                    f"the target does not take the agent's credential{partial} (it asks: {may})"
                )
            )
        elif messageNum == INFO_REQUEST:
            self._questioned(payload)
        elif messageNum != USERAUTH_BANNER:
            raise ProtocolViolationError(f"message {messageNum} may not come during log-in")

    def _questioned(self, payload: Bytes) -> None:
        reader = Reader(payload)
        for _ in range(3):
            reader.string()
        prompts = reader.uint32()
        self._rounds += 1
        answers = self.login.answer(prompts) if self._rounds <= _QUESTIONS_LIMIT else None
        if answers is None:
            self.done(LinkError("the target asks what the agent has no answer to"))
            return
        body = len(answers).to_bytes(4, "big") + b"".join(map(string, answers))
        self.transport.sendPacket(INFO_RESPONSE, body)
