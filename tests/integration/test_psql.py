"""psql 15, as a person uses it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import PSQL_15, GatewayRig
from tests.support.processes import wait_until

pytestmark = pytest.mark.skipif(not Path(PSQL_15).exists(), reason="make test installs psql 15")


def psql(
    rig: GatewayRig, target: str, script: str, *arguments: str, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script, and return what psql wrote."""
    done = subprocess.run(
        [PSQL_15, "-X", "-A", "-t", "-q", *arguments],
        input=script,
        env=rig.environment(target),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert fails == (done.returncode != 0), done.stderr
    return done


def test_select(rig: GatewayRig, target: str) -> None:
    """Rows come back, and characters are what they were."""
    done = psql(rig, target, "SELECT id, name FROM customers ORDER BY id;")
    assert done.stdout == "1|Ada\n2|Søren\n3|Yara\n"
    assert done.stderr == ""


def test_errors(rig: GatewayRig, target: str) -> None:
    """An error is shown with its place; psql goes on, and stops when told so."""
    done = psql(rig, target, "SELECT * FROM nothing;\nSELECT 'on';\n")
    assert 'ERROR:  relation "nothing" does not exist' in done.stderr
    assert "LINE 1: SELECT * FROM nothing;" in done.stderr
    assert done.stdout == "on\n"
    psql(rig, target, "SELECT 1/0;\nSELECT 'no';\n", "-v", "ON_ERROR_STOP=1", fails=True)


def test_several_statements_in_one(rig: GatewayRig, target: str) -> None:
    """One message with several statements is one transaction."""
    done = psql(rig, target, "", "-c", "SELECT 1; SELECT 2")
    assert done.stdout == "1\n2\n"


def test_transaction(rig: GatewayRig, target: str, notes: str) -> None:
    """BEGIN, SAVEPOINT, ROLLBACK TO and COMMIT."""
    script = """
BEGIN;
INSERT INTO notes (note) VALUES ('kept');
SAVEPOINT s;
INSERT INTO notes (note) VALUES ('lost');
ROLLBACK TO s;
COMMIT;
SELECT note FROM notes;
"""
    assert psql(rig, target, script).stdout == "kept\n"


def test_copy(rig: GatewayRig, target: str, notes: str) -> None:
    """COPY through the client, in and out."""
    script = "\\copy notes (note) FROM STDIN\none\ntwo\n\\.\n\\copy notes (note) TO STDOUT\n"
    assert psql(rig, target, script).stdout == "one\ntwo\n"


# Not \l: psql 15 asks for a column that PostgreSQL 17 renamed, also without us.
@pytest.mark.parametrize("command", ["\\d customers", "\\dt", "\\du", "\\conninfo", "\\df"])
def test_backslash_commands(rig: GatewayRig, target: str, command: str) -> None:
    """What psql asks of the catalogs is answered."""
    done = psql(rig, target, command + "\n")
    assert done.stderr == ""
    assert done.stdout or command == "\\df"


def test_a_large_result(rig: GatewayRig, target: str) -> None:
    """Nothing is lost on the way."""
    done = psql(rig, target, "SELECT n FROM numbers ORDER BY n;")
    assert done.stdout.split() == [str(n) for n in range(1, 100_001)]


def test_ctrl_c(rig: GatewayRig, target: str) -> None:
    """SIGINT cancels the statement, and psql goes on."""
    process = subprocess.Popen(
        [PSQL_15, "-X", "-A", "-t", "-q"],
        env=rig.environment(target),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("SELECT 'up';\nSELECT pg_sleep(300);\nSELECT 'on';\n")
        process.stdin.close()
        process.stdin = None
        assert process.stdout.readline() == "up\n"
        place = rig.targets[target]
        wait_until("the statement runs", lambda: place.server.is_asleep(place.database))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "canceling statement due to user request" in errors
    assert output.endswith("on\n") or process.returncode != 0  # psql ends a script at Ctrl-C
