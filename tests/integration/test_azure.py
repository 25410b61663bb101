"""The real `az` through gateway and agent, against Azure as it was recorded.

Nothing of Azure's own tokens is on the client's side; what may not be seen is masked; what needs
approval waits for it.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.support import azure, azure_cli
from tests.support.azure import UPSTREAM_TOKEN, VAULT, AzureRig, Named
from tests.support.azure_replay import SUBSCRIPTION, answer_to
from tests.support.delegating import Person
from tests.support.processes import python_environment

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not Path(azure.WRAPPER).exists(),
    reason="az is not installed: python -m hoopgw.demo.azure_cli, and libnss-wrapper",
)

GROUP: Final = "cli_test_rg_scenario000001"
ROLE: Final = "b24988ac-6180-42a0-ab88-20f7382dd24c"
PRINCIPAL: Final = "18082f29-fabc-4d67-bc7e-d83a98f5df1e"
KUBECONFIG: Final = base64.b64encode(
    b"""apiVersion: v1
kind: Config
clusters: [{name: blue, cluster: {server: "https://blue.example:443"}}]
users: [{name: clusterUser_blue, user: {token: t0p-s3cret}}]
contexts: [{name: blue, context: {cluster: blue, user: clusterUser_blue}}]
current-context: blue
"""
).decode()
PATIENCE: Final = 120.0


@pytest.fixture(scope="module")
def rig() -> Iterator[AzureRig]:
    """Start a gateway before all recordings."""
    started = azure.start(
        *("resource__test_resource_group", "resource__test_group_deployment", "storage__"),
        *("keyvault__", "role__"),
        more=[
            answer_to(
                "POST",
                f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/"
                "Microsoft.ContainerService/managedClusters/blue/listClusterUserCredential",
                {"kubeconfigs": [{"name": "clusterUser", "value": KUBECONFIG}]},
            ),
        ],
    )
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def alice(rig: AzureRig) -> Path:
    """Log in as somebody who may do all but see secrets."""
    return rig.log_in()


def until(found: Callable[[], Any]) -> Any:
    """Wait for something that is there in the end, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return value


def waiting(rig: AzureRig, action: str) -> dict[str, Any]:
    """Return the request for approval of an action, once it is there."""

    def look() -> dict[str, Any] | None:
        open_ones = rig.rig.api("GET", "/v1/requests?state=requested")["requests"]
        return next((each for each in open_ones if action in each["action"].lower()), None)

    found: dict[str, Any] = until(look)
    return found


def settle(rig: AzureRig, request: str, verb: str) -> None:
    """Vote as somebody else."""
    rig.rig.api("POST", f"/v1/requests/{request}/{verb}", {}, name="dora", groups=["ops"])


def records(rig: AzureRig) -> list[dict[str, Any]]:
    """Return the log's intents."""
    sessions = rig.rig.api("GET", "/v1/sessions")["sessions"]
    return list(sessions)


def test_groups_are_listed(rig: AzureRig, alice: Path) -> None:
    (group,) = rig.az(alice, "group", "list").json
    assert group["location"] == "westus"
    asked = rig.upstream.asked[-1]
    assert asked.headers["authorization"] == f"Bearer {UPSTREAM_TOKEN}"
    assert asked.headers["host"] == "management.azure.com"
    assert asked.headers["x-ms-client-request-id"].startswith("hoopgw-")


def test_keys_are_masked_unless_they_may_be_seen(rig: AzureRig, alice: Path) -> None:
    """By the operation's name; the same for who may see secrets shows them."""
    command = ("storage", "account", "keys", "list", "-g", "clitest.rg000001", "-n")
    keys = rig.az(alice, *command, "clitest000002").json
    assert [key["keyName"] for key in keys] == ["key1", "key2"]
    assert {key["value"] for key in keys} == {"***"}
    auditor = rig.log_in("vera", ("developers", "see-secrets"))
    clear = rig.az(auditor, *command, "clitest000002").json
    assert all(len(key["value"]) > 20 for key in clear)


