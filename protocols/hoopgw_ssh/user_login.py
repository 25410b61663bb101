"""Clients log in at the gateway: SSH's authentication protocol, as a server.

Conch's server takes a key whose signature is of another algorithm than the one that was announced,
runs requests that were pipelined side by side, knows no certificates and waits ten hours
(twisted 26.10, `twisted.conch.ssh.userauth`). Here requests are looked at one at a time, nothing is
taken after success, and there are six attempts in two minutes.

Who asks says where to in the user name: ``account+target``. A certificate carries the chain of
delegation (`hoopgw.identity.ssh_certificates`); the key in it must have signed this very session.

References: RFC 4252; OpenSSH's PROTOCOL.certkeys; RFC 8332 section 3.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

from attrs import define, field, frozen
from cryptography.exceptions import InvalidSignature
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import AuthenticationError, ProtocolViolationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.caller_certificates import certificate_node
from hoopgw.identity.ssh_certificates import Restrictions, SshCaller
from hoopgw_ssh import wire
from hoopgw_ssh.wire import Bytes, Reader, name_list, string

log = Logger()

USERAUTH_REQUEST: Final = 50
USERAUTH_FAILURE: Final = 51
USERAUTH_SUCCESS: Final = 52
USERAUTH_BANNER: Final = 53
USERAUTH_PK_OK: Final = 60
INFO_REQUEST: Final = 60
INFO_RESPONSE: Final = 61

CERTIFICATE: Final = b"ssh-ed25519-cert-v01@openssh.com"
"""The one algorithm of users' keys that is taken."""
LOGIN_TIMEOUT: Final = 120.0
"""Seconds from the first keys to being logged in."""
ATTEMPTS_LIMIT: Final = 6
WAITING_LIMIT: Final = 8
"""Requests that came while one is looked at."""
ANSWER_LIMIT: Final = 1_024
"""Bytes of an answer."""
BY_CERTIFICATE: Final = "ssh-certificate"
USER_LIMIT: Final = 320
"""Bytes of a user name: account, ``+``, target."""
_PUBLICKEY: Final = b"publickey"
_INTERACTIVE: Final = b"keyboard-interactive"
_CONNECTION: Final = b"ssh-connection"


@frozen
class Wanted:
    """What a user name asks for."""

    account: str
    target: str


def parse_user(user: bytes) -> Wanted:
    """Read a user name: ``account+target``; the last ``+`` counts, for accounts may have one.

    ``account:target`` is read as well, for ``ssh`` itself: it breaks scp and rsync, which take what
    is before the colon for the host.

    Raises:
        AuthenticationError: it names no account and target; the text is for the caller.

    """
    try:
        text = user.decode() if len(user) <= USER_LIMIT else ""
    except UnicodeDecodeError:
        text = ""
    for separator in "+:":
        account, found, target = text.rpartition(separator)
        if found and account and target and text.isprintable():
            return Wanted(account, target)
    raise AuthenticationError("connect as ACCOUNT+TARGET, as in: ssh deploy+web1@gateway")


Verify: TypeAlias = Callable[[str, str, str], SshCaller]
"""Says whom a certificate stands for (`hoopgw.identity.shown.Logins.ssh_certificate`)."""


@frozen(kw_only=True)
class LoggedIn:
    """Somebody has logged in."""

    principal: Principal
    restrictions: Restrictions
    wanted: Wanted
    method: str
    """How they have proved themselves, for the record."""
    credential: str = ""
    """What may be revoked besides the principal's lineage."""


class Dialogue(Protocol):
    """A way to log in by questions and answers."""

    async def log_in(
        self,
        wanted: Wanted,
        address: str,
        ask: Callable[[str], Awaitable[bytes]],
        last: Callable[[float], None],
    ) -> LoggedIn:
        """Log somebody in.

        Args:
            wanted: what is asked for.
            address: the client's.
            ask: asks a question, and gives its answer.
            last: puts the deadline off, to so many seconds from now.

        Raises:
            AuthenticationError: nobody has logged in; the text is for the client.
            UnavailableError: it cannot be done now.

        """
        ...


@frozen
class _Shown:
    """A publickey request, read."""

    wanted: Wanted
    blob: bytes
    signature: bytes | None
    signed: bytes = field(repr=False)
    """What the signature is over."""


