"""A statement under review, and everything that may happen meanwhile: it runs once, or not at all.

Nothing runs for somebody who has gone, nothing that was withdrawn can be approved, and what is
approved is what runs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import requests

from tests.adversarial.conftest import POLICY, own_gateway
from tests.support.gateway import GatewayRig, process_of
from tests.support.processes import wait_until
from tests.support.raw_postgres import (
    FLUSH,
    SYNC,
    TERMINATE,
    Message,
    RawClient,
    bind,
    cancel_request,
    codes,
    copy_data,
    execute,
    kinds,
    parse,
    query,
    through,
)

ONE = "DELETE FROM t WHERE a = 1"


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway of this module's own: its processes are killed."""
    with own_gateway() as running:
        yield running


@pytest.fixture(autouse=True)
def _filled(rig: GatewayRig) -> None:
    for place in rig.targets.values():
        with place.server.connect(place.database) as connection:
            connection.execute("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING")


def is_there(rig: GatewayRig, target: str = "orders") -> bool:
    """Say whether the row is there, past the gateway."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        return connection.execute("SELECT FROM t WHERE a = 1").rowcount == 1


def hold(client: RawClient, *messages: bytes) -> str:
    """Send what is held, and return the request's id."""
    client.send(*(messages or (query(ONE),)))
    return request_in(client.until("N", "Z"))


def request_in(answers: list[Message]) -> str:
    """Return the id that a notice tells."""
    found = re.search(r"request (\S+)", answers[-1].fields["M"])
    assert found is not None
    return found[1]


def state(rig: GatewayRig, request: str) -> str:
    """Return what control says of a request."""
    return str(rig.api("GET", f"/v1/requests/{request}")["state"])


def settles(rig: GatewayRig, request: str, wanted: str) -> None:
    """Wait until a request is in a state."""

    def is_so() -> bool:
        with suppress(OSError):  # control may be away
            return state(rig, request) == wanted
        return False

    wait_until(f"the request is {wanted}", is_so)


def approve(rig: GatewayRig, request: str) -> None:
    """Vote for it, as a member of the group."""
    rig.api("POST", f"/v1/requests/{request}/approve", {}, name="dora", groups=["dba"])


def cannot_be_approved(rig: GatewayRig, request: str) -> None:
    """Vote all the same: it is refused, and nothing happens."""
    with pytest.raises(requests.HTTPError, match=r"^4\d\d"):
        approve(rig, request)
    assert is_there(rig)


def kill(rig: GatewayRig, role: str) -> None:
    """Kill one of the gateway's processes."""
    os.kill(process_of(rig, role), signal.SIGKILL)


def works(rig: GatewayRig) -> bool:
    """Say whether a session can be had."""
    try:
        with through(rig, "orders") as client:
            return kinds(client.ask(query("SELECT 1"))) == "TDCZ"
    except (AssertionError, OSError):
        return False


def test_cancelled(rig: GatewayRig) -> None:
    """By a cancel request, also twice; the session goes on."""
    with through(rig, "orders") as client:
        request = hold(client)
        for _ in range(2):
            with RawClient(rig.port) as other:
                assert other.send(cancel_request(client.key)).all() == []
        assert codes(client.until("Z")) == ["57014"]
        settles(rig, request, "withdrawn")
        cannot_be_approved(rig, request)
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


def vanish(client: RawClient) -> None:
    """Close without a word."""
    client.close()


