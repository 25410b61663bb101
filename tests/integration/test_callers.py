"""A job of GitHub Actions, from its token to the rows and the recording, against PostgreSQL."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from hoopgw.identity.tokens import target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, JWT
from tests.identity import forge
from tests.identity.callers.shapes import github
from tests.integration.conftest import TABLES
from tests.integration.test_recording import records_of
from tests.integration.test_verdicts import Held, request_of, settle
from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget

POLICY = """
@id("main") permit (principal is Hoopgw::Workload, action, resource)
when { principal has repositoryId && principal.repositoryId == "74" &&
       principal has ref && principal.ref == "refs/heads/main" };
@id("approve-truncate") @approval("dba")
forbid (principal, action == Postgres::Action::"truncate", resource)
unless { context.approvals.contains("approve-truncate") };
"""


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway that takes jobs of one owner's repositories."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        keys.write_bytes(forge.key_set(forge.public_jwk(forge.rsa_key(), "one")))
        issuer = f"""
[[identity.issuers]]
type = "github-actions"
alias = "gha"
audiences = ["https://gw.example"]
required = {{ repository_owner_id = ["65"] }}
jwks_file = "{keys}"
[identity.issuers.persons]
ids = {{ "12" = "corp|alice" }}
"""
        target = RigTarget.make("pg18-jobs", postgres.shared.get(18), *TABLES)
        running = gateway.start(target, policy=POLICY, extra=issuer)
        yield running
        running.stop()


def exchange(rig: GatewayRig, **form: str) -> requests.Response:
    """Ask the token endpoint."""
    url = f"{rig.settings.control.url}/sts/token"
    return requests.post(url, {"grant_type": GRANT, **form}, verify=str(rig.ca), timeout=60)


def job(rig: GatewayRig, **changes: Any) -> str:
    """Log a job in, and return its token for the target."""
    shift = int(time.time()) - forge.NOW
    claims = github(**changes)
    claims |= {name: claims[name] + shift for name in ("iat", "nbf", "exp")}
    login = exchange(rig, subject_token=forge.token(claims), subject_token_type=JWT)
    assert login.status_code == 200, login.text
    narrow = {"subject_token_type": ACCESS_TOKEN, "audience": target_audience("pg18-jobs")}
    given = exchange(rig, subject_token=login.json()["access_token"], **narrow)
    return str(given.json()["access_token"])


def test_a_job(rig: GatewayRig) -> None:
    """Policy knows its branch, whoever set it off cannot approve, and the run is recorded."""
    with rig.connect("pg18-jobs", token=job(rig)) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (3,)
        held = Held(connection, "TRUNCATE notes")
        request = request_of(rig, "pg18-jobs")
        with pytest.raises(requests.HTTPError, match="403"):
            settle(rig, request, "approve", name="alice", groups=["dba"])
        settle(rig, request, "approve", name="dora", groups=["dba"])
        assert held.wait() == "TRUNCATE TABLE"
    started = records_of(rig, "octo-org/octo-repo:prod")[0]
    assert started["persons"] == ["corp|alice"]
    assert started["attributes"]["run_id"] == "32291736541"
    assert started["chain"][0]["id"] == "gha|74"
    assert started["chain"][0]["attributes"]["environment"] == "prod"


def test_another_branch(rig: GatewayRig) -> None:
    """The same repository, and what is on the branch was reviewed by nobody."""
    token = job(rig, ref="refs/heads/evil", environment=None)
    with pytest.raises(psycopg.OperationalError, match="FATAL:  hoopgw: "):
        rig.connect("pg18-jobs", token=token)


def test_another_owner(rig: GatewayRig) -> None:
    """With the gateway's audience and the same names; the reason is for the gateway's log."""
    shift = int(time.time()) - forge.NOW
    claims = github(repository_owner_id="66")
    claims |= {name: claims[name] + shift for name in ("iat", "nbf", "exp")}
    refused = exchange(rig, subject_token=forge.token(claims), subject_token_type=JWT)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert "owner" not in refused.text
