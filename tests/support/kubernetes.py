"""A real API server with its etcd, and a gateway before it, with the real kubectl in front."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import gateway
from tests.support.certificates import Authority
from tests.support.gateway import AGENT, GatewayRig
from tests.support.kubernetes_programs import program
from tests.support.processes import Processes, free_port, wait_until

TARGET: Final = "blue"
ACCOUNT: Final = "deployer"
CALLER: Final = "caller"
"""An account that impersonates who asks."""
TOKEN: Final = "upstream-token-that-only-the-agent-has"  # of the server, below
_READY: Final = 90.0

POLICY: Final = """
@id("developers")
permit (principal in Hoopgw::Group::"developers", action, resource)
unless { action == Kubernetes::Action::"see" };

@id("agents-inherit")
permit (principal is Hoopgw::Agent, action, resource);

@id("auditors-see")
permit (principal in Hoopgw::Group::"see-secrets", action == Kubernetes::Action::"see", resource);

@id("no-mint") @deny("credentials of the cluster are not given out here")
forbid (principal, action == Kubernetes::Action::"mint", resource);

@id("approve-deletes") @approval("ops") @approval_ttl("15m")
forbid (principal, action in [Kubernetes::Action::"delete", Kubernetes::Action::"deletecollection"],
  resource)
when { !context.dryRun }
unless { context.approvals.contains("approve-deletes") };
"""


@define(eq=False)
class ApiServer:
    """A running API server, with RBAC and no nodes."""

    folder: Path
    port: int
    ca: Path

    def config(self) -> Path:
        """Return a kubeconfig that reaches it directly, as its administrator."""
        return kubeconfig(self.folder / "direct", f"https://127.0.0.1:{self.port}", self.ca, TOKEN)


@contextmanager
def running() -> Iterator[ApiServer]:
    """Run one."""
    with Processes.for_a_while() as processes:
        folder = processes.folder
        etcd, peer, port = free_port(), free_port(), free_port()
        processes.start(
            "etcd",
            [
                *(str(program("etcd")), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
                *("--listen-client-urls", f"http://127.0.0.1:{etcd}"),
                *("--advertise-client-urls", f"http://127.0.0.1:{etcd}"),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            ],
        ).wait_for_port(etcd, _READY)
        authority = Authority.make("cluster CA")
        ca, pair = authority.write(folder / "ca.crt"), authority.issue(folder, "server")
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        _account_key(folder / "accounts.key")
        processes.start(
            "kube-apiserver",
            [
                *(str(program("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{etcd}"),
                *("--bind-address=127.0.0.1", f"--secure-port={port}"),
                *(f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"),
                *(f"--client-ca-file={ca}", f"--token-auth-file={folder / 'tokens.csv'}"),
                f"--service-account-key-file={folder / 'accounts.key'}",
                f"--service-account-signing-key-file={folder / 'accounts.key'}",
                "--service-account-issuer=https://cluster.example",
                *("--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"),
                *("--disable-admission-plugins=ServiceAccount", "--allow-privileged=true"),
                "--endpoint-reconciler-type=none",
            ],
        ).wait_for_port(port, _READY)
        # It listens before it has made the namespaces that everybody expects.
        wait_until("the cluster's namespace", lambda: _has_namespace(port, ca), _READY)
        yield ApiServer(folder, port, ca)


def _has_namespace(port: int, ca: Path) -> bool:
    try:
        answer = requests.get(
            f"https://127.0.0.1:{port}/api/v1/namespaces/default",
            headers={"Authorization": f"Bearer {TOKEN}"},
            verify=str(ca),
            timeout=30,
        )
    except requests.ConnectionError:
        return False
    return answer.status_code == 200


def _account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )


def kubeconfig(path: Path, url: str, ca: Path, token: str) -> Path:
    """Write a kubeconfig with a token, and return it."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))  # which is YAML, too
    return path


@define(eq=False)
class Result:
    """What a run of kubectl gave."""

    status: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        """What it printed."""
        assert self.status == 0, f"kubectl failed: {self.error}\n{self.out}"
        return json.loads(self.out)


@define(eq=False)
class KubernetesRig:
    """Server, agent, gateway, and kubectl."""

    rig: GatewayRig
    server: ApiServer
    port: int
    version: str = "1.35"
    """Of kubectl."""
    _count: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        """Where the cluster is, for clients."""
        return f"https://127.0.0.1:{self.port}/clusters/{TARGET}"

    def log_in(self, name: str = "alice", groups: Iterable[str] = ("developers",)) -> Path:
        """Return the kubeconfig of somebody who has logged in."""
        self._count += 1
        path = self.rig.folder / f"kubeconfig-{self._count}"
        token = self.rig.token(TARGET, name=name, groups=groups)
        return kubeconfig(path, self.url, self.rig.ca, token)

    def start(self, config: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start kubectl."""
        home = self.rig.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            [str(program(f"kubectl-{self.version}")), "--kubeconfig", str(config), *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kubectl(self, config: Path, *arguments: str) -> Result:
        """Run kubectl, and return what it gave."""
        process = self.start(config, *arguments)
        out, error = process.communicate(timeout=180)
        return Result(process.returncode, out, error)


@contextmanager
def rigged(policy: str = POLICY, labels: str = "") -> Iterator[KubernetesRig]:
    """Run an API server with a gateway before it.

    Args:
        policy: Cedar.
        labels: lines of ``[targets.labels]``.

    """
    with running() as server:
        port = free_port()
        token = server.folder / "token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        rig = gateway.start(
            policy=policy,
            extra=_gateway_toml(port, labels),
            agent_extra=_agent_toml(server, token),
        )
        try:
            yield KubernetesRig(rig, server, port)
        finally:
            rig.stop()


def _gateway_toml(port: int, labels: str) -> str:
    return f"""
[[listeners]]
protocol = "kubernetes"
listen = "127.0.0.1:{port}"
[[targets]]
name = "{TARGET}"
protocol = "kubernetes"
agent = "{AGENT}"
account = "{ACCOUNT}"
[targets.labels]
{labels}
"""


def _agent_toml(server: ApiServer, token: Path) -> str:
    return f"""
[[targets]]
name = "{TARGET}"
protocol = "kubernetes"
address = "127.0.0.1:{server.port}"
ca = "{server.ca}"
impersonate = ["{CALLER}"]
[targets.accounts.{ACCOUNT}]
source = "file:{token}"
auth = "bearer"
[targets.accounts.{CALLER}]
source = "file:{token}"
auth = "bearer"
[[floor]]
targets = ["{TARGET}"]
accounts = ["{ACCOUNT}", "{CALLER}"]
mode = "any"
"""
