"""Azure's SDKs for JavaScript and Python, unchanged, with what `hoopgw azure` sets up for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from tests.support import azure, azure_cli, azure_sdks
from tests.support.azure import DOMAIN, UPSTREAM_TOKEN, VAULT, AzureRig
from tests.support.azure_replay import SUBSCRIPTION, Exchange, answer_to
from tests.support.delegating import Person
from tests.support.processes import python_environment

pytestmark = pytest.mark.skipif(
    not azure_cli.is_there() or not Path(azure.WRAPPER).exists(),
    reason="not installed: python -m hoopgw.demo.azure_cli; libnss-wrapper",
)

Program: TypeAlias = Callable[[], tuple[list[str], dict[str, str]]]
PROGRAMS: Final = (
    pytest.param(azure_sdks.python, "sdk", id="python"),
    pytest.param(
        azure_sdks.javascript,
        "js",
        id="javascript",
        marks=pytest.mark.skipif(
            not azure_sdks.is_there(), reason="not installed: python -m tests.support.azure_sdks"
        ),
    ),
)
GROUP: Final = "cli_test_rg_scenario000001"
SENTENCE: Final = "this one is for the workflow"
POLICY: Final = (
    azure.POLICY
    + f"""
@id("not-this-one") @deny("{SENTENCE}")
forbid (principal, action == Azure::Action::"getSecret",
  resource == Azure::Secret::"{VAULT}/secret2");
"""
)


@pytest.fixture(scope="module")
def rig() -> Iterator[AzureRig]:
    """Start a gateway before a group and a vault."""
    started = azure.start(policy=POLICY, more=answers())
    try:
        yield started
    finally:
        started.stop()


def answers() -> list[Exchange]:
    """Return what Azure has: in the form of what was recorded, and the same however often asked."""
    host = f"{VAULT}.vault.azure.net"
    names = ("secret1", "secret2")
    secrets = [
        {"id": f"https://{host}/secrets/{name}", "attributes": {"enabled": True}} for name in names
    ]
    shown = {
        "value": "ABC123",
        "id": f"https://{host}/secrets/secret1/ed8f06981f094eda8b27df1fb8606a46",
    }
    group = {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}",
        "name": GROUP,
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westus",
        "properties": {"provisioningState": "Succeeded"},
    }
    return [
        answer_to("GET", f"/subscriptions/{SUBSCRIPTION}/resourcegroups", {"value": [group]}),
        answer_to("GET", "/secrets", {"value": secrets, "nextLink": None}, host=host),
        answer_to("GET", "/secrets/secret1", shown | {"attributes": {"enabled": True}}, host=host),
    ]


def run(
    rig: AzureRig, home: Path, command: list[str], more: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command of somebody who has only the names of the gateway, and what `more` says."""
    known = rig.environment(home)
    kept = ("PATH", "LC_ALL", "LD_PRELOAD", "NSS_WRAPPER_HOSTS", "TMPDIR", "LD_LIBRARY_PATH")
    return subprocess.run(
        command,
        env={
            **{name: known[name] for name in kept if name in known},
            **python_environment(),
            "HOME": str(home),
            "HOOPGW_CA": str(rig.rig.ca),
            "HOOPGW_HOME": str(home / "hoopgw"),
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def arguments(rig: AzureRig) -> list[str]:
    """Return what the programs are told."""
    return [f"https://{VAULT}.vault.{DOMAIN}:{rig.port}", SUBSCRIPTION]


def check(rig: AzureRig, done: subprocess.CompletedProcess[str]) -> None:
    """Check what a program printed: the gateway's names, masks and words."""
    assert done.returncode == 0, (done.stdout, done.stderr, rig.rig.gateway.output[-4000:])
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["groups"] == [GROUP]
    assert found["names"] == ["secret1", "secret2"]
    assert found["value"] == "***"
    assert found["id"].startswith(f"https://{VAULT}.vault.{DOMAIN}:{rig.port}/secrets/secret1/")
    assert found["refused"]["status"] == 403
    assert f"hoopgw: {SENTENCE}" in found["refused"]["message"]
    assert UPSTREAM_TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(("program", "kind"), PROGRAMS)
def test_a_job(rig: AzureRig, tmp_path: Path, program: Program, kind: str) -> None:
    """With the lines that `hoopgw azure env` prints, and a token of the job's issuer in a file."""
    command, more = program()
    proof = tmp_path / "token"
    proof.write_text(rig.rig.token(None))
    settings = (sys.executable, "-m", "hoopgw.cli", "azure", "env", "--account", "deployer")
    script = 'eval "$("$@")" && exec $PROGRAM'
    done = run(
        rig,
        tmp_path,
        ["sh", "-c", script, "sh", *settings, "--for", kind, f"https://{rig.authority}"],
        {**more, "PROGRAM": " ".join((*command, *arguments(rig))), "TOKEN_FILE": str(proof)},
    )
    check(rig, done)


@pytest.mark.parametrize(("program", "kind"), PROGRAMS)
def test_a_person(rig: AzureRig, tmp_path: Path, program: Program, kind: str) -> None:
    """Under `hoopgw azure run`, with the log-in of `hoopgw login`."""
    command, more = program()
    Person.log_in(rig.rig, tmp_path / "hoopgw", name=f"dora-{kind}")
    wrapped = (sys.executable, "-m", "hoopgw.cli", "azure", "run", "--account", "deployer")
    done = run(
        rig,
        tmp_path,
        [*wrapped, f"https://{rig.authority}", "--", *command, *arguments(rig)],
        more,
    )
    check(rig, done)
    sessions = rig.rig.api("GET", "/v1/sessions")["sessions"]
    assert {each["target"] for each in sessions if each["path"] == f"dora-{kind}"} == {"arm", VAULT}
