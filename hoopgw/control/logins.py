"""How callers of a data worker prove who they are: tokens verified here, passwords asked for.

A chain of delegation is verified here too, but whether its pop was used before is for all workers
to know, and is asked of control, which takes note of the delegations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from attrs import define, field, frozen
from cryptography import x509
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from hoopgw.control.client import ControlClient
from hoopgw.control.trust import WorkerTrust
from hoopgw.errors import AuthenticationError, ConfigError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.caller_certificates import certificate_node, verify_caller
from hoopgw.identity.chains import ShownChain, read_chain
from hoopgw.identity.shown import (
    Bearer,
    CallerCertificate,
    DeviceWait,
    GivenToken,
    SessionPassword,
)
from hoopgw.identity.ssh_certificates import SshCaller, verify_user
from hoopgw.identity.tokens import TokenVerifier, target_audience
from hoopgw.ipc import Body, RemoteError
from hoopgw.wire_values import principal_from_dict, principal_to_dict

POLL_TIMEOUT: Final = 30.0
"""Seconds for control to say whether a device code was approved: it waits a while for that."""


@define(eq=False)
class ControlLogins:
    """Implements `hoopgw.identity.shown.Logins`."""

    _control: ControlClient
    _clock: IReactorTime
    _verifier: TokenVerifier | None = field(default=None, init=False)
    _made_of: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    _trusted: WorkerTrust | None = field(default=None, init=False, repr=False)
    _authorities: tuple[x509.Certificate, ...] = field(default=(), init=False, repr=False)

    def token(self, token: str, target: str, account: str = "") -> Principal:
        """Verify a gateway token for a target and account, with cached public keys. Never waits.

        Raises:
            AuthenticationError: it is not good; the text is for the log.

        """
        shown = self.bearer(token, target)
        if shown.account not in ("", account):
            raise AuthenticationError(f"the token is for account {shown.account}")
        return shown.principal

    def bearer(self, token: str, target: str) -> Bearer:
        """Verify a gateway token for a target, as `token` does, and return all that it says."""
        verifier = self._current()
        held = verifier.verify_held(token, target_audience(target), self._clock.seconds())
        if self._control.is_revoked((held.node, *held.principal.lineage)):
            raise AuthenticationError("the log-in or the token was revoked")
        return Bearer(principal=held.principal, account=held.account, expires=held.expires)

    def chain(self, chain: str, target: str, holder: str | None = None) -> Deferred[Principal]:
        """Verify a chain of delegation for a target, and let control use its proof up.

        Fails with `AuthenticationError` if it is not good, and with `UnavailableError` if control
        cannot be asked: whether a pop was used before is known there only.
        """
        try:
            shown = self._read(chain, target, holder)
        except AuthenticationError as error:
            return fail(error)
        answer = self._control.call(
            "chain_shown",
            principal=principal_to_dict(shown.principal),
            proof=None if shown.proof is None else shown.proof.id,
            expires=0.0 if shown.proof is None else shown.proof.expires,
            ends=list(shown.ends),
        )
        return answer.addCallbacks(lambda said: _admitted(said, shown), _chain_refused)

    def _read(self, chain: str, target: str, holder: str | None) -> ShownChain:
        now, audience = self._clock.seconds(), target_audience(target)
        shown = read_chain(chain, audience, now, self._current(), holder=holder)
        if self._control.is_revoked(shown.principal.lineage):
            raise AuthenticationError("the log-in or a delegation of the chain was revoked")
        return shown

    def certificate(self, der: bytes, target: str, account: str) -> CallerCertificate:
        """Verify a caller's certificate, whose key TLS has proved. Never waits.

        Raises:
            AuthenticationError: it is not good for this; the text may be shown to the caller.

        """
        trust = self._control.trust
        if trust is None:
            raise AuthenticationError("the gateway's CA of callers is not known yet")
        if trust is not self._trusted:
            self._trusted, self._authorities = trust, trust.caller_authorities
        now = self._clock.seconds()
        shown = verify_caller(der, self._authorities, trust.issuer, now)
        shown.certified.admits(target, account)
        if self._control.is_revoked(shown.lineage):
            raise AuthenticationError("the certificate, its log-in or a delegation was revoked")
        return CallerCertificate(shown.principal, certificate_node(shown.serial))

    def ssh_certificate(self, text: str, target: str, account: str) -> SshCaller:
        """Verify a user certificate of SSH, whose key SSH must still prove. Never waits.

        Raises:
            AuthenticationError: it is not good for this; the text may be shown to the caller.

        """
        trust = self._control.trust
        if trust is None:
            raise AuthenticationError("the gateway's CA of SSH users is not known yet")
        authorities, now = trust.ssh_user_authorities, self._clock.seconds()
        caller = verify_user(text, authorities, trust.issuer, target, account, now)
        if self._control.is_revoked(caller.lineage):
            why = "the certificate, its log-in or a delegation was revoked"
            raise AuthenticationError(f"{why}: hoopgw login begins another one")
        return caller

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


@frozen
class ControlTokens:
    """Implements `hoopgw.identity.shown.Tokens`."""

    _control: ControlClient

    def give(
        self, proof: str, targets: Sequence[str], account: str, address: str
    ) -> Deferred[GivenToken]:
        """Let control give a token."""
        answer = self._control.call(
            "target_token", proof=proof, targets=list(targets), account=account, address=address
        )
        return answer.addCallback(_given)


@frozen
class ControlDevices:
    """Implements `hoopgw.identity.shown.DeviceLogins`."""

    _control: ControlClient

    def begin(self, issuer: str, address: str) -> Deferred[DeviceWait]:
        """Let control ask an issuer for a device code.

        Who does not wait for it any more (cancels) has it dropped when it comes: the codes that
        control keeps are few, and whoever leaves at once could have them all.
        """
        wanted: Deferred[DeviceWait] = Deferred()

        def came(wait: DeviceWait) -> None:
            if wanted.called:
                self.drop(wait.id)
            else:
                wanted.callback(wait)

        def refused(failure: Failure) -> None:
            if not wanted.called:
                wanted.errback(failure)

        answer = self._control.call("device_begin", issuer=issuer, address=address)
        answer.addCallback(_waiting).addCallbacks(came, refused)
        return wanted

    def poll(self, id: str, address: str) -> Deferred[Principal | None]:  # noqa: A002  # what it is
        """Let control ask whether a person has approved."""
        answer = self._control.call("device_poll", POLL_TIMEOUT, id=id, address=address)
        return answer.addCallback(_approved)

    def drop(self, id: str) -> None:  # noqa: A002  # what it is
        """Let control forget a code."""
        self._control.tell("device_drop", id=id)


def _waiting(answer: Body) -> DeviceWait:
    _check_device(answer)
    return DeviceWait(
        id=str(answer["id"]),
        url=str(answer["url"]),
        code=str(answer["code"]),
        url_with_code=str(answer["complete"]),
        lasts=float(answer["lasts"]),
    )


def _approved(answer: Body) -> Principal | None:
    _check_device(answer)
    return None if "pending" in answer else principal_from_dict(answer["principal"])


def _check_device(answer: Body) -> None:
    if answer.get("error") == "temporarily_unavailable":
        raise UnavailableError(str(answer["description"]))
    if "error" in answer:
        raise AuthenticationError(str(answer["description"]))


def _given(answer: Body) -> GivenToken:
    if "error" in answer:
        return GivenToken(error=str(answer["error"]), description=str(answer["description"]))
    return GivenToken(token=str(answer["token"]), expires_in=int(answer["expires_in"]))


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
    _raise(failure)


def _admitted(answer: Body, shown: ShownChain) -> Principal:
    if "unavailable" in answer:
        raise UnavailableError(str(answer["unavailable"]))
    return shown.principal


def _chain_refused(failure: Failure) -> Principal:
    _raise(failure)


def _raise(failure: Failure) -> NoReturn:
    """Raise what control said: a refusal of its own is about who logs in."""
    if failure.check(RemoteError) is not None:
        raise AuthenticationError(failure.getErrorMessage()) from failure.value
    failure.raiseException()
    raise AssertionError  # raiseException does not return
