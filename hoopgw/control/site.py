"""The tree of the HTTPS site: what is where, and made of what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

from hoopgw import __version__
from hoopgw.config import GatewayConfig
from hoopgw.control.api_certificates import CertificateRoutes, PublicKeys
from hoopgw.control.api_contents import ContentRoutes
from hoopgw.control.api_decisions import DecisionRoutes
from hoopgw.control.api_gateway import GatewayRoutes
from hoopgw.control.api_grants import GrantRoutes, explain_grant
from hoopgw.control.api_nodes import NodeRoutes
from hoopgw.control.api_requests import RequestRoutes, explain_refusal
from hoopgw.control.api_sessions import SessionRoutes, explain_reading
from hoopgw.control.callers import Callers
from hoopgw.control.delegations import Delegations
from hoopgw.control.enrolment import CaResource, Enrolment, EnrolmentRoutes
from hoopgw.control.fleet import Fleet
from hoopgw.control.granting import Granting
from hoopgw.control.health import Health
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.metrics import GatewayCollector, MetricsResource
from hoopgw.control.on_behalf import OnBehalfCalls
from hoopgw.control.pki import Numbers, RevocationLists, pki_resource
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.questions import Questions
from hoopgw.control.reach import Reach
from hoopgw.control.reading import ReadingRoom
from hoopgw.control.regrouping import Regrouping
from hoopgw.control.token_site import AgentCallers, TokenCalls, add_token_calls
from hoopgw.control.web import ApiError, ControlSite, JsonRoutes, send_json
from hoopgw.errors import UnavailableError
from hoopgw.identity.endpoint import INTROSPECT_PATH, token_resource
from hoopgw.identity.exchange import Exchange
from hoopgw.identity.forms import FormEndpoint, FormLimits
from hoopgw.identity.kept_proofs import KeptProofs
from hoopgw.identity.rate import RateLimit
from hoopgw.identity.shares import SharedRate, generation_of, shares
from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.identity.token_parts import Lifetimes, TokenParts
from hoopgw.identity.tokens import TokenSigner, TokenVerifier
from hoopgw.identity.wiring import make_issuers
from hoopgw.link.assertion import ON_BEHALF_PATH
from hoopgw.recording.content_files import ContentFolder
from hoopgw.recording.reader import LogReader
from hoopgw.reviews.docket import Docket
from hoopgw.spi import (
    ProtocolSpec,
)
from hoopgw.store.rows import PasswordRow, Store

_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,62}")
"""Accounts for which passwords are made. The agent knows which there are; it refuses others."""
PASSWORDS_LIMIT: Final = 1_000
"""Session passwords that one log-in may have."""
_BURST: Final = 300.0
_PER_SECOND: Final = 20.0
"""What one log-in may ask of the admin API, a dashboard asks less than once a second; and what
refused tokens may cost one address."""
_JOIN_BURST: Final = 200.0
_JOIN_PER_SECOND: Final = 1.0


@frozen(kw_only=True)
class SiteParts:
    """What the site is made of."""

    config: GatewayConfig
    store: Store
    docket: Docket
    delegations: Delegations
    granting: Granting
    files: PolicyFiles
    fleet: Fleet
    signer: TokenSigner
    verifier: TokenVerifier
    enrolment: Enrolment
    keys: KeyKeeper
    health: Health
    protocols: Mapping[str, ProtocolSpec]
    reading: ReadingRoom
    now: Callable[[], float]
    reactor: Any
    proofs: KeptProofs


def build_site(parts: SiteParts, exchange: Exchange, limits: FormLimits) -> ControlSite:
    """Return the site."""
    callers, url = _callers(parts), parts.signer.issuer
    root = token_resource(exchange, url, limits=limits)
    add_token_calls(root, TokenCalls(exchange.parts, callers, _agents(parts)), url, limits)
    sts: Any = root.children[b"sts"]
    behalf = FormEndpoint(_on_behalf(parts).give, url + ON_BEHALF_PATH, parts.now, limits)
    sts.putChild(ON_BEHALF_PATH.rpartition("/")[2].encode(), behalf)
    root.putChild(b"healthz", HealthResource(lambda: {"alive": True, "version": __version__}))
    root.putChild(b"readyz", HealthResource(parts.health.report))
    collector = GatewayCollector(parts.store, parts.fleet, __version__, parts.granting.alarms)
    root.putChild(b"metrics", MetricsResource(collector, parts.now))
    enrolling = EnrolmentRoutes(
        parts.enrolment, RateLimit(_JOIN_BURST, _JOIN_PER_SECOND), parts.now
    )
    root.putChild(b"agents", AgentsResource(CaResource(parts.enrolment), enrolling))
    lists = RevocationLists(
        parts.keys, parts.store, Numbers(parts.config.paths.list_number), parts.now
    )
    root.putChild(b"pki", pki_resource(PublicKeys(parts.keys), lists))
    root.putChild(b"v1", _api(parts, callers))
    return ControlSite(root, parts.reactor)


class HealthResource(Resource):
    """A report as JSON; 503 if it says that it is not ready."""

    isLeaf = True

    def __init__(self, report: Callable[[], Mapping[str, Any]]) -> None:
        Resource.__init__(self)
        self._report = report

    def render_GET(self, request: Request) -> int:
        """Give the report."""
        report = self._report()
        send_json(request, 200 if report.get("ready", True) else 503, report)
        return 1  # NOT_DONE_YET: it is answered


class AgentsResource(Resource):
    """``/agents``: the CA as a document, the rest as calls."""

    def __init__(self, ca: CaResource, enrolling: EnrolmentRoutes) -> None:
        Resource.__init__(self)
        self._calls = JsonRoutes(enrolling.routes())
        self.putChild(b"ca", ca)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Give the calls their whole path back."""
        assert request.postpath is not None
        assert request.prepath is not None
        request.postpath.insert(0, request.prepath.pop())
        return self._calls


