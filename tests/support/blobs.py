"""A gateway before azurite: a storage account's blobs, for the real `az` and its SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

from attrs import define

from tests.support import azure, azurite
from tests.support.azure import DOMAIN, AzureRig
from tests.support.azurite import Azurite
from tests.support.certificates import Authority
from tests.support.gateway import AGENT
from tests.support.processes import Processes

ACCOUNT: Final = "shopdata"
HOST: Final = f"{ACCOUNT}.blob.core.windows.net"
BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
POLICY: Final = """
@id("developers")
permit (principal in Hoopgw::Group::"developers", action, resource)
unless { action == Azure::Action::"see" };

@id("auditors-see")
permit (principal in Hoopgw::Group::"see-secrets", action == Azure::Action::"see", resource);

@id("few") @max_rows("2")
permit (principal in Hoopgw::Group::"few", action, resource);

@id("approve-writes") @approval("ops") @approval_ttl("15m")
forbid (principal, action in [Azure::Action::"writeData", Azure::Action::"deleteData"],
  resource is Azure::Blob in Azure::Container::"shopdata/held")
unless { context.approvals.contains("approve-writes") };
"""
_HEAD: Final = """
import json, sys
from azure.core.exceptions import HttpResponseError
from azure.identity import WorkloadIdentityCredential
from azure.storage.blob import BlobServiceClient
given = json.loads(sys.argv[1])
account = BlobServiceClient(
    given["url"], WorkloadIdentityCredential(),
    max_single_put_size=4096, max_block_size=4096,
    max_single_get_size=4096, max_chunk_get_size=4096,
)
"""
"""Small numbers, so that what is small is sent and fetched in parts, too."""


@define(eq=False, kw_only=True)
class BlobRig:
    """The whole."""

    azure: AzureRig
    azurite: Azurite
    processes: Processes
    token: Path
    """File of the agent's token."""

    @property
    def url(self) -> str:
        """Where the account is, for clients."""
        return f"https://{ACCOUNT}.blob.{DOMAIN}:{self.azure.port}"

    def script(self, proof: str, text: str, **given: Any) -> subprocess.Popen[str]:
        """Start a script with the Python SDK, as `hoopgw azure env --for sdk` sets it up.

        Args:
            proof: a token of the caller's issuer.
            text: of the script; it has `account`, a client, and `given`.
            given: what it needs besides, for JSON.

        """
        folder = Path(tempfile.mkdtemp(prefix="sdk-", dir=self.azure.folder))
        (folder / "token").write_text(proof)
        environment = self.azure.environment(folder)
        # Of `az` comes the storage SDK, of our own packages azure-identity.
        own = sysconfig.get_path("purelib")
        environment |= {
            "PYTHONPATH": os.pathsep.join((environment["PYTHONPATH"], own)),
            "AZURE_AUTHORITY_HOST": f"https://login.{DOMAIN}:{self.azure.port}",
            "AZURE_TENANT_ID": "hoopgw.example",
            "AZURE_CLIENT_ID": "deployer",
            "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
        }
        return subprocess.Popen(
            [sys.executable, "-S", "-c", _HEAD + text, json.dumps({"url": self.url, **given})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, proof: str, text: str, **given: Any) -> Any:
        """Run a script, and return what it printed, as JSON."""
        running = self.script(proof, text, **given)
        out, error = running.communicate(timeout=180)
        assert running.returncode == 0, f"the script failed: {error}\n{out}"
        return json.loads(out)

    def stop(self) -> None:
        """Stop everything."""
        try:
            self.azure.stop()
        finally:
            self.processes.stop()


def start() -> BlobRig:
    """Start azurite, and a gateway before it."""
    folder = Path(tempfile.mkdtemp(prefix="hg-blobs-"))
    authority = Authority.make("storage CA")
    ca = authority.write(folder / "ca.crt")
    processes = Processes(folder)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(azurite.bearer())
    try:
        server = Azurite.start(processes, ACCOUNT, authority.issue(folder, "storage", (HOST,)))
        rig = azure.start(
            policy=POLICY,
            hosts=[f"{ACCOUNT}.blob"],
            extra=f"""
[[targets]]
name = "{ACCOUNT}"
protocol = "azure"
agent = "{AGENT}"
service = "storage"
account = "deployer"
[targets.labels]
"{BLOBS}#Metadata.owner" = ["pii"]
""",
            agent_extra=f"""
[[targets]]
name = "{ACCOUNT}"
protocol = "azure"
address = "127.0.0.1:{server.port}"
host = "{HOST}"
ca = "{ca}"
service = "storage"
[targets.accounts.deployer]
source = "file:{token}"
auth = "bearer"
[[floor]]
targets = ["{ACCOUNT}"]
accounts = ["deployer"]
mode = "any"
""",
        )
    except BaseException:
        processes.stop()
        raise
    return BlobRig(azure=rig, azurite=server, processes=processes, token=token)
