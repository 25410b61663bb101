"""The control process put together: one `ControlService` from one configuration.

`ControlService.start` opens the store under a lock, serves ``run/control.sock`` and HTTPS, and
keeps time for the docket. A part that fails in its turn is logged and tried again; only what makes
starting impossible ends the process.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hoopgw import registry
from hoopgw.clock import UNEVEN, EvenClock, ForwardClock, steady
from hoopgw.config import GatewayConfig
from hoopgw.control.device_logins import DeviceLogins, device_issuers
from hoopgw.control.enrolment import Enrolment
from hoopgw.control.fleet import Fleet
from hoopgw.control.health import Health
from hoopgw.control.intercepted import InterceptedHosts
from hoopgw.control.key_calls import KeyCalls
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.local import LocalCalls
from hoopgw.control.peers import OwnPeers, listen_own
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.recorder_watch import RecorderWatch
from hoopgw.control.retention import EVERY as RETENTION_EVERY
from hoopgw.control.retention import Retention
from hoopgw.control.site import SiteParts, build_site, make_exchange
from hoopgw.control.switchboard import Switchboard
from hoopgw.control.target_tokens import TargetTokens
from hoopgw.control.tls import ListenerTls
from hoopgw.control.token_keys import TokenKeys
from hoopgw.control.web import BoundedConnections, over_tls
from hoopgw.errors import ConfigError, PluginError, UnavailableError
from hoopgw.identity.device_flow import DeviceIssuer
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.forms import FormLimits
from hoopgw.identity.kept_proofs import KeptProofs
from hoopgw.identity.key_kinds import INTERCEPTION, KINDS
from hoopgw.identity.keybook import KeyBook, utc
from hoopgw.identity.keyfiles import (
    load_signing_key,
    renew_gateway_certificate,
    renew_link_certificate,
)
from hoopgw.identity.ssh_host import renew_host
from hoopgw.identity.tokens import TokenSigner, TokenVerifier
from hoopgw.ipc import Peer
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.reader import LogReader, ReadError
from hoopgw.sessions.ids import new_session
from hoopgw.spi import ProtocolSpec, Recorder
from hoopgw.store.sqlite import SqliteStore

log = Logger()

POLICY_EVERY: Final = 5.0
"""Seconds between two looks whether the policy still offers what is granted."""
SPOOL: Final = "control.grants"
"""The name of control's spool; no worker is called so."""
SWEEP_EVERY: Final = 1.0
"""Seconds between two looks at what time has ended."""
TIDY_EVERY: Final = 3600.0
"""Seconds between two purges of the store, and two looks at the certificates."""
NOTE_EVERY: Final = 60.0
"""Seconds between two times that are kept: after a restart it is not earlier."""
SETTLED: Final = 600.0
"""Seconds for which the clock must have run evenly before what it says is kept, and before what has
ended by it is forgotten: what is kept stays, also if the clock was wrong for a moment."""
KEEP_SETTLED: Final = 30 * 86_400.0
"""Seconds that settled requests stay in the store; the log keeps how they ended."""


