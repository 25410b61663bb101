"""Tokens as the vendors document them: their claims, to be signed by a key of ours.

Each is the vendor's own example, with the moments of the forge and our audience. Where one comes
from is said beside it. None leaves a claim out.
"""

from __future__ import annotations

from typing import Any, Final

from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey
from hoopgw.identity.settings import IssuerSettings
from tests.identity.forge import NOW, rsa_key

TENANT: Final = "00000001-0000-0ff1-ce00-000000000000"
OTHER_TENANT: Final = "99999999-0000-0ff1-ce00-000000000000"
OURS: Final = "f2510d34-8dca-4ab8-a0bc-aaec4d3a3e36"
"""The client id of the gateway's registration: ``aud`` of tokens of version 2.0."""
CLI: Final = "12121212-1111-2222-3333-444444444444"
ALICE: Final = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"
APP: Final = "11112222-bbbb-3333-cccc-4444dddd5555"
APP_OID: Final = "ffffffff-eeee-dddd-cccc-bbbbbbbbbbb0"
AGENT_APP: Final = "aaaaaaaa-1111-2222-3333-444444444444"
AGENT_OID: Final = "bbbbbbbb-1111-2222-3333-444444444444"
BLUEPRINT: Final = "30cf4c22-9985-4ef7-8756-91cc888176bd"
CLUSTER: Final = "https://oidc.eks.example.com/id/ABCDEF"
DOMAIN: Final = "prod.example.com"
V1: Final = f"https://sts.windows.net/{TENANT}/"
V2: Final = f"https://login.microsoftonline.com/{TENANT}/v2.0"


