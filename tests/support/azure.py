"""A gateway that stands before Azure, as it was recorded, with the real `az` in front of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import requests
from attrs import define, field

from tests.support import azure_cli, gateway
from tests.support.azure_replay import LOGGED_IN, TENANT, AzureReplay, Exchange, load
from tests.support.certificates import Authority
from tests.support.gateway import AGENT, GatewayRig
from tests.support.lookalike import LookAlike
from tests.support.processes import free_port

DOMAIN: Final = "gw.example"
UPSTREAM_TOKEN: Final = "upstream-token-that-only-the-agent-has"  # of the replay
VAULT: Final = "cli-test-kv-se-000002"
"""Of the recordings."""
WRAPPER: Final = "/usr/lib/x86_64-linux-gnu/libnss_wrapper.so"
"""Gives a test names of its own, without root (Debian's libnss-wrapper)."""

POLICY: Final = """
@id("developers")
permit (principal in Hoopgw::Group::"developers", action, resource)
unless { action == Azure::Action::"see" };

@id("agents-inherit")
permit (principal is Hoopgw::Agent, action, resource);

@id("auditors-see")
permit (principal in Hoopgw::Group::"see-secrets", action == Azure::Action::"see", resource);

@id("approve-deletes") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Azure::Action::"delete", resource)
unless { context.approvals.contains("approve-deletes") };

@id("approve-grants") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Azure::Action::"grant", resource)
unless { context.approvals.contains("approve-grants") };
"""


class Named(requests.adapters.HTTPAdapter):
    """Asks for a name that no name server knows."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Check the certificate for that name."""
        options |= {"assert_hostname": self._name, "server_hostname": self._name}
        super().init_poolmanager(*arguments, **options)


@define(eq=False)
class Result:
    """What a run of `az` gave."""

    status: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        """What it printed."""
        assert self.status == 0, f"az failed: {self.error}\n{self.out}"
        return json.loads(self.out)


@define(eq=False, kw_only=True)
class AzureRig:
    """The whole: replay, agent, gateway, and a folder of settings for `az`."""

    rig: GatewayRig
    replay: AzureReplay
    upstream: LookAlike
    port: int
    proxy_port: int
    """Of the listener for Azure's own names."""
    folder: Path
    manager: str = "arm"
    """The target that is Resource Manager."""
    _clients: dict[str, Path] = field(factory=dict, init=False)

    @property
    def authority(self) -> str:
        """Where Resource Manager is, for clients."""
        return f"{self.manager}.{DOMAIN}:{self.port}"

    def environment(self, config: Path) -> dict[str, str]:
        """Return what a Python client of Azure needs to reach the gateway."""
        return azure_cli.environment(
            config,
            LD_PRELOAD=WRAPPER,
            NSS_WRAPPER_HOSTS=str(self.folder / "hosts"),
            REQUESTS_CA_BUNDLE=str(self.rig.ca),
            SSL_CERT_FILE=str(self.rig.ca),
            ARM_CLOUD_METADATA_URL=(
                f"https://{self.authority}/metadata/endpoints?api-version=2020-06-01"
            ),
            AZURE_CLOUD_NAME="hoopgw",
            AZURE_CORE_INSTANCE_DISCOVERY="false",
            **{
                name: value
                for name, value in os.environ.items()
                if name in ("LD_LIBRARY_PATH", "TMPDIR")
            },
        )

    def log_in(
        self,
        name: str = "alice",
        groups: Iterable[str] = ("developers",),
        account: str = "deployer",
    ) -> Path:
        """Let `az` log in as somebody, and return its folder."""
        config, done = self.present(self.rig.token(None, name=name, groups=groups), account)
        assert done.status == 0, f"az login failed: {done.error}\n{done.out}"
        return config

    def present(self, proof: str, account: str = "deployer") -> tuple[Path, Result]:
        """Let `az` log in with a token of somebody's issuer; return its folder, and how it went."""
        config = Path(tempfile.mkdtemp(prefix="az-", dir=self.folder))
        return config, self.az(
            config,
            *("login", "--service-principal", "-u", account, "-t", "hoopgw.example"),
            *("--federated-token", proof),
        )

    def start(self, config: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start `az`."""
        return subprocess.Popen(
            [*azure_cli.command(), *arguments],
            env=self.environment(config),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def az(self, config: Path, *arguments: str) -> Result:
        """Run `az`, and return what it gave."""
        running = self.start(config, *arguments)
        out, error = running.communicate(timeout=180)
        return Result(running.returncode, out, error)

    def stop(self) -> None:
        """Stop everything."""
        try:
            self.rig.stop()
        finally:
            self.upstream.stop()


def start(
    *recordings: str,
    policy: str = POLICY,
    extra: str = "",
    agent_extra: str = "",
    hosts: Iterable[str] = (),
    more: Iterable[Exchange] = (),
    manager: str = "arm",
    vault: str = VAULT,
) -> AzureRig:
    """Start a gateway before what was recorded.

    Args:
        recordings: beginnings of their names.
        policy: Cedar.
        extra: more lines for ``hoopgw.toml``.
        agent_extra: more tables for ``agent.toml``.
        hosts: more names below the gateway's domain.
        more: what is answered besides.
        manager: the target that is Resource Manager.
        vault: the name that the recorded vault gets.

    """
    folder = Path(tempfile.mkdtemp(prefix="hg-az-"))
    recorded = [each.renamed(VAULT, vault) for each in load(*recordings)]
    replay = AzureReplay([*LOGGED_IN, *more, *recorded], UPSTREAM_TOKEN)
    authority = Authority.make("upstream CA")
    names = ("management.azure.com", f"{vault}.vault.azure.net")
    upstream = LookAlike(replay.answer, authority.issue(folder, "upstream", names))
    ca = authority.write(folder / "upstream-ca.crt")
    token = folder / "upstream-token"
    token.touch(mode=0o600)
    token.write_text(UPSTREAM_TOKEN)
    port, proxy_port = free_port(), free_port()
    names_here = [manager, "login", f"{vault}.vault", *hosts]
    (folder / "hosts").write_text("".join(f"127.0.0.1 {name}.{DOMAIN}\n" for name in names_here))
    where = f"127.0.0.1:{upstream.server.server_address[1]}"
    try:
        rig = gateway.start(
            policy=policy,
            extra=_gateway_toml(port, proxy_port, manager, vault) + extra,
            agent_extra=_agent_toml(where, ca, token, manager, vault) + agent_extra,
        )
    except BaseException:
        upstream.stop()
        raise
    return AzureRig(
        rig=rig,
        replay=replay,
        upstream=upstream,
        port=port,
        proxy_port=proxy_port,
        folder=folder,
        manager=manager,
    )


def _gateway_toml(port: int, proxy_port: int, manager: str, vault: str) -> str:
    return f"""
[tls]
names = ["127.0.0.1", "localhost", "*.{DOMAIN}", "*.vault.{DOMAIN}", "*.blob.{DOMAIN}"]
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{port}"
domain = "{DOMAIN}"
authority = "{DOMAIN}:{port}"
[interception]
names = ["login.microsoftonline.com", "management.azure.com", "*.vault.azure.net"]
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{proxy_port}"
mode = "transparent"
tenant = "{TENANT}"
targets = ["{manager}", "{vault}"]
direct = true
[[targets]]
name = "{manager}"
protocol = "azure"
agent = "{AGENT}"
service = "arm"
hosts = ["management.azure.com"]
[[targets]]
name = "{vault}"
protocol = "azure"
agent = "{AGENT}"
service = "keyvault"
"""


def _agent_toml(where: str, ca: Path, token: Path, manager: str, vault: str) -> str:
    text = ""
    for name, host, service in (
        (manager, "management.azure.com", "arm"),
        (vault, f"{vault}.vault.azure.net", "keyvault"),
    ):
        text += f"""
[[targets]]
name = "{name}"
protocol = "azure"
address = "{where}"
host = "{host}"
ca = "{ca}"
service = "{service}"
[targets.accounts.deployer]
source = "file:{token}"
auth = "bearer"
[[floor]]
targets = ["{name}"]
accounts = ["deployer"]
mode = "any"
"""
    return text
