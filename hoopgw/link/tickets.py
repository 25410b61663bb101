"""Tickets: what the gateway signs for an agent, so that it opens one target, once.

A ticket is a compact JWS (RFC 7515) with Ed25519 (RFC 8037, RFC 9864) and a type of its own, so
that no other token of the gateway can stand in for it. It lives 30 seconds, is used once, and is
bound to the agent's name and to the nonce which that agent chose for one data connection. It says
until when the session may last: the agent cuts it then, unless it gets a ticket for renewal.

What is bound where: on TCP the connection is mutual TLS, so the nonce cannot have been seen or used
by anybody else; the claim ``exporter`` (a TLS exporter value, RFC 8446 section 7.5) is checked
when it is there, but Python 3.11's ``ssl`` offers no exporter, so our gateway does not set it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec
from attrs import define, field, frozen
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from hoopgw.errors import TicketError
from hoopgw.events import Principal
from hoopgw.wire_values import principal_from_dict, principal_to_dict

TYPE: Final = "hoopgw-ticket+jwt"
ALGORITHM: Final = "Ed25519"
LIFETIME: Final = 30
"""Seconds from issue to expiry."""
SKEW: Final = 5
"""Seconds that the agent's clock and the gateway's may differ."""
NONCE_SIZE: Final = 32
TICKET_LIMIT: Final = 48 * 1024
"""Characters; a chain with its groups is the most of it."""
USED_LIMIT: Final = 50_000
"""Tickets remembered as used; a full memory refuses."""
_HEADER: Final = frozenset({"alg", "typ", "kid"})

Use: TypeAlias = Literal["open", "renew"]


@frozen(kw_only=True)
class Ticket:
    """What the gateway says about one session."""

    agent: str
    nonce: bytes = field(repr=bytes.hex)
    """Of the data connection; chosen by the agent."""
    use: Use = "open"
    target: str
    account: str
    session: str
    session_end: float
    """Seconds since the epoch."""
    principal: Principal
    digest: bytes | None = None
    """Of the one operation that this session is for, if it is for one."""
    exporter: bytes | None = field(default=None, repr=False)
    text: str = field(default="", repr=False, eq=False)
    """As it came, where it came from somebody."""


@frozen
class _Claims:
    jti: str
    iat: int
    exp: int
    aud: str
    use: Use
    nonce: str
    target: str
    account: str
    sid: str
    end: float
    principal: dict[str, Any]
    digest: str | None = None
    exporter: str | None = None


@frozen
class TicketSigner:
    """Signs tickets, in the gateway."""

    key: OKPKey = field(repr=False)
    now: Callable[[], float] = field(repr=False)

    def sign(self, ticket: Ticket) -> str:
        """Return the ticket as text."""
        issued = int(self.now())
        claims = _Claims(
            jti=secrets.token_urlsafe(16),
            iat=issued,
            exp=issued + LIFETIME,
            aud=ticket.agent,
            use=ticket.use,
            nonce=ticket.nonce.hex(),
            target=ticket.target,
            account=ticket.account,
            sid=ticket.session,
            end=ticket.session_end,
            principal=principal_to_dict(ticket.principal),
            digest=_hex(ticket.digest),
            exporter=_hex(ticket.exporter),
        )
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key_id(self.key)}
        payload = msgspec.json.encode(claims)
        text = jws.serialize_compact(header, payload, self.key, [ALGORITHM])
        if len(text) > TICKET_LIMIT:
            raise TicketError("the principal's chain is too long for a ticket")
        return text


@define(eq=False)
class TicketVerifier:
    """Verifies tickets, in one agent; each is accepted once."""

    agent: str
    keys: Mapping[str, OKPKey] = field(repr=False)
    """Public keys of the gateway by id; replaced as a whole when they rotate."""
    now: Callable[[], float] = field(repr=False)
    _used: dict[str, float] = field(factory=dict, init=False, repr=False)

    def verify(
        self, text: str, nonce: bytes, use: Use = "open", exporter: bytes | None = None
    ) -> Ticket:
        """Return the ticket, if it is genuine, new, and for this agent, connection and use.

        Args:
            text: as received.
            nonce: of the data connection that it is for.
            use: what it must be for.
            exporter: of the TLS connection, where that is known.

        Raises:
            TicketError: it is not; the text is for the log.

        """
        claims, now = self._current(text, use), self.now()
        ticket = _ticket(claims, text)
        if not secrets.compare_digest(ticket.nonce, nonce):
            raise TicketError("the ticket is for another connection")
        if ticket.exporter is not None and ticket.exporter != exporter:
            raise TicketError("the ticket is for another TLS connection")
        self._use_up(claims, now)
        return ticket

    def read(self, text: str) -> Ticket:
        """Return a ticket to open something, if it is genuine, of now and for this agent.

        It is not used up, nor is it known which connection it was for: this is for the gateway,
        when an agent shows what it was given.

        Raises:
            TicketError: it is not; the text is for the log.

        """
        return _ticket(self._current(text, "open"), text)

    def _current(self, text: str, use: Use) -> _Claims:
        """Check all but which connection it is for."""
        claims, now = self._genuine(text), self.now()
        if claims.exp - claims.iat > LIFETIME:
            raise TicketError("the ticket's lifetime is too long")
        if claims.iat > now + SKEW:
            raise TicketError("the ticket is from the future")
        if claims.exp + SKEW <= now:
            raise TicketError("the ticket has expired")
        if claims.end <= now:
            raise TicketError("the session's time is over")
        if claims.aud != self.agent:
            raise TicketError("the ticket is for another agent")
        if claims.use != use:
            raise TicketError(f"the ticket is to {claims.use}, not to {use}")
        return claims

    def _genuine(self, text: str) -> _Claims:
        """Check the form and the signature, before a claim is looked at."""
        if len(text) > TICKET_LIMIT:
            raise TicketError("the ticket is too long")
        try:
            signed = jws.extract_compact(text.encode("ascii"))
            header = signed.headers()
            if header.get("alg") != ALGORITHM or header.get("typ") != TYPE:
                raise TicketError("not a ticket")
            if header.keys() != _HEADER or not isinstance(header["kid"], str):
                raise TicketError("not a ticket: its header has other members than it should")
            key = self.keys.get(header["kid"])
            if key is None:
                raise TicketError("the ticket is signed with an unknown key")
            if not jws.validate_compact(signed, key, [ALGORITHM]):
                raise TicketError("the ticket's signature is wrong")
            return msgspec.json.decode(signed.payload, type=_Claims)
        except (JoseError, msgspec.MsgspecError, ValueError, TypeError) as error:
            # Not `from error`: what it quotes may be anybody's.
            raise TicketError(f"not a ticket ({type(error).__name__})") from None

    def _use_up(self, claims: _Claims, now: float) -> None:
        """Remember a ticket for as long as it could come again."""
        if claims.jti in self._used:
            raise TicketError("the ticket was used before")
        if len(self._used) >= USED_LIMIT:
            self._used = {jti: end for jti, end in self._used.items() if end > now}
            if len(self._used) >= USED_LIMIT:
                raise TicketError("too many tickets at once")
        self._used[claims.jti] = claims.exp + SKEW + 1


def key_id(key: OKPKey) -> str:
    """Return a key's id: its own, or its thumbprint (RFC 7638)."""
    return key.kid or key.thumbprint()


