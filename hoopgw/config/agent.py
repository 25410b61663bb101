"""The agent's configuration, ``agent.toml``: what its tables may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs
from attrs import field, frozen

from hoopgw.config.gateway import a_name, an_https_url
from hoopgw.transport import Address

SOURCES: Final = frozenset({"file", "env", "systemd", "keyvault", "entra"})
"""Schemes of ``source``; the agent knows them, or a plug-in of the group ``hoopgw.secrets``."""


def _a_source(_: object, _attribute: attrs.Attribute[str], value: str) -> None:
    if not value:
        return  # whether it may be left out is asked of the account as a whole
    # The text never repeats the value: whoever writes a password here sees that it is refused,
    # but it does not reach a log.
    scheme, colon, _rest = value.partition(":")
    if not colon or not scheme.isidentifier() or not scheme.islower() or len(scheme) > 32:
        raise ValueError(
            "expected where the credential is, never itself: "
            '"file:/path", "env:NAME", "systemd:name", "keyvault:https://…" or "entra:"'
        )


@frozen(kw_only=True)
class AgentGateway:
    """``[gateway]``: whom the agent serves."""

    link: Address
    """Where it dials."""
    url: str = field(default="https://127.0.0.1:8443", validator=an_https_url)
    """Of the gateway's control, to enrol and to renew the certificate."""
    ca: Path | None = None
    """PEM file to trust for ``url``, instead of the system's."""


@frozen(kw_only=True)
class AccountSettings:
    """``[targets.accounts.NAME]``: how the agent logs in as this account."""

    source: str = field(default="", validator=_a_source, repr=False)
    """A reference to the credential; ``peer`` has none."""
    auth: Literal[
        "password",
        "token",
        "cert",
        "peer",
        "bearer",
        "basic",
        "header",
        "key",
        "interactive",
        "ca",
    ] = "password"
    """What the credential is, for the protocol; a ``token`` is fetched for each session, and with
    ``peer`` the target knows the agent by the user behind a unix socket. For HTTPS ``bearer``,
    ``basic`` and ``header`` say how a secret that does not end is shown. For SSH it is a private
    ``key``, a password that is given as the answer to an ``interactive`` question, or the key of a
    ``ca``."""

    def __attrs_post_init__(self) -> None:
        if (self.auth == "peer") == bool(self.source):
            raise ValueError('expected a source, or auth = "peer" without one')


@frozen(kw_only=True)
class IdentitySettings:
    """``[identities.NAME]``: an application at Entra, for ``source = "entra:NAME"``."""

    kind: Literal["application", "on-behalf-of"] = "application"
    """Whose tokens it gets: its own, or those of the person behind each session."""
    tenant: str
    """Id or domain name."""
    client: str
    """The application's id."""
    secret_file: Path | None = None
    """A client secret, in a file that only the agent reads."""
    certificate: Path | None = None
    """PEM, with its key."""
    token_file: Path | None = None
    """A federated token, read for each token: a workload identity."""
    authority: str = "https://login.microsoftonline.com"
    authority_ca: Path | None = None

    def __attrs_post_init__(self) -> None:
        if sum(map(bool, (self.secret_file, self.certificate, self.token_file))) != 1:
            raise ValueError("expected one of secret_file, certificate and token_file")


@frozen(kw_only=True)
class AgentTargetSettings:
    """One ``[[targets]]`` table: what the agent opens under this name."""

    name: str = field(validator=a_name)
    protocol: str = field(validator=a_name)
    address: Address
    tls: Literal["verify-full", "verify-ca", "require", "disable"] | None = None
    """As in PostgreSQL's ``sslmode``; if not given, the protocol's default, the strictest."""
    ca: Path | None = None
    """PEM file to trust for the target's TLS, instead of the system's."""
    accounts: Mapping[str, AccountSettings] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    """What only the protocol understands."""

    @property
    def all_options(self) -> dict[str, Any]:
        """All that is for the protocol: for ``options`` of `hoopgw.spi.AgentTarget`."""
        options: dict[str, Any] = dict(self.options)
        if self.tls is not None:
            options["tls"] = self.tls
        if self.ca is not None:
            options["ca"] = str(self.ca)
        return options | {"auth": {name: a.auth for name, a in self.accounts.items()}}


@frozen(kw_only=True)
class FloorRule:
    """One ``[[floor]]`` table: what the agent opens, whatever the gateway says."""

    targets: frozenset[str]
    accounts: frozenset[str]
    mode: Literal["read-only", "any"] = "read-only"


@frozen(kw_only=True)
class AgentConfig:
    """The whole of ``agent.toml``."""

    path: Path = field(default=Path(), metadata={"given": True})
    """The file that this was read from."""
    state: Path
    """Folder (0700) with the agent's key and certificate."""
    name: str = field(validator=a_name)
    gateway: AgentGateway
    targets: tuple[AgentTargetSettings, ...] = ()
    floor: tuple[FloorRule, ...] = ()
    identities: Mapping[str, IdentitySettings] = field(factory=dict)

    @property
    def protocols(self) -> frozenset[str]:
        """The protocols that the configuration names, and that must load."""
        return frozenset(target.protocol for target in self.targets)


AGENT_REST: Final[Mapping[type, str]] = {AgentTargetSettings: "options"}
"""Tables that hold options of their protocol too."""
