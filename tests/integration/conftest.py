"""One gateway for all of these tests in a process, with PostgreSQL 15 and 18 behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget

TABLES = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, card text)",
    """INSERT INTO customers VALUES
        (1, 'Ada', 'ada@example.com', '4111111111111111'),
        (2, 'Søren', NULL, '4242424242424242'), (3, 'Yara', 'yara@example.org', NULL)""",
    "CREATE TABLE numbers AS SELECT n, repeat('x', 90) AS pad FROM generate_series(1, 100000) n",
    "CREATE TABLE notes (id serial PRIMARY KEY, note text UNIQUE)",
)
LABELS = {"public.customers.card": ["pii.card"]}


@pytest.fixture(scope="session")
def rig() -> Iterator[GatewayRig]:
    """Start the gateway with targets ``pg15`` (over TLS), ``pg18``, and the same with labels."""
    old, new = postgres.shared.get(15, tls=True), postgres.shared.get(18)
    targets = [
        RigTarget.make(name + kind, server, *TABLES, labels=labels, tls=server is old)
        for name, server in (("pg15", old), ("pg18", new))
        for kind, labels in (("", {}), ("-masked", LABELS))
    ]
    running = gateway.start(*targets)
    yield running
    running.stop()


@pytest.fixture(params=["pg15", "pg18"])
def target(request: pytest.FixtureRequest) -> str:
    """Name a target: each test runs against both."""
    return str(request.param)


@pytest.fixture(params=["pg15-masked", "pg18-masked"])
def masked(request: pytest.FixtureRequest) -> str:
    """Name a target with labelled columns: each test runs against both."""
    return str(request.param)


@pytest.fixture
def notes(rig: GatewayRig, target: str) -> Iterator[str]:
    """Give the table ``notes``, empty."""
    place = rig.targets[target]
    with place.server.connect(place.database) as connection:
        connection.execute("TRUNCATE notes RESTART IDENTITY")
        yield "notes"
