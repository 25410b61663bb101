"""A gateway that stands before Azure, as it was recorded, with the real `az` in front of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from tests.support import azure_cli, gateway
from tests.support.azure_replay import LOGGED_IN, AzureReplay, Exchange, load
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
    folder: Path
    _clients: dict[str, Path] = field(factory=dict, init=False)

    @property
    def authority(self) -> str:
        """Where Resource Manager is, for clients."""
        return f"arm.{DOMAIN}:{self.port}"

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
        config = Path(tempfile.mkdtemp(prefix="az-", dir=self.folder))
        proof = self.rig.token(None, name=name, groups=groups)
        done = self.start(
            config,
            *("login", "--service-principal", "-u", account, "-t", "hoopgw.example"),
            *("--federated-token", proof),
        )
        out, error = done.communicate(timeout=120)
        assert done.returncode == 0, f"az login failed: {error}\n{out}"
        return config

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
    *recordings: str, policy: str = POLICY, extra: str = "", more: Iterable[Exchange] = ()
) -> AzureRig:
    """Start a gateway before what was recorded.

    Args:
        recordings: beginnings of their names.
        policy: Cedar.
        extra: more lines for ``hoopgw.toml``.
        more: what is answered besides.

    """
    folder = Path(tempfile.mkdtemp(prefix="hg-az-"))
    replay = AzureReplay([*LOGGED_IN, *more, *load(*recordings)], UPSTREAM_TOKEN)
    authority = Authority.make("upstream CA")
    names = ("management.azure.com", *(f"{name}.vault.azure.net" for name in (VAULT,)))
    upstream = LookAlike(replay.answer, authority.issue(folder, "upstream", names))
    ca = authority.write(folder / "upstream-ca.crt")
    token = folder / "upstream-token"
    token.touch(mode=0o600)
    token.write_text(UPSTREAM_TOKEN)
    port = free_port()
    hosts = ["arm", "login", *(f"{name}.vault" for name in (VAULT,))]
    (folder / "hosts").write_text("".join(f"127.0.0.1 {name}.{DOMAIN}\n" for name in hosts))
    where = f"127.0.0.1:{upstream.server.server_address[1]}"
    try:
        rig = gateway.start(
            policy=policy,
            extra=_gateway_toml(port) + extra,
            agent_extra=_agent_toml(where, ca, token),
        )
    except BaseException:
        upstream.stop()
        raise
    return AzureRig(rig=rig, replay=replay, upstream=upstream, port=port, folder=folder)


def _gateway_toml(port: int) -> str:
    text = f"""
[tls]
names = ["127.0.0.1", "*.{DOMAIN}", "*.vault.{DOMAIN}", "*.blob.{DOMAIN}"]
[[listeners]]
protocol = "azure"
listen = "127.0.0.1:{port}"
domain = "{DOMAIN}"
authority = "{DOMAIN}:{port}"
[[targets]]
name = "arm"
protocol = "azure"
agent = "{AGENT}"
service = "arm"
hosts = ["management.azure.com"]
"""
    for name in (VAULT,):
        text += f"""
[[targets]]
name = "{name}"
protocol = "azure"
agent = "{AGENT}"
service = "keyvault"
"""
    return text


def _agent_toml(where: str, ca: Path, token: Path) -> str:
    text = ""
    for name, host, service in (
        ("arm", "management.azure.com", "arm"),
        *((name, f"{name}.vault.azure.net", "keyvault") for name in (VAULT,)),
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