def changed(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return claims with changes; None leaves one out."""
    return {name: value for name, value in (given | changes).items() if value is not None}


def github(**changes: Any) -> dict[str, Any]:
    """Return the claims of a GitHub Actions job (OpenID Connect reference, "OIDC token claims").

    ``sub`` is as for repositories made since 15 July 2026.
    """
    workflow = "octo-org/octo-repo/.github/workflows/oidc.yml@refs/heads/main"
    given = {
        "jti": "1e410ab1-302e-4e33-8c5f-869a4bd12c3b",
        "sub": "repo:octo-org@65/octo-repo@74:environment:prod",
        "environment": "prod",
        "aud": "https://gw.example",
        "ref": "refs/heads/main",
        "ref_protected": "true",
        "ref_type": "branch",
        "sha": "b8962f4eaff8e14fc646cb22c596c81e67d71362",
        "repository": "octo-org/octo-repo",
        "repository_id": "74",
        "repository_owner": "octo-org",
        "repository_owner_id": "65",
        "repository_visibility": "private",
        "actor": "octocat",
        "actor_id": "12",
        "run_id": "32291736541",
        "run_number": "10",
        "run_attempt": "2",
        "check_run_id": "96193868770",
        "runner_environment": "github-hosted",
        "head_ref": "",
        "base_ref": "",
        "event_name": "workflow_dispatch",
        "workflow": "example-workflow",
        "workflow_ref": workflow,
        "job_workflow_ref": workflow,
        "iss": "https://token.actions.githubusercontent.com",
        "nbf": NOW - 310,
        "iat": NOW - 10,
        "exp": NOW + 290,
    }
    return changed(given, changes)


def kubernetes(**changes: Any) -> dict[str, Any]:
    """Return the claims of a projected token ("Schema for service account private claims").

    As since Kubernetes 1.32, with the node.
    """
    given = {
        "aud": ["hoopgw"],
        "exp": NOW + 3590,
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "iss": CLUSTER,
        "jti": "ed9eab5f-a2a8-4d90-8d1e-1f8d4f9e8b5c",
        "kubernetes.io": {
            "namespace": "orders",
            "node": {"name": "worker-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
            "pod": {"name": "migrator-x7k2p", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
            "serviceaccount": {"name": "migrator", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            "warnafter": NOW + 3597,
        },
        "sub": "system:serviceaccount:orders:migrator",
    }
    return changed(given, changes)


def spiffe(**changes: Any) -> dict[str, Any]:
    """Return the claims of a JWT-SVID as SPIRE makes it (JWT-SVID, sections 3 and 4)."""
    given = {
        "aud": ["hoopgw"],
        "exp": NOW + 290,
        "iat": NOW - 10,
        "sub": f"spiffe://{DOMAIN}/ns/orders/sa/migrator",
    }
    return changed(given, changes)


def entra_person(**changes: Any) -> dict[str, Any]:
    """Return the claims of a delegated v2.0 access token (access token claims reference)."""
    given = {
        "aud": OURS,
        "iss": V2,
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 4000,
        "aio": "AXQAi/8IAAAA",
        "azp": CLI,
        "azpacr": "0",
        "name": "Alice Example",
        "oid": ALICE,
        "preferred_username": "alice@example.com",
        "rh": "1.AAAAAQAAAAAA8Q_OAAAAAAAAADQNUfLKjbhKoLyq7E06PjYAAAAAAA.",
        "scp": "access",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": TENANT,
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0",
        "groups": ["fee2c45b-915a-4a64-b130-f4eb9e75525e", "4fe90ae7-065a-478b-9400-e0a0e1cbd540"],
    }
    return changed(given, changes)


def entra_app(**changes: Any) -> dict[str, Any]:
    """Return the claims of a managed identity's v2.0 token, which lives 24 hours and 5 minutes."""
    given = {
        "aud": OURS,
        "iss": V2,
        "iat": NOW - 310,
        "nbf": NOW - 310,
        "exp": NOW + 86_390,
        "azp": APP,
        "azpacr": "2",
        "idtyp": "app",
        "oid": APP_OID,
        "sub": APP_OID,
        "tid": TENANT,
        "uti": "m5RaaRnoFUyp2TbSCAAAAA",
        "ver": "2.0",
        "xms_mirid": "/subscriptions/s/resourcegroups/r/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/migrator",
    }
    return changed(given, changes)


def entra_agent(**changes: Any) -> dict[str, Any]:
    """Return the claims of an agent acting by itself (agent-token-claims, the example).

    A v1.0 token of 8 hours and 5 minutes.
    """
    given = {
        "aud": OURS,
        "iss": V1,
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 29_090,
        "aio": "Y2JgYGhn1nzmErKqi0vc4Fr6H22/C5/4FP+xZbZYpik8nRkp+gEA",
        "appid": AGENT_APP,
        "appidacr": "2",
        "idp": V1,
        "idtyp": "app",
        "oid": AGENT_OID,
        "rh": "1.AAAAAQAAAAAA8Q_OAAAAAAAAADQNUfLKjbhKoLyq7E06PjYAAAAAAA.",
        "sub": "cccccccc-1111-2222-3333-444444444444",
        "tid": TENANT,
        "uti": "m5RaaRnoFUyp2TbSCAAAAA",
        "ver": "1.0",
        "xms_act_fct": "3 9 11",
        "xms_ftd": "Z5DrW4HFOkR_Lz0M5qETa260d2-fO6seMZJ_tOwRNuc",
        "xms_idrel": "7 10",
        "xms_sub_fct": "9 3 11",
        "xms_tnt_fct": "3 9",
        "xms_par_app_azp": BLUEPRINT,
    }
    return changed(given, changes)


def pipeline(**changes: Any) -> dict[str, Any]:
    """Return the claims of an Azure DevOps pipeline's own token, as its ``oidctoken`` call gives.

    Its audience cannot be chosen: it is a credential for Entra ID.
    """
    organisation = "0ca3ddd9-f0b0-4635-a98c-5866526961b6"
    given = {
        "jti": "90b75b0a-61b6-4b71-ba6f-11107d95f4c5",
        "sub": "sc://acme/orders/hoopgw",
        "aud": "api://AzureADTokenExchange",
        "iss": f"https://vstoken.dev.azure.com/{organisation}",
        "nbf": NOW - 300,
        "exp": NOW + 600,
        "iat": NOW - 10,
    }
    return changed(given, changes)


def settings_of(kind: str, /, **changes: Any) -> IssuerSettings:
    """Return the least settings of each type that can be used."""
    least: dict[str, dict[str, Any]] = {
        "github-actions": {
            "alias": "gha",
            "audiences": ["https://gw.example"],
            "required": {"repository_owner_id": ["65"]},
        },
        "kubernetes": {"alias": "k8s", "issuer": CLUSTER, "service_accounts": ["orders/migrator"]},
        "spiffe": {"alias": "mesh", "trust_domain": DOMAIN, "jwks_url": "https://spire.example/b"},
        "entra": {"alias": "corp", "tenant": TENANT, "client_id": CLI, "audiences": [OURS]},
        "azure-devops": {
            "alias": "ado",
            "tenant": TENANT,
            "clients": [APP],
            "audiences": [OURS],
        },
    }
    values: dict[str, Any] = {"type": kind, "audiences": ["hoopgw"], **least[kind]}
    return IssuerSettings(**(values | changes))


class FixedKeys:
    """Keys that are simply there."""

    def __init__(self, **keys: PublicKey) -> None:
        self._keys = keys or {"one": PublicKey(rsa_key())}
        self.asked = 0

    async def find(self, kid: str) -> PublicKey:
        """Return the key of that name."""
        self.asked += 1
        return self._keys[kid]


def issuers_of(*settings: IssuerSettings, keys: FixedKeys | None = None) -> Issuers:
    """Return issuers that share one key, unless others are given."""
    return Issuers.of([Issuer(each, keys or FixedKeys()) for each in settings], lambda: NOW)
