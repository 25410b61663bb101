"""Long operations that wait for people, with the real `az`, which asks after them as always.

The gateway answers while people think, sends what they approved, and hands over to Azure's own
addresses. Another worker of the gateway, or the next one, knows how they stand.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests
from attrs import evolve

from tests.integration.test_azure import PRINCIPAL, ROLE, call, settle, until
from tests.support import azure, azure_cli
from tests.support.azure import AzureRig
from tests.support.azure_replay import SUBSCRIPTION, answer_to
from tests.support.gateway import process_of, twistd
from tests.support.processes import free_port, python_environment

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not Path(azure.WRAPPER).exists(),
    reason="az is not installed: python -m tests.support.azure_cli, and libnss-wrapper",
)

GROUP: Final = "cli_test_rg_scenario000001"
BELOW: Final = f"/subscriptions/{SUBSCRIPTION}/resourcegroups"
SHOP: Final = f"{BELOW}/shop/providers"
DISK: Final = f"{SHOP}/Microsoft.Compute/disks/old"
DEPLOYED: Final = "cli_test_deployment_lite000001"
PATIENCE: Final = 120.0
POLICY: Final = (
    azure.POLICY
    + """
@id("approve-deployments") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Azure::Action::"write",
  resource in Azure::Type::"microsoft.resources/deployments")
unless { context.approvals.contains("approve-deployments") };

@id("approve-mints") @approval("ops") @approval_ttl("15m")
forbid (principal, action == Azure::Action::"mint", resource)
unless { context.approvals.contains("approve-mints") };
"""
)


@pytest.fixture(scope="module")
def rig() -> Iterator[AzureRig]:
    """Start a gateway before a recorded Azure, in which a disk is deleted, too."""
    started = azure.start(
        *("resource__test_resource_group", "resource__test_group_deployment"),
        *("vm__test_vm_large_disk",),
        policy=POLICY,
        more=[
            answer_to("DELETE", DISK, {}, 200),
            *(answer_to("DELETE", f"{SHOP}/Microsoft.Compute/disks/{n}", {}) for n in range(9)),
            answer_to("PUT", f"{SHOP}/Microsoft.Authorization/locks/one", {"name": "one"}, 201),
        ],
    )
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def alice(rig: AzureRig) -> Path:
    """Log in as somebody who may do all but approve."""
    return rig.log_in()


@pytest.fixture(scope="module")
def other(rig: AzureRig) -> AzureRig:
    """Start another worker of the same gateway, with a link and an agent of its own."""
    inner, settings = rig.rig, rig.rig.settings
    taken = (rig.port, rig.proxy_port, inner.port, settings.link.listen.port)
    ports = {str(port): str(free_port()) for port in taken}
    folder = inner.folder
    shutil.copytree(folder / "agent-state", folder / "agent-state2")
    for name in ("hoopgw", "agent"):
        text = (folder / f"{name}.toml").read_text()
        for port, new in ports.items():
            text = text.replace(f":{port}", f":{new}")
        text = text.replace('"agent-state"', '"agent-state2"')
        (folder / f"{name}2.toml").write_text(text)
    worker = inner.processes.start_python(
        "worker2",
        *("-m", "hoopgw.processes.worker", "--name", "worker2"),
        *("--config", folder / "hoopgw2.toml"),
        env=python_environment(),
    )
    worker.wait_for_line("worker worker2 is ready", 60.0)
    agent = inner.processes.start_python(
        "agent2", *twistd("hoopgw-agent", folder / "agent2.toml"), env=python_environment()
    )
    agent.wait_for_line("connected to the gateway", 60.0)
    return evolve(rig, port=int(ports[str(rig.port)]))


def sent(rig: AzureRig, method: str, words: str) -> int:
    """Count what reached Azure."""
    return len(
        [each for each in rig.upstream.asked if each.method == method and words in each.path]
    )


def asked(rig: AzureRig, words: str) -> dict[str, Any]:
    """Return the request for approval whose text has these words, once it is there."""

    def look() -> dict[str, Any] | None:
        for each in rig.rig.api("GET", "/v1/requests?state=requested")["requests"]:
            whole: dict[str, Any] = rig.rig.api("GET", f"/v1/requests/{each['id']}")
            if words.lower() in whole["text"].lower():
                return whole
        return None

    found: dict[str, Any] = until(look)
    return found


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for `az`; return its status and what it wrote."""
    out, error = running.communicate(timeout=PATIENCE)
    return running.returncode, out, error


