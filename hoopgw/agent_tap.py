"""``twistd hoopgw-agent``: the agent, which alone has the targets' credentials.

It dials out and never listens. What it opens is bounded by its own configuration: the targets, the
accounts, and the floor policy. Its certificate is renewed at half its life, in a thread.
"""

from __future__ import annotations

import gc
import os
import random
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from attrs import define, evolve, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from hoopgw import config, registry
from hoopgw.clock import go_forward
from hoopgw.config import AgentConfig, AgentTargetSettings, Finding
from hoopgw.config.findings import Findings
from hoopgw.credentials import EntraIdentity, OnBehalfOf, SourceContext, make_source
from hoopgw.errors import ConfigError, HoopgwError, PluginError, UnavailableError
from hoopgw.link import enrol, identity
from hoopgw.link.agent import AgentLink
from hoopgw.link.certificates import LINK_HOST
from hoopgw.link.floor import Floor, FloorEntry
from hoopgw.link.identity import Identity
from hoopgw.link.on_behalf import AskOnBehalf
from hoopgw.link.opening import TargetOpener
from hoopgw.link.tickets import TicketVerifier
from hoopgw.link.tls import agent_context
from hoopgw.link.witness import LogWitness
from hoopgw.open_files import allow_many_files
from hoopgw.spi import AgentContext, AgentTarget, TargetLeg, TokenScope
from hoopgw.transport import connect
from hoopgw.transport.timers import let_timers_be_late

log = Logger()

T = TypeVar("T")

REFRESH_PAUSE: Final = 2.0
"""Seconds from one fetch of what to trust to the next: a gateway that changes its mind is no reason
to ask it without pause."""
RENEWAL_CHECK: Final = 60.0
"""Seconds between two looks at whether the certificate is to be renewed."""


class Options(usage.Options):
    """Options of ``twistd hoopgw-agent``."""

    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", "/etc/hoopgw/agent.toml", "Configuration file."],
    ]


def makeService(options: Options) -> MultiService:
    """Build the agent's service; nothing is started yet."""
    from twisted.internet import reactor

    let_timers_be_late()
    allow_many_files()
    clock = go_forward(reactor)
    try:
        settings = config.load_agent(Path(options["config"]))
        found = identity.load(settings.state, clock())
        agent = make_agent(reactor, settings, found)
    except (ConfigError, PluginError) as error:
        raise usage.UsageError(str(error)) from error
    service = MultiService()
    service.addService(agent)
    # What lives now lives for ever; without it, a full collection stops every session for 10 ms.
    gc.collect()
    gc.freeze()
    return service


def make_agent(reactor: Any, settings: AgentConfig, found: Identity) -> AgentService:
    """Put an agent together.

    Raises:
        ConfigError: a target's options or a secret's reference make no sense.
        PluginError: a protocol or a secret source does not load.

    """
    if found.enrolment.name != settings.name:
        raise ConfigError(
            f"the agent is enrolled as {found.enrolment.name!r}, and configured as "
            f"{settings.name!r}: join again, or mend the configuration"
        )
    legs, ask = _legs(reactor, settings), AskOnBehalf(found)
    targets = {
        target.name: _target(reactor, settings, target, legs[target.protocol], ask)
        for target in settings.targets
    }
    return AgentService(
        reactor=reactor, settings=settings, found=found, targets=targets, legs=legs, ask=ask
    )


def check_targets(reactor: Any, settings: AgentConfig) -> list[Finding]:
    """Ask each target's protocol about its part of the table, as `make_agent` does."""
    findings = Findings(settings.path)
    try:
        legs = _legs(reactor, settings)
    except PluginError as error:
        findings.error("", str(error), "the agent does not start with it")
        return findings.found
    for index, target in enumerate(settings.targets):
        try:
            _target(reactor, settings, target, legs[target.protocol], _ask_nobody)
        except ConfigError as error:
            findings.error(f"targets[{index}]", str(error), "the agent does not start with it")
    return findings.found


def _legs(reactor: Any, settings: AgentConfig) -> dict[str, TargetLeg]:
    context = AgentContext(reactor=reactor, clock=reactor)
    specs = registry.load(settings.protocols)
    return {name: spec.make_target_leg(context) for name, spec in specs.items()}


def _ask_nobody(_ticket: str) -> str:
    """Refuse: targets are only checked."""
    raise UnavailableError("nobody is asked")


