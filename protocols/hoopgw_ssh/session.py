"""One client's session: from an accepted log-in to its end.

The client is told that it has logged in when policy has let it in and its target is open: who is
refused, whose agent is away, or whose target cannot be opened learns that at its log-in, in words.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from hoopgw.errors import HoopgwError, RecorderError, UnavailableError
from hoopgw.events import Operation, Principal
from hoopgw.policy.decision import Allow, Verdict
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import SessionFrozen, SessionThawed
from hoopgw.sessions.admission import ConnectRefusedError, admit
from hoopgw.sessions.ends import EXPIRED, LEEWAY, WHAT_TO_DO
from hoopgw.sessions.journal import Opening, SessionJournal
from hoopgw.sessions.purses import Purse
from hoopgw.spi import GatewayContext, OpenTarget, TargetSettings
from hoopgw.terminal import printable
from hoopgw_ssh import wire
from hoopgw_ssh.ciphers import PACKET_LIMIT
from hoopgw_ssh.joined import TARGET_LEFT, Joined
from hoopgw_ssh.judge import SessionJudge
from hoopgw_ssh.operations import connecting
from hoopgw_ssh.transport import ServerTransport
from hoopgw_ssh.user_login import USERAUTH_BANNER, LoggedIn
from hoopgw_ssh.visit import Visit

log = Logger()

UNTIL_THAWED: Final = (
    "Nothing goes through, either way, until it is thawed; close the connection to end it."
)
GRANT_OVER: Final = "the access that was granted for a while is over"


@frozen
class _Word:
    """Who freezes or thaws, and why."""

    by: str
    by_id: str
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.by}: {self.reason}" if self.reason else self.by)


@define(eq=False)
class Session:
    """A log-in that was accepted, and what became of it.

    Args:
        context: of the gateway.
        inputs: what the worker's sessions were judged by.
        client: the connection.
        address: the client's.
        found: who has logged in, and where to.

    """

    _context: GatewayContext = field(repr=False)
    _inputs: InputBook = field(repr=False)
    _client: ServerTransport = field(repr=False)
    _address: str
    _found: LoggedIn
    id: str = field(init=False)
    _joined: Joined | None = field(default=None, init=False, repr=False)
    _judge: SessionJudge | None = field(default=None, init=False, repr=False)
    _journal: SessionJournal | None = field(default=None, init=False, repr=False)
    _purse: Purse | None = field(default=None, init=False, repr=False)
    _connect: Operation | None = field(default=None, init=False, repr=False)
    why_over: str = field(default="", init=False)
    """Why it ended, or never began."""
    _why_cut: str = field(default="", init=False)
    _over: bool = field(default=False, init=False)
    _frozen: _Word | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.id = self._context.new_session()

    @property
    def has_begun(self) -> bool:
        """Whether its start was recorded."""
        return self._journal is not None

    @property
    def principal(self) -> Principal:
        """Whose it is."""
        return self._found.principal

    async def open(self) -> Joined:
        """Let policy decide, open the target, and join the client with it.

        Raises:
            UnavailableError: it cannot be; the text is for the client.

        """
        try:
            return await self._open(self._announce())
        except ConnectRefusedError as error:
            self._never_began(str(error))
            if error.cure is not None:
                self._say(error.cure.hint)
            raise UnavailableError(f"hoopgw: {error}") from error
        except BaseException as error:
            self._never_began(_told(error))
            raise

    def _announce(self) -> TargetSettings:
        """Count it among the live ones; return its target."""
        wanted = self._found.wanted
        target = self._context.targets.get(wanted.target)
        if target is None:
            raise UnavailableError(f"there is no SSH target {wanted.target} here")
        self._context.sessions.opened(
            self.id,
            self.principal,
            target.name,
            self.cut,
            wanted.account,
            self._address,
            self.reconsider,
            self._found.credential,
            self.freeze,
        )
        return target

    async def _open(self, target: TargetSettings) -> Joined:
        context, account = self._context, self._found.wanted.account
        self._connect = operation = connecting(target, account, "")
        verdict = await admit(context, self.principal, operation, self.id)
        self._check_cut()
        opened = await context.link.open(self.principal, self.id, target.name, account, {})
        try:
            self._check_cut()
            return self._begin(target, opened, operation, verdict)
        except BaseException:
            opened.leg.abortConnection()
            raise

    def _begin(
        self, target: TargetSettings, opened: OpenTarget, operation: Operation, verdict: Verdict
    ) -> Joined:
        """Record that it begins, and join the two sides."""
        context, found = self._context, self._found
        opening = Opening(
            session=self.id,
            protocol="ssh",
            target=target.name,
            account=found.wanted.account,
            principal=self.principal,
            method=found.method,
            address=self._address,
            agent=opened.agent,
        )
        journal = SessionJournal(context.recorder, opening, self._inputs)
        journal.started()
        self._journal = journal
        journal.connected(operation.accesses, operation.context, verdict)
        self._purse = context.budgets.open(self.principal)
        visit = Visit(
            context=context,
            session=self.id,
            principal=self.principal,
            restrictions=found.restrictions,
            target=target,
            account=found.wanted.account,
            address=self._address,
            agent=opened.agent,
            server=str(opened.facts.get("server", "")),
            journal=journal,
            purse=self._purse,
            end=self.end,
        )
        self._judge = judge = SessionJudge(visit)
        self._client.packet_limit = PACKET_LIMIT
        self._joined = Joined(opened.leg, judge, self._ended, self._why_lost)
        if self._frozen is not None:
            self._stop(self._joined, journal, self._frozen)
        return self._joined

    # Freezing

    def freeze(self, *, frozen: bool, by: str, by_id: str, reason: str) -> None:
        """Stop all that goes through, either way, or let it go on.

        Raises:
            RecorderError: it could not be recorded; the session must end.

        """
        if self._over or frozen == (self._frozen is not None):
            return
        word = _Word(by, by_id, reason)
        joined, journal = self._joined, self._journal
        self._frozen = word if frozen else None
        if joined is None or journal is None:
            return  # it is not open yet: it will begin like that
        if frozen:
            self._stop(joined, journal, word)
        else:
            self._note(journal, SessionThawed, word)
            joined.thaw(f"hoopgw: thawed by {word}. What was kept back goes on now.")

    def _stop(self, joined: Joined, journal: SessionJournal, word: _Word) -> None:
        joined.freeze(f"hoopgw: frozen by {word}. {UNTIL_THAWED}")
        self._note(journal, SessionFrozen, word)

    def _note(
        self,
        journal: SessionJournal,
        kind: type[SessionFrozen | SessionThawed],
        word: _Word,
    ) -> None:
        journal.note(lambda number, at: kind(self.id, number, at, word.by, word.by_id, word.reason))

    # The end

    def cut(self, reason: str) -> None:
        """End at once, with what is on its way to the target: expiry, revocation, shutdown."""
        self._why_cut = reason
        text = f"{reason}. {WHAT_TO_DO[reason]}" if reason in WHAT_TO_DO else reason
        if self._joined is not None:
            self._joined.end(text, reason, at_once=True)
        else:
            self._client.sendDisconnect(wire.DISCONNECT_BY_APPLICATION, text)

    def end(self, why: str) -> None:
        """End, and tell the client why."""
        if self._joined is not None:
            self._joined.end(why, why)

    def reconsider(self) -> str | None:
        """Say why it must end by what its principal is granted now, or None."""
        if self._judge is None or self._connect is None or self._over:
            return None
        verdict = self._context.policy.decide(self.principal, self._connect, self.id)
        if not isinstance(verdict.decision, Allow):
            return GRANT_OVER
        return self._judge.reconsider()

    def _why_lost(self) -> str:
        """Say why the target is gone: an agent ends by itself what has expired."""
        left = self.principal.expires - self._context.clock.seconds()
        return EXPIRED if left < LEEWAY else TARGET_LEFT

    def _ended(self, why: str) -> None:
        """Take note of the end."""
        if self._over:
            return
        self._over, self.why_over = True, why
        assert self._judge is not None
        self._judge.close(why)
        self._record_end(why)

    def _never_began(self, why: str) -> None:
        """Take back what was begun."""
        why = self._why_cut or why
        self._over, self.why_over = True, why
        if self._journal is not None:
            self._record_end(why)
        else:
            self._context.sessions.closed(self.id, why)

    def _record_end(self, why: str) -> None:
        if self._purse is not None:
            self._purse.close()
        assert self._journal is not None
        try:
            self._journal.ended(why)
        except RecorderError as error:
            log.error("the end of a session could not be recorded: {error}", error=error)
        self._context.sessions.closed(self.id, why)

    def _check_cut(self) -> None:
        if self._why_cut:
            raise UnavailableError(self._why_cut)

    def _say(self, text: str) -> None:
        lines = text.replace("\n", "\r\n")
        self._client.sendPacket(
            USERAUTH_BANNER, wire.string(f"{lines}\r\n".encode()) + wire.string(b"")
        )


def _told(error: BaseException) -> str:
    if isinstance(error, CancelledError):
        return "the client left"
    if isinstance(error, HoopgwError):
        return str(error)
    return "hoopgw could not open the session"
