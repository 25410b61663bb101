"""What the gateway answers in its own name to Azure's clients: its cloud's metadata, and tokens.

`az` and the SDKs are told of a cloud whose names are all the gateway's. In place of Entra's tokens
they get tokens of the gateway, good for its targets and nothing else; to them a token is opaque.
The proof of who asks is an OpenID Connect token of the caller's own issuer, as a CI job has it, or
a gateway token: as ``client_assertion`` (RFC 7523), or as the header of a managed identity. A
client's secret, or an assertion for Entra itself, is not taken, not kept and not written down.

========================================================  ==========================================
``GET /metadata/endpoints``                               the cloud: a list, or one object for the
                                                          version of 2022
``GET /TENANT[/v2.0]/.well-known/openid-configuration``   where tokens are
``GET /common/discovery/instance``                        the same, as msal asks
``POST /TENANT/oauth2[/v2.0]/token``                      a token (client credentials)
``GET /msi/token``                                        a token, as App Service has it
``GET /metadata/identity/oauth2/token``                   a token, as a virtual machine has it
========================================================  ==========================================
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field, frozen

from hoopgw.errors import UnavailableError
from hoopgw.http.messages import Request, Response
from hoopgw.http.path import Locator, LocatorError, locate
from hoopgw.identity.shown import GivenToken, Tokens
from hoopgw_azure.operations import Service

METADATA: Final = "/metadata/endpoints"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FIELDS_LIMIT: Final = 40
_PROOF_LIMIT: Final = 65_536
_CLIENT: Final = 128
_STATUS: Final = {
    "slow_down": 429,
    "temporarily_unavailable": 503,
    "invalid_client": 401,
    "invalid_grant": 401,
}
_FIXED: Final[Mapping[str, str]] = {"storage.azure.com": "storage"}
"""Resources that clients name whatever their cloud says, and the kind of target that is meant."""
_NO_STORE: Final = ((b"Cache-Control", b"no-store"), (b"Pragma", b"no-cache"))


class Place(Protocol):
    """Names of a listener."""

    @property
    def cloud(self) -> str:
        """What the cloud is called."""
        ...

    @property
    def domain(self) -> str:
        """What the hosts of all its storage end in."""
        ...

    @property
    def login(self) -> str:
        """Host of the log-in."""
        ...

    @property
    def vaults(self) -> str:
        """What the hosts of key vaults end in."""
        ...

    @property
    def tenant(self) -> str:
        """Stands for the gateway where Azure names a tenant."""
        ...

    def with_port(self, host: str) -> str:
        """Return a host as clients write it."""
        ...

    def name_of(self, service: Service) -> str:
        """Return a target's host; empty if it has none here."""
        ...

    def audiences(self, service: Service) -> Collection[str]:
        """Return the hosts of resources by which clients ask for its tokens."""
        ...


@frozen(kw_only=True)
class OwnPlace:
    """Names of a cloud that is the gateway's own. Implements `Place`."""

    domain: str
    port: str = ""
    """Where clients connect, if it is not 443."""

    @property
    def cloud(self) -> str:
        """What the cloud is called."""
        return "hoopgw"

    @property
    def login(self) -> str:
        """Host of the log-in."""
        return f"login.{self.domain}"

    @property
    def vaults(self) -> str:
        """What the hosts of key vaults end in."""
        return f"vault.{self.domain}"

    @property
    def blobs(self) -> str:
        """What the hosts of storage accounts end in."""
        return f"blob.{self.domain}"

    @property
    def tenant(self) -> str:
        """Stands for the gateway where Azure names a tenant."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://{self.domain}"))

    def with_port(self, host: str) -> str:
        """Return a host as clients write it."""
        return f"{host}:{self.port}" if self.port else host

    def name_of(self, service: Service) -> str:
        """Return a target's host."""
        match service.kind:
            case "keyvault":
                return f"{service.name}.{self.vaults}"
            case "storage":
                return f"{service.name}.{self.blobs}"
            case "arm" | "rest":
                return f"{service.target.name}.{self.domain}"

    def audiences(self, service: Service) -> Collection[str]:
        """Return the hosts of resources by which clients ask for its tokens."""
        match service.kind:
            case "keyvault":
                return (self.name_of(service), self.vaults)
            case "storage":
                return (self.name_of(service), self.blobs, self.domain)
            case "arm" | "rest":
                return (self.name_of(service),)