def _target(
    reactor: Any,
    settings: AgentConfig,
    target: AgentTargetSettings,
    leg: TargetLeg,
    ask: Callable[[str], str],
) -> AgentTarget:
    def run_in_thread(work: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    context = SourceContext(
        environment=os.environ,
        base=settings.path.parent,
        run_in_thread=run_in_thread,
        clock=reactor,
        identities=_identities(settings),
        scope=leg.token_scope(target.options) if isinstance(leg, TokenScope) else "",
    )
    personal = {
        name: OnBehalfOf(
            identity=context.identities[who],
            scope=context.scope,
            ask=ask,
            run_in_thread=run_in_thread,
            clock=reactor,
        ).fetch
        for name, account in target.accounts.items()
        if (who := account.source.removeprefix("entra:")) != account.source
        and who in settings.identities
        and settings.identities[who].kind == "on-behalf-of"
    }
    options = target.all_options
    for name, account in target.accounts.items():
        if account.source.startswith("entra:"):
            options["auth"][name] = "token"  # Entra has nothing else to give
    made = AgentTarget(
        name=target.name,
        protocol=target.protocol,
        address=str(target.address),
        accounts={
            name: make_source(account.source, context).fetch if account.source else _nothing
            for name, account in target.accounts.items()
        }
        | dict.fromkeys(personal, _nobody),
        options=options,
        personal=personal,
    )
    leg.check(made)
    return made


def _identities(settings: AgentConfig) -> dict[str, EntraIdentity]:
    found = {}
    for name, each in settings.identities.items():
        try:
            found[name] = EntraIdentity(
                tenant=each.tenant,
                client=each.client,
                secret=each.secret_file,
                certificate=each.certificate,
                token_file=each.token_file,
                authority=each.authority,
                authority_ca=each.authority_ca,
            )
        except ConfigError as error:
            raise ConfigError(f"identities.{name}: {error}") from error
    return found


async def _nobody() -> bytes:
    """Refuse: there is no credential before somebody's session is opened."""
    raise UnavailableError("this account has no credential of its own")


async def _nothing() -> bytes:
    """Return the credential of an account that needs none."""
    return b""


@define(eq=False, kw_only=True)
class AgentService(Service):
    """Runs the link to one gateway, and keeps the agent's certificate fresh."""

    reactor: Any = field(repr=False)
    settings: AgentConfig
    found: Identity = field(repr=False)
    targets: Mapping[str, AgentTarget] = field(repr=False)
    legs: Mapping[str, TargetLeg] = field(repr=False)
    ask: AskOnBehalf = field(repr=False)
    link: AgentLink = field(init=False)
    verifier: TicketVerifier = field(init=False, repr=False)
    witness: LogWitness = field(init=False, repr=False)
    _context: ssl.SSLContext | None = field(default=None, init=False, repr=False)
    """Of the link on TCP; made anew with each certificate."""
    _wanted: str = field(default="", init=False)
    """What the gateway says that agents should trust."""
    _refreshed: float = field(default=float("-inf"), init=False)
    _again: IDelayedCall | None = field(default=None, init=False, repr=False)
    _looking: IDelayedCall | None = field(default=None, init=False, repr=False)
    _renewing: Deferred[None] | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.verifier = TicketVerifier(
            self.settings.name, self.found.ticket_keys, self.reactor.seconds
        )
        floor = Floor(
            tuple(
                FloorEntry(targets=rule.targets, accounts=rule.accounts, mode=rule.mode)
                for rule in self.settings.floor
            )
        )
        self.witness = LogWitness(
            self.settings.state, self.found.enrolment.log_key, self.reactor, self._log_handed_over
        )
        opener = TargetOpener(
            verifier=self.verifier,
            floor=floor,
            targets=self.targets,
            legs=self.legs,
            ready=self.witness.ready,
        )
        self.link = AgentLink(
            name=self.settings.name,
            key=lambda: self.found.key,
            dial=self._dial,
            opener=opener,
            clock=self.reactor,
            jitter=random.random,
            witness=self.witness,
            trust=lambda: self.found.enrolment.trust,
            on_refresh=self._refresh,
        )

    def startService(self) -> None:
        """Dial, and watch the certificate."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        self.link.start()
        self._look()

    def stopService(self) -> None:
        """Close everything."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted has not annotated it
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
        self.link.stop()

    async def _dial(self, protocol: Any) -> Any:
        address = self.settings.gateway.link
        if not address.path and self._context is None:
            self._context = agent_context(self.found.chain, self.found.enrolment.link_ca)
        return await connect(
            self.reactor, address, protocol, tls=self._context, server_hostname=LINK_HOST
        )

    def _look(self) -> None:
        self._looking = self.reactor.callLater(RENEWAL_CHECK, self._look)
        now = self.reactor.seconds()
        if now >= self.found.ends:
            log.error("the agent's certificate has ended: join again with a new token")
        elif now >= self.found.half_life:
            self._begin_renewal()
        elif self._wanted:
            self._refresh(self._wanted)  # the last time may have failed

    def _refresh(self, trust: str) -> None:
        """Fetch what the gateway says that agents should trust, if it is not what is trusted.

        It comes with the next certificate, from control itself: a worker can only say that there is
        something new.
        """
        if trust == self.found.enrolment.trust:
            return
        self._wanted = trust
        if self._again is None or not self._again.active():
            since = self.reactor.seconds() - self._refreshed
            self._again = self.reactor.callLater(max(0.0, REFRESH_PAUSE - since), self._fetch)

    def _fetch(self) -> None:
        if self._wanted != self.found.enrolment.trust and self.running:
            self._refreshed = self.reactor.seconds()
            self._begin_renewal()

    def _begin_renewal(self) -> None:
        if self._renewing is None:
            self._renewing = Deferred.fromCoroutine(self._renew())
            self._renewing.addErrback(self._not_renewed).addCallback(self._looked)

    def _log_handed_over(self, key: str) -> None:
        """Pin the log's next key. Raises `ConfigError` if it cannot be kept."""
        enrolment = evolve(self.found.enrolment, log_key=key)
        identity.save(self.settings.state, enrolment)
        self.found = evolve(self.found, enrolment=enrolment)

    async def _renew(self) -> None:
        pool = self.reactor.getThreadPool()
        renewed = await deferToThreadPool(self.reactor, pool, enrol.renew, self.found)
        # The log may have been handed over meanwhile; the key of now is pinned, not that of then.
        pinned = self.found.enrolment.log_key or renewed.enrolment.log_key
        renewed = evolve(renewed, enrolment=evolve(renewed.enrolment, log_key=pinned))
        identity.save(self.settings.state, renewed.enrolment)
        self.found, self._context = renewed, None
        self.ask.found = renewed
        self.verifier.keys = renewed.ticket_keys
        log.info("the agent's certificate was renewed")
        self.link.reconnect()

    def _not_renewed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        if failure.check(HoopgwError) is None:
            log.failure("the certificate could not be renewed", failure)
        else:
            log.error("the certificate could not be renewed: {why}", why=failure.value)

    def _looked(self, _result: None) -> None:
        self._renewing = None
