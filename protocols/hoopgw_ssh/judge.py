"""Decides what one client may do: policy, grants, budgets and people, before anything is sent.

What a certificate forbids is refused first, whatever policy says; so are forwards to places that
none may lead to (`hoopgw_ssh.endpoints`). Variables are asked about one by one, and those that are
refused are not set, as sshd does; they, and the terminal, are a part of what is started then.

**An approval covers all that runs.** What people have approved gets no input: its standard input
ends at once, so nobody can feed to an approved ``bash -s`` what was not approved. Where a target
says ``held_input = "open"``, input goes on, the request says so, and so does its digest.

Who waits is told on standard error. Whatever ends the wait for the client (Ctrl-C, a closed
channel, a lost connection) withdraws the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import RecorderError
from hoopgw.events import Operation
from hoopgw.policy.decision import Allow, Deny, Verdict
from hoopgw.sessions.deciding import Decider, Permission
from hoopgw.sessions.held import not_recorded
from hoopgw.sessions.journal import Answered
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.shell.running import Facts, facts
from hoopgw_ssh.channels import Opening, Request
from hoopgw_ssh.endpoints import Endpoint, by_shell, never_leads_to, read_direct, read_listen
from hoopgw_ssh.files import FileOperation, FileResult, FileRuling, PathUse
from hoopgw_ssh.files_seen import unseen
from hoopgw_ssh.files_told import note_files
from hoopgw_ssh.gated import gated_shell
from hoopgw_ssh.inspector import Silence
from hoopgw_ssh.meter import Meter
from hoopgw_ssh.operations import Asked, Place, Setting, Terminal, is_forbidden
from hoopgw_ssh.refusals import no, refused, waiting
from hoopgw_ssh.relay import Pair
from hoopgw_ssh.rulings import Ruling
from hoopgw_ssh.settings import FORWARDS, HELD_INPUT, SHELL
from hoopgw_ssh.visit import Visit
from hoopgw_ssh.watching import watch
from hoopgw_ssh.wire import Reader

log = Logger()

PATIENCE: Final = 86_400.0
"""Seconds that a client waits for people at most; the policy's own limit ends it before."""
AT_ONCE: Final = 512
"""Bytes of a command that is taken apart where it is: two or three milliseconds."""
VARIABLES_LIMIT: Final = 64
VARIABLES_SIZE: Final = 32_768
"""Bytes of all variables that a channel sets."""
LISTENS_LIMIT: Final = 32
INTERRUPT: Final = b"\x03"
"""What a terminal sends for Ctrl-C."""
GRANT_OVER: Final = "the access that was granted for a while is over"
_ALLOWED: Final = Ruling(allowed=True)
_PERMIT_PTY: Final = "permit-pty"
_PERMIT_FORWARDS: Final = "permit-port-forwarding"
_EXTRAS: Final = {
    b"auth-agent-req@openssh.com": ("agent_forward", "permit-agent-forwarding"),
    b"x11-req": ("x11", "permit-X11-forwarding"),
}
_PASSED: Final = frozenset({b"window-change", b"signal", b"break", b"eow@openssh.com", b"xon-xoff"})
"""What goes to what runs already, and starts nothing."""
_FROM_TARGET: Final = {
    b"auth-agent@openssh.com": "agent_forward",
    b"x11": "x11",
}
_DIRECT: Final = frozenset({b"direct-tcpip", b"direct-streamlocal@openssh.com"})
_FORWARDED: Final = frozenset({b"forwarded-tcpip", b"forwarded-streamlocal@openssh.com"})
_LISTEN: Final = frozenset({b"tcpip-forward", b"streamlocal-forward@openssh.com"})
_CANCEL: Final = frozenset({b"cancel-tcpip-forward", b"cancel-streamlocal-forward@openssh.com"})


@frozen(kw_only=True)
class _Going:
    """Something that was let through and has not ended."""

    asked: Asked
    permission: Permission
    started: int
    """Nanoseconds since the epoch."""
    end: Callable[[str], None] | None