def follow(rig: AzureRig, url: str, token: str) -> requests.Response:
    """Ask at an address that the gateway gave, perhaps at another worker."""
    parts = urlsplit(url)
    return call(rig, "GET", f"{parts.path}?{parts.query}&x=", token)


def held(rig: AzureRig, path: str, token: str) -> requests.Response:
    """Ask for a deletion that is held."""
    answer = call(rig, "DELETE", path, token)
    assert answer.status_code == 202, answer.text
    return answer


def test_a_group_is_deleted_once_somebody_approves(rig: AzureRig, alice: Path) -> None:
    """Azure's own answer is 202 with an address: `az` goes on there, and ends when it is done."""
    running = rig.start(alice, "group", "delete", "-y", "-n", GROUP)
    request = asked(rig, f"resourceGroups/{GROUP}")
    assert request["text"].startswith("DELETE /subscriptions/")
    assert sent(rig, "DELETE", GROUP) == 0
    settle(rig, request["id"], "approve")
    assert ended(running) == (0, "", "")
    assert sent(rig, "DELETE", GROUP) == 1
    assert sent(rig, "GET", "operationresults") >= 1
    assert all("hoopgw" not in each.path for each in rig.upstream.asked)


def test_a_group_is_not_deleted_if_somebody_denies(rig: AzureRig, alice: Path) -> None:
    running = rig.start(alice, "group", "delete", "-y", "-n", "payments")
    request = asked(rig, "resourceGroups/payments")
    settle(rig, request["id"], "deny")
    status, _out, error = ended(running)
    assert status != 0
    assert "(ApprovalDenied) hoopgw: denied by dora" in error
    assert sent(rig, "DELETE", "payments") == 0


def test_a_role_is_not_assigned_if_somebody_denies(rig: AzureRig, alice: Path) -> None:
    """That is no long operation to `az`: it waits for its answer."""
    running = rig.start(
        alice,
        *("role", "assignment", "create", "--assignee-object-id", PRINCIPAL),
        *("--assignee-principal-type", "ServicePrincipal", "--role", ROLE),
        *("--scope", f"/subscriptions/{SUBSCRIPTION}"),
    )
    settle(rig, asked(rig, "roleAssignments")["id"], "deny")
    status, _out, error = ended(running)
    assert status != 0
    assert "(AuthorizationFailed) hoopgw: denied by dora" in error
    assert sent(rig, "PUT", "roleAssignments") == 0


def test_az_need_not_wait(rig: AzureRig, alice: Path) -> None:
    """It ends at once, and what it asked for is done when somebody approves."""
    status, out, error = ended(
        rig.start(alice, "group", "delete", "-y", "--no-wait", "-n", "no-wait-group")
    )
    assert (status, out, error) == (0, "", "")
    request = asked(rig, "resourceGroups/no-wait-group")
    assert sent(rig, "DELETE", "no-wait-group") == 0
    settle(rig, request["id"], "approve")
    until(lambda: sent(rig, "DELETE", "no-wait-group") == 1)


def test_a_resource_of_any_type_is_deleted(rig: AzureRig, alice: Path) -> None:
    """Azure's answer is final at once here."""
    running = rig.start(alice, "resource", "delete", "--ids", DISK, "--api-version", "2023-04-02")
    settle(rig, asked(rig, "disks/old")["id"], "approve")
    assert ended(running)[0] == 0
    assert sent(rig, "DELETE", "disks/old") == 1


def test_what_it_gives_is_masked_all_the_same(rig: AzureRig, alice: Path) -> None:
    """The address of a disk's content comes with the result, at Azure's own address."""
    running = rig.start(
        alice,
        *("disk", "grant-access", "-g", "cli_test_large_disk000001", "-n", "d1"),
        *("--duration-in-seconds", "10"),
    )
    settle(rig, asked(rig, "beginGetAccess")["id"], "approve")
    status, out, error = ended(running)
    assert status == 0, error
    assert json.loads(out) == {"accessSAS": "***"}


