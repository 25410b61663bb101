"""The gateway's configuration, ``hoopgw.toml``: what its tables may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen
from attrs.validators import and_, ge, le

from hoopgw.identity.interception import name_problem as intercepted_problem
from hoopgw.identity.settings import IssuerSettings
from hoopgw.spi import TargetSettings
from hoopgw.store.rows import LOGIN_LIMIT
from hoopgw.transport import Address

DAY: Final = 86_400.0
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_HOST: Final = re.compile(r"[A-Za-z0-9*](?:[A-Za-z0-9.:-]{0,252})")


def name_problem(name: str) -> str | None:
    """Say why something of ours cannot be called this, or None."""
    if _NAME.fullmatch(name):
        return None
    return 'expected a name of a-z, 0-9 and "-", at most 63 long, that starts with a letter'


def a_name(_: object, _attribute: attrs.Attribute[str], value: str) -> None:
    """Check a name; for ``validator=``."""
    if problem := name_problem(value):
        raise ValueError(problem)


def an_https_url(_: object, _attribute: attrs.Attribute[str], value: str) -> None:
    """Check a URL of the gateway's control endpoint; for ``validator=``."""
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and parts.hostname and not (parts.query or parts.fragment)
        good = good and parts.username is None and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise ValueError('expected an https URL such as "https://gateway.example:8443"')