class OwnRecorder(Recorder, Protocol):
    """A recorder of this process alone."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """Write what was put off, and end."""
        ...


@define(eq=False)
class ControlService:
    """All parts of the control process.

    Raises (when made):
        ConfigError, UnavailableError: the state folder cannot be used.

    """

    config: GatewayConfig
    _reactor: Any
    _steps: OwnRecorder | None = None
    """Where steps of grants are recorded; by default a spool of control's own."""
    _lock: int = field(init=False)
    store: SqliteStore = field(init=False)
    _clock: ForwardClock = field(init=False)
    """What all parts go by: it does not go back, nor behind what the store has seen."""
    _even: EvenClock = field(factory=lambda: EvenClock(time.time, steady), init=False)
    signer: TokenSigner = field(init=False)
    token_keys: TokenKeys = field(init=False)
    board: Switchboard = field(init=False)
    fleet: Fleet = field(init=False)
    enrolment: Enrolment = field(init=False)
    recorder: RecorderWatch = field(init=False)
    health: Health = field(init=False)
    files: PolicyFiles = field(init=False)
    port: IListeningPort | None = field(default=None, init=False)
    """The HTTPS listener, once started."""
    keys: KeyKeeper = field(init=False)
    _tls: ListenerTls = field(init=False)
    _exchange: Exchange = field(init=False)
    _proofs: KeptProofs = field(init=False, repr=False)
    _limits: FormLimits = field(factory=FormLimits, init=False)
    """Of what is given at the token endpoint and through workers, together."""
    _protocols: dict[str, ProtocolSpec] = field(factory=dict, init=False)
    _intercepted: InterceptedHosts = field(init=False)
    _devices: Mapping[str, DeviceIssuer] = field(init=False)
    _socket_port: IListeningPort | None = field(default=None, init=False)
    _reading: ReadingRoom = field(init=False)
    _retention: Retention = field(init=False)
    _connections: BoundedConnections | None = field(default=None, init=False)
    _loops: list[LoopingCall] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        config, paths = self.config, self.config.paths
        self._lock = lock(paths.state / "control.lock")
        book = KeyBook(paths, config.tls.names, config.interception.names)
        self.store = open_store(paths.store, book)
        if problem := self.store.problem:
            self.store.close()
            os.close(self._lock)
            raise ConfigError(f"{paths.store}: {problem}")
        self._clock = now = forward_from(self._reactor.seconds, self.store.time)
        self.signer = TokenSigner(load_signing_key(paths.token_key), config.control.url.rstrip("/"))
        recorder_socket = UNIXClientEndpoint(self._reactor, str(paths.recorder_socket))
        if self._steps is None:
            self._steps = SpoolRecorder(
                paths.spool,
                SPOOL,
                self._reactor,
                lambda peer: connectProtocol(recorder_socket, peer),
            )
        self._proofs = KeptProofs({i.alias: i.on_behalf_of for i in config.identity.issuers}, now)
        self.board = Switchboard(self.store, self.signer, now, self._steps, new_session)
        self.fleet = self.board.fleet
        verifier = TokenVerifier(self.signer.jwks, self.signer.issuer)
        self.token_keys = TokenKeys(self.signer, verifier, self.fleet)
        self._tls = ListenerTls(config, now, lambda: self.fleet.tell_all("certificate_renewed", {}))
        self.keys = KeyKeeper(
            book,
            self.store,
            self.token_keys,
            self.fleet,
            now,
            self.signer.issuer,
            lambda: None if config.tls.certificate is None else self._tls.authority,
            {
                "listeners": self._issue_gateway,
                "link": self._issue_link,
                "ssh-hosts": self._issue_ssh_host,
                INTERCEPTION: lambda: self.fleet.tell_all("interception_renewed", {}),
            },
        )
        self.enrolment = Enrolment(
            self.store,
            now,
            self.signer.issuer,
            lambda: self.keys.agents,
            lambda: log_key(LogReader(paths.log)),
            self._agent_revoked,
        )
        self.recorder = RecorderWatch(
            recorder_socket,
            self._reactor,
            random.random,
        )
        self.health = Health(self.store, self.recorder, self.fleet, config.targets, now)
        self._protocols = load_protocols(config)
        self._devices = device_issuers(config, self._reactor)
        self._intercepted = InterceptedHosts(
            config, self._protocols, self.keys, lambda: utc(self._now())
        )
        self._reading = ReadingRoom(self._reactor)
        self._retention = Retention(
            ContentFolder(paths.contents),
            config.recording.days,
            self.board.granting.journal,
            self._steps,
            self._reading,
            now,
        )
        self.files = PolicyFiles(
            config.policy.directory,
            {name: spec.cedar_schema for name, spec in self._protocols.items()},
            self._reading,
        )

    def start(self) -> None:
        """Serve. What the store holds from before is taken up.

        Raises:
            ConfigError: an address or a socket cannot be used.

        """
        self._issue_ssh_host()
        self.board.take_up()
        self._exchange = make_exchange(self._parts())
        self._reading.start()
        self._listen_socket()
        self._listen_https()
        assert self._steps is not None
        self._steps.start()
        self.recorder.start()
        self._every(SWEEP_EVERY, self.board.sweep)
        self._every(POLICY_EVERY, self._look_at_policy)
        self._every(SWEEP_EVERY, self.keys.sweep)
        self._every(NOTE_EVERY, self._note_time)
        self._every(TIDY_EVERY, self.tidy)
        self._every(RETENTION_EVERY, self._look_at_contents)
        log.info("control serves {url}", url=self.signer.issuer)

    def stop(self) -> Deferred[Any]:
        """Stop serving; the store stays as it is."""
        self.board.close()
        self.board.granting.journal.end()
        assert self._steps is not None
        self._steps.stop()
        for loop in self._loops:
            if loop.running:
                loop.stop()
        ports = [port for port in (self.port, self._socket_port) if port is not None]
        stopping: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for port in ports]
        stopping.append(self.recorder.stop())
        if self._connections is not None:
            stopping.append(self._connections.close_all())
        return DeferredList(stopping, consumeErrors=True).addBoth(lambda _results: self._close())

    def tidy(self) -> None:
        """Drop what nobody needs, and renew the certificate in time."""
        now = self._now()
        if self._is_sure(now):
            self.store.purge(now, now - KEEP_SETTLED)
        self._tls.look()
        self._issue_ssh_host()

    def _look_at_contents(self) -> None:
        """Remove what is too old, if it is certain what time it is."""
        if self._is_sure(self._now()):
            self._retention.look()

    def _look_at_policy(self) -> None:
        """End what was granted by templates that are gone, in a while."""
        granting = self.board.granting
        if granting.ledger.in_force():
            reading = Deferred.fromCoroutine(self.files.current())
            reading.addCallback(granting.look_at_policy)
            reading.addErrback(
                lambda failure: log.warn(
                    "grants are not compared with the policy: {why}",
                    why=failure.getErrorMessage()[:500],
                )
            )

    def _close(self) -> None:
        self._reading.stop()
        self.store.close()
        os.close(self._lock)

    def _now(self) -> float:
        return self._clock()

    def _note_time(self) -> None:
        """Keep what time it is, if that is certain."""
        if self._is_sure(now := self._now()):
            self.store.note_time(now)

    def _is_sure(self, now: float) -> bool:
        """Whether the clock has run evenly until now, and our time has not run ahead of it."""
        if jumped := self._even.jump():
            log.error(
                "the clock was set by {seconds} s; what has ended stays so, and if the time before"
                " was wrong, restart the gateway",
                seconds=int(jumped),
            )
        return self._even.seconds >= SETTLED and now - time.time() <= UNEVEN

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        """Call something again and again, whatever happens to it."""

        def safely() -> None:
            try:
                work()
            except Exception:
                log.failure("{work} failed; it is tried again", work=work.__name__)

        loop = LoopingCall(safely)
        loop.clock = self._reactor
        loop.start(seconds, now=False)
        self._loops.append(loop)

    def _issue_gateway(self) -> None:
        """Issue the listeners' certificate anew, from another CA; an operator's own stays."""
        if self.config.tls.certificate is None:
            renew_gateway_certificate(self.config.paths, self.config.tls.names, utc(self._now()))
            self._tls.look()

    def _issue_link(self) -> None:
        """Issue the link listener's certificate anew, from another CA."""
        renew_link_certificate(self.config.paths, utc(self._now()))
        self.fleet.tell_all("certificate_renewed", {})

    def _issue_ssh_host(self) -> None:
        """Issue the certificate of SSH listeners, if it is due or the CA is another."""
        if renew_host(self.config.paths, self.config.names, self._now()):
            self.fleet.tell_all("certificate_renewed", {})

    def _agent_revoked(self, agent: str) -> None:
        body = {"name": agent, "reason": "its enrolment was revoked"}
        self.fleet.tell_all("agent_revoked", body)

    def _listen_socket(self) -> None:
        local = LocalCalls(
            self.enrolment,
            self.health,
            self.store,
            self.fleet,
            self._tls.look,
            KeyCalls(self.keys, self.recorder, LogReader(self.config.paths.log)),
        ).handlers()
        others = {
            **TargetTokens(self._exchange, self._limits, self._now).handlers(),
            **DeviceLogins(
                self._exchange, self._devices, self._limits, self._reactor, self._now
            ).handlers(),
            **self._intercepted.handlers(),
        }

        def make(ready: Callable[[Peer], None], lost: Callable[[Peer], None]) -> Peer:
            calls = self.board.make_calls()

            def connected(peer: Peer) -> None:
                calls.peer = peer
                ready(peer)

            def gone(peer: Peer) -> None:
                lost(peer)
                self.board.gone(calls)

            return Peer({**calls.handlers(), **local, **others}, self._reactor, connected, gone)

        path = self.config.paths.control_socket
        self._socket_port = listen_own(self._reactor, path, OwnPeers(make))

    def _parts(self) -> SiteParts:
        return SiteParts(
            config=self.config,
            store=self.store,
            docket=self.board.docket,
            delegations=self.board.delegations,
            granting=self.board.granting,
            files=self.files,
            fleet=self.fleet,
            signer=self.signer,
            verifier=self.token_keys.verifier,
            enrolment=self.enrolment,
            keys=self.keys,
            health=self.health,
            protocols=self._protocols,
            reading=self._reading,
            now=self._now,
            reactor=self._reactor,
            proofs=self._proofs,
        )

    def _listen_https(self) -> None:
        site = build_site(self._parts(), self._exchange, self._limits)
        address = self.config.control.listen
        if address.path:
            raise ConfigError("control.listen: expected host:port, as agents and callers dial it")
        self._connections = over_tls(site, self._tls)
        try:
            self.port = self._reactor.listenTCP(
                address.port, self._connections, interface=address.host
            )
        except (OSError, CannotListenError) as error:
            raise ConfigError(f"control.listen: cannot listen at {address}: {error}") from error


