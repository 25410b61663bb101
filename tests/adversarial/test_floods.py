"""Too much of everything: messages, names, parameters, rows, connections.

Every limit here is reached with few means by somebody who has logged in, or has not. What must
hold: the gateway's processes stay small, and others are served meanwhile.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest
import requests

from hoopgw.identity.urns import GRANT, JWT
from tests.support.gateway import GatewayRig, process_of
from tests.support.processes import PATIENCE, SOON, wait_until
from tests.support.raw_postgres import (
    COPY_DONE,
    FLUSH,
    SYNC,
    RawClient,
    bind,
    close,
    codes,
    copy_data,
    direct,
    execute,
    kinds,
    message,
    parse,
    query,
    rows,
    through,
)

MEGABYTE = 2**20
ROOM = 60 * MEGABYTE
"""By which a process may grow while it is attacked."""
TARGET = "pg18"


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("there is no such line")


@pytest.fixture
def slim(rig: GatewayRig) -> Iterator[None]:
    """Fail if worker or agent grow by more than `ROOM` meanwhile."""
    assert rig.agent is not None
    pids = {"worker": process_of(rig, "worker"), "agent": rig.agent.pid}
    before = {name: resident(pid) for name, pid in pids.items()}
    highest = dict(before)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for name, pid in pids.items():
                highest[name] = max(highest[name], resident(pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield
    over.set()
    watcher.join()
    grown = {name: (highest[name] - before[name]) // MEGABYTE for name in pids}
    assert all(megabytes <= ROOM // MEGABYTE for megabytes in grown.values()), grown


def serves(rig: GatewayRig, patience: float = SOON) -> bool:
    """Say whether somebody else gets an answer in this time."""
    started = time.monotonic()
    with through(rig, TARGET, name="somebody-else") as client:
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"
    return time.monotonic() - started < patience


def is_stuck(rig: GatewayRig) -> bool:
    """Whether a session of the target cannot write on."""
    target = rig.targets[TARGET]
    query = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event = 'ClientWrite'"
    with target.server.connect() as connection:
        return connection.execute(query, [target.database]).rowcount > 0


GIGABYTE = "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"


@pytest.mark.usefixtures("slim")
@pytest.mark.parametrize(
    "asked", [[query(GIGABYTE)], [parse(GIGABYTE), bind(), execute(), SYNC]], ids=["Q", "E"]
)
def test_a_client_that_does_not_read(rig: GatewayRig, asked: list[bytes]) -> None:
    """A result of a gigabyte stays where it is made."""
    with through(rig, TARGET) as client:
        client.send(*asked)
        wait_until("the target waits for its reader", lambda: is_stuck(rig))
        assert serves(rig)


@pytest.mark.usefixtures("slim")
@pytest.mark.parametrize("kind", ["D", "d"])
def test_one_value_that_is_huge(rig: GatewayRig, kind: str) -> None:
    """It streams, though it is one message; the client sees every byte."""
    size = 200_000_000
    sql = f"SELECT repeat('x', {size})"
    with through(rig, TARGET) as client:
        client.send(query(sql if kind == "D" else f"COPY ({sql}) TO STDOUT"))
        received, tail = 0, b""
        while not tail.endswith(b"Z\0\0\0\5I"):
            data = client.socket.recv(MEGABYTE)
            assert data
            received += len(data)
            tail = (tail + data)[-6:]
        assert received > size


@pytest.mark.usefixtures("slim")
def test_a_client_that_only_sends(rig: GatewayRig) -> None:
    """Each question has an answer, and none is read: in the end it cannot send on."""
    with through(rig, TARGET) as client:
        client.ask(query("SELECT repeat('x', 10000)"))
        client.socket.settimeout(1.5)
        everything = query("SELECT repeat('x', 10000)") * 1_000_000
        with pytest.raises(TimeoutError):
            client.socket.sendall(everything)
        assert serves(rig)


@pytest.mark.usefixtures("slim")
def test_answers_in_a_pipeline(rig: GatewayRig) -> None:
    """Many at once, none of them small: all are recorded, and all come."""
    with through(rig, TARGET) as client:
        client.ask(parse("SELECT repeat('x', 10000)", "s"), SYNC)
        for each in ((query("SELECT repeat('x', 10000)"),), (bind("s"), execute(), SYNC)):
            client.pour(b"".join(each) * 2000)
            for _ in range(2000):
                assert kinds(client.until("Z")) in ("TDCZ", "2DCZ")


@pytest.mark.usefixtures("slim")
def test_many_messages_in_a_pipeline(rig: GatewayRig) -> None:
    """60,000 of them, in one go, each answered in its place."""
    count = 20_000
    with through(rig, TARGET) as client:
        client.ask(parse("SELECT $1::int", "s"), SYNC)
        client.pour(b"".join(bind("s", str(n)) + execute() for n in range(count)) + SYNC)
        answers = client.until("Z")
        assert [row[0] for row in rows(answers)] == [str(n).encode() for n in range(count)]
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


@pytest.mark.usefixtures("slim")
def test_a_driver_that_pipelines(rig: GatewayRig) -> None:
    """Run psycopg's executemany, which sends as long as it can."""
    with rig.connect(TARGET, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO copied VALUES (%s, %s)", [(n, "x") for n in range(30_000)])
        assert cursor.rowcount == 30_000
        connection.rollback()


@pytest.mark.usefixtures("slim")
def test_copy_data_without_end(rig: GatewayRig) -> None:
    """A hundred megabytes in: nothing of it is collected on the way."""
    with through(rig, TARGET) as client:
        client.send(query("BEGIN; COPY copied FROM STDIN")).until("G")
        row = b"1\t" + b"x" * 60_000 + b"\n"
        for _ in range(100):
            client.send(copy_data(row * 16))
        assert "COPY 1600" in [m.gist.removeprefix("C ") for m in client.ask(COPY_DONE)]
        client.ask(query("ROLLBACK"))


@pytest.mark.parametrize("kind", "QPBDECdfF")
@pytest.mark.parametrize("length", [0, 3, 2**24 + 5, 2**30, 2**31, 2**32 - 1])
def test_lengths_that_lie(rig: GatewayRig, kind: str, length: int) -> None:
    """A length is refused when it is read; PostgreSQL closes, too."""
    with through(rig, TARGET) as client:
        client.send(kind.encode() + struct.pack(">I", length))
        assert codes(client.all()) == ["08P01"]


@pytest.mark.usefixtures("slim")
def test_an_announced_message_that_drips(rig: GatewayRig) -> None:
    """16 MB in small pieces: work grows with the bytes, not with their square."""
    with through(rig, TARGET) as client:
        size = 12 * MEGABYTE
        client.send(b"d" + struct.pack(">I", size + 4))
        started = time.monotonic()
        piece = b"x" * 4096
        for number in range(size // 4096):
            client.send(piece)
            if number % 1000 == 0:
                assert serves(rig)
        assert time.monotonic() - started < PATIENCE
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


def test_huge_counts(rig: GatewayRig) -> None:
    """65,535 of what is counted: as the server, or refused; without the values, refused."""
    most = 65_535
    numbers = ", ".join(f"${n}" for n in range(1, most + 1))
    text = f"SELECT 1 WHERE 1 IN ({numbers})"
    types = struct.pack(">H", most) + struct.pack(">I", 23) * most
    values = struct.pack(">H", most) + struct.pack(">i", 1) * 0 + (b"\0\0\0\x011" * most)
    whole = [
        message("P", b"\0" + text.encode() + b"\0" + types),
        message("B", b"\0\0" + b"\0\0" + values + b"\0\0"),
        execute(),
        SYNC,
    ]
    with direct(rig.targets[TARGET]) as server, through(rig, TARGET) as client:
        assert kinds(server.ask(*whole)) == kinds(client.ask(*whole)) == "12DCZ"
    for lie in (
        message("B", b"\0\0" + struct.pack(">H", most)),
        message("B", b"\0\0\0\0" + struct.pack(">H", most) + b"\0\0"),
        message("B", b"\0\0\0\0\0\0" + struct.pack(">H", most)),
        message("P", b"\0SELECT 1\0" + struct.pack(">H", most)),
        message("B", b"\0\0\0\0" + struct.pack(">Hi", 1, 2**31 - 1) + b"\0\0"),
        message("B", b"\0\0\0\0" + struct.pack(">Hi", 1, -2) + b"\0\0"),
    ):
        with through(rig, TARGET) as client:
            client.ask(parse("SELECT 1"), SYNC)
            assert codes(client.send(lie).all()) == ["08P01"]


@pytest.mark.usefixtures("slim")
def test_names_without_end(rig: GatewayRig) -> None:
    """Prepared statements are counted; the server would keep them all."""
    with through(rig, TARGET) as client:
        for start in range(0, 12_000, 1000):
            client.send(*(parse("SELECT 1", f"s{n}") for n in range(start, start + 1000)), SYNC)
            answers = client.until("Z")
            if codes(answers):
                break
        assert start >= 9000
        assert codes(answers) != []
    with through(rig, TARGET) as client:  # and those that are closed do not count
        for start in range(0, 12_000, 1000):
            names = [f"s{n}" for n in range(start, start + 1000)]
            client.send(*(parse("SELECT 1", name) + close("S", name) for name in names), SYNC)
            assert codes(client.until("Z")) == []


@pytest.mark.usefixtures("slim")
def test_statements_that_are_hard_to_read(rig: GatewayRig) -> None:
    """Deep, long, or nested: refused, or judged; others are served meanwhile.

    The library that reads them dies of some: 30,000 terms are a segmentation fault, and 16,000
    comments in one another take seconds, in the server, too.
    """
    hard = [
        "SELECT " + "+".join(["1"] * 100_000),
        "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
        "/*" * 30_000 + "*/" * 30_000 + "SELECT 1",
        "SELECT 1 " + "UNION SELECT 1 " * 20_000,
        "SELECT 1 WHERE 1 IN (" + ",".join(map(str, range(100_000))) + ")",
        "SELECT 1;" * 20_000,
        "SELECT '" + "x" * 900_000 + "'",
        "SELECT " + "1::int" + "::int" * 30_000,
        "SELECT " + "CASE WHEN true THEN " * 5000 + "1" + " END" * 5000,
    ]
    clients = []
    with ExitStack() as stack:
        for text in hard:
            client = stack.enter_context(through(rig, TARGET))
            client.send(query(text))
            clients.append(client)
        assert serves(rig, 10)
        for client in clients:
            client.until("Z")
            assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


@pytest.mark.usefixtures("slim")
def test_notifications_that_nobody_reads(rig: GatewayRig) -> None:
    """An idle client that listens, and does not read: what it misses waits at the server."""
    place = rig.targets[TARGET]
    with through(rig, TARGET) as client:
        client.ask(query("LISTEN bell"))
        with place.server.connect(place.database) as connection:
            for _ in range(20):
                connection.execute(
                    "SELECT pg_notify('bell', repeat('x', 7900) || n) "
                    "FROM generate_series(1, 500) n"
                )
        assert serves(rig)
        heard = 0
        with suppress(TimeoutError):
            while client.read(3.0) is not None:
                heard += 1
                if heard == 10_000:
                    break
        assert heard == 10_000


def test_connections_that_say_nothing(rig: GatewayRig) -> None:
    """600 of them, in every stage of a log-in: somebody who wants to log in does."""
    with ExitStack() as stack:
        for number in range(600):
            client = stack.enter_context(RawClient(rig.port))
            match number % 4:
                case 1:
                    client.send(b"\0\0\0")
                case 2:
                    client.send(b"\0\0\0\x08\x04\xd2\x16\x2f")
                case 3:
                    client.send(b"\x16\x03\x01\x02\0\x01")
        assert serves(rig)


def test_segments_of_one_byte(rig: GatewayRig) -> None:
    """Whole statements in records of one byte; nothing is lost, and nobody waits."""
    text = f"SELECT '{'x' * 3000}'"
    with through(rig, TARGET) as client:
        for byte in query(text) + parse(text) + bind() + execute() + FLUSH + SYNC:
            client.send(bytes([byte]))
        assert kinds(client.until("Z")) == "TDCZ"
        assert kinds(client.until("Z")) == "12DCZ"
    assert serves(rig)


def test_many_sessions_at_once(rig: GatewayRig) -> None:
    """Beyond what the server has room for: refused one by one, and the rest goes on."""
    with ExitStack() as stack:
        for _ in range(70):
            try:
                stack.enter_context(rig.connect(TARGET, name="many"))
            except psycopg.OperationalError:
                break
        with pytest.raises(psycopg.OperationalError, match="no free connections"):
            rig.connect(TARGET, name="many")
    wait_until("there is room again", lambda: serves_again(rig))


def serves_again(rig: GatewayRig) -> bool:
    """Say whether there is room again."""
    try:
        return serves(rig)
    except AssertionError:
        return False


FLOOD = 40
"""Connections that ask at once."""
FLOODED = 4.0
"""Seconds for which they do, at least."""


def test_a_flood_does_not_starve_control(rig: GatewayRig) -> None:
    """Forty that send bad tokens as fast as they can: sessions begin, and the API answers."""
    url, ca = rig.settings.control.url, str(rig.ca)
    over, throttled = threading.Event(), threading.Event()
    bad = {"grant_type": GRANT, "subject_token_type": JWT, "subject_token": "x.y.z" * 500}

    def flood(_number: int) -> list[int]:
        statuses = []
        with requests.Session() as session:
            while not over.is_set():
                answer = session.post(url + "/sts/token", data=bad, verify=ca, timeout=60)
                statuses.append(answer.status_code)
                if answer.status_code == 429:
                    throttled.set()
        return statuses

    with ThreadPoolExecutor(FLOOD) as pool:
        floods = [pool.submit(flood, number) for number in range(FLOOD)]
        slowest, first = 0.0, time.monotonic()
        try:
            while time.monotonic() < first + FLOODED or not throttled.is_set():
                begun = time.monotonic()
                assert begun < first + PATIENCE, "nobody was told to wait"
                assert requests.get(url + "/healthz", verify=ca, timeout=60).status_code == 200
                with rig.connect("pg18") as connection:
                    assert connection.execute("SELECT 1").fetchone() == (1,)
                slowest = max(slowest, time.monotonic() - begun)
        finally:
            over.set()
        statuses = [status for each in floods for status in each.result()]
    assert set(statuses) <= {400, 429}
    assert slowest < SOON, slowest
