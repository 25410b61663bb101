"""The demonstration's data: people who do not exist, and what they bought.

Pure and deterministic: the same seed gives the same rows. Names are common ones put together at
random, addresses end in the domains of RFC 2606, cards are Luhn-valid numbers under the prefixes
that payment providers publish for tests, national ids are in area 666, which is never issued.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from attrs import frozen

CUSTOMERS: Final = 200
CANCELLED: Final = 12
"""Orders with status ``cancelled``: what the demonstration's DELETE removes."""

_GIVEN: Final = (
    "Ada",
    "Amina",
    "Beatriz",
    "Carlos",
    "Chloé",
    "Elif",
    "Emeka",
    "Grace",
    "Hana",
    "Ingrid",
    "Kenji",
    "Lucía",
    "Mateo",
    "Priya",
    "Søren",
    "Yara",
)
_FAMILY: Final = (
    "Abara",
    "Andersen",
    "Bauer",
    "Castillo",
    "Chen",
    "Dubois",
    "García",
    "Haddad",
    "Ito",
    "Khan",
    "Kowalski",
    "Moreau",
    "Novak",
    "Okafor",
    "Rossi",
    "Tanaka",
)
_CARD_PREFIXES: Final = ("411111", "424242", "555555", "510510")
_DOMAINS: Final = ("example.com", "example.net", "example.org")
_PRODUCTS: Final = (
    ("Desk lamp", 3990),
    ("Office chair", 24900),
    ("Notebook, dotted", 1250),
    ("Fountain pen", 5600),
    ("Headphones", 12900),
    ("Backpack", 8900),
    ("Kettle", 4500),
)
_STATES: Final = ("paid", "paid", "shipped", "shipped", "shipped", "returned")
_LATIN: Final = str.maketrans("éíø", "eio")


@frozen
class Customer:
    """A row of ``public.customers``."""

    id: int
    name: str
    email: str
    card: str
    national_id: str
    since: date


@frozen
class Order:
    """A row of ``public.orders``."""

    id: int
    customer: int
    product: str
    cents: int
    status: str
    ordered: date


def luhn_digit(digits: str) -> str:
    """Return the check digit that makes ``digits`` a valid card number (ISO/IEC 7812-1)."""
    total = 0
    for place, character in enumerate(reversed(digits)):
        value = int(character) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def customers(seed: int = 1) -> list[Customer]:
    """Return the customers; the first is always the same, for examples to name."""
    chance = random.Random(seed)  # noqa: S311 - fake data must be reproducible, not secret
    rows: list[Customer] = []
    for number in range(1, CUSTOMERS + 1):
        given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
        plain = f"{given}.{family}".translate(_LATIN).lower()
        body = chance.choice(_CARD_PREFIXES) + "".join(chance.choices("0123456789", k=9))
        rows.append(
            Customer(
                id=number,
                name=f"{given} {family}",
                email=f"{plain}{number}@{chance.choice(_DOMAINS)}",
                card=body + luhn_digit(body),
                national_id=f"666-{chance.randint(10, 99)}-{chance.randint(1000, 9999)}",
                since=date(2021, 1, 1) + timedelta(days=chance.randint(0, 1700)),
            )
        )
    return rows


def orders(people: list[Customer], seed: int = 2) -> list[Order]:
    """Return two to four orders a customer, of which exactly `CANCELLED` are cancelled."""
    chance = random.Random(seed)  # noqa: S311 - see `customers`
    rows: list[Order] = []
    for person in people:
        for _ in range(chance.randint(2, 4)):
            product, cents = chance.choice(_PRODUCTS)
            rows.append(
                Order(
                    id=len(rows) + 1,
                    customer=person.id,
                    product=product,
                    cents=cents * chance.randint(1, 3),
                    status=chance.choice(_STATES),
                    ordered=person.since + timedelta(days=chance.randint(0, 150)),
                )
            )
    for place in chance.sample(range(len(rows)), CANCELLED):
        row = rows[place]
        rows[place] = Order(row.id, row.customer, row.product, row.cents, "cancelled", row.ordered)
    return rows


_SCHEMA: Final = """\
CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    card text NOT NULL,
    national_id text NOT NULL,
    since date NOT NULL
);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    product text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    status text NOT NULL,
    ordered date NOT NULL
);
CREATE INDEX ON orders (customer_id);
CREATE VIEW customer_orders AS
    SELECT c.name, c.email, o.id AS order_id, o.product, o.amount, o.status
    FROM customers c JOIN orders o ON o.customer_id = c.id;
"""

_OWNERSHIP: Final = """\
ALTER TABLE customers OWNER TO app_writer;
ALTER TABLE orders OWNER TO app_writer;
ALTER VIEW customer_orders OWNER TO app_writer;
GRANT SELECT ON customers, orders, customer_orders TO app_reader;
ANALYZE;
"""


def database_script(passwords: dict[str, str]) -> Iterator[str]:
    """Write the SQL that fills an empty database, piece by piece, for psql's standard input.

    ``app_writer`` owns the tables, so the database itself would let it drop them: what refuses
    that in the demonstration is the gateway.

    Args:
        passwords: role to password; letters, digits, ``-`` and ``_`` only.

    """
    for role, password in sorted(passwords.items()):
        if not (role + password).replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"the password of {role} has a character that SQL would need quoted")
        yield f"CREATE ROLE {role} LOGIN PASSWORD '{password}';\n"
    yield _SCHEMA
    people = customers()
    yield "COPY customers FROM stdin;\n"
    for p in people:
        yield f"{p.id}\t{p.name}\t{p.email}\t{p.card}\t{p.national_id}\t{p.since}\n"
    yield "\\.\nCOPY orders FROM stdin;\n"
    for o in orders(people):
        amount = f"{o.cents // 100}.{o.cents % 100:02}"
        yield f"{o.id}\t{o.customer}\t{o.product}\t{amount}\t{o.status}\t{o.ordered}\n"
    yield "\\.\n" + _OWNERSHIP
