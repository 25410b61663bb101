"""Nothing runs unrecorded: recorders that hang, disks that are full, and what the log says then."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.adversarial.conftest import own_gateway
from tests.adversarial.test_holds import works
from tests.support.gateway import GatewayRig, process_of
from tests.support.processes import wait_until
from tests.support.raw_postgres import (
    COPY_DONE,
    SYNC,
    RawClient,
    bind,
    codes,
    copy_data,
    execute,
    kinds,
    message,
    parse,
    query,
    through,
)

STRICT_ENDS = ("orders", "strict")


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway of this module's own: its recorder suffers."""
    with own_gateway() as running:
        yield running


@pytest.fixture(autouse=True)
def _whole(rig: GatewayRig) -> None:
    wait_until("a session works", lambda: works(rig))


@pytest.fixture(params=["orders", "strict"])
def target(request: pytest.FixtureRequest) -> str:
    """Name a target: each test runs against both."""
    return str(request.param)


def inserted(rig: GatewayRig, target: str) -> list[int]:
    """Return what was put into the table, past the gateway."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        return [a for (a,) in connection.execute("SELECT a FROM copied ORDER BY a").fetchall()]


@contextmanager
def no_room(pid: int) -> Iterator[None]:
    """Let a process write to no file: as on a full disk."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def ran_and_said(rig: GatewayRig, target: str, client: RawClient, number: int) -> list[str]:
    """Insert a number; return the SQLSTATEs. What was refused has not run, and the reverse."""
    answers = client.ask(query(f"INSERT INTO copied VALUES ({number})"))
    said = codes(answers)
    assert (number in inserted(rig, target)) == (not said), said
    return said


def test_a_full_disk(rig: GatewayRig, target: str) -> None:
    """Statements are refused with the disk's own error class, and run when there is room again."""
    numbers = iter(range(10_000, 20_000))

    def is_refused() -> bool:
        """Whether it is known that the log takes no more: until then the spool has room."""
        return ran_and_said(rig, target, client, next(numbers)) == ["58030"]

    with through(rig, target) as client:
        assert ran_and_said(rig, target, client, 1) == []
        with no_room(process_of(rig, "recorder")):
            wait_until("statements are refused", is_refused)
            for messages in (
                [query("INSERT INTO copied VALUES (2)")],
                [parse("INSERT INTO copied VALUES (3)"), bind(), execute(), SYNC],
                [query("COPY copied FROM STDIN"), copy_data(b"4\tx\n"), COPY_DONE],
                [query("BEGIN; INSERT INTO copied VALUES (5); COMMIT")],
            ):
                assert codes(client.ask(*messages)) == ["58030"]
            with pytest.raises(AssertionError, match="no log-in"):
                through(rig, target)
        assert not {2, 3, 4, 5} & set(inserted(rig, target))
        wait_until("it is recorded again", lambda: codes(client.ask(query("SELECT 1"))) == [])
        assert ran_and_said(rig, target, client, 6) == []


def test_a_worker_without_room(rig: GatewayRig, target: str) -> None:
    """What it has reserved needs no space: what runs is recorded, and nothing ends the worker."""
    name = f"reserved-{target}"
    with through(rig, target, name=name) as client, no_room(process_of(rig, "worker")):
        for number in range(20_000, 20_020):
            assert ran_and_said(rig, target, client, number) == []
    texts = " ".join(str(r["text"]) for r in records_of(rig, name) if r["kind"] == "intent")
    assert all(f"({number})" in texts for number in range(20_000, 20_020))


