"""Principals and requests for tests of the store, the reviews and the control process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from hoopgw.events import Hop, HopKind, Node, Principal
from hoopgw.policy.decision import Remedy
from hoopgw.reviews.docket import Ask
from hoopgw.store.rows import Request
from hoopgw.store.sqlite import SqliteStore

KEY: Final = b"k" * 32
LATER: Final = 10_000.0


def hop(name: str, *groups: str, kind: HopKind = "person") -> Hop:
    """Make one hop."""
    return Hop(id=f"corp|{name}", name=name, kind=kind, groups=frozenset(groups))


def principal(*hops: Hop, expires: float = LATER) -> Principal:
    """Make a principal of hops, root first."""
    return Principal(
        chain=hops,
        nodes=tuple(Node(id=f"node-{each.name}") for each in hops[1:]),
        session=f"login-{hops[0].name}",
        expires=expires,
    )


def person(name: str, *groups: str, expires: float = LATER) -> Principal:
    """Make a person who is logged in directly."""
    return principal(hop(name, *groups), expires=expires)


ALICE: Final = person("alice", "dev")
CAROL: Final = person("carol", "dba")
DAVE: Final = person("dave", "dba", "security")
ERIN: Final = person("erin", "security")
PLANNER: Final = hop("planner", "dba", kind="agent")
ALICES_AGENT: Final = principal(ALICE.root, PLANNER)

DBA: Final = Remedy(rule="writes", groups=frozenset({"dba"}), patience=900.0)
SECURITY: Final = Remedy(rule="pii", groups=frozenset({"security"}), patience=900.0)


def digest(text: str) -> bytes:
    """Return some digest."""
    return hashlib.sha256(text.encode()).digest()


def ask(
    text: str = "delete from orders",
    by: Principal = ALICE,
    *remedies: Remedy,
    session: str = "s-1",
    reason: str = "",
) -> Ask:
    """Ask about one statement."""
    return Ask(
        principal=by,
        session=session,
        protocol="postgres",
        target="orders",
        action="delete",
        text=text.encode(),
        digest=digest(text),
        context={"read_only": False, "tables": ("orders",), "rows": 7},
        remedies=remedies or (DBA,),
        reason=reason,
    )


def request(number: int = 1, by: Principal = ALICE) -> Request:
    """Make a row as the docket would."""
    return Request(
        id=f"r-{number}",
        join_key=digest(f"join {number}"),
        principal=by,
        session="s-1",
        protocol="postgres",
        target="orders",
        action="delete",
        text=b"delete from orders where name = '\xff'",
        digest=digest("delete"),
        context={"tables": ("a", "b"), "rows": 3, "flag": True},
        remedies=(DBA, SECURITY),
        created=float(number),
        expires=900.0 + number,
    )


def open_store(path: Path | str, key: bytes = KEY) -> SqliteStore:
    """Open a store in a file."""
    return SqliteStore.open(Path(path), key)
