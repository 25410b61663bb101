"""The agent's floor policy: what it opens at most, whatever a gateway's ticket says.

A list of entries, each for some targets and accounts; what no entry names is refused. The floor
works by the choice of credential, for an agent that carries bytes cannot judge them: an account is
opened with the credential that the agent's configuration gives for it, and with no other.

``mode = "read-only"`` makes the agent set ``default_transaction_read_only=on`` at log-in. Know what
that is: a default that whoever is logged in can switch off with one SET. It keeps honest clients
from writing by mistake. Where writing must be impossible, name an account here whose role has no
right to write: that, the server enforces.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import in_, min_len

from hoopgw.errors import LinkError

Mode: TypeAlias = Literal["read-only", "any"]
_MODES: Final = ("read-only", "any")


@frozen(kw_only=True)
class FloorEntry:
    """One ``[[floor]]`` table."""

    targets: frozenset[str] = field(validator=min_len(1))
    accounts: frozenset[str] = field(validator=min_len(1))
    mode: Mode = field(default="read-only", validator=in_(_MODES))


@frozen
class Floor:
    """All entries. Names are compared as they are: there are no patterns."""

    entries: tuple[FloorEntry, ...]

    def opens(self, target: str, account: str) -> bool:
        """Whether any entry opens an account of a target."""
        return any(target in e.targets and account in e.accounts for e in self.entries)

    def mode(self, target: str, account: str) -> Mode:
        """Return how an account of a target may be opened: the strictest entry that names both.

        Raises:
            LinkError: no entry does.

        """
        modes = {e.mode for e in self.entries if target in e.targets and account in e.accounts}
        if not modes:
            raise LinkError(f"the agent's floor policy does not open {target} as {account}")
        return "read-only" if "read-only" in modes else "any"
