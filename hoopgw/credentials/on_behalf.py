"""Access tokens of Azure for the person behind a session, by Entra's on-behalf-of flow.

The agent's application shows Entra what the person logged in with at the gateway, and gets a token
of that person's: Azure judges, and writes down, the person. What the person logged in with comes
from the gateway's control process, for a ticket, and is used once; after that `msal` refreshes, in
memory, for as long as the log-in lasts. A chain of agents acts on behalf of the person at its root.

Reference: Microsoft identity platform, "OAuth 2.0 On-Behalf-Of flow".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from hoopgw.credentials.azure import EARLY, PATIENCE, RunInThread
from hoopgw.credentials.identities import PUBLIC_AUTHORITY, EntraIdentity
from hoopgw.errors import LinkError, UnavailableError
from hoopgw.events import Principal

log = Logger()

PEOPLE_LIMIT: Final = 1_000
"""Log-ins whose tokens are kept; the one that was used longest ago goes."""
_WANTS_PERSON: Final = frozenset(
    {"interaction_required", "consent_required", "login_required", "invalid_grant"}
)
"""Errors that only the person can do something about."""
_TIMEOUT: Final = (5.0, 10.0)


@define(eq=False)
class _Person:
    """One log-in: its application of `msal`, which keeps the tokens."""

    ends: float
    app: Any = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    until: float = 0.0
    one_at_a_time: DeferredLock = field(factory=DeferredLock, repr=False)


@define(eq=False, kw_only=True)
class OnBehalfOf:
    """Fetches tokens of people, as one application, for one scope."""

    identity: EntraIdentity
    scope: str
    ask: Callable[[str], str] = field(repr=False)
    """Returns, for a ticket, what the person logged in with; blocks; raises `UnavailableError`."""
    run_in_thread: RunInThread = field(repr=False)
    clock: IReactorTime = field(repr=False)
    _people: OrderedDict[tuple[str, str], _Person] = field(
        factory=OrderedDict, init=False, repr=False
    )

    async def fetch(self, principal: Principal, ticket: str) -> bytes:
        """Return a token of the person at the root of a chain.

        Args:
            principal: of the session.
            ticket: that the session was opened with.

        Raises:
            LinkError: there is none; the text is for the caller.

        """
        person = self._person(principal)
        if self.clock.seconds() >= person.until:
            await person.one_at_a_time.acquire()
            try:
                if self.clock.seconds() >= person.until:
                    await self._renew(person, principal.root.name, ticket)
            finally:
                person.one_at_a_time.release()
        return person.token.encode()

    def _person(self, principal: Principal) -> _Person:
        now, key = self.clock.seconds(), (principal.session, principal.root.id)
        for over in [each for each, kept in self._people.items() if kept.ends <= now]:
            del self._people[over]
        person = self._people.setdefault(key, _Person(principal.expires))
        person.ends = max(person.ends, principal.expires)
        self._people.move_to_end(key)
        while len(self._people) > PEOPLE_LIMIT:
            self._people.popitem(last=False)
        return person

    async def _renew(self, person: _Person, who: str, ticket: str) -> None:
        fetched = self.run_in_thread(lambda: self._blocking(person, ticket))
        try:
            answer = await fetched.addTimeout(PATIENCE, self.clock)
        except DeferredTimeoutError as error:
            raise LinkError(f"Entra gave no token on behalf of {who} in time") from error
        except UnavailableError as error:
            raise LinkError(f"there is no token on behalf of {who}: {error}") from error
        except Exception as error:  # whatever msal raises; its text may hold an answer
            log.warn("no token on behalf of {who}: {kind}", who=who, kind=type(error).__name__)
            raise LinkError(f"the agent got no token on behalf of {who}") from error
        if "access_token" not in answer:
            raise LinkError(_refused(who, answer))
        person.token = str(answer["access_token"])
        person.until = self.clock.seconds() + float(answer["expires_in"]) - EARLY

    def _blocking(self, person: _Person, ticket: str) -> Mapping[str, Any]:
        if person.app is None:
            person.app = _application(self.identity)
        for account in person.app.get_accounts():
            found: Mapping[str, Any] | None = person.app.acquire_token_silent(
                [self.scope], account=account
            )
            if found is not None and "access_token" in found:
                return found
        got: Mapping[str, Any] = person.app.acquire_token_on_behalf_of(
            self.ask(ticket), [self.scope]
        )
        return got


def _refused(who: str, answer: Mapping[str, Any]) -> str:
    code = str(answer.get("error", ""))[:64]
    log.warn("Entra refuses a token on behalf of {who}: {code}", who=who, code=code)
    if code in _WANTS_PERSON:
        return f"Entra wants {who} to log in again, or to consent ({code})"
    return f"Entra gives the agent no token on behalf of {who} ({code})"


def _application(identity: EntraIdentity) -> Any:
    """Return a client of `msal` with a memory of its own; reads files, and asks the authority."""
    import msal  # type: ignore[import-untyped]  # msal has no type information

    return msal.ConfidentialClientApplication(
        identity.client,
        client_credential=identity.for_msal(),
        authority=f"{identity.authority.rstrip('/')}/{identity.tenant}",
        # Else the public cloud is asked whether it knows this authority.
        instance_discovery=identity.authority == PUBLIC_AUTHORITY,
        http_client=_Http(identity),
        token_cache=msal.TokenCache(),
    )


class _Http:
    """What `msal` asks through: no redirect, no proxy or netrc of the environment, no long wait."""

    def __init__(self, identity: EntraIdentity) -> None:
        import requests

        self._session = requests.Session()
        self._session.trust_env = False
        if identity.authority_ca is not None:
            self._session.verify = str(identity.authority_ca)

    def get(self, url: str, **more: Any) -> Any:
        """Ask."""
        return self._session.get(url, **{**more, "timeout": _TIMEOUT, "allow_redirects": False})

    def post(self, url: str, **more: Any) -> Any:
        """Ask with a form."""
        return self._session.post(url, **{**more, "timeout": _TIMEOUT, "allow_redirects": False})

    def close(self) -> None:
        """Close."""
        self._session.close()
