"""The client leg: from an accepted connection to a session, and what sessions share."""

from __future__ import annotations

import hmac
import secrets
import ssl
from collections.abc import Mapping
from typing import Any, Final, cast

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopgw.errors import HoopgwError, LinkError, RecorderError
from hoopgw.events import Principal
from hoopgw.policy.decision import Verdict
from hoopgw.recording.inputs import InputBook
from hoopgw.recording.records import SessionRefused
from hoopgw.sessions.admission import ConnectRefusedError, admit
from hoopgw.sessions.purses import Purse
from hoopgw.sessions.strangers import Strangers
from hoopgw.spi import GatewayContext, OpenTarget
from hoopgw.transport import DataTransport
from hoopgw_postgres import refusals, wire
from hoopgw_postgres.journal import Journal, Opening
from hoopgw_postgres.judge import FactsCache, Judge
from hoopgw_postgres.login import LoggedIn, Login, certificate_hash
from hoopgw_postgres.masks import learn
from hoopgw_postgres.operations import Place, connecting
from hoopgw_postgres.parameters import SHOWN_PARAMETERS
from hoopgw_postgres.parser_client import ParserPool
from hoopgw_postgres.prelude import Prelude
from hoopgw_postgres.session import Session
from hoopgw_postgres.startup import Wanted
from hoopgw_postgres.watch import Watch

log = Logger()

EARLY_LIMIT: Final = 65_536
"""Bytes that a client may send while its target is being opened."""


_PINNED: Final = {"standard_conforming_strings": "on"}
"""What every session begins with, whatever the server's own configuration says: texts are judged by
a grammar in which a backslash does not quote."""


@define(eq=False)
class _Key:
    """A cancel key that was given to a client."""

    secret: bytes = field(repr=False)
    session: Session


class PostgresFactory(Factory):
    """Accepts PostgreSQL clients.

    Args:
        context: of the gateway.

    """

    noisy = False

    def __init__(self, context: GatewayContext) -> None:
        self.context = context
        self.parsers = ParserPool(context.reactor, context.clock, on_ended=self._parser_ended)
        self.facts = FactsCache(self.parsers.classify)
        self.inputs = InputBook()
        self._hashed = b"", b""
        # From a key that lasts: what looks like a verifier must still look the same after a
        # restart, and to every worker.
        self.decoy_key = hmac.digest(context.mask_key(), b"hoopgw verifiers of no handle", "sha256")
        self.strangers = Strangers()
        self._keys: dict[int, _Key] = {}
        cast("ssl.SSLContext", context.tls).set_alpn_protocols(["postgresql"])

    def doStart(self) -> None:
        """Start the parsers."""
        self.parsers.start()

    def doStop(self) -> None:
        """Stop them."""
        self.parsers.stop()

    def certificate_hash(self) -> bytes:
        """Return the hash of the certificate that a handshake which begins now shows."""
        certificate = self.context.certificate()
        if self._hashed[0] != certificate:
            self._hashed = certificate, certificate_hash(certificate)
        return self._hashed[1]

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Make a connection's protocol."""
        return ClientConnection(self, str(getattr(addr, "host", "local")))

    def _parser_ended(self) -> None:
        self.context.counters["parser_restarts_total"] += 1

    def issue_key(self, session: Session, version: int) -> tuple[int, bytes]:
        """Make a cancel key; protocol 3.2 has room for a long one."""
        pid = secrets.randbelow(2**31 - 1) + 1
        while pid in self._keys:
            pid = secrets.randbelow(2**31 - 1) + 1
        secret = secrets.token_bytes(32 if version >= wire.PROTOCOL_3_2 else 4)
        self._keys[pid] = _Key(secret, session)
        return pid, secret

    def forget_key(self, pid: int) -> None:
        """Drop a cancel key."""
        self._keys.pop(pid, None)

    def cancel(self, request: wire.CancelRequest) -> None:
        """Do what a cancel request asks, if its key is right; the client is told nothing."""
        known = self._keys.get(request.pid)
        if known is not None and hmac.compare_digest(known.secret, request.key):
            known.session.cancel()


