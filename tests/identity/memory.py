"""What the token endpoint keeps, in memory, for tests."""

from __future__ import annotations

from attrs import define, field

from hoopgw.spi import SessionPassword


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
