"""What the token endpoint keeps, in memory, for tests."""

from __future__ import annotations

from attrs import define, field

from hoopgw.identity.shown import (
    SessionPassword,
)
from hoopgw.store.rows import LoginRow


@define(eq=False)
class Passwords:
    """Implements `hoopgw.identity.exchange.SessionPasswordStore`."""

    kept: dict[str, tuple[SessionPassword, float]] = field(factory=dict)
    refuse: int = 0
    """How many to refuse first, as if the handle were taken."""

    def put(self, handle: str, password: SessionPassword, expires: float) -> bool:
        if self.refuse:
            self.refuse -= 1
            return False
        self.kept[handle] = (password, expires)
        return True


@define(eq=False)
class Used:
    """Implements `hoopgw.identity.exchange.UsedTokens`."""

    seen: dict[str, float] = field(factory=dict)

    def use(self, id: str, expires: float) -> bool:  # noqa: A002  # as in the interface
        if id in self.seen:
            return False
        self.seen[id] = expires
        return True


@define(eq=False)
class KeptLogins:
    """Implements `hoopgw.store.rows.LoginStore`."""

    rows: dict[str, LoginRow] = field(factory=dict)
    limit: int = 1000

    def keep(self, row: LoginRow) -> bool:
        if len(self.rows) >= self.limit:
            return False
        self.rows[row.id] = row
        return True

    def find(self, login: str) -> LoginRow | None:
        return self.rows.get(login)

    def replace(self, old: LoginRow, new: LoginRow) -> bool:
        if self.rows.get(old.id) != old:
            return False
        self.rows[new.id] = new
        return True

    def forget(self, login: str) -> None:
        self.rows.pop(login, None)
