"""Parts that die, one by one: what the client is told, and that the rest goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget, process_of
from tests.support.processes import PATIENCE, SOON, children_of, wait_until

TABLE = "CREATE TABLE t (a int)"


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway of this module's own."""
    running = gateway.start(RigTarget.make("orders", postgres.shared.get(18), TABLE))
    yield running
    running.stop()


class Sleeping:
    """A statement that runs for long in another thread, and what came of it."""

    def __init__(self, rig: GatewayRig, target: str = "orders", **who: Any) -> None:
        self.outcome: Exception | None = None
        self.connection = rig.connect(target, **who)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        place = rig.targets[target]
        wait_until(
            "the statement runs",
            lambda: place.server.is_asleep(place.database) or self.outcome is not None,
        )

    def _run(self) -> None:
        try:
            self.connection.execute("SELECT pg_sleep(300)")
        except psycopg.Error as error:
            self.outcome = error

    def ended(self, patience: float = PATIENCE) -> Exception:
        """Return how the statement failed, which must be soon."""
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"the client still waits after {patience} s"
        assert self.outcome is not None, "the statement was not disturbed"
        return self.outcome


def assert_rests(rig: GatewayRig, target: str = "orders") -> None:
    """Nothing that was begun runs on at the target."""
    place = rig.targets[target]
    wait_until("the target rests", lambda: not place.server.is_asleep(place.database))


def rest(rig: GatewayRig) -> None:
    """End what a killed part has left running at the target, as it can tell nobody any more."""
    place = rig.targets["orders"]
    place.server.kill_backends(place.database)


def works(rig: GatewayRig, target: str = "orders") -> bool:
    """Say whether a new session can do something."""
    try:
        with rig.connect(target) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def test_the_agent_dies(rig: GatewayRig) -> None:
    """Its sessions end with an error, new ones are refused and say why, and it may come back."""
    sleeping = Sleeping(rig)
    assert rig.agent is not None
    rig.agent.kill()
    assert isinstance(sleeping.ended(), psycopg.OperationalError)
    rest(rig)
    with pytest.raises(psycopg.OperationalError, match="agent"):
        rig.connect("orders")
    rig.start_agent()
    assert works(rig)


def test_the_backend_is_ended(rig: GatewayRig) -> None:
    """The server's own last word reaches the client."""
    sleeping = Sleeping(rig)
    place = rig.targets["orders"]
    assert place.server.kill_backends(place.database) >= 1
    assert isinstance(sleeping.ended(), errors.AdminShutdown)
    assert works(rig)


def test_the_worker_dies(rig: GatewayRig) -> None:
    """Its clients are disconnected, and the supervisor starts another one."""
    sleeping = Sleeping(rig)
    os.kill(process_of(rig, "worker"), signal.SIGKILL)
    assert isinstance(sleeping.ended(), psycopg.OperationalError)
    rest(rig)
    wait_until("a session works again", lambda: works(rig))


def test_the_recorder_dies(rig: GatewayRig) -> None:
    """What cannot be recorded does not run; with a new recorder it does."""
    with rig.connect("orders") as connection:
        connection.execute("SELECT 1")
        os.kill(process_of(rig, "recorder"), signal.SIGKILL)
        wait_until("a session works again", lambda: works(rig))
        with suppress(psycopg.Error):
            connection.execute("SELECT 1")


def test_control_dies(rig: GatewayRig) -> None:
    """Sessions go on without it, and it comes back."""
    with rig.connect("orders") as connection:
        os.kill(process_of(rig, "control"), signal.SIGKILL)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        wait_until("a session works again", lambda: works(rig))
        wait_until("the agent is known again", lambda: bool(_agents(rig)))


def _agents(rig: GatewayRig) -> list[Any]:
    with suppress(OSError):  # requests' errors are some
        return [agent for agent in rig.agents() if agent["connected"]]
    return []


def test_a_session_ends_with_its_log_in(rig: GatewayRig) -> None:
    """When the log-in's time is over, so is what it started."""
    sleeping = Sleeping(rig, lifetime=6.0)
    assert isinstance(sleeping.ended(), psycopg.OperationalError)
    assert_rests(rig)


def test_a_revoked_log_in(rig: GatewayRig) -> None:
    """Ends its sessions within seconds, cancels what they wait for, and opens no more."""
    sleeping = Sleeping(rig, session="login-to-revoke")
    rig.api("POST", "/v1/logins/login-to-revoke/revoke", {})
    assert isinstance(sleeping.ended(SOON), psycopg.OperationalError)
    assert_rests(rig)
    with pytest.raises(psycopg.OperationalError):
        rig.connect("orders", session="login-to-revoke")
    assert works(rig)


def test_an_administrator_cuts_a_session(rig: GatewayRig) -> None:
    """One session, by its id; the others go on."""
    with rig.connect("orders") as other:
        sleeping = Sleeping(rig, name="bert")
        live = rig.api("GET", "/v1/sessions?live=true")["sessions"]
        (session,) = [s for s in live if s["path"] == "bert"]
        rig.api("POST", f"/v1/sessions/{session['id']}/cut", {"reason": "lunch"})
        assert "lunch" in str(sleeping.ended(SOON))
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_the_server_crashes() -> None:
    """All of its sessions end; the gateway and its other target go on."""
    server = postgres.start(18)
    try:
        running = gateway.start(
            RigTarget.make("doomed", server, TABLE),
            RigTarget.make("orders", postgres.shared.get(18), TABLE),
        )
        try:
            sleeping = Sleeping(running, "doomed")
            server.crash()
            assert isinstance(sleeping.ended(), psycopg.OperationalError)
            with pytest.raises(psycopg.OperationalError, match="doomed"):
                running.connect("doomed")
            assert works(running, "orders")
        finally:
            running.stop()
    finally:
        server.stop()


def test_a_stop_ends_everything() -> None:
    """SIGTERM: clients get a word, all processes end in time, and none is left."""
    running = gateway.start(RigTarget.make("orders", postgres.shared.get(18), TABLE))
    try:
        sleeping = Sleeping(running)
        left = _descendants(running.gateway.pid)
        assert len(left) >= 3
        assert running.gateway.stop() in (0, -signal.SIGTERM)
        assert isinstance(sleeping.ended(), psycopg.OperationalError)
        assert [pid for pid in left if _is_alive(pid)] == []
    finally:
        running.stop()


def test_a_supervisor_that_is_killed_leaves_nothing() -> None:
    """Its children see that it is gone, and end."""
    running = gateway.start(RigTarget.make("orders", postgres.shared.get(18), TABLE), agent=False)
    try:
        left = _descendants(running.gateway.pid)
        running.gateway.kill()
        wait_until("all have ended", lambda: not any(_is_alive(pid) for pid in left))
    finally:
        running.stop()


def _descendants(pid: int) -> list[int]:
    found = children_of(pid)
    return found + [below for child in found for below in _descendants(child)]


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