def reset(client: RawClient) -> None:
    """Close so that the other side gets a reset."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def terminate(client: RawClient) -> None:
    """Say goodbye, as drivers do."""
    client.send(TERMINATE)
    client.close()


def flood(client: RawClient) -> None:
    """Send so much that the gateway does not read on, and go: who does not read sees no end."""
    with suppress(OSError):
        for _ in range(40):
            client.send(copy_data(b"x" * 65_536))
    client.close()


@pytest.mark.parametrize("leave", [vanish, reset, terminate, flood])
def test_gone(rig: GatewayRig, leave: Callable[[RawClient], None]) -> None:
    """A client that is gone waits for nothing, however it went."""
    client = through(rig, "orders")
    request = hold(client)
    leave(client)
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)


def test_gone_at_the_same_moment(rig: GatewayRig) -> None:
    """Approval and disconnection race: either may win, but the log tells which."""
    for _ in range(5):
        client = through(rig, "orders")
        request = hold(client)
        with suppress(requests.HTTPError):
            approve(rig, request)
        client.close()
        wait_until("it is settled", is_settled(rig, request))
        if is_there(rig):
            continue
        assert state(rig, request) in ("approved", "consumed")
        _filled_again(rig)


def is_settled(rig: GatewayRig, request: str) -> Callable[[], bool]:
    """Return what says whether a request is settled."""
    return lambda: state(rig, request) != "requested"


def _filled_again(rig: GatewayRig) -> None:
    place = rig.targets["orders"]
    with place.server.connect(place.database) as connection:
        connection.execute("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING")


@pytest.mark.parametrize("messages", [[query(ONE)], [parse(ONE), bind(), execute(), SYNC]])
def test_approved(rig: GatewayRig, messages: list[bytes]) -> None:
    """It runs once, and cannot be approved again."""
    with through(rig, "orders") as client:
        request = hold(client, *messages)
        approve(rig, request)
        assert "DELETE 1" in [m.gist.removeprefix("C ") for m in client.until("Z")]
        assert not is_there(rig)
        with pytest.raises(requests.HTTPError, match=r"^4\d\d"):
            approve(rig, request)
        _filled_again(rig)
        hold(client, *messages)  # the next one needs an approval of its own
        assert is_there(rig)


def test_one_approval_is_one_use(rig: GatewayRig) -> None:
    """Two sessions of one person wait for the same words; one approval lets one of them run."""
    with through(rig, "orders") as one, through(rig, "orders") as two:
        requests_ = {hold(one), hold(two)}
        approve(rig, requests_.pop())
        settled = [one, two] if not requests_ else [one]
        outcomes = []
        for client in settled:
            with suppress(TimeoutError):
                found: list[Message] = []
                while (got := client.read(3)) is not None:
                    found.append(got)
                    if got.kind == "Z":
                        break
                outcomes.append([m.gist for m in found])
        assert [o[0] for o in outcomes].count("C DELETE 1") <= 1


@pytest.mark.parametrize("sent", [[bind("s"), execute(), FLUSH], [bind("s"), execute(), SYNC]])
def test_no_locks_are_held(rig: GatewayRig, sent: list[bytes]) -> None:
    """Parse and Bind take locks at the server; while people think, others can work."""
    place = rig.targets["orders"]
    with through(rig, "orders") as client:
        client.ask(parse(ONE, "s"), SYNC)
        hold(client, *sent)
        with place.server.connect(place.database) as connection:
            connection.execute("SET lock_timeout = '2s'")
            connection.execute("ALTER TABLE t ADD COLUMN IF NOT EXISTS c int")
            idle = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state ~ '^idle in'",
                [place.database],
            ).fetchone()
        assert idle == (0,)


def test_the_log_in_ends(rig: GatewayRig) -> None:
    """The session's time is over while it waits: it is cut, and the request withdrawn."""
    with through(rig, "orders", lifetime=4.0) as client:
        request = hold(client)
        # The agent cuts at the same moment, by itself: whoever is first, the client is told why.
        [said] = [each.fields for each in client.all() if each.kind == "E"]
        assert (said["C"], said["M"]) == ("57P01", "terminating connection: the log-in has expired")
        assert "Log in again" in said["H"]
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)


