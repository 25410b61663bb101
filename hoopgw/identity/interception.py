"""The CA of interception: certificates for hosts of others, whose clients were told to trust it.

Where clients are to keep their targets' own names (`hoopgw.http.transparent`), the gateway has to
answer for hosts that are not its own. Whoever has this CA's key can stand in for these hosts before
all who trust it, so it is made only where it is configured, for the names of ``[interception]`` and
no others: its name constraints are critical, and shut off every other name and all addresses. Its
key is in control alone; workers ask for certificates, with keys of their own, which live a day.
Nothing but a listener's clients trusts it. Pure functions.

Reference: RFC 5280, section 4.2.1.10.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.errors import ConfigError
from hoopgw.identity.authority import (
    Authority,
    common_name,
    issue,
    make_certificate,
    no_addresses,
)

LEAF_LIFETIME: Final = timedelta(days=1)
NAME: Final = re.compile(
    r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
"""A host's or domain's name: two labels at least, and no address."""


def name_problem(name: str) -> str | None:
    """Say why the CA cannot be made for a name of ``[interception]``, or None."""
    bare = name.removeprefix("*.")
    if NAME.fullmatch(bare) is None:
        return 'expected names such as "management.azure.com" or "*.vault.azure.net", in lower case'
    if name != bare and bare.count(".") < 1:
        return "that is a whole top-level domain"
    return None


def make_ca(
    key: ec.EllipticCurvePrivateKey, names: Iterable[str], now: datetime
) -> x509.Certificate:
    """Return a self-signed CA certificate that is good for these names, and what is below them.

    Raises:
        ConfigError: there is no name, or one is none.

    """
    wanted = list(names)
    for name in wanted:
        if problem := name_problem(name):
            raise ConfigError(f"interception.names: found {name[:80]!r}: {problem}")
    if not wanted:
        raise ConfigError("interception.names: a CA for everything is not made")
    permitted = [x509.DNSName(name.removeprefix("*.")) for name in wanted]
    constraints = x509.NameConstraints(permitted, no_addresses())
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return make_certificate(
        key, "hoopgw interception CA", now, [(constraints, True), (purpose, False)]
    )


def permits(authority: x509.Certificate, host: str) -> bool:
    """Say whether a CA may issue for a host."""
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    names = [
        str(each.value)
        for each in constraints.permitted_subtrees or ()
        if isinstance(each, x509.DNSName)
    ]
    return NAME.fullmatch(host) is not None and covers(names, host)


def covers(names: Iterable[str], host: str) -> bool:
    """Say whether a host is one of these names, or below one."""
    return any(
        host == bare or host.endswith("." + bare)
        for bare in (name.removeprefix("*.") for name in names)
    )


def issue_leaf(
    authority: Authority, host: str, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.Certificate:
    """Return a certificate for one host, for `LEAF_LIFETIME`.

    Raises:
        ConfigError: the CA may not issue for it.

    """
    if not permits(authority.certificate, host):
        raise ConfigError(
            f"interception.names: the CA was not made for {host}; name it there, and make another "
            "CA with 'hoopgw keys rotate interception'"
        )
    return issue(
        authority,
        # With a space, so that nobody takes it for a host name.
        common_name("hoopgw interception"),
        key,
        now,
        LEAF_LIFETIME,
        ExtendedKeyUsageOID.SERVER_AUTH,
        [(x509.SubjectAlternativeName([x509.DNSName(host)]), False)],
    )


def check_hosts(names: Sequence[str], hosts: Iterable[str]) -> str | None:
    """Return the first host that no name covers, or None."""
    return next((host for host in sorted(hosts) if not covers(names, host)), None)
