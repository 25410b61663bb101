"""The CA that callers trust, and the certificate that it issues to the gateway's listeners.

The CA can issue for the names that it was made for and no others: its name constraints are
critical, so a stolen CA key is of no use against the rest of what a caller connects to. Other
names need another CA. The link has a CA of its own (`hoopgw.link.certificates`), which no caller
sees. Pure functions: no file is read or written here.

Reference: RFC 5280.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.errors import ConfigError
from hoopgw.identity.authority import Authority, common_name, issue, make_certificate

SERVER_LIFETIME: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
_DNS: Final = re.compile(r"(?=.{1,253}$)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.?)+", re.I)


def make_ca(
    key: ec.EllipticCurvePrivateKey, names: Iterable[str], now: datetime
) -> x509.Certificate:
    """Return a self-signed CA certificate that is good for these names and what is below them.

    Raises:
        ConfigError: a name is neither a DNS name nor an IP address.

    """
    constraints = _constraints([alternative_name(name) for name in names])
    return make_certificate(key, "hoopgw CA", now, [(constraints, True)])


def issue_server(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    names: Iterable[str],
    now: datetime,
) -> x509.Certificate:
    """Return a certificate for the gateway's listeners.

    Raises:
        ConfigError: there is no name, or one that the CA may not issue for.

    """
    wanted = [alternative_name(name) for name in names]
    if not wanted:
        raise ConfigError("tls.names: a certificate needs at least one name")
    constraints = ca.extensions.get_extension_for_class(x509.NameConstraints).value
    for name in wanted:
        if not _is_permitted(name, constraints):
            raise ConfigError(
                f"tls.names: the gateway's CA was not made for {name.value}; make another with "
                "'hoopgw keys rotate listeners', or name a certificate of your own in [tls]"
            )
    return issue(
        Authority(ca, ca_key),
        # A common name with a space is none that a client takes for a host name.
        common_name("hoopgw gateway"),
        key,
        now,
        SERVER_LIFETIME,
        ExtendedKeyUsageOID.SERVER_AUTH,
        [(x509.SubjectAlternativeName(wanted), False)],
    )


def needs_renewal(certificate: x509.Certificate, now: datetime) -> bool:
    """Say whether a listener's certificate should be issued anew."""
    return now + RENEW_BEFORE >= certificate.not_valid_after_utc


def names_of(certificate: x509.Certificate) -> Sequence[str]:
    """Return the names that a certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def alternative_name(name: str) -> x509.DNSName | x509.IPAddress:
    """Return a host name or address as certificates hold it. Raises `ConfigError` if it is none."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not _DNS.fullmatch(name):
            raise ConfigError(f"tls.names: {name!r} is no host name and no address") from None
        return x509.DNSName(name.lower().rstrip("."))


def _constraints(names: list[x509.DNSName | x509.IPAddress]) -> x509.NameConstraints:
    """Permit the names. A kind of name that has none is shut off: absent would mean any."""
    permitted: list[x509.GeneralName] = []
    excluded: list[x509.GeneralName] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            permitted.append(x509.DNSName(name.value.removeprefix("*.")))
        else:
            permitted.append(x509.IPAddress(ipaddress.ip_network(name.value)))
    if not any(isinstance(name, x509.DNSName) for name in names):
        permitted.append(x509.DNSName("invalid"))  # a name that never exists (RFC 6761)
    versions = {name.value.version for name in names if isinstance(name, x509.IPAddress)}
    excluded += [
        x509.IPAddress(ipaddress.ip_network(everything))
        for version, everything in ((4, "0.0.0.0/0"), (6, "::/0"))
        if version not in versions
    ]
    return x509.NameConstraints(permitted, excluded or None)


def _is_permitted(name: x509.DNSName | x509.IPAddress, constraints: x509.NameConstraints) -> bool:
    for permitted in constraints.permitted_subtrees or ():
        if isinstance(name, x509.IPAddress) and isinstance(permitted, x509.IPAddress):
            if name.value in _network(permitted):
                return True
        elif isinstance(name, x509.DNSName) and isinstance(permitted, x509.DNSName):
            host = name.value.removeprefix("*.")
            if host == permitted.value or host.endswith("." + permitted.value):
                return True
    return False


def _network(name: x509.IPAddress) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(name.value)