@define(eq=False)
class Pages:
    """Answers them."""

    _tokens: Tokens
    _place: Place
    _services: Sequence[Service]
    _now: Callable[[], float] = field(default=time.time)

    async def answer(self, request: Request, address: str) -> Response:
        """Answer one request."""
        try:
            place = locate(request.target)
        except LocatorError as error:
            return _refuse(400, "invalid_request", str(error))
        segments = tuple(segment.lower() for segment in place.segments)
        match request.method, segments:
            case "GET", ("metadata", "endpoints"):
                return self._metadata(place)
            case "GET", (*_tenant, ".well-known", "openid-configuration"):
                return self._openid(request)
            case "GET", ("common", "discovery", "instance"):
                return self._instance(request)
            case "POST", (_, "oauth2", "token") | (_, "oauth2", "v2.0", "token"):
                return await self._client_credentials(request, address)
            case "GET", ("msi", "token") | ("metadata", "identity", "oauth2", "token"):
                return await self._managed(request, place, address)
        return _refuse(404, "not_found", "hoopgw serves no such page")

    # The cloud

    def _metadata(self, place: Locator) -> Response:
        url = self._url(self._place.login)
        arm = next((each for each in self._services if each.kind == "arm"), None)
        manager = "" if arm is None else self._url(self._place.name_of(arm))
        cloud: dict[str, Any] = {
            "name": self._place.cloud,
            "portal": url,
            "resourceManager": manager,
            "graph": url,
            "graphAudience": url,
            "microsoftGraphResourceId": url,
            "gallery": url,
            "batch": url,
            "sqlManagement": url,
            "media": url,
            "vmImageAliasDoc": url,
            "activeDirectoryDataLake": url,
            "authentication": {
                "loginEndpoint": url,
                "audiences": [manager or url],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "suffixes": {
                "keyVaultDns": self._place.with_port(self._place.vaults),
                "storage": self._place.with_port(self._place.domain),
                "acrLoginServer": self._place.with_port(f"acr.{self._place.domain}"),
                "sqlServerHostname": self._place.with_port(f"sql.{self._place.domain}"),
                "mhsmDns": self._place.with_port(f"mhsm.{self._place.domain}"),
            },
        }
        # For `hoopgw azure`: which targets a client's token has to be for.
        cloud["hoopgw"] = {"tenant": self._place.tenant, "resources": self.resources()}
        wanted = dict(place.query).get("api-version", "")
        return Response.of_json(200, cloud if wanted >= "2022" else [cloud])

    def resources(self) -> dict[str, list[str]]:
        """Return the targets behind each resource that clients ask tokens for."""
        found: dict[str, list[str]] = {}
        for service in self._services:
            for host in self._place.audiences(service):
                found.setdefault(self._url(host), []).append(service.target.name)
        for host in _FIXED:
            if targets := self._targets(f"https://{host}"):
                found[f"https://{host}"] = targets
        return found

    def _openid(self, request: Request) -> Response:
        base = f"{self._url(self._place.login)}/{self._place.tenant}"
        return Response.of_json(
            200,
            {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_types_supported": ["token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["EdDSA"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            },
        )

    def _instance(self, request: Request) -> Response:
        host = self._place.with_port(self._place.login)
        endpoint = f"https://{host}/{self._place.tenant}/.well-known/openid-configuration"
        aliases = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
        return Response.of_json(200, {"tenant_discovery_endpoint": endpoint, "metadata": [aliases]})

    # Tokens

    async def _client_credentials(self, request: Request, address: str) -> Response:
        form = _form(request)
        if form is None:
            return _refuse(400, "invalid_request", "expected a form, each parameter once")
        if "client_secret" in form:
            text = "hoopgw takes no client secrets: log in with a federated token"
            return _refuse(401, "invalid_client", text)
        if form.get("grant_type") != "client_credentials":
            text = "hoopgw gives tokens for client credentials with an assertion"
            return _refuse(400, "unsupported_grant_type", text)
        if form.get("client_assertion_type") != _ASSERTION or not form.get("client_assertion"):
            return _refuse(401, "invalid_client", "client_assertion is missing")
        resource = form.get("resource") or form.get("scope", "")
        given = await self._give(
            form["client_assertion"], resource, form.get("client_id", ""), address
        )
        if isinstance(given, Response):
            return given
        now = int(self._now())
        return Response.of_json(
            200,
            {
                "token_type": "Bearer",
                "expires_in": given.expires_in,
                "ext_expires_in": given.expires_in,
                "expires_on": str(now + given.expires_in),
                "not_before": str(now),
                "resource": resource,
                "access_token": given.token,
            },
            _NO_STORE,
        )

    async def _managed(self, request: Request, place: Locator, address: str) -> Response:
        proofs = request.headers.all(b"x-identity-header")
        if len(proofs) != 1:
            text = "set IDENTITY_HEADER to what proves who you are: a token of your issuer"
            return _refuse(401, "invalid_client", text)
        try:
            resource = place.parameter("resource") or ""
            client = place.parameter("client_id") or ""
        except LocatorError as error:
            return _refuse(400, "invalid_request", str(error))
        given = await self._give(proofs[0].decode("latin-1"), resource, client, address)
        if isinstance(given, Response):
            return given
        now = int(self._now())
        return Response.of_json(
            200,
            {
                "access_token": given.token,
                "expires_on": str(now + given.expires_in),
                "expires_in": str(given.expires_in),
                "not_before": str(now),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client,
            },
            _NO_STORE,
        )

    async def _give(
        self, proof: str, resource: str, client: str, address: str
    ) -> GivenToken | Response:
        targets = self._targets(resource)
        if not targets:
            return _refuse(400, "invalid_resource", "no target of hoopgw is meant by this resource")
        if len(proof) > _PROOF_LIMIT:
            return _refuse(400, "invalid_request", "the assertion is too long")
        account = "" if _is_id(client) else client[:_CLIENT]
        try:
            given = await self._tokens.give(proof, targets, account, address)
        except UnavailableError:
            return _refuse(503, "temporarily_unavailable", "tokens cannot be given now")
        if given.error:
            return _refuse(_STATUS.get(given.error, 400), given.error, given.description)
        return given

    def _targets(self, resource: str) -> list[str]:
        """Return the targets that a resource, or the scope of one, stands for."""
        try:
            parts = urlsplit(resource.split(" ")[0].removesuffix("/.default"))
            host = (parts.hostname or "").lower()
        except ValueError:
            return []
        audiences = self._place.audiences
        return [
            each.target.name
            for each in self._services
            if host in audiences(each) or _FIXED.get(host) == each.kind
        ]

    def _url(self, host: str) -> str:
        return f"https://{self._place.with_port(host)}"


def _is_id(client: str) -> bool:
    """Say whether a client's id names nobody here: Entra's are UUIDs, our accounts have names."""
    try:
        uuid.UUID(client)
    except ValueError:
        return not client
    return True


def _form(request: Request) -> Mapping[str, str] | None:
    media = (request.headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media != b"application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(
            request.body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_LIMIT
        )
    except ValueError:
        return None
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _refuse(status: int, code: str, text: str) -> Response:
    body: dict[str, Any] = {"error": code, "error_description": f"hoopgw: {text}"}
    return Response.of_json(status, body, _NO_STORE)