def _host_names(_: object, _attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if not _HOST.fullmatch(name):
            raise ValueError(f"expected host names or IP addresses, not {name[:80]!r}")


@frozen(kw_only=True)
class ControlSettings:
    """``[control]``: token endpoint, admin API, health and metrics, over HTTPS."""

    listen: Address = field(factory=lambda: Address("127.0.0.1", 8443))
    url: str = field(default="https://127.0.0.1:8443", validator=an_https_url)
    """How callers and agents reach it; the issuer of gateway tokens."""
    admins: frozenset[str] = frozenset()
    """Groups whose members may see and end every session, and enrol agents."""
    auditors: frozenset[str] = frozenset()
    """Groups whose members may read every recording, and change nothing."""


@frozen(kw_only=True)
class ListenerSettings:
    """One ``[[listeners]]`` table: a port that speaks one protocol."""

    protocol: str = field(validator=a_name)
    listen: Address
    client_certificates: bool = True
    """Whether callers are asked for a certificate, which takes the place of a password."""
    names: tuple[str, ...] = field(default=(), validator=_host_names)
    """Names and addresses that clients reach it by, besides those of ``[tls]``."""
    options: Mapping[str, Any] = field(factory=dict)
    """What only the protocol understands."""


@frozen(kw_only=True)
class TlsSettings:
    """``[tls]``: the gateway's certificate, as callers see it."""

    names: tuple[str, ...] = field(default=("127.0.0.1", "localhost"), validator=_host_names)
    """What the certificate that `hoopgw init` issues is for."""
    certificate: Path | None = None
    """PEM chain from a CA of your own, instead."""
    key: Path | None = None


def _intercepted(_: object, _attribute: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if problem := intercepted_problem(name):
            raise ValueError(f"found {name[:80]!r}: {problem}")


@frozen(kw_only=True)
class InterceptionSettings:
    """``[interception]``: hosts of others that the gateway answers for, with a CA of its own."""

    names: tuple[str, ...] = field(default=(), validator=_intercepted)
    """All that the CA may issue for, and what is below it; none: there is no such CA."""


@frozen(kw_only=True)
class LinkSettings:
    """``[link]``: where agents dial in."""

    listen: Address
    agent_uids: frozenset[int] = frozenset()
    """Numeric users that may connect to a unix socket."""


@frozen(kw_only=True)
class IdentitySettings:
    """``[identity]``: whose tokens are taken."""

    token_lifetime: float = field(default=900.0, validator=and_(ge(60.0), le(DAY)))
    """Seconds that a gateway token may be shown; it is refreshed as long as the log-in lasts."""
    login_lifetime: float = field(default=8 * 3600.0, validator=and_(ge(60.0), le(LOGIN_LIMIT)))
    """Seconds that a log-in lasts at most, and with it what it opened."""
    groups_lifetime: float = field(default=3600.0, validator=and_(ge(60.0), le(7 * DAY)))
    """Seconds after which what an issuer said of groups is too old to be relied on."""
    chain_certificate_lifetime: float = field(default=900.0, validator=and_(ge(60.0), le(3600.0)))
    """Seconds that a certificate may be shown which something delegated has asked for."""
    issuers: tuple[IssuerSettings, ...] = ()


@frozen(kw_only=True)
class PolicySettings:
    """``[policy]``: where the Cedar files are."""

    directory: Path


@frozen(kw_only=True)
class ReviewSettings:
    """``[reviews]``: approvals of held operations."""

    patience: float = field(default=900.0, validator=and_(ge(1.0), le(7 * DAY)))
    """Seconds that an operation is held, unless its rule says otherwise."""


@frozen(kw_only=True)
class LimitSettings:
    """``[limits]``: what one gateway takes on."""

    sessions: int = field(default=2000, validator=and_(ge(1), le(100_000)))
    sessions_per_principal: int = field(default=200, validator=and_(ge(1), le(100_000)))


@frozen(kw_only=True)
class RecordingSettings:
    """``[recording]``: how much is kept beside the log of what went over sessions; in bytes."""

    contents: int = field(default=50 * 2**30, validator=ge(2**20))
    """All contents of this gateway."""
    session: int = field(default=10 * 2**30, validator=ge(2**20))
    """Contents of one session."""
    free: int = field(default=2**30, validator=ge(0))
    """What must stay free on the disk, for the log above all."""
    days: float = field(default=0.0, validator=and_(ge(0.0), le(36_500.0)))
    """That contents are kept after their end; 0 is for ever."""


@frozen
class GatewayPaths:
    """The state folder (0700; files 0600), as `hoopgw init` makes it."""

    state: Path

    @property
    def keys(self) -> Path:
        """Private keys and CA certificates."""
        return self.state / "keys"

    @property
    def ca_key(self) -> Path:
        """Key of the CA that issues the listeners' certificate."""
        return self.keys / "ca.key"

    @property
    def ca_certificate(self) -> Path:
        """What callers trust."""
        return self.keys / "ca.crt"

    @property
    def link_ca_key(self) -> Path:
        """Key of the CA that issues agents' certificates."""
        return self.keys / "link-ca.key"

    @property
    def link_ca_certificate(self) -> Path:
        """What agents and the link's listener trust."""
        return self.keys / "link-ca.crt"

    @property
    def callers_ca_key(self) -> Path:
        """Key of the CA that issues callers' certificates."""
        return self.keys / "callers-ca.key"

    @property
    def callers_ca_certificate(self) -> Path:
        """What listeners trust of those who call."""
        return self.keys / "callers-ca.crt"

    @property
    def interception_ca_certificate(self) -> Path:
        """What clients of a transparent listener trust."""
        return self.keys / "interception-ca.crt"

    @property
    def ssh_users_key(self) -> Path:
        """Ed25519 JWK of the CA that issues SSH user certificates."""
        return self.keys / "ssh-users.key"

    @property
    def ssh_hosts_key(self) -> Path:
        """Ed25519 JWK of the CA that issues the gateway's SSH host certificate."""
        return self.keys / "ssh-hosts.key"

    @property
    def rotations(self) -> Path:
        """How far each rotation is, and what is still accepted of before; only control writes."""
        return self.keys / "rotations.json"

    @property
    def list_number(self) -> Path:
        """Number of the newest list of revoked certificates; only control writes."""
        return self.state / "list-number"

    @property
    def token_key(self) -> Path:
        """Ed25519 JWK that signs gateway tokens."""
        return self.keys / "token.key"

    @property
    def ticket_key(self) -> Path:
        """Ed25519 JWK that signs tickets."""
        return self.keys / "ticket.key"

    @property
    def log_key(self) -> Path:
        """Ed25519 JWK that signs checkpoints."""
        return self.keys / "log.key"

    @property
    def mask_key(self) -> Path:
        """32 random bytes, for masks that make joinable tokens."""
        return self.keys / "mask.key"

    @property
    def store_key(self) -> Path:
        """32 random bytes, for the MAC of what the store keeps."""
        return self.keys / "store.key"

    @property
    def tls(self) -> Path:
        """Certificates of the listeners and the link."""
        return self.state / "tls"

    @property
    def gateway_certificate(self) -> Path:
        """PEM chain that callers see, unless ``[tls]`` names another."""
        return self.tls / "gateway.crt"

    @property
    def gateway_key(self) -> Path:
        """Its key."""
        return self.tls / "gateway.key"

    @property
    def link_certificate(self) -> Path:
        """PEM certificate of the link's listener."""
        return self.tls / "link.crt"

    @property
    def link_key(self) -> Path:
        """Its key."""
        return self.tls / "link.key"

    @property
    def ssh_host_key(self) -> Path:
        """Ed25519 JWK that the gateway's SSH listeners prove themselves with."""
        return self.tls / "ssh-host.key"

    @property
    def ssh_host_certificate(self) -> Path:
        """Its certificate, as OpenSSH writes it."""
        return self.tls / "ssh-host-cert.pub"

    @property
    def store(self) -> Path:
        """SQLite; only control opens it."""
        return self.state / "store.db"

    @property
    def run(self) -> Path:
        """Sockets between our own processes."""
        return self.state / "run"

    @property
    def control_socket(self) -> Path:
        """Where control serves the workers."""
        return self.run / "control.sock"

    @property
    def recorder_socket(self) -> Path:
        """Where the recorder serves the workers."""
        return self.run / "recorder.sock"

    @property
    def spool(self) -> Path:
        """What workers have written and the recorder has not taken yet."""
        return self.state / "spool"

    @property
    def log(self) -> Path:
        """The recorder's Merkle log."""
        return self.state / "log"

    @property
    def contents(self) -> Path:
        """What went over sessions, in files beside the log."""
        return self.state / "contents"


@frozen(kw_only=True)
class GatewayConfig:
    """The whole of ``hoopgw.toml``."""

    path: Path = field(default=Path(), metadata={"given": True})
    """The file that this was read from."""
    state: Path
    name: str = field(validator=a_name)
    """Of this gateway: the origin of its log, the issuer's name in its tickets."""
    control: ControlSettings = ControlSettings()
    listeners: tuple[ListenerSettings, ...] = ()
    tls: TlsSettings = TlsSettings()
    interception: InterceptionSettings = InterceptionSettings()
    link: LinkSettings
    identity: IdentitySettings = IdentitySettings()
    policy: PolicySettings
    reviews: ReviewSettings = ReviewSettings()
    limits: LimitSettings = LimitSettings()
    recording: RecordingSettings = RecordingSettings()
    targets: tuple[TargetSettings, ...] = ()

    @property
    def paths(self) -> GatewayPaths:
        """Where everything is in the state folder."""
        return GatewayPaths(self.state)

    @property
    def names(self) -> frozenset[str]:
        """Names and addresses that clients may know the gateway by."""
        host = urlsplit(self.control.url).hostname
        listeners = (name for listener in self.listeners for name in listener.names)
        return frozenset({*self.tls.names, *listeners, *([host] if host else ())})

    @property
    def certificate_file(self) -> Path:
        """PEM chain that callers see."""
        return self.tls.certificate or self.paths.gateway_certificate

    @property
    def key_file(self) -> Path:
        """Key of `certificate_file`."""
        return self.tls.key or self.paths.gateway_key

    @property
    def protocols(self) -> frozenset[str]:
        """The protocols that the configuration names, and that must load."""
        return frozenset(listener.protocol for listener in self.listeners) | frozenset(
            target.protocol for target in self.targets
        )


GATEWAY_REST: Final[Mapping[type, str]] = {ListenerSettings: "options", TargetSettings: "options"}
"""Tables that hold options of their protocol too."""