def _callers(parts: SiteParts) -> Callers:
    return Callers(
        parts.verifier,
        parts.store,
        parts.now,
        parts.signer.issuer,
        parts.config.control.admins,
        parts.config.control.auditors,
        RateLimit(_BURST, _PER_SECOND),
        SharedRate(_BURST, _PER_SECOND),
        parts.delegations.is_ended,
    )


def _on_behalf(parts: SiteParts) -> OnBehalfCalls:
    return OnBehalfCalls(
        agents=_agents(parts, ON_BEHALF_PATH),
        kept=parts.proofs,
        ticket_keys=lambda: parts.keys.agents.ticket_keys,
        is_ended=parts.delegations.is_ended,
        now=parts.now,
    )


def _agents(parts: SiteParts, path: str = INTROSPECT_PATH) -> AgentCallers:
    return AgentCallers(
        store=parts.store,
        url=parts.signer.issuer + path,
        now=parts.now,
        issued=parts.enrolment.agent_of,
        agents={target.name: target.agent for target in parts.config.targets},
    )


def _api(parts: SiteParts, callers: Callers) -> JsonRoutes:
    config = parts.config
    targets = {target.name: target for target in config.targets}
    questions = Questions(
        parts.files,
        {target.name: target.protocol for target in config.targets},
        parts.now,
        parts.granting.held,
    )
    reach = Reach(targets, parts.protocols, parts.files, parts.granting.held, parts.now)
    log = LogReader(config.paths.log)
    sessions = SessionRoutes(callers, parts.store, parts.fleet, log, parts.protocols, parts.reading)
    return JsonRoutes(
        [
            *RequestRoutes(callers, parts.docket, parts.store).routes(),
            *GrantRoutes(
                callers,
                parts.granting,
                parts.docket,
                parts.store,
                parts.files,
                frozenset(targets),
                parts.reactor,
            ).routes(),
            *sessions.routes(),
            *ContentRoutes(
                callers,
                sessions.readable,
                log,
                ContentFolder(config.paths.contents),
                parts.reading,
            ).routes(),
            *DecisionRoutes(
                callers, parts.store, LogReader(config.paths.log), parts.files, parts.reading
            ).routes(),
            *GatewayRoutes(
                callers,
                parts.store,
                parts.fleet,
                parts.enrolment,
                targets,
                {each.protocol: str(each.listen) for each in parts.config.listeners},
                questions,
                reach,
                parts.delegations,
            ).routes(),
            *NodeRoutes(callers, parts.store.nodes, parts.delegations, parts.now).routes(),
            *CertificateRoutes(
                callers,
                parts.store,
                parts.delegations,
                parts.keys,
                targets,
                parts.signer.issuer,
                parts.now,
                config.identity.chain_certificate_lifetime,
            ).routes(),
        ],
        _explain,
    )


def _explain(error: Exception) -> ApiError | None:
    return explain_refusal(error) or explain_grant(error) or explain_reading(error)


def make_exchange(parts: SiteParts) -> Exchange:
    """Return what decides at the token endpoint."""
    issuers = make_issuers(parts.config.identity.issuers, parts.reactor, parts.now)
    names = {target.name for target in parts.config.targets}

    def is_target(target: str, account: str | None) -> bool:
        return target in names and (account is None or _ACCOUNT.fullmatch(account) is not None)

    identity = parts.config.identity

    return Exchange(
        TokenParts(
            issuers=issuers,
            regroup=issuers,
            signer=parts.signer,
            verifier=parts.verifier,
            passwords=StoredPasswords(parts.store),
            used=UsedOnce(parts.store),
            logins=parts.store.logins,
            is_target=is_target,
            is_revoked=parts.delegations.is_ended,
            revoke=parts.delegations.revoke,
            end_token=parts.delegations.end_token,
            is_ended_token=parts.delegations.is_ended_token,
            now=parts.now,
            keep=parts.delegations.keep,
            regrouped=Regrouping(parts.store, parts.fleet, parts.delegations, parts.now).regrouped,
            lifetimes=Lifetimes(
                token=identity.token_lifetime,
                login=identity.login_lifetime,
                groups=identity.groups_lifetime,
            ),
            proofs=parts.proofs.keep,
            tenants={each.alias: each.tenant for each in identity.issuers if each.tenant},
        )
    )


@define(eq=False)
class StoredPasswords:
    """Session passwords in the store, for the token endpoint."""

    _store: Store

    def put(self, handle: str, password: SessionPassword, expires: float) -> bool:
        """Keep one. Returns False, and keeps nothing, if the handle is taken."""
        if self._store.password(handle) is not None:
            return False
        who = password.principal
        for generation, limit in enumerate(shares(PASSWORDS_LIMIT, generation_of(who))):
            if self._store.count_passwords(who.session, generation) >= limit:
                raise UnavailableError(f"the log-in has {limit} session passwords already")
        self._store.keep_password(
            PasswordRow(
                handle=handle,
                target=password.target,
                account=password.account,
                principal=password.principal,
                salt=password.salt,
                iterations=password.iterations,
                stored_key=password.stored_key,
                server_key=password.server_key,
                expires=expires,
            )
        )
        return True


@define(eq=False)
class UsedOnce:
    """What may be used once, for the token endpoint."""

    _store: Store

    def use(self, id: str, expires: float) -> bool:  # noqa: A002  # the endpoint's word for it
        """Say whether this is the first use; remember it until ``expires``."""
        return self._store.use_once("token", id, expires)