def test_the_way_into_a_cluster(rig: AzureRig, alice: Path) -> None:
    """It is refused with what to do instead, unless policy shows it."""
    command = ("aks", "get-credentials", "-g", GROUP, "-n", "blue", "-f", "-")
    refused = rig.az(alice, *command)
    assert refused.status != 0
    assert "hoopgw: credentials of a cluster lead past the gateway" in refused.error
    assert "protocol kubernetes" in refused.error
    auditor = rig.log_in("vera", ("developers", "see-secrets"))
    shown = rig.az(auditor, *command)
    assert "t0p-s3cret" in shown.out, shown.error


def test_a_vaults_secret(rig: AzureRig, alice: Path) -> None:
    """Its value is masked, and what names it leads to the gateway."""
    shown = rig.az(alice, "keyvault", "secret", "show", "--vault-name", VAULT, "-n", "secret1").json
    assert shown["value"] == "***"
    assert shown["id"].startswith(f"https://{VAULT}.vault.{azure.DOMAIN}:{rig.port}/secrets/")
    listed = rig.az(alice, "keyvault", "secret", "list", "--vault-name", VAULT).json
    assert listed
    assert all("vault.azure.net" not in json.dumps(each) for each in listed)


def test_a_deployment(rig: AzureRig, alice: Path, tmp_path: Path) -> None:
    """Validated, put, and its state asked for at the address that the gateway gave."""
    template = tmp_path / "template.json"
    template.write_text(
        json.dumps(
            {
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/"
                "deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": [],
            }
        )
    )
    done = rig.az(
        alice,
        *("deployment", "group", "create", "-g", "cli_test_deployment_lite000001"),
        *("-n", "mock-deployment", "--template-file", str(template), "--no-prompt", "true"),
    )
    assert done.json["properties"]["provisioningState"] == "Succeeded"
    polls = [each for each in rig.upstream.asked if "operationStatuses" in each.path]
    assert polls
    assert all("hoopgw-poll" not in each.path for each in rig.upstream.asked)


def test_a_role_is_assigned_once_somebody_approves(rig: AzureRig, alice: Path) -> None:
    """The approver sees role, principal and scope."""
    running = rig.start(
        alice,
        *("role", "assignment", "create", "--assignee-object-id", PRINCIPAL),
        *("--assignee-principal-type", "ServicePrincipal", "--role", ROLE),
        *("--scope", f"/subscriptions/{SUBSCRIPTION}"),
    )
    request = waiting(rig, "roleassignments/write")
    text = rig.rig.api("GET", f"/v1/requests/{request['id']}")["text"]
    assert PRINCIPAL in text
    assert ROLE in text
    settle(rig, request["id"], "approve")
    out, error = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, (out, error)
    (put,) = [each for each in rig.upstream.asked if "roleAssignments" in each.path and each.body]
    assert json.loads(put.body)["properties"]["principalId"] == PRINCIPAL


def test_an_agents_chain_is_who_asks(rig: AzureRig) -> None:
    """The session is the agent's, on behalf of the person."""
    config = rig.folder / "az-planner"
    config.mkdir()
    token = rig.rig.token("arm", name="alice", agent="planner")
    url = f"https://{rig.authority}/subscriptions/{SUBSCRIPTION}/resourcegroups?api-version=1"
    done = rig.az(
        config,
        *("rest", "--skip-authorization-header", "--url", url),
        *("--headers", f"Authorization=Bearer {token}", "X-Hoopgw-Account=deployer"),
    )
    assert done.status == 0, done.error
    trails = {each["path"] for each in records(rig)}
    assert any("planner" in each for each in trails), trails


def test_what_is_not_permitted_is_said_as_azure_says_it(rig: AzureRig) -> None:
    token = rig.rig.token("arm", name="mallory", groups=["nobody"])
    answer = call(rig, "GET", f"/subscriptions/{SUBSCRIPTION}/resourcegroups", token)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "AuthorizationFailed"
    assert answer.json()["error"]["message"].startswith("hoopgw: ")


def call(
    rig: AzureRig, method: str, path: str, token: str | None, **more: Any
) -> requests.Response:
    """Send one request by hand, to where `az` would."""
    headers = {"Host": rig.authority, "X-Hoopgw-Account": "deployer", **more.pop("headers", {})}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Named(f"arm.{azure.DOMAIN}"))
    return session.request(
        method,
        f"https://127.0.0.1:{rig.port}{path}?api-version=2021-04-01",
        headers=headers,
        verify=str(rig.rig.ca),
        timeout=60,
        **more,
    )


