"""A gateway whose log is set back to an earlier state of it: the agent opens nothing for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from hoopgw.link import witness
from tests.integration.test_failures import works
from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget, twistd
from tests.support.processes import python_environment, wait_until


def restart(rig: GatewayRig) -> None:
    """Start the gateway again, which has been stopped."""
    rig.gateway = rig.processes.start_python(
        "gateway", *twistd("hoopgw", rig.folder / "hoopgw.toml"), env=python_environment()
    )
    rig.gateway.wait_for_line("agent local connected", 60)


def kept(rig: GatewayRig) -> bytes:
    """Return the checkpoint that the agent keeps."""
    path = rig.folder / "agent-state" / witness.FILE
    return path.read_bytes() if path.exists() else b""


def test_a_log_that_is_set_back() -> None:
    """Sessions work while the log grows, over restarts too; then they are refused, and why."""
    rig = gateway.start(RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t ()"))
    try:
        note, log = rig.settings.paths.log / "checkpoint", rig.settings.paths.log
        assert works(rig)
        rig.gateway.stop()
        old = Path(shutil.copytree(log, rig.folder / "old-log"))
        for _ in range(2):
            restart(rig)
            wait_until("the agent keeps it", lambda: kept(rig) == note.read_bytes())
            assert works(rig)
            rig.gateway.stop()
        shutil.rmtree(log)
        old.rename(log)
        restart(rig)
        assert rig.agent is not None
        rig.agent.wait_for_line("no target is opened any more: .*log was set back")
        with pytest.raises(psycopg.OperationalError, match=r"log was set back from .* to .* rec"):
            rig.connect("orders")
        assert kept(rig) != note.read_bytes()
    finally:
        rig.stop()
