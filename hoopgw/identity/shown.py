"""How callers prove to a client leg who they are, and what they get. A part of `hoopgw.spi`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail, succeed

from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.events import Principal
from hoopgw.identity.ssh_certificates import SshCaller, SshHost


class Logins(Protocol):
    """How callers prove who they are, shared by all protocols."""

    def token(self, token: str, target: str, account: str = "") -> Principal:
        """Verify a gateway token for a target, with cached public keys. Never waits.

        Args:
            token: as it was shown.
            target: that it is shown for.
            account: that is asked for; a token for another is refused.

        Raises:
            AuthenticationError: it is not good; the text is for the log.

        """
        ...

    def bearer(self, token: str, target: str) -> Bearer:
        """Verify a gateway token for a target, as `token` does, and return all that it says.

        Which account it is for is the caller's to look at.
        """
        ...

    def chain(self, chain: str, target: str, holder: str | None = None) -> Deferred[Principal]:
        """Verify a chain of delegation (`hoopgw.identity.hops.is_chain`) for a target.

        Args:
            chain: as it was shown: ``root ~ hop ~ ... [~ pop]``.
            target: that it is shown for.
            holder: RFC 7638 thumbprint of the key that the transport has proved, if it has; then
                no pop is needed.

        Fails with `AuthenticationError` if it is not good, and with `UnavailableError` if that
        cannot be known now.

        """
        ...

    def certificate(self, der: bytes, target: str, account: str) -> CallerCertificate:
        """Verify a caller's certificate (X.509), whose key TLS has proved. Never waits.

        Raises:
            AuthenticationError: it is not good for this; the text may be shown to the caller.

        """
        ...

    def ssh_certificate(self, text: str, target: str, account: str) -> SshCaller:
        """Verify a user certificate of SSH, whose key SSH must still prove. Never waits.

        Args:
            text: ``ssh-ed25519-cert-v01@openssh.com`` and base64, as OpenSSH writes it.
            target: that it is shown for.
            account: that is asked for.

        Raises:
            AuthenticationError: it is not good for this; the text may be shown to the caller.

        """
        ...

    def session_password(self, handle: str) -> Deferred[SessionPassword]:
        """Look a session password up. Fails with `AuthenticationError` if there is none."""
        ...


@frozen(kw_only=True)
class Bearer:
    """What a token for a target says, where each request shows one."""

    principal: Principal
    account: str
    """That the caller asked it for; empty if for none in particular."""
    expires: float
    """Seconds since the epoch; until then it may be shown."""


@frozen
class CallerCertificate:
    """Whom a certificate stands for, and what revokes it besides the principal's lineage."""

    principal: Principal
    node: str


@frozen(kw_only=True)
class GivenToken:
    """What the token endpoint gave, or why it did not."""

    token: str = field(default="", repr=False)
    """Empty if it was refused."""
    expires_in: int = 0
    """Seconds."""
    error: str = ""
    """As OAuth 2 has it: ``invalid_grant`` ..."""
    description: str = ""


class Tokens(Protocol):
    """Where clients get tokens that can ask only as their own cloud's log-in has them ask."""

    def give(
        self, proof: str, targets: Sequence[str], account: str, address: str
    ) -> Deferred[GivenToken]:
        """Give a token for targets.

        Args:
            proof: an issuer's token, a gateway token, or a chain with its pop.
            targets: that it is for.
            account: on the target; empty for none in particular.
            address: the client's.

        Fails with `UnavailableError` if control cannot be asked.

        """
        ...


class NoTokens:
    """Where none are given. Implements `Tokens`."""

    def give(
        self, proof: str, targets: Sequence[str], account: str, address: str
    ) -> Deferred[GivenToken]:
        """Refuse."""
        return succeed(GivenToken(error="unsupported_grant_type", description="not served here"))


@frozen(kw_only=True)
class DeviceWait:
    """A device code that waits for a person (RFC 8628)."""

    id: str = field(repr=False)
    """What is asked with."""
    url: str = field(repr=False)
    code: str = field(repr=False)
    url_with_code: str = field(default="", repr=False)
    """Empty if the issuer gives none."""
    lasts: float
    """Seconds."""


class DeviceLogins(Protocol):
    """Log-ins of people whose client can show them a text, and nothing else."""

    def begin(self, issuer: str, address: str) -> Deferred[DeviceWait]:
        """Get a code of an issuer, for a client at an address.

        Fails with `AuthenticationError` if it is refused, with a text for the caller, and with
        `UnavailableError` if control cannot be asked.
        """
        ...

    def poll(self, id: str, address: str) -> Deferred[Principal | None]:  # noqa: A002  # what it is
        """Say who has logged in with a code; None if nobody has yet, after a while of waiting.

        Fails as `begin` does.
        """
        ...

    def drop(self, id: str) -> None:  # noqa: A002  # what it is
        """Say that nobody waits any more."""
        ...


class NoDeviceLogins:
    """Where there are none. Implements `DeviceLogins`."""

    def begin(self, issuer: str, address: str) -> Deferred[DeviceWait]:
        """Refuse."""
        return fail(AuthenticationError("device codes are not served here"))

    def poll(self, id: str, address: str) -> Deferred[Principal | None]:  # noqa: A002  # as above
        """Refuse."""
        return fail(AuthenticationError("device codes are not served here"))

    def drop(self, id: str) -> None:  # noqa: A002  # as above
        """Do nothing."""


def no_host() -> SshHost:
    """Refuse: where the gateway's SSH host key and certificate come from if there are none."""
    raise UnavailableError("there is no SSH host key")


@frozen(kw_only=True)
class SessionPassword:
    """A stored SCRAM-SHA-256 verifier (RFC 5803), and whom it logs in."""

    target: str
    account: str
    principal: Principal
    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
