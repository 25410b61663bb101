"""No secret is read unless by the workflow approved for it: jobs of GitHub, with the real `az`.

The policies are those of ``conf/policies-azure``. The jobs' tokens are as GitHub makes them, signed
by a key of ours that the gateway takes for GitHub's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.identity import forge
from tests.identity.callers.shapes import github
from tests.policy.world import ROOT
from tests.support import azure, azure_cli
from tests.support.azure import DOMAIN, AzureRig, Named, Result
from tests.support.certificates import Authority
from tests.support.lookalike import Asked, LookAlike, Told
from tests.support.processes import python_environment, wait_until

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not Path(azure.WRAPPER).exists(),
    reason="az is not installed: python -m hoopgw.demo.azure_cli, and libnss-wrapper",
)

VAULT: Final = "shop-kv"
WORKFLOW: Final = "acme/orders/.github/workflows/deploy.yml@refs/heads/main"
DEPLOYMENT: Final = {
    "repository": "acme/orders",
    "repository_id": "74",
    "environment": "production",
    "ref": "refs/heads/main",
    "job_workflow_ref": WORKFLOW,
}
SHOW: Final = ("keyvault", "secret", "show", "--vault-name", VAULT, "-n", "secret1")
SENTENCE: Final = (
    "hoopgw: only the workflow deploy.yml of acme/orders, on main and in its environment "
    "production, reads secrets"
)
SECRETS: Final = ("ABC123", "DEF456")
"""Of the recording, which wrote another value in between."""


@pytest.fixture(scope="module")
def rig() -> Iterator[AzureRig]:
    """Start a gateway with the example policies, before a recorded vault."""
    policies = sorted((ROOT / "conf" / "policies-azure").glob("*.cedar"))
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        keys.write_bytes(forge.key_set(forge.public_jwk(forge.rsa_key(), "one")))
        started = azure.start(
            "keyvault__",
            policy="\n".join(path.read_text() for path in policies),
            extra=f"""
[[identity.issuers]]
type = "github-actions"
alias = "gha"
audiences = ["https://gw.example"]
required = {{ repository_owner_id = ["65"] }}
jwks_file = "{keys}"
""",
            manager="azure",
            vault=VAULT,
        )
        try:
            yield started
        finally:
            started.stop()


def job(**changes: Any) -> str:
    """Return a job's token; that of the deployment, if nothing is changed."""
    shift = int(time.time()) - forge.NOW
    claims = github(**(DEPLOYMENT | changes))
    return forge.token(
        claims | {name: claims[name] + shift for name in ("iat", "nbf", "exp")},
    )


def show(rig: AzureRig, **changes: Any) -> Result:
    """Let a job log in and read a secret, with `az`."""
    config, login = rig.present(job(**changes))
    assert login.status == 0, login.error
    return rig.az(config, *SHOW)


def asked_for_secrets(rig: AzureRig) -> int:
    """Count what reached the vault."""
    return sum("/secrets/" in each.path for each in rig.upstream.asked)


