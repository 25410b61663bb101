"""The demonstration's Azure in the configuration of gateway and agent, and its certificate."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from hoopgw.demo.azure_data import MANAGER_HOST, VAULT, VAULT_HOST, Secrets
from hoopgw.demo.cloud import Cloud
from hoopgw.identity.certificates import issue_server, make_ca
from hoopgw.identity.private_files import key_pem

DOMAIN: Final = "cloud.localhost"
"""Of the gateway's names for Azure: below ``localhost`` (RFC 6761), so nobody else's."""
MANAGER: Final = "azure"
"""The target that is Resource Manager."""
ACCOUNT: Final = "operator"
HOSTS: Final = (f"{MANAGER}.{DOMAIN}", f"login.{DOMAIN}", f"{VAULT}.vault.{DOMAIN}")
TLS_NAMES: Final = (f"*.{DOMAIN}", f"*.vault.{DOMAIN}")

POLICY: Final = f"""\
// The demonstration's Azure; conf/policies-azure has more.

@id("azure-developers")
permit (
  principal in Hoopgw::Group::"developers",
  action in
    [Azure::Action::"connect",
     Azure::Action::"reads",
     Azure::Action::"mint",
     Azure::Action::"delete",
     Azure::Action::"see"],
  resource
)
when {{ resource in [Hoopgw::Target::"{MANAGER}", Hoopgw::Target::"{VAULT}"] }};

@id("azure-secrets-for-the-workflow")
@deny("secrets of {VAULT} are read by the workflow deploy.yml on main, and by nobody else")
forbid (
  principal,
  action == Azure::Action::"getSecret",
  resource
);

@id("azure-approve-group-deletion")
@approval("admins")
@approval_ttl("15m")
forbid (
  principal,
  action == Azure::Action::"delete",
  resource is Azure::ResourceGroup
)
unless {{ context.approvals.contains("azure-approve-group-deletion") }};

@id("azure-mask-secrets")
@mask("redact")
forbid (
  principal,
  action == Azure::Action::"see",
  resource
)
when {{ resource.labels.contains("azure.secret") }};
"""


@frozen(kw_only=True)
class CloudFiles:
    """What the demonstration's Azure needs, in a folder that only it reads."""

    folder: Path

    @property
    def config(self) -> Path:
        """The JSON of `hoopgw.demo.cloud.Cloud`."""
        return self.folder / "cloud.json"

    @property
    def ca(self) -> Path:
        """What the agent trusts."""
        return self.folder / "ca.crt"

    def make(self, port: int, identity_port: int) -> Cloud:
        """Write them, with secrets made for this run."""
        self.folder.mkdir(mode=0o700)
        now, ca_key, key = datetime.now(UTC), _key(), _key()
        names = (MANAGER_HOST, VAULT_HOST)
        ca = make_ca(ca_key, names, now)
        certificate = issue_server(ca, ca_key, key.public_key(), names, now)
        self.ca.write_bytes(ca.public_bytes(Encoding.PEM))
        cloud = Cloud(
            port=port,
            identity_port=identity_port,
            certificate=str(self.folder / "cloud.crt"),
            key=str(self.folder / "cloud.key"),
            token=secrets.token_urlsafe(600),  # as long as Entra's are
            header=secrets.token_urlsafe(24),
            secrets=Secrets(keys=(_storage_key(), _storage_key()), value=secrets.token_urlsafe(18)),
        )
        Path(cloud.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
        Path(cloud.key).touch(mode=0o600)
        Path(cloud.key).write_bytes(key_pem(key))
        cloud.write(self.config)
        return cloud


def identity_variables(cloud: Cloud) -> Mapping[str, str]:
    """Return what App Service puts into the environment of who has a managed identity."""
    where = f"http://127.0.0.1:{cloud.identity_port}/msi/token"
    return {"IDENTITY_ENDPOINT": where, "IDENTITY_HEADER": cloud.header}


def gateway_tables(port: int, agent: str) -> str:
    """Write the tables for the gateway."""
    return f"""
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{port}"
domain = "{DOMAIN}"
authority = "{DOMAIN}:{port}"

[[targets]]
name = "{MANAGER}"
protocol = "azure"
agent = "{agent}"
environment = "prod"
service = "arm"
account = "{ACCOUNT}"
hosts = ["{MANAGER_HOST}"]

[[targets]]
name = "{VAULT}"
protocol = "azure"
agent = "{agent}"
environment = "prod"
service = "keyvault"
account = "{ACCOUNT}"
"""


def agent_tables(port: int, ca: Path) -> str:
    """Write the tables for the agent."""
    text = "\n# It has a managed identity, and so no secret of Azure in any file.\n"
    for name, host, service in (
        (MANAGER, MANAGER_HOST, "arm"),
        (VAULT, VAULT_HOST, "keyvault"),
    ):
        text += f"""
[[targets]]
name = "{name}"
protocol = "azure"
address = "127.0.0.1:{port}"
host = "{host}"
ca = {json.dumps(str(ca))}
service = "{service}"

[targets.accounts.{ACCOUNT}]
source = "entra:"

[[floor]]
targets = ["{name}"]
accounts = ["{ACCOUNT}"]
mode = "any"
"""
    return text


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _storage_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