def test_the_policy_changes(rig: GatewayRig) -> None:
    """What is denied by the time it is approved does not run."""
    path = rig.settings.policy.directory / "test.cedar"
    denial = """
    @id("no-deletes") @deny("deletes have been forbidden meanwhile")
    forbid (principal, action == Postgres::Action::"delete", resource);
    """
    try:
        with through(rig, "orders") as client, through(rig, "orders") as other:
            request = hold(client)
            path.write_text(POLICY + denial)

            wait_until("the policy is in force", lambda: not is_held(rig, other))
            with suppress(requests.HTTPError):
                approve(rig, request)
            assert codes(client.until("Z")) == ["42501"]
            assert is_there(rig)
    finally:
        path.write_text(POLICY)
    with through(rig, "orders") as client:
        wait_until("the old policy is back", lambda: is_held(rig, client))


def is_held(rig: GatewayRig, client: RawClient) -> bool:
    """Say whether a delete is held now; it is cancelled."""
    client.send(query("DELETE FROM t WHERE a = 2"))
    if client.until("Z", "N")[-1].kind == "Z":
        return False
    with RawClient(rig.port) as other:
        other.send(cancel_request(client.key)).all()
    client.until("Z")
    return True


def test_the_backend_is_ended(rig: GatewayRig) -> None:
    """There is nothing left to run it: the session ends, the request is withdrawn."""
    place = rig.targets["orders"]
    with through(rig, "orders") as client:
        request = hold(client)
        assert place.server.kill_backends(place.database) >= 1
        assert codes(client.all())[-1] in ("57P01", "08006")
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)


def test_the_recorder_dies(rig: GatewayRig) -> None:
    """Approved while nothing can be recorded: it waits, or is refused; never unrecorded."""
    for target in ("orders", "strict"):
        with through(rig, target) as client:
            request = hold(client)
            kill(rig, "recorder")
            approve(rig, request)
            answers = client.until("Z")
            ran = any(m.gist == "C DELETE 1" for m in answers)
            assert ran != is_there(rig, target)
            if not ran:
                assert set(codes(answers)) <= {"58030", "58000", "42501"}
        wait_until("a session works again", lambda: works(rig))


def test_control_is_away(rig: GatewayRig) -> None:
    """Nobody can be asked: what needs approval is refused, the rest goes on."""
    with through(rig, "orders") as client:
        kill(rig, "control")
        answers = client.ask(query(ONE))
        assert codes(answers) == ["42501"]
        assert "nobody can be asked" in answers[0].fields["M"]
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"
        assert is_there(rig)
        wait_until("control is back", lambda: agents(rig))

        def is_held() -> bool:
            client.send(query(ONE))
            return client.until("N", "Z")[-1].kind == "N"

        wait_until("it can be held again", is_held)


def agents(rig: GatewayRig) -> bool:
    """Say whether control answers, and knows the agent."""
    with suppress(OSError):
        return any(agent["connected"] for agent in rig.agents())
    return False


def test_control_restarts(rig: GatewayRig) -> None:
    """A request outlives control: it can be approved by the next one, and runs once."""
    with through(rig, "orders") as client:
        request = hold(client)
        kill(rig, "control")
        wait_until("control is back", lambda: agents(rig))
        assert state(rig, request) == "requested"
        approve(rig, request)
        assert "C DELETE 1" in [m.gist for m in client.until("Z")]
    assert not is_there(rig)


def test_control_restarts_and_the_requester_has_gone(rig: GatewayRig) -> None:
    """Who left while control was away is missed by the next one."""
    client = through(rig, "orders")
    request = hold(client)
    kill(rig, "control")
    client.close()
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)


def test_the_worker_dies(rig: GatewayRig) -> None:
    """Nobody is left who could run it: the request is withdrawn at once."""
    with through(rig, "orders") as client:
        request = hold(client)
        kill(rig, "worker")
        assert client.all() == []
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)
    wait_until("a session works again", lambda: works(rig))


def test_the_agent_dies(rig: GatewayRig) -> None:
    """As for the worker, but the client is told."""
    with through(rig, "orders") as client:
        request = hold(client)
        assert rig.agent is not None
        rig.agent.kill()
        assert codes(client.all()) == ["08006"]
    settles(rig, request, "withdrawn")
    cannot_be_approved(rig, request)
    rig.start_agent()
    wait_until("a session works again", lambda: works(rig))
