"""How callers of a data worker prove who they are: tokens verified here, passwords asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.errors import AuthenticationError, ConfigError
from hoopgw.events import Principal
from hoopgw.identity.tokens import TokenVerifier, target_audience
from hoopgw.ipc import Body, RemoteError
from hoopgw.spi import SessionPassword
from hoopgw.wire_values import principal_from_dict


@define(eq=False)
class ControlLogins:
    """Implements `hoopgw.spi.Logins`."""

    _control: ControlClient
    _clock: IReactorTime
    _verifier: TokenVerifier | None = field(default=None, init=False)
    _made_of: Mapping[str, Any] | None = field(default=None, init=False, repr=False)

    def token(self, token: str, target: str) -> Principal:
        """Verify a gateway token for a target, with cached public keys. Never waits.

        Raises:
            AuthenticationError: it is not good; the text is for the log.

        """
        verifier = self._current()
        principal = verifier.verify(token, target_audience(target), self._clock.seconds())
        if self._control.is_revoked(principal.lineage):
            raise AuthenticationError("the log-in was revoked")
        return principal

    def session_password(self, handle: str) -> Deferred[SessionPassword]:
        """Look a session password up.

        Fails with `AuthenticationError` if there is none, and with `UnavailableError` if control
        cannot be asked.
        """
        answer = self._control.call("session_password", handle=handle)
        return answer.addCallbacks(_password, _refused)

    def _current(self) -> TokenVerifier:
        keys = self._control.token_keys
        if keys is None:
            raise AuthenticationError("the gateway's token keys are not known yet")
        if self._verifier is None or keys is not self._made_of:
            try:
                made = TokenVerifier(dict(keys), self._control.issuer)
            except ConfigError as error:
                raise AuthenticationError(str(error)) from error
            self._verifier, self._made_of = made, keys
        return self._verifier


def _password(answer: Body) -> SessionPassword:
    try:
        return SessionPassword(
            target=str(answer["target"]),
            account=str(answer["account"]),
            principal=principal_from_dict(answer["principal"]),
            salt=bytes(answer["salt"]),
            iterations=int(answer["iterations"]),
            stored_key=bytes(answer["stored_key"]),
            server_key=bytes(answer["server_key"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AuthenticationError("control gave no session password that can be read") from error


def _refused(failure: Failure) -> SessionPassword:
    if failure.check(RemoteError) is not None:
        raise AuthenticationError(failure.getErrorMessage()) from failure.value
    failure.raiseException()
    raise AssertionError  # raiseException does not return
