"""Certificates that were issued to callers, in SQLite: for the lists of those that were revoked.

Whether a certificate was revoked is not written to its row: its lineage is looked up among what was
ended, so that ending a log-in or a delegation ends all certificates of it at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from attrs import define

from hoopgw.store.certificate_rows import CertificateKind, CertificateRow
from hoopgw.store.sealed import SealedDatabase
from hoopgw.store.sqlite_rows import Column, Table

REVOKED_LIMIT: Final = 20_000
"""Certificates that a list names: a quarter of a second's work. They live an hour."""


def _lineage(text: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(text)))


CERTIFICATES: Final = Table(
    "certificates",
    CertificateRow,
    (
        Column[CertificateRow]("serial", lambda c: f"{c.serial:x}", lambda text: int(text, 16)),
        Column("kind", lambda c: c.kind),
        Column("login", lambda c: c.login),
        Column("lineage", lambda c: json.dumps(c.lineage), _lineage),
        Column("issued", lambda c: c.issued),
        Column("expires", lambda c: c.expires),
    ),
)
_COUNT: Final = (
    "SELECT count(*) FROM certificates"
    " WHERE login = ? AND expires > ? AND json_array_length(lineage) >= ?"
)


@define(eq=False)
class SqliteCertificates:
    """Implements `CertificateStore` on SQLite."""

    _db: SealedDatabase

    def keep(self, row: CertificateRow, limits: Sequence[int]) -> bool:
        """Insert, unless there are too many. A chain is as long as its lineage."""
        first = len(row.lineage) - len(limits) + 1
        with self._db.transaction():
            for length, limit in enumerate(limits, first):
                there = self._db.rows(_COUNT, row.login, row.issued, length)
                if int(there[0][0]) >= limit:
                    return False
            self._db.insert(CERTIFICATES, row)
        return True

    def find(self, serial: int) -> CertificateRow | None:
        """Read one."""
        return self._db.one(CERTIFICATES, "serial = ?", f"{serial:x}")

    def of_login(self, login: str, now: float) -> Sequence[int]:
        """Read which have not ended; their seals are not looked at, as for `revoked`."""
        sql = "SELECT serial FROM certificates WHERE login = ? AND expires > ? ORDER BY serial"
        return [int(row[0], 16) for row in self._db.rows(sql, login, now)]

    def revoked(self, kind: CertificateKind, now: float) -> Sequence[int]:
        """Look up the lineages of those that have not ended.

        Their seals are not looked at: a row that was changed to be revoked does no harm.
        """
        found = self._db.rows(
            "SELECT serial FROM certificates WHERE kind = ? AND expires > ? AND EXISTS"
            " (SELECT 1 FROM json_each(lineage) AS l JOIN revoked AS r ON r.node = l.value)"
            " ORDER BY serial LIMIT ?",
            kind,
            now,
            REVOKED_LIMIT,
        )
        return [int(row[0], 16) for row in found]
