"""Which keys a gateway has: what each is for, what it is, and who must know the next one."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from hoopgw.identity import caller_certificates
from hoopgw.link import certificates as link_certificates

DAY: Final = 86_400.0
HOUR: Final = 3_600.0
INTERCEPTION: Final = "interception"
"""The CA for hosts of others; see `hoopgw.identity.interception`."""


class Form(enum.Enum):
    """What a key is, and how it lies in its file."""

    AUTHORITY = "X.509 CA"
    """ECDSA on P-256, PEM, with a certificate."""
    SIGNING = "Ed25519"
    """JWK."""
    SECRET = "secret"  # noqa: S105  # the kind's name
    """32 random bytes."""


class Knower(enum.Enum):
    """Who must know the next key before it may sign."""

    WORKERS = "workers"
    AGENTS = "agents"
    CALLERS = "callers"
    """Only the operator knows whether they do."""


@frozen(kw_only=True)
class KeyKind:
    """One key."""

    name: str
    """For ``hoopgw keys``."""
    form: Form
    stem: str
    use: str
    """What it is used for, for people."""
    knowers: frozenset[Knower] = frozenset()
    overlap: float = 0.0
    """Seconds that what the old key has signed lasts at most, once the new one signs."""
    recent: bool = False
    """Whether state folders that were made by an earlier release lack it."""
    optional: bool = False
    """Whether there is one only where it is configured."""


KINDS: Final[Mapping[str, KeyKind]] = {
    kind.name: kind
    for kind in (
        KeyKind(
            name="listeners",
            form=Form.AUTHORITY,
            stem="ca",
            use="the listeners' certificate",
            knowers=frozenset({Knower.AGENTS, Knower.CALLERS}),
            overlap=HOUR,
        ),
        KeyKind(
            name="link",
            form=Form.AUTHORITY,
            stem="link-ca",
            use="certificates of agents and of the link's listener",
            knowers=frozenset({Knower.AGENTS, Knower.WORKERS}),
            overlap=link_certificates.AGENT_LIFETIME.total_seconds(),
        ),
        KeyKind(
            name="callers",
            form=Form.AUTHORITY,
            stem="callers-ca",
            use="callers' certificates, and their CRL",
            knowers=frozenset({Knower.WORKERS}),
            overlap=caller_certificates.LIFETIME.total_seconds(),
            recent=True,
        ),
        KeyKind(
            name=INTERCEPTION,
            form=Form.AUTHORITY,
            stem="interception-ca",
            use="certificates of a transparent listener, for others' hosts",
            knowers=frozenset({Knower.CALLERS}),
            overlap=HOUR,
            recent=True,
            optional=True,
        ),
        KeyKind(
            name="ssh-users",
            form=Form.SIGNING,
            stem="ssh-users",
            use="SSH user certificates",
            knowers=frozenset({Knower.WORKERS}),
            overlap=caller_certificates.LIFETIME.total_seconds(),
            recent=True,
        ),
        KeyKind(
            name="ssh-hosts",
            form=Form.SIGNING,
            stem="ssh-hosts",
            use="the gateway's SSH host certificate",
            knowers=frozenset({Knower.CALLERS}),
            overlap=HOUR,
            recent=True,
        ),
        KeyKind(
            name="token",
            form=Form.SIGNING,
            stem="token",
            use="gateway tokens",
            knowers=frozenset({Knower.WORKERS}),
            overlap=DAY,
        ),
        KeyKind(
            name="ticket",
            form=Form.SIGNING,
            stem="ticket",
            use="tickets for agents",
            knowers=frozenset({Knower.AGENTS}),
            overlap=60.0,
        ),
        KeyKind(name="log", form=Form.SIGNING, stem="log", use="checkpoints of the log"),
        KeyKind(name="mask", form=Form.SECRET, stem="mask", use="masks that can be joined"),
        KeyKind(name="store", form=Form.SECRET, stem="store", use="seals on the store's rows"),
    )
}
