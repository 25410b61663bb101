"""A data worker: ``python -m hoopgw.processes.worker --config FILE [--name NAME]``.

It accepts callers, decides from compiled policy, and relays. It holds the key that signs tickets
and the one that masks, no other; it does not open the store, and keeps no credential of a target.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw import config, registry
from hoopgw.clock import ForwardClock, go_forward
from hoopgw.config.intercepting import hosts_of
from hoopgw.control.budgets import ControlBudgets
from hoopgw.control.client import ControlClient
from hoopgw.control.desk import ReviewDesk
from hoopgw.control.elsewhere import ControlElsewhere
from hoopgw.control.granted import WorkerGrants
from hoopgw.control.leaves import ControlLeaves
from hoopgw.control.live import SessionRegistry
from hoopgw.control.logins import ControlDevices, ControlLogins, ControlTokens
from hoopgw.control.trust import WorkerTrust
from hoopgw.errors import ConfigError, HoopgwError, PolicyError, UnavailableError
from hoopgw.grants.view import GrantView
from hoopgw.identity.keyfiles import load_certificate, load_secret, load_signing_key
from hoopgw.identity.served import ServedCertificate
from hoopgw.identity.ssh_host import ServedHost
from hoopgw.ipc import Body
from hoopgw.link.gateway import LinkHub
from hoopgw.link.tickets import TicketSigner
from hoopgw.link.tls import listener_context
from hoopgw.logs import start_logging
from hoopgw.open_files import allow_many_files
from hoopgw.policy.engine import PolicyDirectory
from hoopgw.policy.sets import PolicySet
from hoopgw.processes import lifeline
from hoopgw.recording.client import SpoolRecorder
from hoopgw.recording.content_files import ContentFolder, ContentLimits
from hoopgw.recording.content_store import ContentStore
from hoopgw.recording.counting import CountingRecorder
from hoopgw.recording.heads import LogHeads
from hoopgw.sessions.ids import new_session
from hoopgw.spi import GatewayContext, Leaves, NoLeaves, ProtocolSpec, TargetSettings
from hoopgw.transport import listen
from hoopgw.transport.timers import let_timers_be_late

log = Logger()

FAILED: Final = 1
REFUSED: Final = 2
"""Exit status when the configuration cannot be used: starting again would not help."""
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which `ssl` has no name for."""
_TELL_EVERY: Final = 5.0
_POLICY_EVERY: Final = 2.0
"""Seconds between two looks at the policy's folder."""
_CERTIFICATES_EVERY: Final = 30.0
"""Seconds between two looks at the certificates' files, which control or the operator renews."""