def test_a_deployment_is_made_once_somebody_approves(
    rig: AzureRig, alice: Path, tmp_path: Path
) -> None:
    """`az` takes no 202 for it: it begins with 201, and ends with the deployment."""
    template = tmp_path / "template.json"
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    template.write_text(
        json.dumps({"$schema": schema, "contentVersion": "1.0.0.0", "resources": []})
    )
    running = rig.start(
        alice,
        *("deployment", "group", "create", "-g", DEPLOYED, "-n", "mock-deployment"),
        *("--template-file", str(template), "--no-prompt", "true"),
    )
    request = asked(rig, "deployments/mock-deployment")
    assert sent(rig, "PUT", "deployments") == 0
    settle(rig, request["id"], "approve")
    status, out, error = ended(running)
    assert status == 0, error
    assert json.loads(out)["properties"]["provisioningState"] == "Succeeded"
    assert sent(rig, "PUT", "deployments") == 1
    assert sent(rig, "GET", "operationStatuses") >= 1


def test_another_worker_says_how_it_stands(rig: AzureRig, other: AzureRig) -> None:
    """It asks the one that keeps it; what was done is done once."""
    token = rig.rig.token("arm")
    begun = held(rig, f"{SHOP}/Microsoft.Compute/disks/1", token)
    state, result = begun.headers["Azure-AsyncOperation"], begun.headers["Location"]
    waiting = follow(other, state, token).json()
    assert waiting["status"] == "InProgress"
    assert "held for approval by ops" in waiting["properties"]["message"]
    assert follow(other, result, token).status_code == 202
    settle(rig, begun.headers["X-Hoopgw-Request"], "approve")
    until(lambda: follow(other, state, token).json() == {"status": "Succeeded"})
    assert follow(other, result, token).status_code == 200
    assert sent(rig, "DELETE", "disks/1") == 1


def test_what_is_sent_again_may_come_to_another_worker(rig: AzureRig, other: AzureRig) -> None:
    """What was approved at the first is done at the second, and asked for once."""
    token = rig.rig.token("arm")
    path = f"{SHOP}/Microsoft.Authorization/locks/one"
    body = {"properties": {"level": "CanNotDelete"}}

    def put(worker: AzureRig) -> requests.Response:
        return call(worker, "PUT", path, token, json=body, headers={"X-Hoopgw-Wait": "0"})

    first = put(rig)
    assert first.status_code == 403
    request = first.headers["X-Hoopgw-Request"]
    assert put(other).headers["X-Hoopgw-Request"] == request
    settle(rig, request, "approve")
    until(lambda: put(other).status_code == 201)
    assert sent(rig, "PUT", "locks/one") == 1
    # The first worker was told, too, and then asks anew: the approval has been used.
    until(lambda: put(rig).headers["X-Hoopgw-Request"] != request)
    assert sent(rig, "PUT", "locks/one") == 1


def test_a_worker_that_dies_takes_what_it_held_with_it(rig: AzureRig, other: AzureRig) -> None:
    """Nothing is done by it; whoever asks is told so, by any worker."""
    token = rig.rig.token("arm")
    begun = held(rig, f"{SHOP}/Microsoft.Compute/disks/2", token)
    os.kill(process_of(rig.rig, "worker"), signal.SIGKILL)
    state, result = begun.headers["Azure-AsyncOperation"], begun.headers["Location"]
    for worker in (other, rig):

        def is_told(worker: AzureRig = worker) -> bool:
            try:
                answer = follow(worker, state, token)
            except requests.ConnectionError:  # it is started again
                return False
            return answer.status_code == 200 and answer.json()["status"] == "Canceled"

        until(is_told)
        error = follow(worker, state, token).json()["error"]
        assert error["code"] == "RequestWithdrawn"
        assert "nothing was done" in error["message"]
        assert follow(worker, result, token).status_code == 403
    request = begun.headers["X-Hoopgw-Request"]
    assert rig.rig.api("GET", f"/v1/requests/{request}")["state"] == "withdrawn"
    assert sent(rig, "DELETE", "disks/2") == 0
