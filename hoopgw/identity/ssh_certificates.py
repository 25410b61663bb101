"""SSH certificates: a chain for an SSH client to show, and the gateway's own host certificate.

A user certificate carries the chain in the critical option `CHAIN`. A server that does not know a
critical option must refuse the certificate, so a stock sshd never takes one of ours, even if
somebody made it trust the CA: what a chain may do is for the gateway to decide, and only it reads
chains. Nothing is permitted besides what was asked for; the list of principals is never empty,
because OpenSSH takes an empty one as everybody.

Users and hosts have CAs of their own, Ed25519 both. Pure functions: no clock, no file.

Reference: OpenSSH PROTOCOL.certkeys.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_identity,
)

from hoopgw.errors import AuthenticationError
from hoopgw.events import Principal
from hoopgw.identity.caller_certificates import lineage_of
from hoopgw.identity.certified import SIZE_LIMIT, Certified, decode, encode

CHAIN: Final = "chain@hoopgw"
"""The critical option that holds the form of `hoopgw.identity.certified`."""
LIFETIME: Final = 3_600.0
"""Seconds for which a user certificate may be shown, at most."""
HOST_LIFETIME: Final = 30 * 86_400.0
SKEW: Final = 300.0
"""Seconds that a certificate begins early, for clocks that are behind."""
LOGINS_LIMIT: Final = 32
PERMISSIONS: Final = frozenset(
    {
        "permit-pty",
        "permit-port-forwarding",
        "permit-agent-forwarding",
        "permit-X11-forwarding",
        "permit-user-rc",
    }
)
"""Extensions that may be asked for; what they are good for is for policy to say."""
_LOGIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,62}")
_HOST: Final = re.compile(r"[A-Za-z0-9*_:]([A-Za-z0-9.:*_-]{0,251}[A-Za-z0-9:])?")
_SOURCES: Final = "source-address"
_COMMAND: Final = "force-command"
_COMMAND_LIMIT: Final = 4_096
_TEXT_LIMIT: Final = 48 * 1024
_ALGORITHM: Final = "ssh-ed25519-cert-v01@openssh.com"


@frozen(kw_only=True)
class Restrictions:
    """What a certificate itself says that its holder may not do. Whoever takes it enforces it."""

    sources: tuple[str, ...] = ()
    """Networks that it may be shown from; none is all."""
    command: str = ""
    """The only command that may be run; empty is any."""
    permissions: frozenset[str] = frozenset()
    """Of `PERMISSIONS`; what is not here may not be asked for."""

    def admits_address(self, address: str) -> bool:
        """Say whether it may be shown from an address."""
        if not self.sources:
            return True
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in ipaddress.ip_network(source) for source in self.sources)


@frozen(kw_only=True)
class SshCaller:
    """A user certificate that is good, apart from revocation. SSH must still prove its key."""

    certified: Certified
    key: Ed25519PublicKey = field(repr=False)
    serial: int
    restrictions: Restrictions

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return self.certified.principal

    @property
    def lineage(self) -> tuple[str, ...]:
        """What revocation goes by."""
        return tuple(lineage_of(self.principal, self.serial))


@frozen(kw_only=True)
class SshHost:
    """What the gateway's listener proves itself with."""

    key: Ed25519PrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    """``ssh-ed25519-cert-v01@openssh.com``, as it goes over the wire."""


def issue_user(
    ca: Ed25519PrivateKey,
    certified: Certified,
    key: Ed25519PublicKey,
    logins: Collection[str],
    now: float,
    restrictions: Restrictions = Restrictions(),
    lifetime: float = LIFETIME,
) -> tuple[str, int]:
    """Return a user certificate as OpenSSH keeps it, without a comment, and its serial number.

    Args:
        ca: of SSH users.
        certified: whom for, and where.
        key: the holder's, who must have proved to have it.
        logins: accounts that it may be shown for.
        now: seconds since the epoch.
        restrictions: what it forbids.
        lifetime: seconds; it is cut to `LIFETIME` and to the principal's end.

    Raises:
        AuthenticationError: a login or a restriction is none, or nothing is left of its lifetime.

    """
    names = sorted(set(logins))
    if not 0 < len(names) <= LOGINS_LIMIT or not all(map(_LOGIN.fullmatch, names)):
        raise AuthenticationError(f"an SSH certificate is for 1 to {LOGINS_LIMIT} accounts")
    end = min(now + min(lifetime, LIFETIME), certified.principal.expires)
    if end - now < 1:
        raise AuthenticationError("nothing is left of the log-in's lifetime")
    serial = secrets.randbelow(2**63 - 1) + 1
    builder = (
        SSHCertificateBuilder()
        .public_key(key)
        .serial(serial)
        .type(SSHCertificateType.USER)
        .key_id(_printable(f"hoopgw: {certified.principal.path}").encode())
        .valid_principals([name.encode() for name in names])
        .valid_after(int(now - SKEW))
        .valid_before(int(end))
    )
    options = {CHAIN.encode(): encode(certified), **_options(restrictions)}
    for name, value in sorted(options.items()):
        builder = builder.add_critical_option(name, value)
    for permission in sorted(restrictions.permissions):
        builder = builder.add_extension(permission.encode(), b"")
    return builder.sign(ca).public_bytes().decode(), serial


def is_login(name: str) -> bool:
    """Say whether an account may be called so."""
    return _LOGIN.fullmatch(name) is not None