def test_who_shows_nothing_is_told_where_to_log_in(rig: AzureRig) -> None:
    answer = call(rig, "GET", "/subscriptions", None)
    assert answer.status_code == 401
    assert "login.gw.example" in answer.headers["WWW-Authenticate"]


def test_a_secret_of_entra_is_not_taken_and_not_kept(rig: AzureRig) -> None:
    """Nor a token for Azure itself: neither is in any file of the gateway."""
    secret = "a-real-client-secret-8Q~"  # it looks like one
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Named(f"login.{azure.DOMAIN}"))
    form = {
        "grant_type": "client_credentials",
        "client_id": "deployer",
        "client_secret": secret,
        "scope": f"https://{rig.authority}//.default",
    }
    answer = session.post(
        f"https://127.0.0.1:{rig.port}/tenant/oauth2/v2.0/token",
        data=form,
        headers={"Host": f"login.{azure.DOMAIN}:{rig.port}"},
        verify=str(rig.rig.ca),
        timeout=60,
    )
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    foreign = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQuYXp1cmUuY29tIn0.c2ln"
    assert call(rig, "GET", "/subscriptions", foreign).status_code == 401
    for held in (secret, foreign, UPSTREAM_TOKEN):
        needle = held.encode()
        for path in (rig.rig.folder / "state").rglob("*"):
            if path.is_file():
                assert needle not in path.read_bytes(), (path, held)
        assert held not in rig.rig.gateway.output


def test_azures_token_is_nowhere_on_the_clients_side(rig: AzureRig, alice: Path) -> None:
    rig.az(alice, "group", "list", "--debug")
    for path in alice.rglob("*"):
        if path.is_file():
            assert UPSTREAM_TOKEN.encode() not in path.read_bytes()


def test_revoking_the_log_in_ends_it_within_seconds(rig: AzureRig) -> None:
    """A connection that stands is closed, and what it showed is good for nothing."""
    login = secrets.token_urlsafe(16)
    token = rig.rig.token("arm", session=login)
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Named(f"arm.{azure.DOMAIN}"))

    def ask() -> int:
        headers = {
            "Host": rig.authority,
            "Authorization": f"Bearer {token}",
            "X-Hoopgw-Account": "deployer",
        }
        url = f"https://127.0.0.1:{rig.port}/subscriptions?api-version=2021-04-01"
        try:
            answer = session.get(url, headers=headers, verify=str(rig.rig.ca), timeout=60)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return 0  # it was closed just then, perhaps within an answer
        return answer.status_code

    assert ask() == 200
    rig.rig.api("POST", f"/v1/nodes/{login}/revoke", {"reason": "a test"})
    until(lambda: ask() == 401)


def test_the_recording_tells_the_story(rig: AzureRig, alice: Path) -> None:
    """Replayed as the client saw it, without what it could not see."""
    sessions = [each for each in records(rig) if each["target"] == "arm"]
    found = [
        line["text"]
        for each in sessions
        for line in rig.rig.api("GET", f"/v1/sessions/{each['id']}/replay")["lines"]
    ]
    told = "\n".join(found)
    assert "GET /subscriptions" in told
    assert "held for review" in told
    assert "listkeys" in told.lower()
    assert UPSTREAM_TOKEN not in told


def test_a_person_runs_az(rig: AzureRig, tmp_path: Path) -> None:
    """With the log-in of `hoopgw login`, whose key stays; `az` sees a managed identity."""
    home = tmp_path / "home"
    Person.log_in(rig.rig, home, name="dora", groups=("developers",))
    az = azure_cli.wrapper(tmp_path / "az")
    environment = rig.environment(tmp_path)
    environment |= {"HOOPGW_HOME": str(home), **python_environment()}
    for more in (
        ("group", "list"),
        ("keyvault", "secret", "show", "--vault-name", VAULT, "-n", "secret1"),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "hoopgw.cli", "azure", "run", "--account", "deployer"),
                *(f"https://{rig.authority}", "--", str(az), *more),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["value"] == "***"
    paths = {each["path"] for each in records(rig)}
    assert "dora" in paths
