"""From a reference in the configuration to the source that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, TypeAlias

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from hoopgw.credentials.azure import (
    Credential,
    Get,
    KeyVaultSource,
    Opener,
    RunInThread,
    TokenSource,
    identity,
    vault_scope,
)
from hoopgw.credentials.identities import EntraIdentity
from hoopgw.credentials.sources import (
    EnvironmentSource,
    FileSource,
    SecretSource,
    SystemdSource,
)
from hoopgw.errors import ConfigError, PluginError

GROUP: Final = "hoopgw.secrets"


@frozen(kw_only=True)
class SourceContext:
    """What sources are made with."""

    environment: Mapping[str, str] = field(repr=False)
    base: Path
    """Relative paths start here."""
    run_in_thread: RunInThread = field(repr=False)
    clock: IReactorTime = field(repr=False)
    get: Get = field(factory=Opener, repr=False)
    identity: Callable[[str], Callable[[], Credential]] = field(default=identity, repr=False)
    """Client id (or "") to what makes an `azure-identity` credential."""
    identities: Mapping[str, EntraIdentity] = field(factory=dict)
    """Identities of the configuration, by name."""
    scope: str = ""
    """What tokens of Entra are for: the target's protocol knows, not who writes the reference."""


Maker: TypeAlias = Callable[[str, SourceContext], SecretSource]
"""Makes a source of what follows the colon. Raises `ConfigError` if that makes no sense."""


def make_source(
    reference: str, context: SourceContext, installed: Iterable[EntryPoint] | None = None
) -> SecretSource:
    """Make the source that a reference names. Nothing is fetched yet.

    Raises:
        ConfigError: the reference makes no sense; the text says what would.
        PluginError: its kind is a plug-in's, and that does not load.

    """
    kind, colon, rest = reference.partition(":")
    if not colon:
        # The text may be a password that was written inline: do not show it.
        raise ConfigError("a secret is given by reference, as file:/path or env:NAME")
    if kind in _BUILT_IN:
        return _BUILT_IN[kind](rest, context)
    found = [
        entry
        for entry in (entry_points(group=GROUP) if installed is None else installed)
        if entry.name == kind
    ]
    if not found:
        raise ConfigError(f"no such kind of secret; these are: {', '.join(sorted(_BUILT_IN))}")
    if len(set(found)) > 1:
        raise PluginError(f"secret source {kind!r} is installed twice")
    try:
        maker: Maker = found[0].load()
    except Exception as error:
        raise PluginError(f"secret source {kind!r} does not load: {error}") from error
    return maker(rest, context)


def _environment(rest: str, context: SourceContext) -> SecretSource:
    if not rest.isidentifier() or not rest.isascii():
        raise ConfigError("expected env: and the name of a variable")
    return EnvironmentSource(rest, context.environment)


def _file(rest: str, context: SourceContext) -> SecretSource:
    if not rest or "\0" in rest:
        raise ConfigError("expected file: and a path")
    return FileSource(context.base / rest)


def _systemd(rest: str, context: SourceContext) -> SecretSource:
    return SystemdSource(rest, context.environment)


def _keyvault(rest: str, context: SourceContext) -> SecretSource:
    tokens = _tokens(vault_scope(rest), "", context)
    return KeyVaultSource(rest, tokens, context.get, context.run_in_thread, context.clock)


def _entra(rest: str, context: SourceContext) -> SecretSource:
    if not context.scope:
        raise ConfigError("this target takes no token of Entra")
    return _tokens(context.scope, rest, context)


def _tokens(scope: str, who: str, context: SourceContext) -> TokenSource:
    named = context.identities.get(who)
    make = context.identity(who) if named is None else named.credential()
    return TokenSource(scope, make, context.run_in_thread, context.clock)


_BUILT_IN: Final[Mapping[str, Maker]] = {
    "env": _environment,
    "file": _file,
    "systemd": _systemd,
    "keyvault": _keyvault,
    "entra": _entra,
}
