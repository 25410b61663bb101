"""What clients have to be told where they keep Azure's own names: a proxy, and a CA. Pure.

Each line was tried with the client that it is for, unless `docs/azure.md` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from hoopgw_azure.settings import targets_of

DOCUMENT: Final = "/.well-known/hoopgw-proxy"
_BUNDLES: Final = (
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
)
"""Python and az; Go, .NET, Python's own; JavaScript; curl."""
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")


@frozen(kw_only=True)
class Proxied:
    """What a gateway's proxy says of itself."""

    host: str
    port: int
    tenant: str
    resources: Mapping[str, tuple[str, ...]]
    """URL that tokens are asked for, to the targets behind it."""
    hosts: Mapping[str, str]
    """Host to the target behind it; the log-in has none."""
    authorities: str
    """PEM of the CAs of interception."""

    @classmethod
    def of(cls, url: str, document: Mapping[str, Any]) -> Proxied:
        """Read its document.

        Raises:
            ValueError: it is none of a hoopgw, or the URL is none of a proxy.

        """
        parts = urlsplit(url)
        try:
            own = document["hoopgw"]
            return cls(
                host=parts.hostname or "",
                port=parts.port or 443,
                tenant=str(own["tenant"]),
                resources={
                    str(name): tuple(map(str, targets))
                    for name, targets in own["resources"].items()
                },
                hosts={str(host): str(target) for host, target in own["hosts"].items()},
                authorities=str(document["ca"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no proxy of hoopgw for Azure's own names") from error

    def targets(self, resource: str) -> tuple[str, ...]:
        """Return the targets that a resource, or the scope of one, stands for."""
        return targets_of(self.resources, resource)

    @property
    def url(self) -> str:
        """What ``HTTPS_PROXY`` is for who shows inside who asks."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def variables(proxied: Proxied, proxy: str, bundle: str, besides: str = "") -> dict[str, str]:
    """Return what every client needs, without what proves who it is.

    Args:
        proxied: of the gateway.
        proxy: the URL of the proxy: the gateway's, or one on loopback.
        bundle: the file of the CAs.
        besides: ``NO_PROXY`` as it was.

    """
    direct = ",".join(dict.fromkeys((*_LOCAL, *filter(None, besides.split(",")))))
    # Both spellings: curl knows ``https_proxy`` best, and Go takes the first that is there.
    found = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": direct, "no_proxy": direct}
    found |= dict.fromkeys(_BUNDLES, bundle)
    return found | {"AZURE_TENANT_ID": proxied.tenant}


def lines(proxied: Proxied, kind: str, account: str, bundle: str) -> list[str]:
    """Return lines for a shell, for one kind of client in a job that has a token of its issuer."""
    told = variables(proxied, proxied.url, bundle)
    found = [f"export {name}='{value}'" for name, value in told.items()]
    match kind:
        case "az":
            found.append(
                f"az login --service-principal -u {account} -t {proxied.tenant}"
                ' --federated-token "$(cat "$TOKEN_FILE")"'
            )
        case "sdk":
            found += [
                f"export AZURE_CLIENT_ID='{account}'",
                'export AZURE_FEDERATED_TOKEN_FILE="$TOKEN_FILE"',
            ]
        case "js":
            # Any name of the log-in answers as a managed identity, which asks for no secret.
            login = next((host for host, target in proxied.hosts.items() if not target), "")
            found += [
                f"export AZURE_CLIENT_ID='{account}'",
                f"export IDENTITY_ENDPOINT='https://{login}/msi/token'",
                'export IDENTITY_HEADER="$(cat "$TOKEN_FILE")"',
            ]
        case _:
            found += [
                f"export ARM_CLIENT_ID='{account}' ARM_TENANT_ID='{proxied.tenant}'",
                'export ARM_USE_OIDC=true ARM_OIDC_TOKEN_FILE_PATH="$TOKEN_FILE"',
            ]
    return found