@pytest.mark.parametrize("target", STRICT_ENDS)
def test_a_recorder_that_hangs(rig: GatewayRig, target: str) -> None:
    """After two seconds without progress nothing runs any more; then it does again."""
    pid = process_of(rig, "recorder")
    with through(rig, target) as client:
        os.kill(pid, signal.SIGSTOP)
        try:
            numbers = iter(range(100, 10_000))

            def is_refused() -> bool:
                return ran_and_said(rig, target, client, next(numbers)) == ["58030"]

            wait_until("statements are refused", is_refused, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until("it is recorded again", lambda: codes(client.ask(query("SELECT 1"))) == [])
        assert ran_and_said(rig, target, client, 99) == []


@pytest.mark.parametrize("target", STRICT_ENDS)
def test_a_recorder_that_is_killed(rig: GatewayRig, target: str) -> None:
    """What ran is in the log, in order and whole, though the recorder died again and again."""
    name = f"killed-{target}"
    ran: list[int] = []
    with through(rig, target, name=name) as client:
        for number in range(1000, 1200):
            if number == 1100:
                os.kill(process_of(rig, "recorder"), signal.SIGKILL)
            if ran_and_said(rig, target, client, number) == []:
                ran.append(number)
        wait_until("it is recorded again", lambda: codes(client.ask(query("SELECT 1"))) == [])
    records = records_of(rig, name)
    assert [record["sequence"] for record in records] == list(range(len(records)))
    allowed = [r for r in records if r["kind"] == "intent" and r["decision"] == "allow"]
    texts = " ".join(str(record["text"]) for record in allowed)
    assert all(f"({number})" in texts for number in ran)
    assert len(ran) >= 100


def records_of(rig: GatewayRig, name: str) -> list[dict[str, Any]]:
    """Return the records of a person's only session, once it has ended."""
    found: list[dict[str, Any]] = []

    def has_ended() -> bool:
        sessions = rig.api("GET", "/v1/sessions", groups=["auditors"])["sessions"]
        found[:] = [s for s in sessions if s["path"].startswith(name)]
        return len(found) == 1 and found[0]["ended"] is not None

    wait_until("the session is in the log", has_ended)
    path = f"/v1/sessions/{found[0]['id']}/records"
    records: list[dict[str, Any]] = rig.api("GET", path, groups=["auditors"])["records"]
    return records


def test_a_worker_that_is_killed(rig: GatewayRig) -> None:
    """The intent of the last statement is in the log, though its result never will be."""
    with through(rig, "orders", name="last-words") as client:
        client.send(query("INSERT INTO copied VALUES (77); SELECT pg_sleep(300)"))
        place = rig.targets["orders"]
        wait_until("it runs", lambda: place.server.is_asleep(place.database))
        os.kill(process_of(rig, "worker"), signal.SIGKILL)
        assert client.all() == []

    def is_known() -> bool:
        sessions = rig.api("GET", "/v1/sessions", groups=["auditors"])["sessions"]
        mine = [s for s in sessions if s["path"].startswith("last-words")]
        if not mine:
            return False
        path = f"/v1/sessions/{mine[0]['id']}/records"
        records = rig.api("GET", path, groups=["auditors"])["records"]
        return any("pg_sleep" in str(record.get("text")) for record in records)

    wait_until("the intent is in the log", is_known)
    wait_until("a session works again", lambda: works(rig))


def test_what_is_bound_is_recorded(rig: GatewayRig, target: str) -> None:
    """Values in text and in binary, and the text of a statement that is only named."""
    name = f"bound-{target}"
    with through(rig, target, name=name) as client:
        client.ask(parse("SELECT $1::text, $2::int4", "s"), SYNC)
        values = b"\0\0\0\x06secret\0\0\0\4\0\0\x30\x39"
        binary = b"\0s\0\0\2\0\0\0\1\0\2" + values + b"\0\0"
        assert kinds(client.ask(message("B", binary), execute(), SYNC)) == "2DCZ"
        client.ask(query("PREPARE q AS SELECT 'prepared by sql'"))
        assert kinds(client.ask(query("EXECUTE q"))) == "TDCZ"
    records = records_of(rig, name)
    (intent,) = [r for r in records if r["kind"] == "intent" and "secret" in str(r["parameters"])]
    assert "SELECT $1::text" in str([r for r in records if r["kind"] == "text"] or records)
    executed = [r for r in records if r["kind"] == "intent" and "EXECUTE q" in str(r["text"])]
    assert len(executed) == 1
    assert intent["digest"] != executed[0]["digest"]


def test_every_fetch_is_recorded(rig: GatewayRig) -> None:
    """A portal that is read row by row makes a record for each row; all add up."""
    with through(rig, "orders", name="drip") as client:
        client.ask(
            query("BEGIN"), parse("SELECT n FROM generate_series(1, 50) n"), bind(portal="p")
        )
        client.send(SYNC).until("Z")
        for _ in range(50):
            assert kinds(client.ask(execute("p", 1), SYNC)) == "DsZ"
    records = records_of(rig, "drip")
    results = [r for r in records if r["kind"] == "result" and r["rows"]]
    assert len(results) == 50
    intents = {r["sequence"]: r for r in records if r["kind"] == "intent"}
    assert all(r["intent"] in intents for r in results)


def test_what_is_too_long_says_so(rig: GatewayRig) -> None:
    """Of a giant result the beginning is kept, and how much it was."""
    with through(rig, "orders", name="giant") as client:
        client.ask(query("SELECT repeat('x', 3000000)"))
    (result,) = [r for r in records_of(rig, "giant") if r["kind"] == "result"]
    assert result["sent"] > 3_000_000
    assert len(str(result)) < 100_000
