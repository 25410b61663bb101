"""A gateway in front of the masked table, and clients of it that miss no byte.

The policy masks by group, so one target serves every kind of mask: a principal in the group
``last4`` sees the column so, one in ``hidden`` not at all, and one in ``auditors`` in clear.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

import psycopg

from tests.adversarial.masked_table import FORMS, SCHEMA
from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget
from tests.support.raw_postgres import (
    SYNC,
    Message,
    RawClient,
    close,
    describe,
    execute,
    message,
    parse,
    query,
    through,
)

ACCOUNT: Final = "app"
KINDS: Final = ("last4", "redact", "email", "hash", "null", "hidden")
CLEAR: Final = "auditors"
VERSIONS: Final[tuple[postgres.Version, ...]] = (15, 18)
COPY_FAIL: Final = message("f", b"none\0")

_MASKS: Final = "".join(
    f"""
@id("{kind}") {"" if kind == "hidden" else f'@mask("{kind}")'}
forbid (principal in Hoopgw::Group::"{kind}", action == Postgres::Action::"see", resource)
when {{ resource.labels.contains("pii.ssn") }};
"""
    for kind in KINDS
)
POLICY: Final = f'@id("all")\npermit (principal, action, resource);\n{_MASKS}'
LABELS: Final = {"shop.customers.ssn": ["pii.ssn"], "shop.people.ssn": ["pii.ssn"]}
MORE: Final = (
    # To each row a function that only looks like a column of it.
    (
        "CREATE FUNCTION shop.payer(shop.orders) RETURNS text LANGUAGE sql STABLE "
        "AS 'SELECT ssn FROM shop.customers WHERE id = $1.customer'"
    ),
    "CREATE VIEW shop.payers AS SELECT o.id, shop.get_ssn(o.customer) AS payer FROM shop.orders o",
    "CREATE VIEW shop.twice AS SELECT id, tax_no AS number, name FROM shop.renamed",
    "CREATE TABLE shop.parts (id int, ssn text, d text) INHERITS (shop.customers)",
    "DROP TABLE shop.parts",
    "CREATE SEQUENCE shop.s",
    "GRANT ALL ON ALL TABLES IN SCHEMA shop TO app",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO app",
    "ALTER FUNCTION shop.get_ssn(int) OWNER TO app",
    "ALTER FUNCTION shop.tax_of(shop.customers) OWNER TO app",
    "ALTER FUNCTION shop.plus(int, int) OWNER TO app",
    "ALTER MATERIALIZED VIEW shop.kept OWNER TO app",
)


def target(name: str, version: postgres.Version) -> RigTarget:
    """Make the database of the corpus, with the one account that it is attacked from."""
    server = postgres.shared.get(version)
    with server.connect() as connection, contextlib.suppress(psycopg.errors.DuplicateObject):
        connection.execute(f"CREATE ROLE {ACCOUNT} LOGIN PASSWORD '{ACCOUNT}'".encode())
    database = server.new_database(*SCHEMA, *MORE)
    with server.connect() as connection:
        connection.execute(f"ALTER DATABASE {database} SET search_path = shop, public".encode())
        connection.execute(f"GRANT ALL ON DATABASE {database} TO {ACCOUNT}".encode())
    return RigTarget(
        name=name, server=server, database=database, passwords={ACCOUNT: ACCOUNT}, labels=LABELS
    )


def start() -> GatewayRig:
    """Start a gateway with a target for each version: ``pg15``, ``pg18``."""
    return gateway.start(*(target(f"pg{v}", v) for v in VERSIONS), policy=POLICY)


def enter(rig: GatewayRig, name: str, group: str) -> RawClient:
    """Log in as somebody of a group."""
    return through(rig, name, ACCOUNT, name=f"{group}-person", groups=(group,))


def leaks(messages: Iterable[Message]) -> bool:
    """Whether the secret, in one of its forms, is in what a client got."""
    everything = b"\n".join(got.body for got in messages)
    flat = everything.replace(b"\0", b"")
    return any(form in everything or form in flat for form in FORMS)


def shown(messages: Iterable[Message]) -> str:
    """Describe messages for a failing test: types, codes and the beginning of each."""
    return " ".join(
        f"{got.kind}[{got.fields.get('C')} {got.fields.get('M', '')}]"
        if got.kind in "EN"
        else f"{got.kind}{got.body[:60]!r}"
        for got in messages
    )


def simple(client: RawClient, text: str) -> list[Message]:
    """Run a simple query; COPY FROM STDIN gets nothing to copy."""
    client.send(query(text))
    return _answers(client)


def extended(client: RawClient, text: str, code: int, *, described: bool = True) -> list[Message]:
    """Run one statement by the extended protocol, with results in text (0) or binary (1)."""
    bound = message("B", b"\0\0\0\0\0\0\0\1" + code.to_bytes(2, "big"))
    asked = (describe("P"),) if described else ()
    client.send(close("S"), parse(text), bound, *asked, execute(), SYNC)
    return _answers(client)


def _answers(client: RawClient) -> list[Message]:
    found: list[Message] = []
    while (got := client.read()) is not None:
        found.append(got)
        if got.kind == "G":
            client.send(COPY_FAIL)
        if got.kind == "Z":
            break
    return found