class ClientConnection(Protocol):
    """One client: first a `Login`, then a `Session`."""

    def __init__(self, factory: PostgresFactory, address: str) -> None:
        self._factory = factory
        self._context = factory.context
        self._address = address
        self._login: Login | None = None
        self._session: Session | None = None
        self._opening: Deferred[None] | None = None
        self._opened: OpenTarget | None = None
        self._purse: Purse | None = None
        self._early = bytearray()
        self._id = ""
        self._pid = 0

    @property
    def _leg(self) -> DataTransport:
        return cast("DataTransport", self.transport)

    def connectionMade(self) -> None:
        """Start the log-in."""
        self._factory.strangers.came(self._address, self)
        self._login = Login(
            self._context,
            self._leg,
            self._factory.certificate_hash,
            self._factory.decoy_key,
            self._factory.cancel,
            self._logged_in,
            self._refused,
        )

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        if self._login is not None:
            self._login.handshake_completed()

    def dataReceived(self, data: Any) -> None:
        """Give bytes to whom they are for."""
        if self._session is not None:
            self._session.from_client(data)
        elif self._login is not None:
            self._login.received(data)
        else:
            self._early += data
            if len(self._early) > EARLY_LIMIT:
                self._leg.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop whatever was begun."""
        self._factory.strangers.left(self._address, self)
        if self._login is not None:
            self._login.lost()
            if reason.check(ssl.SSLError):  # a certificate of another CA, among others
                log.info("a handshake failed: {why}", why=reason.value, address=self._address)
        if self._opening is not None:
            self._opening.cancel()
        if self._session is not None:
            self._session.client_lost()
        if self._purse is not None:
            self._purse.close()

    def turn_away(self) -> None:
        """Close: others want to log in, too."""
        self._factory.strangers.left(self._address, self)
        self._leg.abortConnection()

    def _refused(self, wanted: Wanted | None, why: str) -> None:
        self._login = None
        self._record_refusal(wanted, why)

    def _record_refusal(self, wanted: Wanted | None, why: str) -> None:
        if wanted is None:
            log.info("a client was refused: {why}", why=why, address=self._address)
            return
        record = SessionRefused(
            self._id or self._context.new_session(),
            0,
            int(self._context.clock.seconds() * 1e9),
            "postgres",
            wanted.target,
            wanted.account,
            self._address,
            why,
        )
        try:
            self._context.recorder.put_off(record)
        except RecorderError as error:
            log.error("a refused log-in could not be recorded: {error}", error=error)

    def _logged_in(self, login: LoggedIn) -> None:
        self._login = None
        self._factory.strangers.left(self._address, self)
        self._id = self._context.new_session()
        self._early += login.rest
        self._opening = Deferred.fromCoroutine(self._open(login))
        self._opening.addErrback(self._not_opened, login.wanted)

    def _not_opened(self, failure: Failure, wanted: Wanted) -> None:
        self._context.sessions.closed(self._id)
        if self._opened is not None and self._session is None:
            self._opened.leg.abortConnection()
        if failure.check(CancelledError):
            self._record_refusal(wanted, "the client left")
            return
        if failure.check(HoopgwError) is None:
            log.failure("opening a session failed", failure)
            text = "hoopgw could not open the session"
        else:
            text = failure.getErrorMessage()
        error, cure = failure.value, None
        if isinstance(error, ConnectRefusedError):
            code, text, cure = "42501", f"hoopgw: {text}", error.cure
        else:
            code = "08001" if failure.check(LinkError) else "57P03"
        self._record_refusal(wanted, text)
        hint, detail = (None, None) if cure is None else (cure.hint, cure.detail)
        self._leg.write(wire.report(b"E", "FATAL", code, text, hint=hint, detail=detail))
        self._leg.loseConnection()

    async def _open(self, login: LoggedIn) -> None:
        context, wanted = self._context, login.wanted
        target = context.targets[wanted.target]
        context.sessions.opened(
            self._id,
            login.principal,
            wanted.target,
            self._cut,
            wanted.account,
            self._address,
            self._reconsider,
            login.credential,
        )
        self._opened = opened = await context.link.open(
            login.principal,
            self._id,
            wanted.target,
            wanted.account,
            {"database": wanted.database, "settings": {**wanted.settings, **_PINNED}},
        )
        _check_pinned(opened.facts["parameters"])
        prelude = Prelude(opened.leg, context.clock)
        place, masks = await learn(
            prelude,
            context.policy,
            login.principal,
            target,
            wanted.account,
            context.mask_key(),
            self._id,
        )
        operation = connecting(place)
        look_again = (lambda: None) if masks is None else masks.look_again
        verdict = await admit(context, login.principal, operation, self._id, look_again)
        journal = self._journal(login, place, opened)
        judge = Judge(
            login.principal,
            place,
            context.policy,
            self._factory.facts,
            masks,
            context.grants,
            self._id,
        )
        watch = Watch(context.clock, masks) if masks is not None and masks.hides else None
        self._purse = context.budgets.open(login.principal)
        session = Session(
            self._leg,
            opened,
            judge,
            journal,
            context.reviews,
            watch,
            self._over,
            self._purse,
        )
        journal.started()
        journal.connected(operation, verdict)
        self._record_sights(journal, login.principal, place, verdict)
        self._opening = None
        self._session = session
        # From now on, all is for the session.
        self.dataReceived = session.from_client  # type: ignore[method-assign]  # it saves a call
        self._greet(login, session, opened)
        session.start(b"")
        if rest := prelude.rest():
            session.from_target(memoryview(rest))
        early, self._early = self._early, bytearray()
        if early:
            session.from_client(memoryview(early))
        self._leg.resumeProducing()

    def _record_sights(
        self, journal: Journal, principal: Principal, place: Place, verdict: Verdict
    ) -> None:
        """Record how fields are shown: asked in the same turn, so as the session's masks are."""
        fields = list(place.columns().values())
        if fields:
            sights = self._context.policy.sights(principal, fields, self._id)
            journal.shown({each: sights[each.id] for each in fields}, verdict)

    def _journal(self, login: LoggedIn, place: Place, opened: OpenTarget) -> Journal:
        opening = Opening(
            session=self._id,
            target=login.wanted.target,
            database=place.database,
            account=login.wanted.account,
            principal=login.principal,
            method=login.method,
            address=self._address,
            agent=opened.agent,
        )
        strict = place.target.durability == "strict"
        settings, inputs = dict(login.wanted.settings), self._factory.inputs
        return Journal(self._context.recorder, opening, strict, settings, inputs)

    def _greet(self, login: LoggedIn, session: Session, opened: OpenTarget) -> None:
        self._pid, secret = self._factory.issue_key(session, login.version)
        parameters: dict[str, str] = opened.facts["parameters"]
        self._leg.writeSequence(
            [
                wire.AUTHENTICATION_OK,
                *(
                    wire.parameter_status(name, value)
                    for name, value in parameters.items()
                    if name in SHOWN_PARAMETERS
                ),
                wire.backend_key(self._pid, secret),
                wire.ready(b"I"),
            ]
        )

    def _cut(self, reason: str) -> None:
        if self._session is not None:
            self._session.cut(reason)
        elif self._opening is not None:
            self._leg.write(refusals.session_ended(reason))
            self._leg.loseConnection()
            self._opening.cancel()

    def _reconsider(self) -> str | None:
        return None if self._session is None else self._session.reconsider()

    def _over(self, reason: str) -> None:
        self._factory.forget_key(self._pid)
        self._context.sessions.closed(self._id, reason)


def _check_pinned(parameters: Mapping[str, str]) -> None:
    """Refuse a target that did not take what was asked for, as behind some poolers."""
    for name, value in _PINNED.items():
        if parameters.get(name, value) != value:
            raise LinkError(f"the target does not set {name} to {value}")


def make_factory(context: GatewayContext) -> PostgresFactory:
    """Build the client leg; see `hoopgw.spi.ProtocolSpec`."""
    return PostgresFactory(context)
