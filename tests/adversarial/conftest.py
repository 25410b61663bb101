"""One gateway for the attacks in a process: permits all, holds deletes, refuses truncates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.adversarial import masked_gateway
from tests.support import gateway, postgres
from tests.support.caller import Caller
from tests.support.gateway import GatewayRig, RigTarget

POLICY = """
@id("all")
permit (principal, action, resource)
unless {
  principal in Hoopgw::Group::"strangers" || principal in Hoopgw::Group::"readers"
};

@id("readers")
permit (principal in Hoopgw::Group::"readers",
  action in [Postgres::Action::"connect", Postgres::Action::"read",
    Postgres::Action::"transaction", Postgres::Action::"set"],
  resource);

@id("hold-delete") @approval("dba") @approval_ttl("15m")
forbid (principal, action == Postgres::Action::"delete", resource)
unless { context.approvals.contains("hold-delete") };

@id("no-truncate") @deny("nothing is truncated here")
forbid (principal, action == Postgres::Action::"truncate", resource);

@id("mask-card") @mask("last4")
forbid (principal, action == Postgres::Action::"see", resource)
when { resource.labels.contains("pii.card") };
"""
TABLES = (
    "CREATE TABLE t (a int PRIMARY KEY, b text)",
    "INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 5) n",
    "CREATE TABLE copied (a int, b text)",
    "CREATE TABLE cards (id int, card text)",
    "INSERT INTO cards VALUES (1, '4111111111111111')",
)
LABELS = {"public.cards.card": ["pii.card"]}


@pytest.fixture(scope="session")
def rig() -> Iterator[GatewayRig]:
    """Start the gateway with ``pg15`` and ``pg18``, and the latter with labels, and strict."""
    old, new = postgres.shared.get(15, tls=True), postgres.shared.get(18)
    running = gateway.start(
        RigTarget.make("pg15", old, *TABLES, tls=True),
        RigTarget.make("pg18", new, *TABLES),
        RigTarget.make("masked", new, *TABLES, labels=LABELS),
        RigTarget.make("strict", new, *TABLES, durability="strict"),
        policy=POLICY,
    )
    yield running
    running.stop()


@contextmanager
def own_gateway() -> Iterator[GatewayRig]:
    """Start a gateway for a module alone, with ``orders`` and ``strict``: its processes suffer."""
    server = postgres.shared.get(18)
    running = gateway.start(
        RigTarget.make("orders", server, *TABLES),
        RigTarget.make("strict", server, *TABLES, durability="strict"),
        policy=POLICY,
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(params=["pg15", "pg18"])
def target(request: pytest.FixtureRequest) -> str:
    """Name a target: each test runs against both."""
    return str(request.param)


@pytest.fixture(scope="session")
def masked_rig() -> Iterator[GatewayRig]:
    """Start a gateway in front of the masked table."""
    with masked_gateway.running() as rig:
        yield rig


@pytest.fixture
def caller(rig: GatewayRig) -> Caller:
    """Log somebody in."""
    return Caller(rig)
