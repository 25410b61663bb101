"""What a listener for Azure serves, by host name.

With ``domain = "gw.example"`` in the listener's options:

=========================  =====================================================================
``login.gw.example``       the log-in that `az` and the SDKs ask for tokens (`hoopgw_azure.pages`)
``NAME.gw.example``        the target NAME, if it is Resource Manager or another REST service
``NAME.vault.gw.example``  the key vault NAME
``NAME.blob.gw.example``   the storage account NAME
=========================  =====================================================================

With ``mode = "transparent"`` these are Azure's own names instead (`hoopgw.http.transparent`):
``login.microsoftonline.com``, ``management.azure.com``, and those of the vaults and accounts that
are targets.

Clients add the port. ``/metadata/endpoints`` is answered on every name of a Resource Manager: it
tells `az` the others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from hoopgw.errors import ConfigError
from hoopgw.http.gateway import HttpsFactory, Page
from hoopgw.http.messages import Pair, RequestHead, Response
from hoopgw.http.sessions import Site
from hoopgw.http.transparent import TransparentFactory
from hoopgw.sessions.refusals import Refusal
from hoopgw.spi import GatewayContext, TargetSettings
from hoopgw_azure import refusals
from hoopgw_azure.genuine import GenuinePlace, genuine_host, is_transparent, served
from hoopgw_azure.links import Links
from hoopgw_azure.model import AzureModel
from hoopgw_azure.operations import PROTOCOL, Service
from hoopgw_azure.pages import METADATA, OwnPlace, Pages, Place

_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
ACCOUNT: Final = "default"
"""The account that is meant where neither the caller nor the target says one."""


class AzureSites:
    """Implements `hoopgw.http.gateway.Sites`.

    Args:
        context: of the gateway.

    Raises:
        ConfigError: the listener's options make no sense.

    """

    def __init__(self, context: GatewayContext) -> None:
        domain = str(context.listener.get("domain", "")).lower()
        if not _DOMAIN.fullmatch(domain):
            raise ConfigError('listeners.domain: expected a domain of the gateway, "gw.example"')
        authority = str(context.listener.get("authority", "")) or domain
        port = authority.rpartition(":")[2] if ":" in authority else ""
        place = OwnPlace(domain=domain, port=port)
        services = [Service.of(target) for target in context.targets.values()]
        self._pages = Pages(context.tokens, place, services)
        self._sites = {
            place.name_of(service): make_site(context, service, place) for service in services
        }
        self._login = place.login

    def find(self, head: RequestHead) -> Site | Page | None:
        """Return what a request is for."""
        host = head.host.rpartition(":")[0] if ":" in head.host else head.host
        if host == self._login:
            return self._pages.answer
        site = self._sites.get(host)
        if site is None:
            return None
        if head.target.partition("?")[0].rstrip("/").lower() == METADATA:
            return self._pages.answer
        return site

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal where no target is known."""
        return refusals.of_rest(refusal)


class GenuineSites:
    """What a transparent listener serves: Azure's own names.

    Implements `hoopgw.http.transparent.HostSites`.

    Args:
        context: of the gateway.

    Raises:
        ConfigError: the listener's options make no sense.

    """

    def __init__(self, context: GatewayContext) -> None:
        self._place = place = GenuinePlace.of(context.listener)
        found = served(context.listener, context.targets.values())
        services = list(dict.fromkeys(found.values()))
        self._pages = Pages(context.tokens, place, services)
        sites = {service: make_site(context, service, place) for service in services}
        self._sites: dict[str, Site | None] = {host: sites[each] for host, each in found.items()}
        self._sites[place.login] = None
        self._vaults = {host for host, each in found.items() if each.kind == "keyvault"}

    @property
    def hosts(self) -> Collection[str]:
        """Every host that the listener answers for."""
        return self._sites.keys()

    def site_of(self, host: str) -> Site | None:
        """Return the target that a host is; None for the log-in."""
        return self._sites[host]

    def asks_first(self, host: str) -> bool:
        """Say whether a host is a vault: see `hoopgw.http.transparent.HostSites`."""
        return host in self._vaults

    def document(self) -> Mapping[str, Any]:
        """Return what clients are told of the hosts."""
        targets = {
            host: "" if site is None else site.target.name for host, site in self._sites.items()
        }
        own = {"tenant": self._place.tenant, "resources": self._pages.resources(), "hosts": targets}
        return {"hoopgw": own}

    def find(self, head: RequestHead) -> Site | Page | None:
        """Return what a request is for."""
        host = head.host.removesuffix(":443")
        if host not in self._sites:
            return None
        site = self._sites[host]
        if site is None or head.target.partition("?")[0].rstrip("/").lower() == METADATA:
            return self._pages.answer
        return site

    def refuse(self, head: RequestHead | None, refusal: Refusal) -> Response:
        """Say a refusal where no target is known."""
        return refusals.of_rest(refusal)


def make_factory(context: GatewayContext) -> HttpsFactory:
    """Build the client leg; see `hoopgw.spi.ProtocolSpec`."""
    if is_transparent(context.listener):
        return TransparentFactory(context, GenuineSites(context))
    return HttpsFactory(context, AzureSites(context))


def make_site(context: GatewayContext, service: Service, place: Place) -> Site:
    """Return a target as the gateway leg needs it, for clients that know it by a place's names."""
    target = service.target
    genuine = genuine_host(service)
    hosts = service.hosts | ({genuine} if genuine else set())
    model = AzureModel(
        service,
        Links(frozenset(hosts), service.leaves_foreign),
        _challenge(service, place),
        context.mask_key(),
    )
    return Site(
        target=target,
        model=model,
        protocol=PROTOCOL,
        account=str(target.options.get("account", ACCOUNT)),
        connecting=service.connecting,
    )


def _challenge(service: Service, place: Place) -> tuple[Pair, ...]:
    """Return the field that tells a client where to log in (RFC 6750, section 3)."""
    login = f"https://{place.with_port(place.login)}/{place.tenant}"
    if service.kind == "keyvault":
        resource = f"https://{place.with_port(place.vaults)}"
        said = f'Bearer authorization="{login}", resource="{resource}"'
    else:
        said = f'Bearer authorization_uri="{login}", error="invalid_token"'
    return ((b"WWW-Authenticate", said.encode()),)


def connecting(target: TargetSettings, account: str, _place: str) -> Any:
    """Return the operation that using a target is; for `hoopgw.spi.ProtocolSpec`."""
    return Service.of(target).connecting(account)
