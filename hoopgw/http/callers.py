"""Who sends a request: a gateway token or a chain as bearer, or a client certificate.

Nothing is believed outside TLS. Every request shows its proof; what a connection has shown is
looked at anew every now and then, so that a token that has ended does not live on in a connection.
Tokens that are meant for others, as those of Microsoft Entra, are refused and never written down.

Reference: RFC 6750 (bearer tokens), section 3 for the answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from attrs import define, field, frozen

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.http.messages import RequestHead
from hoopgw.identity.hops import is_chain
from hoopgw.sessions.refusals import Refusal, RefusedError
from hoopgw.spi import GatewayContext
from hoopgw.transport import DataTransport

ACCOUNT: Final = b"x-hoopgw-account"
"""The account on the target that the caller wants, if neither its token nor the target say it."""
AGAIN: Final = 30.0
"""Seconds after which a token that a connection showed is verified anew."""
_ACCOUNT_LIMIT: Final = 256


@frozen(kw_only=True)
class LoggedIn:
    """Who sends a request, and how that was proved."""

    principal: Principal
    account: str
    method: str
    credential: str = ""
    """What may be revoked besides the principal's lineage: a certificate."""


@frozen
class Known:
    """What is known of something that was shown."""

    login: LoggedIn
    until: float
    """When it must be verified anew; by the worker's clock."""
    ends: float
    """When what was shown is good no more; by the same clock."""


class Identifies(Protocol):
    """Says who sends a request. `Callers` is the usual one."""

    @property
    def last(self) -> Known | None:
        """Of what the last request showed by itself; None for what the connection has shown."""
        ...

    async def identify(
        self, head: RequestHead, target: str, account: str, lives: Callable[[LoggedIn], bool]
    ) -> LoggedIn:
        """Return who it is; see `Callers.identify`."""
        ...


@define(eq=False)
class Callers:
    """Identifies the callers of one connection."""

    _context: GatewayContext
    _transport: DataTransport
    last: Known | None = field(default=None, init=False, repr=False)
    """Of what was shown last; None for a certificate."""
    _known: dict[tuple[bytes, str, str], Known] = field(factory=dict, init=False, repr=False)
    """By what was shown (its hash), the target and the account."""

    async def identify(
        self, head: RequestHead, target: str, account: str, lives: Callable[[LoggedIn], bool]
    ) -> LoggedIn:
        """Return who sends a request.

        Args:
            head: the request's.
            target: that it is for.
            account: that is meant where the caller names none.
            lives: whether a log-in that this connection has shown has a session that was not ended
                since; if not, what was shown must be good once more.

        Raises:
            RefusedError: nobody that may; the text is for the caller.

        """
        self.last = None
        tls = self._transport.tls
        if tls is None:
            raise _unauthenticated("hoopgw takes requests inside TLS only")
        wanted = _account(head)
        shown = head.headers.all(b"authorization")
        if len(shown) > 1:
            raise RefusedError(Refusal(kind="malformed", text="Authorization is there twice"))
        if not shown:
            der = tls.getpeercert(binary_form=True)
            if der is None:
                raise _unauthenticated("a token of hoopgw is needed")
            return self._certificate(der, target, wanted or account)
        now = self._context.clock.seconds()
        key = hashlib.sha256(shown[0]).digest(), target, wanted or account
        known = self._known.get(key)
        if known is None or known.until <= now or not lives(known.login):
            self._known.pop(key, None)
            known = await self._bearer(shown[0], target, wanted, account)
            if len(self._known) > 8:
                self._known.clear()
            self._known[key] = known
        self.last = known
        return known.login

    def ends(self, login: LoggedIn) -> float:
        """Return when what this connection has shown for a log-in is good no more."""
        found = [each.ends for each in self._known.values() if each.login == login]
        return max(found, default=login.principal.expires)

    def _certificate(self, der: bytes, target: str, account: str) -> LoggedIn:
        try:
            shown = self._context.logins.certificate(der, target, account)
        except AuthenticationError as error:
            raise _unauthenticated(f"the certificate is not good: {error}") from error
        return LoggedIn(
            principal=shown.principal,
            account=account,
            method="certificate",
            credential=shown.node,
        )

    async def _bearer(self, value: bytes, target: str, wanted: str, account: str) -> Known:
        scheme, _, token = value.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise _unauthenticated("only bearer tokens of hoopgw are taken")
        now, logins = self._context.clock.seconds(), self._context.logins
        try:
            text = token.strip(b" ").decode("ascii")
            if is_chain(text):
                # Its proof is good once, so it stands for this connection as long as that lasts.
                principal = await logins.chain(text, target)
                login = LoggedIn(principal=principal, account=wanted or account, method="chain")
                return Known(login, principal.expires, principal.expires)
            bearer = logins.bearer(text, target)
        except (AuthenticationError, UnicodeDecodeError) as error:
            raise _unauthenticated("the token is not good", str(error)) from error
        except UnavailableError as error:
            text = f"tokens cannot be verified now: {error}"
            raise RefusedError(Refusal(kind="unavailable", text=text, retry_after=2)) from error
        if bearer.account and wanted and bearer.account != wanted:
            raise _unauthenticated("the token is for another account")
        login = LoggedIn(
            principal=bearer.principal,
            account=bearer.account or wanted or account,
            method="token",
        )
        return Known(login, min(bearer.expires, now + AGAIN), bearer.expires)


def _account(head: RequestHead) -> str:
    values = head.headers.all(ACCOUNT)
    if not values:
        return ""
    try:
        found = values[0].decode("ascii")
    except UnicodeDecodeError:
        found = ""
    if len(values) > 1 or not 0 < len(found) <= _ACCOUNT_LIMIT or not found.isprintable():
        raise RefusedError(Refusal(kind="malformed", text="X-Hoopgw-Account names no account"))
    return found


def _unauthenticated(text: str, why: str = "") -> RefusedError:
    """Return the refusal; ``why`` is for the log alone."""
    error = RefusedError(Refusal(kind="unauthenticated", text=text))
    if why:
        error.add_note(why)
    return error
