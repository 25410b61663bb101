"""Delegations that were seen in use, and what was used of their budgets, in SQLite.

What one uses is charged to it and to all that it descends from, in one transaction: whoever has
children cannot use more than alone. A count whose seal does not hold is taken as all used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import define, evolve, field, frozen

from hoopgw.events import AMOUNTS, Node
from hoopgw.store.rows import NodeRow, Taken
from hoopgw.store.sealed import SealedDatabase
from hoopgw.store.sqlite_rows import Column, Table

NODES: Final = Table(
    "nodes",
    NodeRow,
    (
        Column("id", lambda n: n.id),
        Column("parent", lambda n: n.parent),
        Column("login", lambda n: n.login),
        Column("root", lambda n: n.root),
        Column("hop", lambda n: n.hop),
        Column("name", lambda n: n.name),
        Column("kind", lambda n: n.kind),
        Column("attested", lambda n: int(n.attested), bool),
        Column("purpose", lambda n: n.purpose),
        Column("first_seen", lambda n: n.first_seen),
        Column("expires", lambda n: n.expires),
    ),
)


@frozen(kw_only=True)
class SpentRow:
    """What one delegation and all below it have used, or hold on lease."""

    node: str
    amounts: Mapping[str, int] = field(factory=dict)
    expires: float


def _spent(*, node: str, expires: float, **amounts: int) -> SpentRow:
    return SpentRow(node=node, amounts=amounts, expires=expires)


SPENT: Final = Table(
    "spent",
    _spent,
    (
        Column[SpentRow]("node", lambda s: s.node),
        Column("operations", lambda s: s.amounts.get("operations", 0)),
        Column("rows", lambda s: s.amounts.get("rows", 0)),
        Column("bytes", lambda s: s.amounts.get("bytes", 0)),
        Column("reviews", lambda s: s.amounts.get("reviews", 0)),
        Column("expires", lambda s: s.expires),
    ),
)
_ALL: Final = 2**62
"""More than any budget."""
_COUNT_LIVE: Final = (
    "WITH RECURSIVE over (id) AS (SELECT node FROM revoked"
    " UNION SELECT n.id FROM nodes AS n JOIN over AS o ON n.parent = o.id),"
    " below (id, generation) AS (SELECT id, 1 FROM nodes WHERE root = ?1 AND parent = login"
    " UNION SELECT n.id, b.generation + 1 FROM nodes AS n JOIN below AS b ON n.parent = b.id)"
    " SELECT coalesce(b.generation, 1) AS g, count(*) FROM nodes AS n"
    " LEFT JOIN below AS b ON n.id = b.id"
    " WHERE n.root = ?1 AND n.expires > ?2 AND n.id NOT IN over GROUP BY g"
)
_COUNT_BELOW: Final = (
    "WITH RECURSIVE below (id, generation) AS (SELECT id, 1 FROM nodes WHERE parent = ?1"
    " UNION SELECT n.id, b.generation + 1 FROM nodes AS n JOIN below AS b ON n.parent = b.id)"
    " SELECT b.generation, count(*) FROM nodes AS n JOIN below AS b ON n.id = b.id"
    " WHERE n.expires > ?2 GROUP BY b.generation"
)
_NEWEST: Final = "expires > ? ORDER BY first_seen DESC LIMIT ?"


@define(eq=False)
class SqliteNodes:
    """Implements `NodeStore` on SQLite."""

    _db: SealedDatabase

    def keep(self, rows: Sequence[NodeRow]) -> None:
        """Insert or replace, in one transaction."""
        with self._db.transaction():
            for row in rows:
                known = self.find(row.id)
                first = row.first_seen if known is None else known.first_seen
                self._db.insert(NODES, evolve(row, first_seen=first), replace=True)

    def find(self, node: str) -> NodeRow | None:
        """Read one."""
        return self._db.one(NODES, "id = ?", node)

    def list(self, root: str | None, now: float, limit: int) -> Sequence[NodeRow]:
        """Read those that have not ended."""
        if root is None:
            return self._db.genuine(NODES, _NEWEST, now, limit)
        return self._db.genuine(NODES, f"root = ? AND {_NEWEST}", root, now, limit)

    def count(self, root: str, now: float) -> Mapping[int, int]:
        """Count those that have not ended, nor were ended with anything above them."""
        return dict(self._db.rows(_COUNT_LIVE, root, now))

    def count_below(self, node: str, now: float) -> Mapping[int, int]:
        """Count what descends from one and has not ended."""
        return dict(self._db.rows(_COUNT_BELOW, node, now))

    def take(self, nodes: Sequence[Node], wanted: Mapping[str, int], expires: float) -> Taken:
        """Charge every node that has a budget, with what the tightest of them has left."""
        given, left, short = dict(wanted), dict[str, int](), dict[str, str]()
        with self._db.transaction():
            spent = {node.id: self._spent(node.id, expires) for node in nodes if node.budget}
            for name in wanted:
                for node in nodes:
                    limit = None if node.budget is None else getattr(node.budget, name)
                    if limit is None:
                        continue
                    room = max(0, limit - spent[node.id].amounts.get(name, 0))
                    if name not in left or room < left[name]:
                        left[name], short[name] = room, node.id
                if name in left:
                    given[name] = max(0, min(given[name], left[name]))
                    left[name] -= given[name]
            self._charge(spent.values(), given, expires)
        return Taken(given=given, left=left, short=short)

    def give_back(self, nodes: Sequence[Node], amounts: Mapping[str, int]) -> None:
        """Take off what was taken and not used."""
        back = {name: -amount for name, amount in amounts.items()}
        with self._db.transaction():
            rows = [self._spent(node.id, 0.0) for node in nodes if node.budget]
            self._charge(rows, back, 0.0)

    def spent(self, node: str) -> Mapping[str, int]:
        """Read what was used of each amount."""
        return self._spent(node, 0.0).amounts

    def _spent(self, node: str, expires: float) -> SpentRow:
        found = self._db.one(SPENT, "node = ?", node)
        if found is not None:
            return found
        if self._db.rows("SELECT 1 FROM spent WHERE node = ?", node):
            return SpentRow(node=node, amounts=dict.fromkeys(AMOUNTS, _ALL), expires=expires)
        return SpentRow(node=node, expires=expires)

    def _charge(self, rows: Iterable[SpentRow], amounts: Mapping[str, int], expires: float) -> None:
        for row in rows:
            if _ALL in row.amounts.values():
                continue  # its seal does not hold: it stays as it was found
            new = {
                name: max(0, row.amounts.get(name, 0) + amounts.get(name, 0)) for name in AMOUNTS
            }
            kept = SpentRow(node=row.node, amounts=new, expires=max(expires, row.expires))
            self._db.insert(SPENT, kept, replace=True)
