"""Log-ins that may be refreshed, in SQLite.

A log-in is kept if it is bound to a key, for as long as it may be refreshed. Of its refresh token
only the hash is kept, and each refresh replaces it: of any number that race with the same one, one
wins.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from hoopgw.errors import UnavailableError
from hoopgw.events import Principal
from hoopgw.store.coding import principal_text, read_principal
from hoopgw.store.rows import LoginRow
from hoopgw.store.sealed import SealedDatabase
from hoopgw.store.sqlite_rows import Column, Table

LOGINS_LIMIT: Final = 1_000
"""Log-ins of one principal that may be refreshed. Who has more gets log-ins that may not be."""


def _login(*, root: str, principal: Principal, **values: Any) -> LoginRow:
    if principal.root.id != root:
        raise UnavailableError("the store holds a log-in of two principals")
    return LoginRow(principal=principal, **values)


LOGINS: Final = Table(
    "logins",
    _login,
    (
        Column[LoginRow]("id", lambda r: r.id),
        Column("root", lambda r: r.principal.root.id),
        Column("principal", lambda r: principal_text(r.principal), read_principal),
        Column("thumbprint", lambda r: r.thumbprint),
        Column("refresh", lambda r: r.refresh),
        Column("began", lambda r: r.began),
        Column("groups_at", lambda r: r.groups_at),
        Column("expires", lambda r: r.expires),
    ),
)


@define(eq=False)
class SqliteLogins:
    """Implements `LoginStore` on SQLite."""

    _db: SealedDatabase

    def keep(self, row: LoginRow) -> bool:
        """Insert, unless there are too many."""
        with self._db.transaction():
            count = "SELECT count(*) FROM logins WHERE root = ? AND expires > ?"
            there = self._db.rows(count, row.principal.root.id, row.began)
            if int(there[0][0]) >= LOGINS_LIMIT:
                return False
            self._db.insert(LOGINS, row)
        return True

    def find(self, login: str) -> LoginRow | None:
        """Read one."""
        return self._db.one(LOGINS, "id = ?", login)

    def replace(self, old: LoginRow, new: LoginRow) -> bool:
        """Replace it in one statement that names the seal which was read."""
        before, after = self._db.seal(LOGINS, old), self._db.seal(LOGINS, new)
        moved = self._db.write(
            "UPDATE logins SET principal = ?, refresh = ?, groups_at = ?, seal = ?"
            " WHERE id = ? AND seal = ?",
            principal_text(new.principal),
            new.refresh,
            new.groups_at,
            after,
            old.id,
            before,
        )
        return moved == 1

    def forget(self, login: str) -> None:
        """Delete one."""
        self._db.write("DELETE FROM logins WHERE id = ?", login)
