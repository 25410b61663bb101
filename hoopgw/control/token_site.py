"""``/sts/revoke`` and ``/sts/introspect``: who asks, before the token endpoint's rooms decide.

===========  ==========================================================================
revoke       ``token``; with a proof of its key (DPoP), or as somebody: a gateway token in
             ``Authorization``, of an ancestor or an administrator
introspect   ``token``; as an administrator, or as an agent: ``client_assertion`` (see
             `hoopgw.link.assertion`)
===========  ==========================================================================

``token_type_hint`` may be given with both, and tells nothing that the token does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, frozen
from cryptography import x509
from twisted.logger import Logger
from twisted.web.resource import Resource

from hoopgw.control.callers import Caller, Callers
from hoopgw.control.delegations import TooManyError
from hoopgw.control.web import ApiError, Call
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.identity.endpoint import INTROSPECT_PATH, REVOKE_PATH
from hoopgw.identity.forms import FormCall, FormEndpoint, FormLimits, Nothing
from hoopgw.identity.introspection import INACTIVE, Introspection
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.revocation import Revocation, Revoker
from hoopgw.identity.token_parts import TokenParts
from hoopgw.identity.tokens import target_audience
from hoopgw.link.assertion import ASSERTION_TYPE, read_assertion
from hoopgw.store.rows import Store

log = Logger()

_HINTS: Final = frozenset({"access_token", "refresh_token"})
_REVOKE: Final = frozenset({"token", "token_type_hint", "client_id"})
_INTROSPECT: Final = _REVOKE | {"client_assertion", "client_assertion_type"}
_UNREACHABLE: Final = "the gateway's store cannot be reached"


@frozen(kw_only=True)
class AgentCallers:
    """Tells which agent asks."""

    store: Store
    url: str
    """Of the endpoint that assertions are for."""
    now: Callable[[], float]
    issued: Callable[[x509.Certificate], str]
    """Returns the agent that a certificate from the link's CA is of."""
    agents: Mapping[str, str]
    """Target to the name of the agent that serves it."""

    def identify(self, assertion: str) -> str:
        """Return the agent's name.

        Raises:
            AuthenticationError: it is none that is enrolled, or said so before.

        """
        read = read_assertion(assertion, self.url, self.now(), self.issued)
        row = self.store.agent(read.agent)
        if row is None or not row.accepts(read.serial):
            raise AuthenticationError("the agent is not enrolled with this certificate")
        if not self.store.use_once("agent", read.id, read.expires):
            raise AuthenticationError("the assertion was used before")
        return read.agent

    def audiences(self, agent: str) -> frozenset[str]:
        """Return what tokens are for that are shown to an agent's targets."""
        served = (target for target, name in self.agents.items() if name == agent)
        return frozenset(map(target_audience, served))


@define(eq=False)
class TokenCalls:
    """Answers both."""

    parts: TokenParts
    _callers: Callers
    _agents: AgentCallers

    async def revoke(self, call: FormCall) -> Mapping[str, Any]:
        """End what a token stands for; a token that is not good is no error (RFC 7009)."""
        token = _token(call, _REVOKE)
        caller = self._caller(call)
        principal = None if caller is None else caller.principal
        is_admin = caller is not None and caller.is_admin
        revoker = Revoker(proved=call.proved, principal=principal, is_admin=is_admin)
        try:
            was_good = Revocation(self.parts).revoke(token, revoker)
        except TooManyError as error:
            raise ExchangeError("slow_down", str(error)) from error
        except UnavailableError as error:
            raise ExchangeError("temporarily_unavailable", _UNREACHABLE) from error
        return {} if was_good else Nothing()

    async def introspect(self, call: FormCall) -> Mapping[str, Any]:
        """Say what a token says, to who may know."""
        token = _token(call, _INTROSPECT)
        try:
            may_know = self._asker(call)
            if may_know is None:
                return Nothing(INACTIVE)
            return Introspection(self.parts).introspect(token, may_know)
        except UnavailableError as error:
            raise ExchangeError("temporarily_unavailable", _UNREACHABLE) from error

    def _asker(self, call: FormCall) -> Callable[[str], bool] | None:
        """Return which audiences the asker may know of; None: of none."""
        caller = self._caller(call)
        if caller is not None:
            return (lambda _audience: True) if caller.is_admin else None
        assertion = call.values.get("client_assertion")
        if assertion is None or call.values.get("client_assertion_type") != ASSERTION_TYPE:
            raise ExchangeError("invalid_client", "only agents and administrators may ask")
        try:
            agent = self._agents.identify(assertion)
        except AuthenticationError as error:
            log.info("an agent was refused: {why}", why=str(error), address=call.address)
            raise ExchangeError("invalid_client", "the assertion is not good") from error
        return self._agents.audiences(agent).__contains__

    def _caller(self, call: FormCall) -> Caller | None:
        """Return who calls with a token, if anybody does."""
        if call.header("authorization") is None:
            return None
        try:
            return self._callers.identify(
                Call(
                    method="POST",
                    path=(),
                    query={},
                    body={},
                    address=call.address,
                    header=call.header,
                    url_path=call.path,
                )
            )
        except ApiError as error:
            if error.status == 429:
                raise ExchangeError("slow_down", error.detail) from error
            raise ExchangeError("invalid_client", error.detail) from error


def add_token_calls(root: Resource, calls: TokenCalls, url: str, limits: FormLimits) -> None:
    """Put both beside the token endpoint, which is in the tree already."""
    sts: Any = root.children[b"sts"]
    now = calls.parts.now
    for path, answer in ((REVOKE_PATH, calls.revoke), (INTROSPECT_PATH, calls.introspect)):
        name = path.rpartition("/")[2].encode()
        sts.putChild(name, FormEndpoint(answer, url + path, now, limits))


def _token(call: FormCall, known: frozenset[str]) -> str:
    values = call.values
    if unknown := values.keys() - known:
        shown = ", ".join(sorted(unknown))[:200]
        raise ExchangeError("invalid_request", f"not supported: {shown}")
    if not values.get("token"):
        raise ExchangeError("invalid_request", "token is missing")
    if values.get("token_type_hint", "access_token") not in _HINTS:
        raise ExchangeError("invalid_request", "token_type_hint is none that we know")
    return values["token"]
