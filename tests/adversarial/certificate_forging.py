"""Certificates signed with the very key of the callers' CA, in any form."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.identity.authority import Authority, common_name, issue, moment
from hoopgw.identity.caller_certificates import CHAIN
from hoopgw.identity.certified import Certified
from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from tests.identity.chains_sample import new_key
from tests.support.caller import Caller, Certificate, psql
from tests.support.gateway import WRITER, GatewayRig

TARGET: Final = "pg18"


OTHER: Final = "pg15"


def authority(rig: GatewayRig, name: str) -> Authority:
    """Steal a CA's key."""
    return KeyBook(rig.settings.paths).authority(KINDS[name])


def certified(rig: GatewayRig, **changes: Any) -> Certified:
    """Return what the gateway would certify of somebody."""
    made = Certified(
        issuer=rig.settings.control.url,
        principal=Caller(rig).principal,
        targets=frozenset({TARGET}),
    )
    return evolve(made, **changes)


def forged(
    rig: GatewayRig,
    folder: Path,
    *extensions: tuple[x509.ExtensionType, bool],
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> Certificate:
    """Issue with the stolen key of the callers' CA."""
    key = new_key()
    made = issue(
        authority(rig, "callers"),
        common_name("hoopgw: forged"),
        key.public_key(),
        moment(time.time()),
        timedelta(hours=1),
        purpose,
        extensions,
    )
    return Certificate.write(folder, key, made.public_bytes(Encoding.PEM).decode())


def chain(form: bytes) -> tuple[x509.ExtensionType, bool]:
    """Return the extension that holds a chain."""
    return x509.UnrecognizedExtension(CHAIN, form), False


def refused(rig: GatewayRig, certificate: Certificate, why: str, account: str = WRITER) -> None:
    """Expect that psql is not let in, and is told why."""
    done = psql(certificate.options(rig, TARGET, account), "SELECT 1")
    assert done.returncode == 2, done.stdout
    assert why in done.stderr, done.stderr
