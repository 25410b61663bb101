"""What the attack corpus (`tests.adversarial.vectors`) attacks, and what a vector is.

The column is ``shop.customers.ssn``; `SECRET` is in one of its rows. A vector is one or more
statements that a client sends one after another, as ``simple`` queries or with ``binary`` results.
Most deliver the secret, plainly or in a trivial encoding, when nothing defends it; the others ask
yes-or-no questions of it (`Vector.leaks` is false), which only a refusal stops.

The numbers are the rows of the table of attack classes that the design was made from: 1 to 65 are
about values.
"""

from __future__ import annotations

import base64
from typing import Final

from attrs import frozen

SECRET: Final = "S3CRET-77Zq"
KEY: Final = ("shop", "customers", "ssn")
PEOPLE_KEY: Final = ("shop", "people", "ssn")

SCHEMA: Final = (
    "CREATE SCHEMA shop",
    (
        "CREATE TABLE shop.customers (id int PRIMARY KEY, name text, ssn text UNIQUE, city text, "
        "note text, born date)"
    ),
    (
        "CREATE TABLE shop.orders (id int PRIMARY KEY, customer int REFERENCES shop.customers, "
        "item text, amount numeric, placed date)"
    ),
    "CREATE TABLE shop.people (id int NOT NULL, ssn text, name text) PARTITION BY RANGE (id)",
    "CREATE TABLE shop.people_low (name text, id int NOT NULL, ssn text)",
    "ALTER TABLE shop.people ATTACH PARTITION shop.people_low FOR VALUES FROM (0) TO (1000)",
    "CREATE VIEW shop.renamed AS SELECT id, ssn AS tax_no, name FROM shop.customers",
    "CREATE VIEW shop.computed AS SELECT id, ssn || '' AS tax_no FROM shop.customers",
    "CREATE MATERIALIZED VIEW shop.kept AS SELECT id, ssn AS tax_no FROM shop.customers",
    "CREATE TABLE shop.sink (a text, b text, c text, d text, e text, f text)",
    f"INSERT INTO shop.customers VALUES (1, 'Ann', '{SECRET}', 'Oslo', 'x', '1970-05-06')",
    "INSERT INTO shop.customers VALUES (2, 'Bob', '111-22-3333', 'Bonn', 'y', '1980-01-02')",
    "INSERT INTO shop.customers VALUES (3, 'Cid', NULL, 'Rome', NULL, NULL)",
    "INSERT INTO shop.orders VALUES (1, 1, 'pen', 2.5, '2024-01-01'), (2, 2, 'ink', 4, now())",
    f"INSERT INTO shop.people VALUES (1, '{SECRET}', 'Ann')",
    "REFRESH MATERIALIZED VIEW shop.kept",
    (
        "CREATE FUNCTION shop.get_ssn(int) RETURNS text LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT ssn FROM shop.customers WHERE id = $1'"
    ),
    (
        "CREATE FUNCTION shop.everybody() RETURNS SETOF shop.customers LANGUAGE sql "
        "AS 'SELECT * FROM shop.customers'"
    ),
    "CREATE FUNCTION shop.tax_of(shop.customers) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn'",
    # A name of pg_catalog, with other arguments.
    "CREATE FUNCTION shop.initcap(int) RETURNS text LANGUAGE sql AS 'SELECT shop.get_ssn($1)'",
    "CREATE FUNCTION shop.plus(int, int) RETURNS text LANGUAGE sql AS 'SELECT shop.get_ssn($1)'",
    "CREATE OPERATOR shop.+ (leftarg = int, rightarg = int, function = shop.plus)",
    "ALTER TABLE shop.customers OWNER TO app",
    "ALTER TABLE shop.sink OWNER TO app",
    "ALTER TABLE shop.orders OWNER TO app",
    "ALTER VIEW shop.renamed OWNER TO app",
    "ALTER SCHEMA shop OWNER TO app",
    "GRANT ALL ON ALL TABLES IN SCHEMA shop TO app",
    "GRANT ALL ON SCHEMA shop TO app",
    "GRANT ALL ON SCHEMA public TO app",
    "ANALYZE",
)
"""Run by the superuser. ``app``, an ordinary role, then has its search path set to ``shop``."""


@frozen
class Vector:
    """One way."""

    row: int
    """Of the table of attack classes."""
    statements: tuple[str, ...]
    leaks: bool = True
    """Without a defence, the answers hold the secret in one of `FORMS`."""
    binary: bool = False
    since: int = 15
    """PostgreSQL version."""
    not_in: tuple[int, ...] = ()
    """Versions that are built without what it needs."""

    @property
    def name(self) -> str:
        """What a failing test shows."""
        return f"{self.row}: {'; '.join(self.statements)}"


_TRANSLATED = SECRET.translate(str.maketrans("0123456789", "ABCDEFGHIJ"))

FORMS: Final = tuple(
    form.encode()
    for form in (
        SECRET,
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        SECRET[::-1],
        SECRET.lower(),
        " ".join(SECRET),
        _TRANSLATED,
    )
)
"""The secret in clear, hexadecimal, base64, reversed, lower case, spaced, and translated."""


def each(row: int, *texts: str, leaks: bool = True, since: int = 15) -> tuple[Vector, ...]:
    return tuple(Vector(row, (text,), leaks=leaks, since=since) for text in texts)


TABLE: Final = "shop.customers"