def public_keys(keys: Iterable[OKPKey]) -> dict[str, Any]:
    """Return a JWK set with the public parts of ticket keys, for `read_keys`."""
    return {"keys": [{**key.as_dict(private=False), "kid": key_id(key)} for key in keys]}


def read_keys(jwks: Mapping[str, Any]) -> dict[str, OKPKey]:
    """Read the JWK set that came with an enrolment.

    Raises:
        TicketError: it holds no key, or one that is no Ed25519 key.

    """
    found: dict[str, OKPKey] = {}
    try:
        for values in jwks["keys"]:
            if values.get("kty") != "OKP" or values.get("crv") != "Ed25519" or "d" in values:
                raise TicketError("a ticket key is not a public Ed25519 key")
            key = OKPKey.import_key(values)
            found[key_id(key)] = key
    except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TicketError("the ticket keys are malformed") from error
    if not found:
        raise TicketError("there is no ticket key")
    return found


def _ticket(claims: _Claims, text: str) -> Ticket:
    try:
        return Ticket(
            agent=claims.aud,
            nonce=bytes.fromhex(claims.nonce),
            use=claims.use,
            target=claims.target,
            account=claims.account,
            session=claims.sid,
            session_end=claims.end,
            principal=principal_from_dict(claims.principal),
            digest=None if claims.digest is None else bytes.fromhex(claims.digest),
            exporter=None if claims.exporter is None else bytes.fromhex(claims.exporter),
            text=text,
        )
    except ValueError as error:
        raise TicketError("the ticket's claims are malformed") from error


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