def issue_host(
    ca: Ed25519PrivateKey, key: Ed25519PublicKey, names: Collection[str], now: float
) -> str:
    """Return a host certificate for the gateway, for clients with an ``@cert-authority`` line.

    Raises:
        AuthenticationError: a name is none, or there is none.

    """
    hosts = sorted(set(names))
    if not hosts or not all(map(_HOST.fullmatch, hosts)):
        raise AuthenticationError("a host certificate is for host names")
    builder = (
        SSHCertificateBuilder()
        .public_key(key)
        .serial(secrets.randbelow(2**63 - 1) + 1)
        .type(SSHCertificateType.HOST)
        .key_id(b"hoopgw gateway")
        .valid_principals([host.encode() for host in hosts])
        .valid_after(int(now - SKEW))
        .valid_before(int(now + HOST_LIFETIME))
    )
    return builder.sign(ca).public_bytes().decode()


def verify_user(
    text: str,
    authorities: Iterable[Ed25519PublicKey],
    issuer: str,
    target: str,
    login: str,
    now: float,
) -> SshCaller:
    """Return whom a user certificate stands for.

    Args:
        text: ``ssh-ed25519-cert-v01@openssh.com`` and base64, as OpenSSH writes it.
        authorities: CAs of SSH users.
        issuer: this gateway's URL.
        target: that is asked for.
        login: the account that is asked for.
        now: seconds since the epoch; there is no leeway at the end.

    Raises:
        AuthenticationError: it is not good. That its holder has the key is not known yet, nor
            whether it was revoked (`SshCaller.lineage`).

    """
    certificate = _read(text, authorities)
    if certificate.type is not SSHCertificateType.USER:
        raise AuthenticationError("the certificate is a host's, not a user's")
    if not certificate.valid_after <= now < certificate.valid_before:
        text = "the certificate is outside its time: hoopgw ssh-certificate gets another one"
        raise AuthenticationError(text)
    principals = certificate.valid_principals
    if not principals:
        raise AuthenticationError("the certificate names no account, which would mean all")
    if login.encode() not in principals:
        raise AuthenticationError(f"the certificate is not for account {login}")
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise AuthenticationError("the certificate's key is not Ed25519")
    certified, restrictions = _meaning(certificate, issuer)
    certified.admits(target, login)
    if certified.principal.expires <= now:
        raise AuthenticationError("the log-in of the certificate is over")
    return SshCaller(
        certified=certified, key=key, serial=certificate.serial, restrictions=restrictions
    )


def public_line(key: Ed25519PublicKey) -> str:
    """Return a public key as OpenSSH writes it."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _read(text: str, authorities: Iterable[Ed25519PublicKey]) -> SSHCertificate:
    words = text.split(" ")
    if len(text) > _TEXT_LIMIT or len(words) < 2 or words[0] != _ALGORITHM:
        raise AuthenticationError("not an Ed25519 certificate of OpenSSH")
    try:
        certificate = load_ssh_public_identity(" ".join(words[:2]).encode())
        if not isinstance(certificate, SSHCertificate):
            raise AuthenticationError("a key, and no certificate")
        signer = certificate.signature_key()
        certificate.verify_cert_signature()
    except InvalidSignature as error:
        raise AuthenticationError("the certificate's signature is wrong") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthenticationError("the certificate is malformed") from error
    # The key in the certificate only says who claims to have signed it.
    if not isinstance(signer, Ed25519PublicKey) or signer not in tuple(authorities):
        raise AuthenticationError("the certificate is not from the SSH users' CA")
    return certificate


def _meaning(certificate: SSHCertificate, issuer: str) -> tuple[Certified, Restrictions]:
    options = dict(certificate.critical_options)
    form = options.pop(CHAIN.encode(), None)
    if form is None or len(form) > SIZE_LIMIT:
        raise AuthenticationError("the certificate holds no chain")
    sources, command = options.pop(_SOURCES.encode(), None), options.pop(_COMMAND.encode(), None)
    if options:
        raise AuthenticationError("the certificate has a critical option that is not known here")
    permissions = frozenset(name.decode("ascii", "replace") for name in certificate.extensions)
    restrictions = Restrictions(
        sources=() if sources is None else tuple(_text(sources).split(",")),
        command="" if command is None else _text(command),
        permissions=permissions & PERMISSIONS,  # others are not critical, so they are passed over
    )
    _check(restrictions, given=command is not None)
    return decode(form, issuer), restrictions


def _options(restrictions: Restrictions) -> Mapping[bytes, bytes]:
    _check(restrictions)
    if unknown := restrictions.permissions - PERMISSIONS:
        raise AuthenticationError(f"not a permission: {', '.join(sorted(unknown))}")
    options: dict[bytes, bytes] = {}
    if restrictions.sources:
        options[_SOURCES.encode()] = ",".join(restrictions.sources).encode()
    if restrictions.command:
        options[_COMMAND.encode()] = restrictions.command.encode()
    return options


def _check(restrictions: Restrictions, *, given: bool = False) -> None:
    """See that what restricts can be enforced: what is not understood would restrict nothing."""
    try:
        for source in restrictions.sources:
            ipaddress.ip_network(source)
    except ValueError as error:
        raise AuthenticationError("source-address names no network") from error
    if len(restrictions.command) > _COMMAND_LIMIT or (given and not restrictions.command):
        raise AuthenticationError("force-command is empty or too long")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise AuthenticationError("a critical option is no text") from error


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:128]
