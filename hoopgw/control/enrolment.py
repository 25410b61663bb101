"""Agents join, renew and are put out: the gateway's side of `hoopgw.link.enrolment_api`.

A join token's secret is kept as a hash, is good once, for one name, for `JOIN_LIFETIME`. A renewal
is signed by the key of the certificate that is enrolled now, or of the one before it, as the answer
to the renewal before may have been lost. After a revocation only a new join token helps.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from attrs import asdict, define, evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from hoopgw.control.trust import AgentTrust
from hoopgw.control.web import ApiError, Call, Route, client_address
from hoopgw.errors import AuthenticationError
from hoopgw.identity.rate import RateLimit
from hoopgw.link.certificates import (
    is_agent_name,
    issue_agent,
    moment,
    requested_key,
    verify_agent,
)
from hoopgw.link.enrolment_api import (
    Enrolled,
    EnrolRequest,
    JoinToken,
    RenewRequest,
    read,
    secret_digest,
    verify_renewal,
)
from hoopgw.link.tickets import public_keys
from hoopgw.store.rows import AgentRow, Store

log = Logger()

JOIN_LIFETIME: Final = 900.0
"""Seconds that a join token is good."""
_FAILED_COST: Final = 10.0


@define(eq=False)
class Enrolment:
    """Enrols agents."""

    _store: Store
    _now: Callable[[], float]
    _url: str
    _trust: Callable[[], AgentTrust]
    """Gives what agents are told to trust now."""
    _log_key: Callable[[], str] = lambda: ""
    """Gives the public key of the log; raises `UnavailableError` if the log is not there yet."""
    _on_revoked: Callable[[str], None] = lambda _agent: None

    @property
    def ca_pem(self) -> bytes:
        """The CA that vouches for the control listener."""
        return self._ca.public_bytes(Encoding.PEM)

    def agent_of(self, certificate: x509.Certificate) -> str:
        """Return the agent that a certificate of the link's CA is of; see `verify_agent`."""
        return verify_agent(certificate, self._trust().link, moment(self._now()))

    @property
    def _ca(self) -> x509.Certificate:
        """Of the control listener's certificate: what a new agent pins."""
        return self._trust().gateway[0]

    def make_token(self, agent: str) -> tuple[JoinToken, float]:
        """Make a join token for an agent; return it with its end.

        Raises:
            AuthenticationError: no agent can have that name.

        """
        if not is_agent_name(agent):
            raise AuthenticationError("an agent's name is of a-z, 0-9 and -, at most 63 long")
        token = JoinToken(
            url=self._url,
            ca_sha256=hashlib.sha256(self._ca.public_bytes(Encoding.DER)).hexdigest(),
            name=agent,
            secret=secrets.token_urlsafe(32),
        )
        expires = self._now() + JOIN_LIFETIME
        self._store.add_join_token(secret_digest(token.secret), agent, expires)
        log.info("a join token was made for agent {agent}", agent=agent)
        return token, expires

    def enrol(self, request: EnrolRequest) -> Enrolled:
        """Give a new agent its first certificate.

        Raises:
            AuthenticationError: the token is not good, or the request.

        """
        key = requested_key(request.csr)
        if not is_agent_name(request.name):
            raise AuthenticationError("not an agent's name")
        log_key = self._log_key()  # before the token is used up
        used = self._store.use_join_token(secret_digest(request.secret), request.name, self._now())
        if not used:
            raise AuthenticationError("the join token is unknown, used, or too old")
        log.info("agent {agent} has joined", agent=request.name)
        return self._issue(request.name, key, "", log_key)

    def renew(self, request: RenewRequest) -> Enrolled:
        """Give an enrolled agent its next certificate.

        Raises:
            AuthenticationError: it is not enrolled with the certificate that it shows.

        """
        renewal = verify_renewal(request, self._trust().link, self._now())
        shown = f"{renewal.serial:x}"
        row = self._store.agent(renewal.name)
        if row is None or not row.accepts(shown):
            raise AuthenticationError("the agent is not enrolled with this certificate")
        log.info("agent {agent} renews its certificate", agent=renewal.name)
        return self._issue(renewal.name, renewal.key, shown, self._log_key())

    def revoke(self, agent: str) -> bool:
        """Put an agent out; say whether it was enrolled, or could have joined.

        Nor does it come back with a join token from before.
        """
        dropped = self._store.drop_join_tokens(agent)
        row = self._store.agent(agent)
        if row is None:
            return dropped > 0
        if row.revoked is None:
            self._store.put_agent(evolve(row, revoked=self._now()))
        log.warn("agent {agent} was revoked", agent=agent)
        self._on_revoked(agent)
        return True

    def _issue(
        self, name: str, key: ec.EllipticCurvePublicKey, previous: str, log_key: str
    ) -> Enrolled:
        now, trust = self._now(), self._trust()
        issuing = trust.issuing
        certificate = issue_agent(issuing.certificate, issuing.key, name, key, moment(now))
        self._store.put_agent(
            AgentRow(
                name=name,
                serial=f"{certificate.serial_number:x}",
                previous=previous,
                enrolled=now,
                expires=certificate.not_valid_after_utc.timestamp(),
            )
        )
        return Enrolled(
            certificate=certificate.public_bytes(Encoding.PEM).decode(),
            link_ca=trust.link_pem,
            ticket_keys=public_keys(trust.ticket_keys),
            log_key=log_key,
            gateway_ca=trust.gateway_pem,
            trust=trust.name,
        )


@define(eq=False)
class EnrolmentRoutes:
    """``/agents/enrol`` and ``/agents/renew``, without log-in: the messages prove themselves."""

    _enrolment: Enrolment
    _rate: RateLimit
    _now: Callable[[], float]

    def routes(self) -> list[Route]:
        """Return the routes below ``/agents``."""
        return [Route("POST", "enrol", self._enrol), Route("POST", "renew", self._renew)]

    def _enrol(self, call: Call) -> dict[str, Any]:
        return self._checked(call, EnrolRequest, self._enrolment.enrol)

    def _renew(self, call: Call) -> dict[str, Any]:
        return self._checked(call, RenewRequest, self._enrolment.renew)

    def _checked(self, call: Call, kind: Any, answer: Callable[[Any], Enrolled]) -> dict[str, Any]:
        try:
            return asdict(answer(read(msgspec.json.encode(call.body), kind)))
        except AuthenticationError as error:
            # Only refusals: an agent must be able to renew whoever else is at its address.
            log.warn("an enrolment was refused: {why}", why=str(error), address=call.address)
            if not self._rate.charge(call.address, _FAILED_COST, self._now()):
                raise ApiError(
                    429, "slow_down", "too many bad requests from this address"
                ) from error
            raise ApiError(403, "refused", str(error)) from error


class CaResource(Resource):
    """``GET /agents/ca``: the control listener's CA, PEM."""

    isLeaf = True

    def __init__(self, enrolment: Enrolment) -> None:
        Resource.__init__(self)
        self._enrolment = enrolment

    def render_GET(self, request: Request) -> bytes:
        """Give it."""
        log.debug("the CA was asked for", address=client_address(request))
        request.setHeader(b"content-type", b"application/x-pem-file")
        return self._enrolment.ca_pem