def forward_from(wall: Callable[[], float], kept: float) -> ForwardClock:
    """Return a clock that is never behind the time that was kept."""
    clock = ForwardClock(wall, steady)
    if (behind := kept - clock()) > UNEVEN:
        log.error(
            "the clock was set back: it is {seconds} s behind what it was when control last ran;"
            " until it has caught up, that is the time here; see 'hoopgw store accept'",
            seconds=int(behind),
        )
    clock.is_at_least(kept)
    return clock


def lock(path: Path) -> int:
    """Take the state folder for this process; it is given back when the process ends, however.

    Raises:
        ConfigError: another control process has it.

    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError as error:
        raise ConfigError(f"{path.parent}: is not there; 'hoopgw init' makes it") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"{path.parent}: another control process uses this state") from error
    return descriptor


def open_store(path: Path, book: KeyBook) -> SqliteStore:
    """Open the store; while its key is replaced, with both.

    Raises:
        ConfigError, UnavailableError: it cannot be opened, or its key cannot be read.

    """
    kind = KINDS["store"]
    others = [book.secret(kind, ahead=True)] if book.has_next(kind) else []
    return SqliteStore.open(path, book.secret(kind), *others)


def log_key(reader: LogReader) -> str:
    """Return the log's public key, for agents to pin.

    Raises:
        UnavailableError: the recorder has not begun the log yet.

    """
    try:
        return reader.key()
    except ReadError as error:
        raise UnavailableError("the recorder is not there yet; try again") from error


def load_protocols(config: GatewayConfig) -> dict[str, ProtocolSpec]:
    """Return the protocols that are configured, for replay and for explaining policy.

    Control works without them, so what does not load is left out: the workers refuse to start.
    """
    found: dict[str, ProtocolSpec] = {}
    for name in sorted(config.protocols):
        try:
            found.update(registry.load([name]))
        except PluginError as error:
            log.error("{error}", error=error)
    return found