@define(eq=False)
class SessionJudge:
    """Decides for one connection. Implements `relay.Judge` and `hoopgw_ssh.files.FileJudge`."""

    _visit: Visit
    _place: Place = field(init=False, repr=False)
    _decider: Decider = field(init=False, repr=False)
    _settings: WeakKeyDictionary[Pair, Setting] = field(
        factory=WeakKeyDictionary, init=False, repr=False
    )
    _going: dict[int, _Going] = field(factory=dict, init=False, repr=False)
    """By the sequence of its intent."""
    _listens: dict[Endpoint, int] = field(factory=dict, init=False, repr=False)
    """Where the target listens, and by which intent."""
    _extras: set[str] = field(factory=set, init=False)
    """Of ``agent_forward`` and ``x11``: what some channel may use."""
    _told: Pair | None = field(default=None, init=False, repr=False)
    """The channel on which something was started last."""
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        visit = self._visit
        chain = tuple(hop.id for hop in visit.principal.chain)
        self._place = Place(visit.target, visit.account, chain)
        self._decider = Decider(
            context=visit.context,
            principal=visit.principal,
            session=visit.session,
            journal=visit.journal,
            purse=visit.purse,
            strict=visit.target.durability == "strict",
            patience=PATIENCE,
        )

    # What the relay asks

    def opening(self, opening: Opening, *, by_target: bool) -> Deferred[Ruling]:
        """Say whether a channel may be opened."""
        if by_target:
            return self._answer(self._from_target(opening))
        if opening.kind == b"session":
            return succeed(Ruling(allowed=True, inspector=Silence()))
        if opening.kind in _DIRECT:
            return self._answer(self._forward(opening))
        return succeed(no(f"hoopgw opens no channels of this kind: {opening.kind!r}"))

    def request(self, channel: Pair, request: Request) -> Deferred[Ruling]:
        """Say whether a request may be passed on."""
        name = request.name
        if channel.opening.kind != b"session" or (channel.started and name not in _PASSED):
            return succeed(no("nothing is started here any more"))
        if name in _PASSED:
            return succeed(_ALLOWED)
        match name:
            case b"pty-req":
                return succeed(self._pty(channel, request))
            case b"env":
                return succeed(self._env(channel, request))
            case b"exec":
                return self._answer(self._exec(channel, request), channel)
            case b"shell":
                return self._answer(self._shell(channel), channel)
            case b"subsystem":
                return self._answer(self._subsystem(channel, request), channel)
            case _ if name in _EXTRAS:
                return self._answer(self._extra(channel, request), channel)
            case _:
                return succeed(no("hoopgw does not know this request"))

    def for_connection(self, request: Request) -> Deferred[Ruling]:
        """Say whether a request for no channel may be passed on."""
        if request.name in _LISTEN:
            return self._answer(self._listen(request))
        if request.name in _CANCEL:
            return succeed(self._cancel(request))
        return succeed(no("hoopgw does not know this request"))

    # The session's end

    def reconsider(self) -> str | None:
        """End what is not allowed any more; say why all must end, or None.

        Whether the connection itself may go on is for the client leg to ask.
        """
        for going in list(self._going.values()):
            lives = going.permission.once or not self._is_over(going.asked.operation)
            if going.end is not None and not lives:
                going.end(f"hoopgw: {GRANT_OVER}")
        return None

    def close(self, why: str) -> None:
        """Withdraw what waits, and write how what goes on came out."""
        if self._closed:
            return
        self._closed = True
        self._decider.close()
        for intent, going in list(self._going.items()):
            if going.end is None:
                self._finish(intent, going, Answered(outcome=f"ended: {why}"))

    # Files

    def file(
        self,
        operation: FileOperation,
        say: Callable[[str], None],
        end: Callable[[str], None] | None = None,
    ) -> Deferred[FileRuling]:
        """Decide on something done to files; see `hoopgw_ssh.files.FileJudge`."""
        return Deferred.fromCoroutine(self._file(operation, say, end))

    async def _file(self, operation: FileOperation, say: Any, end: Any) -> FileRuling:
        uses = [
            (each.action, path) for each in operation.uses for path in (each.path, each.written)
        ]
        parts = (("protocol", operation.protocol.encode()), ("request", operation.sent))
        asked = self._place.files(operation.action, uses, operation.text, parts)
        try:
            self._seen(asked, operation.uses)
            permission = await self._decide(asked, say)
        except RefusedError as error:
            return FileRuling(allowed=False, reason=error.refusal.text)
        self._let_go(asked, permission, end)
        return FileRuling(allowed=True, intent=permission.intent)

    def finished(self, intent: int, result: FileResult) -> None:
        """Record how something done to files came out."""
        found = self._going.get(intent)
        if found is None:
            return
        try:
            answered = note_files(self._visit.journal, intent, result)
        except RecorderError as error:
            answered = Answered(outcome=result.outcome)
            self._visit.end(f"hoopgw: what was moved could not be recorded: {error}")
        self._finish(intent, found, answered)

    # What is started

    async def _exec(self, channel: Pair, request: Request) -> Ruling:
        text = _one_string(request.data)
        setting = self._setting(channel)
        asked = self._place.exec(text, await self._read(text), setting, self._held_input)
        self._forced(asked, text)
        for where in () if asked.facts is None else asked.facts.connects:
            self._leads(asked, by_shell(*where))
        if asked.moves is not None:
            self._seen(asked, asked.moves.uses, is_deep=asked.moves.protocol != "scp")
        return await self._start(channel, asked)

    async def _shell(self, channel: Pair) -> Ruling:
        setting = self._setting(channel)
        if self._visit.target.options.get(SHELL, "open") == "open":
            asked = self._place.shell(setting)
            self._forced(asked)
            return await self._start(channel, asked)
        asked = self._place.gated_shell(setting)
        self._forced(asked)
        permission = await self._decide(asked, channel.say)
        finished = self._let_go(asked, permission, channel.end)
        shell = gated_shell(self._visit, setting.terminal, finished)
        return Ruling(allowed=True, inspector=shell, begins=shell.begin)

    async def _subsystem(self, channel: Pair, request: Request) -> Ruling:
        reader = Reader(request.data)
        name = reader.text()
        reader.end()
        asked = self._place.subsystem(name, self._setting(channel))
        self._forced(asked)
        return await self._start(channel, asked)

    def _seen(self, asked: Asked, uses: Iterable[PathUse], *, is_deep: bool = False) -> None:
        """Refuse to move what would not be shown."""
        if hidden := unseen(self._visit, self._place, tuple(uses), is_deep=is_deep):
            self._refuse(asked, f"you may not see {', '.join(hidden)} in clear")

    def _forced(self, asked: Asked, text: bytes | None = None) -> None:
        """Take nothing but the command that a certificate is for, if it is for one."""
        only = self._visit.restrictions.command
        if only and text != only.encode():
            self._refuse(asked, "the certificate is for one command only, and this is another")

    async def _read(self, text: bytes) -> Facts:
        """Take a command apart: a long one in a thread."""
        if len(text) <= AT_ONCE:
            return facts(text)
        reactor = self._visit.context.reactor
        found: Facts = await deferToThreadPool(reactor, reactor.getThreadPool(), facts, text)
        return found

    @property
    def _held_input(self) -> str:
        """What becomes of the input of what people approved: ``closed`` or ``open``."""
        return "open" if self._visit.target.options.get(HELD_INPUT) == "open" else "closed"

    async def _start(self, channel: Pair, asked: Asked) -> Ruling:
        self._told = channel
        permission = await self._decide(asked, channel.say)
        finished = self._let_go(asked, permission, channel.end)
        inspector = await watch(self._visit, asked, permission, finished, self)
        try:
            self._decider.look_again(asked, permission)
        except RefusedError:
            inspector.ended(None)
            raise
        covered = permission.approved is not None or permission.once
        is_run = asked.operation.action == "exec" and asked.moves is None
        ends = covered and is_run and self._held_input == "closed"
        return Ruling(allowed=True, inspector=inspector, ends_input=ends)

    def _let_go(
        self, asked: Asked, permission: Permission, end: Callable[[str], None] | None = None
    ) -> Callable[[Answered], None]:
        """Note that something goes on; return what is told how it came out.

        ``end`` ends it, with a reason for the client; None: it is over in a moment.
        """
        going = _Going(asked=asked, permission=permission, started=time.time_ns(), end=end)
        self._going[permission.intent] = going
        return partial(self._finish, permission.intent, going)

    def _metered(self, asked: Asked, permission: Permission) -> Ruling:
        """Let a connection through the host go on."""
        meter: Meter
        finished = self._let_go(asked, permission, lambda why: meter.end(why))
        meter = Meter(self._visit.purse, finished)
        return Ruling(allowed=True, inspector=meter)

    # What is set before

    def _pty(self, channel: Pair, request: Request) -> Ruling:
        if _PERMIT_PTY not in self._visit.restrictions.permissions:
            return no("the certificate permits no terminal")
        reader = Reader(request.data)
        name, columns, rows = reader.text(), reader.uint32(), reader.uint32()
        reader.uint32(), reader.uint32(), reader.string()
        reader.end()
        terminal = Terminal(name=name, columns=columns, rows=rows, request=request.data)
        setting = self._setting(channel)
        self._settings[channel] = evolve(setting, terminal=terminal)
        return _ALLOWED

    def _env(self, channel: Pair, request: Request) -> Ruling:
        reader = Reader(request.data)
        name, value = reader.text(), reader.string()
        reader.end()
        setting = self._setting(channel)
        variables = (*setting.variables, (name, value))
        size = sum(len(name) + len(value) for name, value in variables)
        if len(variables) > VARIABLES_LIMIT or size > VARIABLES_SIZE:
            return no("too many variables")
        operation = self._place.variable(name, value)
        if is_forbidden(name) or not isinstance(self._judge(operation).decision, Allow):
            return no("this variable is not set")
        self._settings[channel] = evolve(setting, variables=variables)
        return _ALLOWED

    async def _extra(self, channel: Pair, request: Request) -> Ruling:
        action, permit = _EXTRAS[request.name]
        asked = self._place.tunnel(action, self._place.host, action, request.data)
        self._permitted(asked, permit)
        permission = await self._decide(asked, channel.say)
        self._visit.journal.finished(permission.intent, time.time_ns(), Answered(outcome="asked"))
        setting = self._setting(channel)
        self._settings[channel] = evolve(setting, extras=(*setting.extras, action))
        self._extras.add(action)
        return _ALLOWED

    # Connections through the host

    async def _forward(self, opening: Opening) -> Ruling:
        endpoint = read_direct(opening.kind, opening.extra)
        asked = self._tunnel("forward", endpoint)
        self._permitted(asked, _PERMIT_FORWARDS)
        self._leads(asked, endpoint)
        permission = await self._decide(asked, self._tell)
        return self._metered(asked, permission)

    async def _listen(self, request: Request) -> Ruling:
        endpoint = read_listen(request.name, request.data)
        asked = self._tunnel("listen", endpoint)
        self._permitted(asked, _PERMIT_FORWARDS)
        if endpoint in self._listens or len(self._listens) >= LISTENS_LIMIT:
            self._refuse(asked, "the host listens there already, or in too many places")
        permission = await self._decide(asked, self._tell)
        self._listens[endpoint] = permission.intent
        self._let_go(asked, permission)
        return _ALLOWED

    def _cancel(self, request: Request) -> Ruling:
        name = request.name.removeprefix(b"cancel-")
        intent = self._listens.pop(read_listen(name, request.data), None)
        if intent is None:
            return no("the host does not listen there")
        self._finish(intent, self._going[intent], Answered(outcome="cancelled"))
        return _ALLOWED

    async def _from_target(self, opening: Opening) -> Ruling:
        """Take a connection that comes from where the target listens, or to what it may use."""
        action = _FROM_TARGET.get(opening.kind, "")
        if action in self._extras:
            asked = self._place.tunnel(action, self._place.host, f"{action} is used", b"")
        elif opening.kind in _FORWARDED:
            asked = self._tunnel("listen", self._listening(opening))
        else:
            return no("nobody has asked for this")
        verdict = self._judge(asked.operation)
        if isinstance(verdict.decision, Deny):
            return no("this is not allowed any more")
        # Who allowed to listen has allowed what comes of it.
        intent = self._visit.journal.intent(asked, verdict, Allow(), verdict.because)
        permission = Permission(verdict=verdict, intent=intent)
        return self._metered(asked, permission)

    def _listening(self, opening: Opening) -> Endpoint:
        """Return where the target was asked to listen for what has come."""
        found = read_direct(opening.kind, opening.extra)
        for endpoint in (found, evolve(found, port=0)):  # 0: the target chose the port
            if endpoint in self._listens:
                return endpoint
        raise RefusedError(Refusal(kind="denied", text="the host was not asked to listen there"))

    def _tunnel(self, action: str, endpoint: Endpoint) -> Asked:
        place = self._place
        where = (
            place.socket(endpoint.host)
            if endpoint.is_socket
            else place.endpoint(endpoint.host, endpoint.port)
        )
        return place.tunnel(action, where, endpoint.text, endpoint.text.encode())

    # Deciding

    def _decide(self, asked: Asked, say: Callable[[str], None]) -> Any:
        return self._decider.decide(asked, None, lambda held: say(waiting(held)))

    def _judge(self, operation: Operation) -> Verdict:
        visit = self._visit
        return visit.context.policy.decide(visit.principal, operation, visit.session)

    def _is_over(self, operation: Operation) -> bool:
        return isinstance(self._judge(operation).decision, Deny)

    def _leads(self, asked: Asked, endpoint: Endpoint) -> None:
        """Refuse a connection to where none leads."""
        options, names = self._visit.target.options, self._visit.context.names
        if why := never_leads_to(endpoint, names, options.get(FORWARDS, ())):
            self._refuse(asked, f"no forward leads {why}")

    def _permitted(self, asked: Asked, permission: str) -> None:
        if permission not in self._visit.restrictions.permissions:
            self._refuse(asked, f"the certificate does not have {permission}")

    def _refuse(self, asked: Asked, why: str) -> NoReturn:
        """Record a refusal that is no policy's, and raise it."""
        try:
            self._visit.journal.refused(asked, why)
        except RecorderError as error:
            raise RefusedError(not_recorded(error)) from error
        raise RefusedError(Refusal(kind="denied", text=why))

    def _tell(self, text: str) -> None:
        """Say something to a client that waits for what has no channel yet, where one can."""
        if self._told is not None:
            self._told.say(text)

    def _answer(
        self, deciding: Coroutine[Any, Any, Ruling], channel: Pair | None = None
    ) -> Deferred[Ruling]:
        """Return what is decided; what is refused, or malformed, is told to the client.

        At a terminal, Ctrl-C comes as data, which waits with all else: it is looked for there.
        """
        answer = Deferred.fromCoroutine(deciding)
        end = None if channel is None else channel.client
        has_terminal = channel is not None and self._setting(channel).terminal is not None
        if end is not None and has_terminal and not answer.called:
            end.early = lambda data: answer.cancel() if INTERRUPT in data else None

        def settled(result: Ruling | Failure) -> Ruling:
            if end is not None:
                end.early = None
            return refused(result) if isinstance(result, Failure) else result

        return answer.addBoth(settled)

    def _setting(self, channel: Pair) -> Setting:
        return self._settings.get(channel, Setting())

    def _finish(self, intent: int, going: _Going, answered: Answered) -> None:
        if self._going.pop(intent, None) is None:
            return
        try:
            self._visit.journal.finished(intent, going.started, answered)
        except RecorderError as error:
            log.error("how an operation came out is not recorded: {error}", error=error)
            self._visit.end(f"hoopgw: what was done cannot be recorded: {error}")


def _one_string(data: bytes) -> bytes:
    reader = Reader(data)
    found = reader.string()
    reader.end()
    return found
