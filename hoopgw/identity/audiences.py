"""Audiences that are other services': a token for one of them is a credential, and not for us.

Whoever sends us such a token gives away what opens that service; we neither take it, nor keep or
log it. The list has what the callers' own tools hold, and is no substitute for `aud` being ours.
"""

from __future__ import annotations

from typing import Final

_FOREIGN: Final = frozenset(
    {
        "api://azureadtokenexchange",  # becomes any identity that federates with the issuer
        "https://management.azure.com",
        "https://management.core.windows.net",
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",  # Azure Resource Manager
        "https://graph.microsoft.com",
        "00000003-0000-0000-c000-000000000000",  # Microsoft Graph
        "https://graph.windows.net",
        "https://vault.azure.net",
        "cfa8b339-82a2-471a-a3c9-0fc0be7a4093",  # Azure Key Vault
        "https://storage.azure.com",
        "https://ossrdbms-aad.database.windows.net",
        "499b84ac-1321-427f-aa17-267ca6975798",  # Azure DevOps
        "6dae42f8-4368-4678-94ff-3960e28e3630",  # Azure Kubernetes Service
        "sts.amazonaws.com",
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
    }
)
_GOVERNED: Final = (".usgovcloudapi.net", ".chinacloudapi.cn", ".azure.cn")


def is_foreign(audience: str) -> bool:
    """Say whether an audience is that of a known other service, however it is spelt."""
    plain = audience.lower().rstrip("/").removesuffix("/.default").removesuffix(":443")
    return plain in _FOREIGN or plain.endswith(_GOVERNED)