@define(eq=False)
class Worker:
    """All parts of a data worker, wired.

    Args:
        settings: the gateway's configuration.
        name: of this worker; no two live ones share it.
        reactor: where it runs.
        clock: the reactor's, which does not go back.

    """

    settings: config.GatewayConfig
    name: str
    reactor: Any
    clock: ForwardClock
    protocols: Mapping[str, ProtocolSpec] = field(init=False)
    policy: PolicyDirectory = field(init=False)
    recorder: SpoolRecorder = field(init=False)
    contents: ContentStore = field(init=False)
    control: ControlClient = field(init=False)
    grants: GrantView = field(init=False)
    granted: WorkerGrants = field(init=False)
    reviews: ReviewDesk = field(init=False)
    elsewhere: ControlElsewhere = field(init=False)
    budgets: ControlBudgets = field(init=False)
    sessions: SessionRegistry = field(init=False)
    link: LinkHub = field(init=False)
    heads: LogHeads = field(init=False)
    certificate: ServedCertificate = field(init=False)
    """What callers see."""
    link_certificate: ServedCertificate = field(init=False)
    ssh_host: ServedHost = field(init=False)
    """What agents see."""
    counters: Counter[str] = field(factory=Counter, init=False)
    """Counted since the start, for ``/metrics``."""
    _leaves: list[ControlLeaves] = field(factory=list, init=False)
    """Of listeners that answer for hosts of others."""
    _mask_key: bytes = field(init=False, repr=False)
    _link_contexts: list[ssl.SSLContext] = field(factory=list, init=False, repr=False)
    _caller_contexts: list[ssl.SSLContext] = field(factory=list, init=False, repr=False)
    """Of listeners that ask for certificates of callers."""
    _ports: list[Any] = field(factory=list, init=False)
    _loops: list[LoopingCall] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        settings, reactor, paths = self.settings, self.reactor, self.settings.paths
        used = dict.fromkeys(target.protocol for target in settings.targets)
        used |= dict.fromkeys(listener.protocol for listener in settings.listeners)
        self.protocols = registry.load(used)
        for target in settings.targets:
            self.protocols[target.protocol].check_target(target)
        schemas = {name: spec.cedar_schema for name, spec in self.protocols.items()}
        self.grants = GrantView(self.clock, lambda: self.control.is_current)
        self.policy = PolicyDirectory.open(
            settings.policy.directory, schemas, self.clock, grants=self.grants
        )
        recorder_socket = UNIXClientEndpoint(reactor, str(paths.recorder_socket))
        self.recorder = SpoolRecorder(
            paths.spool,
            self.name,
            reactor,
            lambda peer: connectProtocol(recorder_socket, peer),
        )
        self.contents = ContentStore(
            ContentFolder(paths.contents),
            ContentLimits(
                all=settings.recording.contents,
                session=settings.recording.session,
                free=settings.recording.free,
            ),
            reactor,
            lambda work: deferToThreadPool(reactor, reactor.getThreadPool(), work),
        )
        self.control = ControlClient(
            UNIXClientEndpoint(reactor, str(paths.control_socket)),
            reactor,
            random.random,
            self.name,
            take_time=self.clock.is_at_least,
        )
        self.reviews = ReviewDesk(self.control, reactor)
        self.elsewhere = ControlElsewhere(self.control)
        self.budgets = ControlBudgets(self.control, self.clock)
        self.sessions = SessionRegistry(
            self.control,
            reactor,
            {target.name: target.protocol for target in settings.targets},
            settings.limits.sessions,
            settings.limits.sessions_per_principal,
        )
        self.granted = WorkerGrants(
            self.control,
            reactor,
            self.grants,
            settings.control.url.rstrip("/"),
            self.sessions.reconsider,
        )
        self.link = LinkHub(
            reactor=reactor,
            clock=reactor,
            signer=TicketSigner(load_signing_key(paths.ticket_key), self.clock),
            authorities=(load_certificate(paths.link_ca_certificate),),
            agents={target.name: target.agent for target in settings.targets},
            check_certificate=self._is_enrolled,
            agent_uids=settings.link.agent_uids,
            changed=self._tell_agents,
            prove=lambda first, second: self.heads.prove(first, second),
        )
        self.heads = LogHeads(recorder_socket, reactor, random.random, self.link.show)
        self.certificate = ServedCertificate(settings.certificate_file, settings.key_file)
        self.link_certificate = ServedCertificate(paths.link_certificate, paths.link_key)
        self.ssh_host = ServedHost(paths)
        self.control.on_trust(self._take_trust)
        self.control.on_tell("reload", lambda _body: self._look_at_all())
        self.control.on_tell("certificate_renewed", lambda _body: self._look_at_certificates())
        self.control.on_tell("interception_renewed", lambda _body: self._renew_leaves())
        self.control.on_tell(
            "agent_revoked",
            lambda body: self.link.drop_agent(str(body["name"]), str(body["reason"])),
        )
        self.control.on_connected(self._tell_agents)
        self._mask_key = load_secret(paths.mask_key)

    def start(self) -> None:
        """Start every part, and listen last.

        Raises:
            HoopgwError, OSError: it cannot.

        """
        self.recorder.start()
        self.contents.start()
        self.heads.start()
        self.control.start()
        self.reviews.start()
        settings, paths = self.settings, self.settings.paths
        tls = None
        if not settings.link.listen.path:
            context = listener_context(
                paths.link_certificate, paths.link_key, paths.link_ca_certificate
            )
            tls = self.link_certificate.serve(context)
            self._link_contexts.append(context)
        self._ports.append(self.link.listen(settings.link.listen, tls))
        for listener in settings.listeners:
            spec = self.protocols[listener.protocol]
            factory = spec.make_factory(self._context(listener))
            port = listen(self.reactor, listener.listen, factory)
            self._ports.append(port)
            log.info(
                "listening for {protocol} on {where}", protocol=spec.name, where=str(port.getHost())
            )
        self._every(_TELL_EVERY, self._tell)
        self._every(_POLICY_EVERY, self._look_at_policy)
        self._every(_CERTIFICATES_EVERY, self._look_at_certificates)
        log.info("worker {name} is ready", name=self.name)

    def stop(self) -> Deferred[Any]:
        """End every session with a word to its client, then every part."""
        for loop in self._loops:
            loop.stop()
        closing = [port.stopListening() for port in self._ports]
        self.sessions.cut_all()
        self.reviews.stop()
        self.granted.stop()
        self.link.stop()
        self.contents.stop()
        self.recorder.stop()
        closing += [self.heads.stop(), self.control.stop()]
        return DeferredList(closing, consumeErrors=True)

    def _context(self, listener: config.ListenerSettings) -> GatewayContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if listener.client_certificates:
            ask_for_certificates(context)
            self._caller_contexts.append(context)
        targets: dict[str, TargetSettings] = {
            target.name: target
            for target in self.settings.targets
            if target.protocol == listener.protocol
        }
        return GatewayContext(
            reactor=self.reactor,
            clock=self.reactor,
            targets=targets,
            listener=listener.options,
            names=self.settings.names,
            tls=self.certificate.serve(context),
            certificate=lambda: self.certificate.der,
            counters=self.counters,
            policy=self.policy,
            recorder=CountingRecorder(self.recorder, self.counters),
            reviews=self.reviews,
            budgets=self.budgets,
            link=self.link,
            logins=ControlLogins(self.control, self.reactor),
            sessions=self.sessions,
            grants=self.granted,
            elsewhere=self.elsewhere,
            tokens=ControlTokens(self.control),
            devices=ControlDevices(self.control),
            leaves=self._leaves_of(listener),
            ssh_host=self.ssh_host,
            contents=self.contents,
            mask_key=lambda: self._mask_key,
            new_session=new_session,
        )

    def _leaves_of(self, listener: config.ListenerSettings) -> Leaves:
        """Return certificates for the hosts of others that a listener answers for."""
        hosts = hosts_of(self.settings, listener, self.protocols)
        if not hosts:
            return NoLeaves()
        leaves = ControlLeaves(self.control, self.reactor, hosts)
        leaves.start()
        self._leaves.append(leaves)
        return leaves

    def _renew_leaves(self) -> None:
        for leaves in self._leaves:
            leaves.renew()

    async def _is_enrolled(self, name: str, serial: str) -> bool:
        answer = await self.control.call("agent_certificate", name=name, serial=serial)
        return answer.get("ok") is True

    def _every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something again and again, whatever happens to it."""

        def safely() -> None:
            try:
                call()
            except Exception:
                log.failure("{work} failed; it is tried again", work=call.__name__)

        loop = LoopingCall(safely)
        loop.clock = self.reactor
        loop.start(seconds, now=False)
        self._loops.append(loop)

    def _tell_agents(self) -> None:
        self.control.tell("agent_status", agents=self.link.status())

    def _tell(self) -> None:
        self._tell_agents()
        status = self.recorder.status()
        values: Body = {
            "live_sessions": len(self.sessions),
            "recorder_lag_bytes": status.lag,
            "recorder_ready": int(status.ready),
            "records_total": status.records,
            "records_refused_total": status.refused,
            "policy_problem": int(self.policy.problem is not None),
            **self.counters,
        }
        self.control.tell("metrics", values=values)

    def _look_at_all(self) -> None:
        self._look_at_policy()
        self._look_at_certificates()

    def _look_at_certificates(self) -> None:
        """Show new callers and agents what is new; connections that stand go on."""
        for leaves in self._leaves:
            leaves.look()
        for served in (self.certificate, self.link_certificate, self.ssh_host):
            try:
                if served.look():
                    log.info("a new certificate is shown")
            except (ConfigError, UnavailableError) as error:
                log.error("the earlier certificate is shown: {error}", error=error)

    def _take_trust(self, trust: WorkerTrust) -> None:
        """Verify with these keys from now on, and sign with what is in the state folder now.

        A context of TLS cannot forget a CA. It need not: each certificate is checked once more,
        against exactly what is trusted then.

        Raises:
            ConfigError, UnavailableError: a key is not there, or not the one that was told.

        """
        paths = self.settings.paths
        if trust.ticket != self.link.signer.key.thumbprint():
            key = load_signing_key(paths.ticket_key)
            if key.thumbprint() != trust.ticket:
                raise UnavailableError("the key of tickets is not the one that control has told")
            self.link.signer = TicketSigner(key, self.clock)
            log.info("tickets are signed with another key")
        for contexts, authorities in (
            (self._link_contexts, trust.link),
            (self._caller_contexts, trust.callers),
        ):
            for context in contexts:
                for der in authorities:
                    context.load_verify_locations(cadata=der)
        self._mask_key = load_secret(paths.mask_key)
        self.link.authorities = trust.link_authorities
        self.link.refresh(trust.agents)

    def _look_at_policy(self) -> None:
        """Read the policy's files in a thread, and put them in force if they changed."""
        reading = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), self.policy.read)
        reading.addCallbacks(self._adopt, self._policy_refused)
        reading.addErrback(lambda failure: log.failure("reading the policy failed", failure))

    def _adopt(self, policies: PolicySet) -> None:
        """Put a policy in force; who holds what it does not offer any more is looked at."""
        if self.policy.adopt(policies):
            self.sessions.reconsider(self.grants.roots)

    def _policy_refused(self, failure: Failure) -> None:
        failure.trap(PolicyError)
        error = failure.value
        assert isinstance(error, PolicyError)
        self.policy.refuse(error)


