"""Certificates for callers: ``/v1/certificates``, and the public documents below ``/pki``.

======  ==========================  ========================================================
POST    certificates                ``{csr, targets, account?, lifetime?}``: an X.509 certificate
                                    for TLS; or with ``ssh_key, accounts`` one for SSH
POST    certificates/SERIAL/revoke  administrators; anybody those of their own log-in
======  ==========================  ========================================================

What is signed is the chain of the token that was shown, with the targets and the time narrowed:
never more. The token must be bound to a key, and proved with it, or a stolen token would become a
certificate that outlives what it was stolen from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_ssh_public_key
from twisted.logger import Logger

from hoopgw.control.arguments import only
from hoopgw.control.callers import Caller, Callers
from hoopgw.control.delegations import Delegations
from hoopgw.control.keys import KeyKeeper
from hoopgw.control.trust import pem
from hoopgw.control.web import ApiError, Call, Route
from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.authority import requested_key
from hoopgw.identity.caller_certificates import (
    LIFETIME,
    certificate_node,
    issue_caller,
    lineage_of,
)
from hoopgw.identity.certified import TARGETS_LIMIT, Certified
from hoopgw.identity.key_kinds import INTERCEPTION
from hoopgw.identity.shares import generation_of, shares
from hoopgw.identity.ssh_certificates import (
    LOGINS_LIMIT,
    Restrictions,
    issue_user,
    public_line,
)
from hoopgw.store.certificate_rows import CertificateKind, CertificateRow
from hoopgw.store.rows import Store

log = Logger()

CERTIFICATES_LIMIT: Final = 1_000
"""Certificates that one log-in may have at one time."""
REVOKED: Final = "the certificate was revoked"
_KEY_LIMIT: Final = 4_096
_ARGUMENTS: Final = (
    "csr",
    "ssh_key",
    "targets",
    "account",
    "accounts",
    "permissions",
    "lifetime",
)


@define(eq=False)
class CertificateRoutes:
    """Serves them."""

    _callers: Callers
    _store: Store
    _delegations: Delegations
    _keys: KeyKeeper
    _targets: Mapping[str, object]
    """The targets that are configured, by name."""
    _issuer: str
    _now: Callable[[], float]
    _chain_lifetime: float
    """Seconds that a certificate of something delegated lasts, at most."""

    def routes(self) -> list[Route]:
        """Return the routes below ``/v1``."""
        return [
            Route("POST", "certificates", self._issue),
            Route("POST", "certificates/*/revoke", self._revoke),
        ]

    def _issue(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body, *_ARGUMENTS)
        if not caller.proved:
            raise ApiError(
                403,
                "not_bound",
                "a certificate is for a log-in that is bound to a key, and proved with it",
            )
        if ("csr" in call.body) == ("ssh_key" in call.body):
            raise ApiError(400, "invalid_request", "give csr, or ssh_key, and not both")
        try:
            return (
                self._issue_ssh(call, caller)
                if "ssh_key" in call.body
                else self._x509(call, caller)
            )
        except AuthenticationError as error:
            raise ApiError(400, "invalid_request", str(error)) from error

    def _x509(self, call: Call, caller: Caller) -> dict[str, Any]:
        now, body = self._now(), call.body
        certified = self._certified(body, caller, _optional(body, "account"))
        key = requested_key(_text(body, "csr"))
        lifetime = self._lifetime(body, caller, now)
        certificate = issue_caller(self._keys.callers, certified, key, now, lifetime)
        end = certificate.not_valid_after_utc.timestamp()
        self._keep("x509", certificate.serial_number, caller.principal, end)
        return {
            "certificate": certificate.public_bytes(Encoding.PEM).decode(),
            "ca": self._keys.agents.gateway_pem,
            "serial": f"{certificate.serial_number:x}",
            "expires": end,
            "session_expires": certified.principal.expires,
            "targets": sorted(certified.targets),
        }

    def _issue_ssh(self, call: Call, caller: Caller) -> dict[str, Any]:
        now, body = self._now(), call.body
        certified = self._certified(body, caller, "")
        permissions = frozenset(_texts(body, "permissions", 16)) if "permissions" in body else ()
        lifetime = self._lifetime(body, caller, now)
        signer = self._keys.ssh_users.private_key
        assert isinstance(signer, Ed25519PrivateKey)  # the book holds no other
        text, serial = issue_user(
            signer,
            certified,
            _ssh_key(_text(body, "ssh_key")),
            _texts(body, "accounts", LOGINS_LIMIT),
            now,
            Restrictions(permissions=frozenset(permissions)),
            lifetime,
        )
        end = min(now + lifetime, certified.principal.expires)
        self._keep("ssh", serial, caller.principal, end)
        return {
            "certificate": text,
            "host_authorities": PublicKeys(self._keys).ssh_hosts().decode().splitlines(),
            "serial": f"{serial:x}",
            "lifetime": end - now,
            "expires": end,
            "session_expires": certified.principal.expires,
            "targets": sorted(certified.targets),
        }

    def _lifetime(self, body: Mapping[str, Any], caller: Caller, now: float) -> float:
        """Return how long a certificate lasts: no longer than the token that it is given for.

        A token of a log-in lasts minutes. What was delegated may be good for as long as the log-in:
        its certificate ends with the first part of the chain, and never much later than a token.
        """
        longest = min(LIFETIME.total_seconds(), caller.token_expires - now)
        if caller.principal.nodes:
            longest = min(longest, self._chain_lifetime)
        given = body.get("lifetime", longest)
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 10**6:
            raise ApiError(400, "invalid_request", "lifetime: expected seconds")
        return min(float(given), longest)

    def _certified(self, body: Mapping[str, Any], caller: Caller, account: str) -> Certified:
        targets = _texts(body, "targets", TARGETS_LIMIT)
        for target in targets:
            if target not in self._targets:
                raise ApiError(404, "not_found", f"there is no target {target[:80]!r}")
        return Certified(
            issuer=self._issuer,
            principal=caller.principal,
            targets=frozenset(targets),
            account=account,
        )

    def _keep(self, kind: CertificateKind, serial: int, principal: Principal, end: float) -> None:
        """Take note before it is given: what is not known could not be revoked."""
        self._delegations.keep(principal)
        row = CertificateRow(
            serial=serial,
            kind=kind,
            login=principal.session,
            lineage=tuple(lineage_of(principal, serial)),
            issued=self._now(),
            expires=end,
        )
        limits = shares(CERTIFICATES_LIMIT, generation_of(principal))
        if not self._store.certificates.keep(row, limits):
            text = f"the log-in has {limits[-1]} certificates already"
            raise ApiError(429, "too_many", text)
        log.info(
            "{path} got certificate {serial}, until {end}",
            path=principal.path,
            serial=f"{serial:x}",
            end=int(end),
        )

    def _revoke(self, call: Call) -> dict[str, Any]:
        caller = self._callers.identify(call)
        only(call.body)
        row = self._found(call.path[0])
        # A child that shares the log-in may not end what its parent has.
        below = row is not None and set(caller.principal.lineage) <= set(row.lineage)
        if not (caller.is_admin or below):
            raise ApiError(403, "refused", "only administrators revoke certificates of others")
        if row is None:
            raise ApiError(404, "not_found", "no such certificate is good now")
        by = None if caller.is_admin else caller.principal
        self._delegations.revoke(certificate_node(row.serial), REVOKED, by)
        return {"serial": call.path[0], "revoked": True}

    def _found(self, text: str) -> CertificateRow | None:
        try:
            return self._store.certificates.find(int(text[:64], 16))
        except ValueError as error:
            raise ApiError(400, "invalid_request", "a serial number is hexadecimal") from error


@define(eq=False)
class PublicKeys:
    """What everybody may know of the gateway's keys, as documents."""

    _keys: KeyKeeper

    def listeners(self) -> bytes:
        """CAs of the listeners, PEM: what callers trust; empty if they are an operator's own."""
        return self._keys.agents.gateway_pem.encode()

    def callers(self) -> bytes:
        """CAs of callers, PEM."""
        return pem(self._keys.accepted("callers")).encode()

    def interception(self) -> bytes:
        """CAs for hosts of others, PEM: what clients of transparent listeners trust; or nothing."""
        if not self._keys.has(INTERCEPTION):
            return b""
        return pem(self._keys.accepted(INTERCEPTION)).encode()

    def ssh_users(self) -> bytes:
        """CAs of SSH users, one a line, as ``TrustedUserCAKeys`` has them."""
        return _lines(self._keys, "ssh-users")

    def ssh_hosts(self) -> bytes:
        """CAs of SSH hosts, one a line, for ``@cert-authority`` lines."""
        return _lines(self._keys, "ssh-hosts")


def _lines(keys: KeyKeeper, name: str) -> bytes:
    found = [key.public_key for key in keys.accepted_keys(name)]
    lines = [public_line(key) for key in found if isinstance(key, Ed25519PublicKey)]
    return "".join(f"{line} hoopgw {name}\n" for line in lines).encode()


def _ssh_key(text: str) -> Ed25519PublicKey:
    try:
        key = load_ssh_public_key(text[:_KEY_LIMIT].encode())
    except (ValueError, TypeError) as error:
        raise AuthenticationError("ssh_key is no public key of OpenSSH") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuthenticationError("ssh_key must be Ed25519")
    return key


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, "invalid_request", f"{name}: expected text")
    return value


def _optional(body: Mapping[str, Any], name: str) -> str:
    return _text(body, name) if name in body else ""


def _texts(body: Mapping[str, Any], name: str, limit: int) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not 0 < len(value) <= limit:
        raise ApiError(400, "invalid_request", f"{name}: expected a list of 1 to {limit} names")
    if not all(isinstance(each, str) and 0 < len(each) <= 256 for each in value):
        raise ApiError(400, "invalid_request", f"{name}: expected names")
    return list(dict.fromkeys(value))