def recorded(rig: AzureRig, **attributes: str) -> list[dict[str, Any]]:
    """Return the records of the first session of a run with the vault, once it is in the log."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        sessions = rig.rig.api("GET", "/v1/sessions")["sessions"]
        for each in [each for each in sessions if each["target"] == VAULT]:
            path = f"/v1/sessions/{each['id']}/records"
            records: list[dict[str, Any]] = []
            with contextlib.suppress(requests.HTTPError):  # it lives, and is not in the log yet
                records = rig.rig.api("GET", path, groups=["auditors"])["records"]
            if records and attributes.items() <= records[0]["attributes"].items():
                found[:] = records
        return bool(found)

    wait_until("the run is in the log", look)
    return found


def test_the_approved_workflow_reads_it(rig: AzureRig) -> None:
    """In the clear, as it is what the job came for; the record names the run."""
    shown = show(rig, run_id="7001").json
    assert shown["value"] in SECRETS
    assert shown["id"].startswith(f"https://{VAULT}.vault.{DOMAIN}:{rig.port}/secrets/secret1/")
    started = recorded(rig, run_id="7001")[0]
    (caller,) = started["chain"]
    assert (caller["id"], caller["kind"]) == ("gha|74", "workload")
    assert caller["attributes"]["jobWorkflow"] == WORKFLOW
    assert caller["attributes"]["environment"] == "production"
    assert started["attributes"]["actor"] == "octocat"


def test_another_workflow_does_not(rig: AzureRig) -> None:
    """Of the same repository, branch and environment; `az` says why, and the vault is not asked."""
    before = asked_for_secrets(rig)
    done = show(rig, job_workflow_ref=WORKFLOW.replace("deploy", "test"))
    assert done.status != 0
    assert SENTENCE in done.error
    assert not any(secret in done.out + done.error for secret in SECRETS)
    assert asked_for_secrets(rig) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "refs/heads/feature"},
        {"job_workflow_ref": WORKFLOW.replace("main", "feature")},
        {"environment": "staging"},
        {"environment": None},
        {"repository_id": "75"},
    ],
    ids=["branch", "edited", "environment", "none", "repository"],
)
def test_nor_does_what_differs_elsewhere(rig: AzureRig, changes: dict[str, Any]) -> None:
    """As any client logs in: a client assertion at the token endpoint, and then the request."""
    before = asked_for_secrets(rig)
    refused = by_hand(rig, job(**changes))
    assert refused.status_code == 403
    error = refused.json()["error"]
    assert error["code"] == "AuthorizationFailed"
    assert error["message"].startswith(SENTENCE)
    assert asked_for_secrets(rig) == before
    assert by_hand(rig, job()).json()["value"] in SECRETS


def by_hand(rig: AzureRig, token: str) -> requests.Response:
    """Exchange a job's token, and ask for the secret."""
    vaults = f"vault.{DOMAIN}:{rig.port}"
    given = send(
        rig,
        f"login.{DOMAIN}",
        "POST",
        "/tenant/oauth2/v2.0/token",
        data={
            "grant_type": "client_credentials",
            "client_id": "deployer",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": token,
            "scope": f"https://{vaults}/.default",
        },
    )
    assert given.status_code == 200, given.text
    return send(
        rig,
        f"{VAULT}.vault.{DOMAIN}",
        "GET",
        "/secrets/secret1/?api-version=7.4",
        headers={"Authorization": f"Bearer {given.json()['access_token']}"},
    )


def send(rig: AzureRig, host: str, method: str, path: str, **more: Any) -> requests.Response:
    """Send one request to a name of the gateway."""
    headers = {"Host": f"{host}:{rig.port}", **more.pop("headers", {})}
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", Named(host))
        url = f"https://127.0.0.1:{rig.port}{path}"
        return session.request(
            method, url, headers=headers, verify=str(rig.rig.ca), timeout=60, **more
        )


def test_a_strangers_job_does_not_even_log_in(rig: AzureRig) -> None:
    """All is as in the approved workflow's token, but whose repository it is."""
    _config, login = rig.present(job(repository_owner_id="66"))
    assert login.status != 0
    assert "owner" not in login.error  # why is for the gateway's log


def test_nor_with_a_token_for_another_service(rig: AzureRig) -> None:
    """As `azure/login` asks for: whoever holds it can become the identity at Entra."""
    _config, login = rig.present(job(aud="api://AzureADTokenExchange"))
    assert login.status != 0


def test_a_job_logs_in_once_for_all_its_steps(rig: AzureRig, tmp_path: Path) -> None:
    """`hoopgw login --ci` asks the runner for the token; `hoopgw azure run` starts `az`."""

    def runner(asked: Asked) -> Told:
        assert asked.headers["authorization"] == "Bearer the-runners-own"
        assert "audience=https%3A%2F%2Fgw.example" in asked.path
        return Told(body={"value": job(run_id="7002")})

    authority = Authority.make()
    service = LookAlike(runner, authority.issue(tmp_path, "runner"))
    both = tmp_path / "both.crt"
    both.write_bytes(authority.write(tmp_path / "runner.crt").read_bytes())
    az = azure_cli.wrapper(tmp_path / "az")
    environment = {
        **rig.environment(tmp_path),
        **python_environment(),
        "HOOPGW_HOME": str(tmp_path / "home"),
        "HOOPGW_GATEWAY": rig.rig.settings.control.url,
        "HOOPGW_CA": str(rig.rig.ca),
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{service.url}/token?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-runners-own",
    }

    def step(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hoopgw.cli", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    try:
        login = step("login", "--ci", "--issuer-ca", str(both))
    finally:
        service.stop()
    assert login.returncode == 0, login.stderr
    run = ("azure", "run", "--account", "deployer", f"https://{rig.authority}", "--", str(az))
    done = step(*run, *SHOW)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["value"] in SECRETS
    assert recorded(rig, run_id="7002")[0]["chain"][0]["id"] == "gha|74"