def ask_for_certificates(context: ssl.SSLContext) -> None:
    """Let a listener ask callers for a certificate, and take those who have none.

    TLS checks who issued it. The time is checked once it can be said in the caller's own protocol.
    """
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= _NO_CHECK_TIME


def main() -> int:
    """Run until stopped; returns the exit status."""
    parser = argparse.ArgumentParser(description="A data worker of a hoopgw gateway.")
    parser.add_argument("--config", type=Path, required=True, help="hoopgw.toml")
    parser.add_argument("--name", default="worker1", help="unique among live workers")
    options = parser.parse_args()
    start_logging("worker")
    from hoopgw.transport.reactor import DirectReactor, install

    install()
    from twisted.internet import reactor

    assert isinstance(reactor, DirectReactor)
    return run(options.config, options.name, reactor)


def run(path: Path, name: str, reactor: Any) -> int:
    """Run a worker on a reactor until that stops; returns the exit status."""
    os.umask(0o077)
    let_timers_be_late()
    allow_many_files()
    clock = go_forward(reactor)
    try:
        worker = Worker(config.load(path), name, reactor, clock)
        worker.start()
    except (UnavailableError, OSError) as error:  # it may be better soon: a full disk, a port
        log.error("the worker cannot start: {error}", error=error)
        return FAILED
    except HoopgwError as error:
        log.error("the worker cannot start: {error}", error=error)
        return REFUSED
    lifeline.hold(reactor)
    reactor.addSystemEventTrigger("before", "shutdown", worker.stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # What lives now lives for ever; without it, full collections take a third of their time.
    gc.collect()
    gc.freeze()
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
