"""Tokens for jobs and workloads of Azure, all of them given by Entra ID for our audience.

What a pipeline or a pod has at first is for ``api://AzureADTokenExchange``: it goes to Entra ID,
and never to the gateway.

References: https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create,
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow ("Third case:
federated credential"), https://azure.github.io/azure-workload-identity/,
https://learn.microsoft.com/azure/app-service/overview-managed-identity ("REST endpoint reference"),
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hoopgw.cli.ambient_http import Answer, Surroundings, ask, need_https, with_query
from hoopgw.cli.failure import CommandError
from hoopgw.identity.login import ambient_token, oauth_error

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_AUTHORITY: Final = "https://login.microsoftonline.com"
_METADATA: Final = "http://169.254.169.254"
_TENANT: Final = re.compile(r"[0-9A-Za-z.-]{1,128}")
_STEP: Final = "run it in a step of AzureCLI@2 or AzurePowerShell@5, or set it in `env`"


def pipeline_token(around: Surroundings) -> str:
    """Get the pipeline's token for its service connection, and exchange it."""
    url = need_https(around.need("SYSTEM_OIDCREQUESTURI", _STEP), "SYSTEM_OIDCREQUESTURI")
    bearer = around.need(
        "SYSTEM_ACCESSTOKEN", "add `SYSTEM_ACCESSTOKEN: $(System.AccessToken)` to the step's `env`"
    )
    connection = around.need("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", _STEP)
    asked = with_query(url, **{"api-version": "7.1", "serviceConnectionId": connection})
    # No body: the service asks for a length all the same.
    answer = ask(around, "POST", asked, {"Authorization": f"Bearer {bearer}"}, {})
    token = answer.text("oidcToken")
    if answer.status != 200 or token is None:
        raise CommandError(
            f"Azure DevOps gave no token ({answer.status}): "
            "may this pipeline use the service connection?"
        )
    client = around.need("AZURESUBSCRIPTION_CLIENT_ID", _STEP)
    return _exchange(around, token, client, around.need("AZURESUBSCRIPTION_TENANT_ID", _STEP))


def federated(around: Surroundings) -> str:
    """Exchange the token that a pod of AKS has by workload identity."""
    hint = 'label the pod `azure.workload.identity/use: "true"`'
    path = Path(around.need("AZURE_FEDERATED_TOKEN_FILE", hint))
    token = ambient_token(path, None, {}).token
    client = around.need("AZURE_CLIENT_ID", hint)
    return _exchange(around, token, client, around.need("AZURE_TENANT_ID", hint))


def _exchange(around: Surroundings, assertion: str, client: str, tenant: str) -> str:
    """Get a token for the gateway, as the application that trusts the assertion."""
    name = "AZURE_AUTHORITY_HOST"
    authority = need_https(around.environ.get(name) or _AUTHORITY, name).rstrip("/")
    if not _TENANT.fullmatch(tenant):
        raise CommandError("the tenant is no id of one")
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "scope": f"{around.audience}/.default",
        "client_assertion_type": _ASSERTION,
        "client_assertion": assertion,
    }
    return _access_token(ask(around, "POST", f"{authority}/{tenant}/oauth2/v2.0/token", {}, form))


def managed_identity(around: Surroundings) -> str:
    """Ask the host's identity endpoint: App Service and its like, or a virtual machine."""
    environ = around.environ
    client = environ.get("AZURE_CLIENT_ID", "")
    more = {"client_id": client} if client else {}
    endpoint = environ.get("IDENTITY_ENDPOINT")
    if endpoint:
        header = around.need("IDENTITY_HEADER", "it comes with IDENTITY_ENDPOINT")
        url = with_query(_near(endpoint, "IDENTITY_ENDPOINT"), resource=around.audience, **more)
        asked = with_query(url, **{"api-version": "2019-08-01"})
        return _access_token(ask(around, "GET", asked, {"X-IDENTITY-HEADER": header}, direct=True))
    name = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
    host = _near(environ.get(name) or _METADATA, name)
    path = f"{host.rstrip('/')}/metadata/identity/oauth2/token"
    asked = with_query(path, resource=around.audience, **{"api-version": "2018-02-01"}, **more)
    return _access_token(ask(around, "GET", asked, {"Metadata": "true"}, direct=True))


def _near(url: str, name: str) -> str:
    """Return a URL on this host or its link: what is there takes plain HTTP."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    try:
        address = ipaddress.ip_address(parts.hostname or "")
        near = address.is_loopback or address.is_link_local
    except ValueError:
        near = parts.hostname == "localhost"
    if parts.scheme != "http" or not near:
        raise CommandError(f"{name} is neither https nor on this host")
    return url


def _access_token(answer: Answer) -> str:
    token = answer.text("access_token")
    if answer.status != 200 or token is None:
        raise CommandError(
            f"no token for the gateway ({answer.status}): {oauth_error(answer.body)}"
        )
    return token
