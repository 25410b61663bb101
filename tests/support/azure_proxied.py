"""Clients that keep Azure's own names: `az` and curl with a proxy and a CA file, nothing more."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support import azure_cli
from tests.support.azure import AzureRig, Result

PATIENCE: Final = 180.0
SUBSCRIPTIONS: Final = "https://management.azure.com/subscriptions?api-version=2021-04-01"


def environment(bundle: Path, proxy: str, config: Path, **more: str) -> dict[str, str]:
    """Return all that a client is told: two variables, and nothing of the gateway's cloud."""
    return azure_cli.environment(
        config,
        HTTPS_PROXY=proxy,
        REQUESTS_CA_BUNDLE=str(bundle),
        SSL_CERT_FILE=str(bundle),
        **more,
    )


def az(rig: AzureRig, bundle: Path, proxy: str, config: Path, *arguments: str) -> Result:
    """Run `az`."""
    done = subprocess.run(
        [*azure_cli.command(), *arguments],
        env=environment(bundle, proxy, config),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def log_in(rig: AzureRig, bundle: Path, proxy: str, proof: str) -> Path:
    """Let `az` log in at what it takes for Microsoft's own log-in, and return its folder."""
    config = Path(tempfile.mkdtemp(prefix="az-", dir=rig.folder))
    done = az(
        rig,
        bundle,
        proxy,
        config,
        *("login", "--service-principal", "-u", "deployer", "-t", "contoso.example"),
        *("--federated-token", proof),
    )
    assert done.status == 0, (done.out, done.error)
    return config


def curl(bundle: Path, *arguments: str, url: str = SUBSCRIPTIONS) -> tuple[int, str]:
    """Run curl; return the status, or 0 without an answer, and what came."""
    done = subprocess.run(
        [
            *("curl", "-sS", "--max-time", "60", "-o", "-", "-w", "\n%{http_code} %{http_connect}"),
            *("--cacert", str(bundle), "--proxy-cacert", str(bundle), *arguments, url),
        ],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    body, _, codes = done.stdout.rpartition("\n")
    inner, connect = map(int, codes.split())
    return inner or connect, body + done.stderr


def plain(rig: AzureRig) -> str:
    """Return the proxy without a credential."""
    return f"http://127.0.0.1:{rig.proxy_port}"


def proved(rig: AzureRig, token: str, account: str = "deployer") -> str:
    """Return the proxy with one."""
    return f"https://{account}:{token}@127.0.0.1:{rig.proxy_port}"


def bearer(token: str) -> tuple[str, ...]:
    """Return what says inside who asks."""
    return "-H", f"Authorization: Bearer {token}", "-H", "X-Hoopgw-Account: deployer"
