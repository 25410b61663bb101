"""What clients of Azure have to be told to reach the gateway: variables, and commands. Pure.

Each line was tried with the client that it is for, unless `docs/azure.md` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

KINDS: Final = ("az", "sdk", "js", "terraform")
_TRUST: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
_MANAGER: Final = "HOOPGW_ARM_URL"
"""For programs: what their code gives the clients of Resource Manager as endpoint."""


@frozen(kw_only=True)
class Cloud:
    """What the gateway says of itself at ``/metadata/endpoints``."""

    manager: str
    """URL of Resource Manager."""
    login: str
    """URL of the log-in."""
    tenant: str
    resources: Mapping[str, tuple[str, ...]]
    """URL that tokens are asked for, to the targets behind it."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Cloud:
        """Read the document of the version of 2022.

        Raises:
            ValueError: it is none of a hoopgw.

        """
        try:
            own = document["hoopgw"]
            return cls(
                manager=str(document["resourceManager"]),
                login=str(document["authentication"]["loginEndpoint"]),
                tenant=str(own["tenant"]),
                resources={
                    str(url): tuple(map(str, targets)) for url, targets in own["resources"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no hoopgw that listens for Azure's clients") from error

    def targets(self, resource: str) -> tuple[str, ...]:
        """Return the targets that a resource, or the scope of one, stands for."""
        return targets_of(self.resources, resource)

    @property
    def metadata(self) -> str:
        """URL of the document that `az` reads."""
        return f"{self.manager}/metadata/endpoints?api-version=2020-06-01"


def targets_of(resources: Mapping[str, tuple[str, ...]], resource: str) -> tuple[str, ...]:
    """Return the targets that a resource, or the scope of one, stands for: by its host."""
    wanted = urlsplit(resource.split(" ")[0].removesuffix("/.default")).netloc.lower()
    for url, targets in resources.items():
        if urlsplit(url).netloc.lower() == wanted:
            return targets
    return ()


def variables(cloud: Cloud, ca: str | None) -> dict[str, str]:
    """Return what every client of a gateway needs, without what proves who it is."""
    found = {
        "ARM_CLOUD_METADATA_URL": cloud.metadata,
        "AZURE_CLOUD_NAME": "hoopgw",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_AUTHORITY_HOST": cloud.login,
        "AZURE_TENANT_ID": cloud.tenant,
        "ARM_METADATA_HOSTNAME": urlsplit(cloud.manager).netloc,
        _MANAGER: cloud.manager,
    }
    if ca is not None:
        found |= dict.fromkeys(_TRUST, ca)
    return found


def lines(cloud: Cloud, kind: str, account: str, ca: str | None) -> list[str]:
    """Return lines for a shell, for one kind of client in a job that has a token of its issuer."""
    common = variables(cloud, ca)
    names = {
        "az": ("ARM_CLOUD_METADATA_URL", "AZURE_CLOUD_NAME", "AZURE_CORE_INSTANCE_DISCOVERY"),
        "sdk": ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", _MANAGER),
        "js": (_MANAGER,),
        "terraform": ("ARM_METADATA_HOSTNAME",),
    }[kind]
    found = [f"export {name}='{common[name]}'" for name in (*names, *_TRUST) if name in common]
    match kind:
        case "az":
            found.append(
                f"az login --service-principal -u {account} -t {cloud.tenant}"
                ' --federated-token "$(cat "$TOKEN_FILE")"'
            )
        case "sdk":
            found += [
                f"export AZURE_CLIENT_ID='{account}'",
                'export AZURE_FEDERATED_TOKEN_FILE="$TOKEN_FILE"',
            ]
        case "js":
            # Its workload identity asks Microsoft whether it knows this authority; a managed
            # identity asks nobody.
            found += [
                f"export AZURE_CLIENT_ID='{account}'",
                f"export IDENTITY_ENDPOINT='{cloud.login}/msi/token'",
                'export IDENTITY_HEADER="$(cat "$TOKEN_FILE")"',
            ]
        case _:
            found += [
                f"export ARM_CLIENT_ID='{account}' ARM_TENANT_ID='{cloud.tenant}'",
                'export ARM_USE_OIDC=true ARM_OIDC_TOKEN_FILE_PATH="$TOKEN_FILE"',
            ]
    return found
