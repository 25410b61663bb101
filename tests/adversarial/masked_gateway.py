"""A gateway in front of the masked table, and clients of it that miss no byte.

The policy masks by group, so one target serves every kind of mask: a principal in the group
``last4`` sees the column so, one in ``hidden`` not at all, and one in ``auditors`` in clear.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Final

import psycopg
from attrs import evolve

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
    # Somebody's own trigger that tells what it sees, when the transaction ends.
    (
        "CREATE FUNCTION shop.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN CASE NEW.city "
        "WHEN 'notice' THEN RAISE NOTICE '%', NEW.ssn; "
        "WHEN 'error' THEN RAISE EXCEPTION '%', NEW.ssn USING ERRCODE = '42501'; "
        "WHEN 'notify' THEN PERFORM pg_notify('told', NEW.ssn); "
        "ELSE NULL; END CASE; RETURN NULL; END $$"
    ),
    (
        "CREATE CONSTRAINT TRIGGER tell AFTER UPDATE ON shop.customers DEFERRABLE "
        "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.tell()"
    ),
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


class Dribble:
    """Stands before a server, and passes on what it says one byte at a time."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections; those that are open end with their clients."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                front, _ = self._listener.accept()
                behind = socket.create_connection(("127.0.0.1", self._behind))
                front.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for one, other, size in ((front, behind, 65_536), (behind, front, 1)):
                    threading.Thread(target=_pass_on, args=(one, other, size), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError), one, other:
        while data := one.recv(size):
            other.sendall(data)


@contextlib.contextmanager
def running() -> Iterator[GatewayRig]:
    """Run a gateway with a target for each version, ``pg15`` and ``pg18``, and ``pieces``.

    The last is the second once more, seen through a `Dribble`.
    """
    targets = [target(f"pg{v}", v) for v in VERSIONS]
    whole = targets[-1]
    dribble = Dribble(whole.server.port)
    pieces = evolve(whole, name="pieces", server=evolve(whole.server, port=dribble.port))
    rig = gateway.start(*targets, pieces, policy=POLICY)
    try:
        yield rig
    finally:
        rig.stop()
        dribble.stop()


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
    return answers(client)


def extended(client: RawClient, text: str, code: int, *, described: bool = True) -> list[Message]:
    """Run one statement by the extended protocol, with results in text (0) or binary (1)."""
    bound = message("B", b"\0\0\0\0\0\0\0\1" + code.to_bytes(2, "big"))
    asked = (describe("P"),) if described else ()
    client.send(close("S"), parse(text), bound, *asked, execute(), SYNC)
    return answers(client)


def answers(client: RawClient) -> list[Message]:
    """Return messages up to ReadyForQuery, or the end; there is nothing to copy in."""
    found: list[Message] = []
    while (got := client.read()) is not None:
        found.append(got)
        if got.kind == "G":
            client.send(COPY_FAIL)
        if got.kind == "Z":
            break
    return found