@define(eq=False)
class UserLogin(SSHService):
    """Logs one client in.

    Args:
        verify: who says whom a certificate stands for.
        address: the client's.
        clock: for the deadline.
        admit: asked once, when somebody has logged in and before the client is told: opens the
            target, and gives what runs from then on. It may raise `UnavailableError`.
        timeout: seconds until somebody must have logged in.
        attempts_limit: failed attempts, after which there is no other.
        dialogue: logs in people who have no certificate, if that is offered.

    """

    verify: Verify = field(repr=False)
    address: str
    clock: IReactorTime = field(repr=False)
    admit: Callable[[LoggedIn], Awaitable[SSHService]] = field(repr=False)
    timeout: float = LOGIN_TIMEOUT
    attempts_limit: int = ATTEMPTS_LIMIT
    dialogue: Dialogue | None = None
    wanted: Wanted | None = field(default=None, init=False)
    """What was asked for last."""
    refused: str = field(default="", init=False)
    """Why what was shown last was not taken, if something was."""
    transport: Any = field(default=None, init=False, repr=False)
    _waiting: deque[bytes] = field(factory=deque, init=False, repr=False)
    _trying: Deferred[None] | None = field(default=None, init=False, repr=False)
    _attempts: int = field(default=0, init=False)
    _deadline: IDelayedCall | None = field(default=None, init=False, repr=False)
    _over: bool = field(default=False, init=False)
    _said: bool = field(default=False, init=False)
    _lasts: bool = field(default=False, init=False)
    """Whether the deadline was put off."""
    _talking: bool = field(default=False, init=False)
    """Whether what is tried is a dialogue, which a client may abandon."""
    _answer: Deferred[bytes] | None = field(default=None, init=False, repr=False)
    """Waits for the client's answer to a question."""

    name = b"ssh-userauth"

    def serviceStarted(self) -> None:
        """Begin to wait."""
        self._deadline = self.clock.callLater(self.timeout, self._too_late)

    def serviceStopped(self) -> None:
        """Forget what was asked."""
        self._over = True
        self._waiting.clear()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._trying is not None:
            self._trying.cancel()

    def packetReceived(self, messageNum: int, payload: Bytes) -> None:
        """Take a request, or an answer."""
        if self._over:
            return
        if messageNum == INFO_RESPONSE and self._answer is not None:
            answer, self._answer = self._answer, None
            answer.callback(read_answer(payload))
            return
        if messageNum != USERAUTH_REQUEST:
            raise ProtocolViolationError(f"message {messageNum} may not come during log-in")
        if self._talking and self._trying is not None:
            # Who asks anew has abandoned the dialogue, and is not told of it (RFC 4256, 3.1).
            self._trying.cancel()
        if len(self._waiting) >= WAITING_LIMIT:
            raise ProtocolViolationError("too many attempts to log in at once")
        self._waiting.append(bytes(payload))
        if self._trying is None:
            self._next()

    def _next(self) -> None:
        while self._waiting and self._trying is None and not self._over:
            trying = Deferred.fromCoroutine(self._try(self._waiting.popleft()))
            if not trying.called:
                self._trying = trying
            trying.addErrback(self._failed).addCallback(self._tried)

    async def _try(self, request: bytes) -> None:
        """Look at one request, and answer it."""
        shown = self._read(request)
        if shown is None:
            self._refuse("")
            return
        if isinstance(shown, Wanted):
            await self._talk(shown)
            return
        line = f"{CERTIFICATE.decode()} {base64.b64encode(shown.blob).decode()}"
        caller = self.verify(line, shown.wanted.target, shown.wanted.account)
        if not caller.restrictions.admits_address(self.address):
            raise AuthenticationError("the certificate may not be shown from here")
        if shown.signature is None:
            self.transport.sendPacket(USERAUTH_PK_OK, string(CERTIFICATE) + string(shown.blob))
            return
        _check_signature(caller, shown)
        await self._let_in(
            LoggedIn(
                principal=caller.principal,
                restrictions=caller.restrictions,
                wanted=shown.wanted,
                method=BY_CERTIFICATE,
                credential=certificate_node(caller.serial),
            )
        )

    async def _let_in(self, found: LoggedIn) -> None:
        service = await self.admit(found)
        self.transport.sendPacket(USERAUTH_SUCCESS, b"")
        self.transport.setService(service)

    async def _talk(self, wanted: Wanted) -> None:
        """Log in with questions and answers."""
        assert self.dialogue is not None
        self._talking = True
        try:
            found = await self.dialogue.log_in(wanted, self.address, self._ask, self._last)
        finally:
            self._talking, self._answer = False, None
        await self._let_in(found)

    def _ask(self, prompt: str) -> Deferred[bytes]:
        """Ask the client one question, whose answer may be shown."""
        self.transport.sendPacket(INFO_REQUEST, question(prompt))
        answer: Deferred[bytes] = Deferred()
        self._answer = answer
        return answer

    def _last(self, seconds: float) -> None:
        """Wait for longer: a person has to find a browser. Once for each connection."""
        if not self._lasts and self._deadline is not None and self._deadline.active():
            self._lasts = True
            left = self._deadline.getTime() - self.clock.seconds()
            self._deadline.reset(max(left, seconds))

    def _read(self, request: bytes) -> _Shown | Wanted | None:
        """Read a request; None if its method or algorithm is not taken, which is no fault."""
        reader = Reader(request)
        user, service, method = reader.string(), reader.string(), reader.string()
        if service != _CONNECTION:
            raise ProtocolViolationError("there is no such service to log in for")
        self.wanted = wanted = parse_user(user)
        if method == _INTERACTIVE and self.dialogue is not None:
            reader.string()  # a language
            reader.string()  # and what the client would like to be asked: hints, no more
            reader.end()
            return wanted
        if method != _PUBLICKEY:
            return None
        signs, algorithm, blob = reader.boolean(), reader.string(), reader.string()
        if algorithm != CERTIFICATE:
            return None
        signature = reader.string() if signs else None
        reader.end()
        signed = b"".join(
            (
                string(self.transport.sessionID),
                bytes([USERAUTH_REQUEST]),
                string(user),
                string(service),
                string(method),
                b"\1",
                string(algorithm),
                string(blob),
            )
        )
        return _Shown(wanted, blob, signature, signed)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if self._over or isinstance(error, CancelledError):
            return
        if isinstance(error, ProtocolViolationError):
            self._end(wire.DISCONNECT_PROTOCOL_ERROR, str(error))
        elif isinstance(error, UnavailableError):
            self._end(wire.DISCONNECT_BY_APPLICATION, str(error))
        elif isinstance(error, AuthenticationError):
            log.info("{address} is not let in: {why}", address=self.address, why=str(error))
            self._refuse(str(error))
        else:
            log.failure("a log-in failed", failure)
            self._end(wire.DISCONNECT_BY_APPLICATION, "the log-in failed")

    def _refuse(self, why: str) -> None:
        """Say no; the first time with a reason, which clients print."""
        self.refused = why or self.refused
        if why and not self._said:
            self._said = True
            self.transport.sendPacket(USERAUTH_BANNER, string(f"{why}\r\n".encode()) + string(b""))
        self._attempts += 1
        if self._attempts > self.attempts_limit:
            self._end(wire.DISCONNECT_BY_APPLICATION, "too many attempts")
            return
        methods = (_PUBLICKEY,) if self.dialogue is None else (_PUBLICKEY, _INTERACTIVE)
        self.transport.sendPacket(USERAUTH_FAILURE, name_list(methods) + b"\0")

    def _tried(self, _result: object) -> None:
        self._trying = None
        self._next()

    def _too_late(self) -> None:
        self._end(wire.DISCONNECT_BY_APPLICATION, "nobody has logged in in time")

    def _end(self, reason: int, why: str) -> None:
        """Say why, and end: nobody is let in any more, whatever was asked before."""
        self.serviceStopped()
        self.transport.sendDisconnect(reason, why)


def question(prompt: str) -> bytes:
    """Return a request for one answer. Clients hide all but the prompt where they are quiet."""
    head = string(b"") * 3  # name, instruction, language
    return head + (1).to_bytes(4, "big") + string(prompt.encode()) + b"\1"


def read_answer(payload: Bytes) -> bytes:
    """Read the answer to one question.

    Raises:
        ProtocolViolationError: there are more answers than questions, or none.

    """
    reader = Reader(payload)
    if reader.uint32() != 1:
        raise ProtocolViolationError("there is one question, so there is one answer")
    answer = reader.string()
    reader.end()
    if len(answer) > ANSWER_LIMIT:
        raise ProtocolViolationError("an answer is too long")
    return answer


def _check_signature(caller: SshCaller, shown: _Shown) -> None:
    """Check that the certificate's key has signed; by the algorithm that it was shown with."""
    reader = Reader(shown.signature or b"")
    name, signature = reader.string(), reader.string()
    reader.end()
    if name != b"ssh-ed25519":
        raise AuthenticationError("the signature is of another algorithm than the key")
    try:
        caller.key.verify(signature, shown.signed)
    except InvalidSignature:
        raise AuthenticationError("the certificate's key was not proved") from None
