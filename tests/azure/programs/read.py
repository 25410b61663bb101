"""Read groups and secrets with the SDKs for Python, and print what came as JSON.

Usage: read.py URL-OF-THE-VAULT SUBSCRIPTION
"""

import json
import os
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.resource import ResourceManagementClient


def main(vault: str, subscription: str) -> None:
    """Do it."""
    credential = DefaultAzureCredential()
    arm = os.environ["HOOPGW_ARM_URL"]
    manager = ResourceManagementClient(
        credential, subscription, base_url=arm, credential_scopes=[f"{arm}/.default"]
    )
    secrets = SecretClient(vault, credential)
    secret = secrets.get_secret("secret1")
    found: dict[str, object] = {
        "groups": [group.name for group in manager.resource_groups.list()],
        "names": [each.name for each in secrets.list_properties_of_secrets()],
        "value": secret.value,
        "id": secret.id,
    }
    try:
        secrets.get_secret("secret2")
    except HttpResponseError as error:
        found["refused"] = {"status": error.status_code, "message": str(error)}
    print(json.dumps(found))


main(*sys.argv[1:])
