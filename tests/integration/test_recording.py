"""What is kept of a session: all of it, in order, signed, and nothing that opens a target."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psycopg
import pytest

from tests.support.gateway import PYTHON, GatewayRig
from tests.support.processes import python_environment, wait_until


def records_of(rig: GatewayRig, name: str) -> list[dict[str, Any]]:
    """Return the records of a person's only session, once it has ended."""
    sessions: list[dict[str, Any]] = []

    def ended() -> bool:
        found = rig.api("GET", "/v1/sessions", groups=["auditors"])["sessions"]
        sessions[:] = [s for s in found if s["path"].startswith(name)]
        return len(sessions) == 1 and sessions[0]["ended"] is not None

    wait_until("the session is in the log", ended)
    path = f"/v1/sessions/{sessions[0]['id']}/records"
    records: list[dict[str, Any]] = rig.api("GET", path, groups=["auditors"])["records"]
    return records


def test_all_of_a_session(rig: GatewayRig, masked: str) -> None:
    """Start, intents before results, a refusal, masks, end."""
    name = f"rec-{masked}"
    with rig.connect(masked, name=name, agent="planner") as connection:
        connection.execute("SELECT card FROM customers")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DO $$ BEGIN END $$")
    records = records_of(rig, name)
    kinds = [record["kind"] for record in records]
    assert kinds[0] == "session.started"
    assert kinds[-1] == "session.ended"
    started = records[0]
    assert [hop["name"] for hop in started["chain"]] == [name, "planner"]
    intents = [record for record in records if record["kind"] == "intent"]
    results = [record for record in records if record["kind"] == "result"]
    assert [i["decision"] for i in intents if "customers" in json.dumps(i)] == ["allow"]
    assert "deny" in [intent["decision"] for intent in intents]
    assert 3 in [result["rows"] for result in results]
    assert max(result["masked"] for result in results) >= 2
    sequences = [record["sequence"] for record in records]
    assert sequences == list(range(len(records)))


def test_the_log_verifies(rig: GatewayRig) -> None:
    """The command that an auditor runs finds nothing wrong; after one changed byte it does."""
    with rig.connect("pg18") as connection:
        connection.execute("SELECT 'something to record'")
    log = rig.settings.paths.log
    wait_until("a checkpoint is there", lambda: verify(rig).returncode == 0)
    (segment, *_others) = sorted(log.rglob("*.log"))
    data = segment.read_bytes()
    copy = rig.folder / "changed-log"
    subprocess.run(["cp", "-a", log, copy], check=True)
    changed = copy / segment.relative_to(log)
    changed.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    assert verify(rig, "changed-log").returncode != 0
    assert verify(rig).returncode == 0


def verify(rig: GatewayRig, folder: str = "state/log") -> subprocess.CompletedProcess[str]:
    """Run ``hoopgw sessions verify``."""
    return subprocess.run(
        [PYTHON, "-m", "hoopgw.cli", "sessions", "verify", str(rig.folder / folder)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(rig.folder), **python_environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_credential_is_kept(rig: GatewayRig, target: str) -> None:
    """Neither a password of a target nor a caller's token is in a state folder or a log line."""
    name = f"secretive-{target}"  # one for each: the other's session stays in the log
    token = rig.token(target, name=name)
    with psycopg.connect(**rig.options(target, token=token)) as connection:
        connection.execute("SELECT 1")
    records_of(rig, name)
    wanted = [token.rpartition(".")[2].encode()]
    wanted += [p.encode() for place in rig.targets.values() for p in place.passwords.values()]
    places = [rig.settings.state, rig.folder / "gateway.log", rig.folder / "agent.log"]
    places.append(rig.folder / "agent-state")
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(secret in data for secret in wanted), path
