"""Attacks on chains by what their parts say. See `tests.adversarial.chain_forging`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.adversarial.chain_forging import (
    ACTION,
    ACTIONS_COUNT,
    AUDIENCE,
    CAP_MEMBERS,
    CAPS_COUNT,
    DEPTH,
    END,
    EXPIRED,
    FUTURE,
    ISOLATED,
    LONG_POP,
    NAME,
    NEST,
    ORDER,
    PURPOSE,
    TARGET,
    UNKNOWN,
    Attack,
    Cut,
    hop,
    nested,
    outliving,
    pop,
    raised,
)
from tests.identity.forge import NOW
from tests.identity.lineage import ALICE, ORDERS, SESSION, URL


def attacks() -> Iterator[Attack]:
    """Yield all of these."""
    yield from _claims()
    yield from _time()
    yield from _values()
    yield from _narrowing()


def _claims() -> Iterator[Attack]:
    said: tuple[tuple[str, Any], ...] = (
        ("sub", ALICE.id),
        ("iss", URL),
        ("groups", ["dba"]),
        ("aud", ORDERS),
        ("sid", SESSION),
        ("act", {"sub": "corp|root"}),
    )
    for name, value in said:
        yield Attack(f"a hop that says {name}", f"says {name}", *hop(**{name: value}))
    for name in ("attested", "node", "id", "session", "nbf", "scope", "cnf2", "__proto__"):
        yield Attack(f"a hop with {name}", "not known", *hop(UNKNOWN, **{name: True}))
    yield Attack("a pop with caps", "not known", *pop(UNKNOWN, caps=[]))
    yield Attack("a pop for a person", "says sub", *pop(sub=ALICE.id))
    for name in ("prv", "iat", "exp", "jti", "cnf", "kind", "name"):
        why = "prv is not" if name == "prv" else f"{name} missing"
        yield Attack(f"a hop without {name}", why, *hop(**{name: None}))
    for name in ("prv", "aud", "iat", "exp", "jti"):
        why = "prv is not" if name == "prv" else f"{name} missing"
        yield Attack(f"a pop without {name}", why, *pop(**{name: None}))


def _time() -> Iterator[Attack]:
    now = int(NOW)
    yield Attack("a child that outlives its root", "ends after", *hop(END, exp=now + 3601))
    yield Attack("a child that outlives its parent", "ends after", outliving, END)
    yield Attack("a hop that is over", "expired", *hop(EXPIRED, iat=now - 9, exp=now))
    yield Attack("a hop of tomorrow", "future", *hop(FUTURE, iat=now + 31))
    yield Attack(
        "a hop that ends before it begins", "in order", *hop(ORDER, iat=now + 20, exp=now + 10)
    )
    for name, value in (
        ("text", str(now + 60)),
        ("truth", True),
        ("a list", [now + 60]),
        ("less than nothing", -1),
        ("milliseconds", 1e18),
    ):
        yield Attack(f"an end that is {name}", "exp is", *hop(exp=value))
    yield Attack("a beginning that is truth", "iat is not a number", *hop(iat=True))
    yield Attack("a pop that is over", "expired", *pop(EXPIRED, iat=now - 9, exp=now))
    yield Attack("a pop of tomorrow", "future", *pop(FUTURE, iat=now + 31, exp=now + 60))
    yield Attack("a pop for longer", "more than", *pop(LONG_POP, exp=now + 121))
    yield Attack(
        "a pop for years, begun years ago", "more than", *pop(LONG_POP, iat=0, exp=now + 9)
    )
    yield Attack("a pop for ever", "exp is", *pop(exp=1e12))
    yield Attack("a pop whose end is text", "exp is", *pop(exp=str(now + 60)))
    yield Attack("a pop for another target", "something else", *pop(AUDIENCE, aud=ORDERS + "2"))
    yield Attack("a pop for the gateway", "something else", *pop(AUDIENCE, aud="hoopgw"))
    yield Attack("a pop for several", "something else", *pop(AUDIENCE, aud=[ORDERS, "x"]))
    yield Attack("a pop for all", "something else", *pop(AUDIENCE, aud="*"))
    yield Attack("a pop without an id", "jti", *pop(jti=""))
    yield Attack("a pop with a number for an id", "jti", *pop(jti=7))


def _values() -> Iterator[Attack]:
    names: tuple[tuple[str, Any], ...] = (
        ("capitals", "Planner"),
        ("nothing", ""),
        ("sixty-five letters", "a" * 65),
        ("a Cyrillic a", "pl\u0430nner"),
        ("a full-width p", "\uff50lanner"),
        ("a separator", "planner~b"),
        ("a path", "planner/../root"),
        ("a line break at its end", "planner\n"),
        ("something invisible", "planner\u200b"),
        ("a turn of direction", "planner\u202e"),
        ("a number", 7),
        ("a list", ["planner"]),
        ("a dot in front", ".planner"),
    )
    for name, value in names:
        yield Attack(
            f"a name that is {name}",
            "name is not",
            *hop(NAME if isinstance(value, str) else None, name=value),
        )
    kinds: list[Any] = ["person", "Agent", "", ["agent"], True]
    for value in kinds:
        yield Attack(f"a kind of {value!r}", "kind is neither", *hop(kind=value))
    truths: list[Any] = ["true", 1, "", [True]]
    for value in truths:
        yield Attack(f"isolated as {value!r}", "isolated is", *hop(ISOLATED, isolated=value))
    nests: list[Any] = [True, 1.0, "3", -1, 6, 10**30, [3]]
    for value in nests:
        # The cut shows where the value is one that arithmetic takes.
        can = isinstance(value, int | float) and value > 0
        yield Attack(f"nest as {value!r}", "nest is", nested(value), NEST if can else None)
    yield Attack("nothing left", "longer than", nested(0), DEPTH)
    yield Attack("nothing left, and more given", "longer than", raised, DEPTH)


def _narrowing() -> Iterator[Attack]:
    cap: dict[str, Any] = {"target": "orders", "actions": ["Postgres::read"]}
    caps: tuple[tuple[str, Any, str, Cut | None], ...] = (
        ("an object", cap, "not a list", None),
        ("text", "*", "not a list", None),
        ("sixty-five", [cap] * 65, "at most", CAPS_COUNT),
        ("with more members", [{**cap, "deny": True}], "exactly target", CAP_MEMBERS),
        ("without actions", [{"target": "orders"}], "exactly target", None),
        ("of no actions", [{**cap, "actions": []}], "list of 1", None),
        ("of text for actions", [{**cap, "actions": "*"}], "list of 1", None),
        ("of too many actions", [{**cap, "actions": ["A::b"] * 65}], "list of 1", ACTIONS_COUNT),
        ("of a bare action", [{**cap, "actions": ["select"]}], "action is not", ACTION),
        ("of a quoted action", [{**cap, "actions": ['A::"b c"']}], "action is not", ACTION),
        ("of a number for an action", [{**cap, "actions": [1]}], "action is not", ACTION),
        ("for a target in capitals", [{**cap, "target": "Orders"}], "target is not", TARGET),
        ("for two targets in one", [{**cap, "target": "a,b"}], "target is not", TARGET),
        ("for a pattern of targets", [{**cap, "target": "ord*"}], "target is not", TARGET),
        ("for a list of targets", [{**cap, "target": ["orders"]}], "target is not", None),
    )
    for name, given, why, cut in caps:
        yield Attack(f"caps that are {name}", why, *hop(cut, caps=given))
    budgets: tuple[Any, ...] = (
        {"rows": -1},
        {"rows": 2**62},
        {"rows": True},
        {"rows": 1.5},
        {"rows": "9"},
        {"rows": None},
        {"cpu": 1},
        [],
        "9",
        9,
    )
    for value in budgets:
        yield Attack(f"a budget of {value!r}", "budget", *hop(budget=value))
    yield Attack("a purpose of pages", "purpose", *hop(purpose="x" * 513))
    yield Attack("a purpose of two lines", "purpose", *hop(PURPOSE, purpose="a\nFATAL: b"))
    yield Attack("a purpose that turns around", "purpose", *hop(PURPOSE, purpose="a\u202eb"))
    yield Attack("a purpose for a terminal", "purpose", *hop(PURPOSE, purpose="\x1b[2J"))
    yield Attack("an empty purpose", "purpose", *hop(purpose=""))
