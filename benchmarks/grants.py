"""What just-in-time grants cost a decision: from the cache, and anew. No server, no network.

``python -m benchmarks.grants``, best pinned: ``taskset -c 1 python -m benchmarks.grants``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import Progress

from benchmarks.figures import Figure, Section, Target, at_most, show
from hoopgw.events import Access, Hop, Operation, Principal, Resource
from hoopgw.grants.held import HeldGrant
from hoopgw.grants.view import GrantView
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import SourceFile
from hoopgw_postgres import protocol

_OTHERS: Final = 1000
_CACHED: Final = 20_000
_COLD: Final = 100
_TEMPLATE: Final = """@id("t-read") @grant("read") @grant_approval("dba")
permit (principal == ?principal, action in Postgres::Action::"read", resource in ?resource);"""
_POLICY: Final = "\n".join(
    [
        *(
            f'@id("p{n}") permit (principal in Hoopgw::Group::"g{n}", '
            'action in Postgres::Action::"write", resource);'
            for n in range(18)
        ),
        '@id("dev") permit (principal in Hoopgw::Group::"dev", action, resource);',
        _TEMPLATE,
    ]
)


def person(name: str, *groups: str) -> Principal:
    """Return somebody who is logged in."""
    hop = Hop(id=f"corp|{name}", name=name, kind="person", groups=frozenset(groups))
    return Principal(chain=(hop,), session=f"login-{name}", expires=2e9)


def select() -> Operation:
    """Return a statement as policy sees it."""
    target = Resource(type="Hoopgw::Target", id="orders")
    database = Resource(type="Postgres::Database", id="orders/shop", parents=(target,))
    table = Resource(type="Postgres::Table", id="orders/public.items", parents=(database,))
    return Operation(
        protocol="postgres",
        target="orders",
        action="select",
        accesses=(Access(action="Postgres::select", resource=table),),
        text="select",
        context={
            "account": "app",
            "hasWhere": True,
            "multiStatement": False,
            "functions": (),
            "mintsCredentials": False,
            "inTransaction": False,
        },
        digest=bytes(32),
    )


def grant(policies: PolicySet, name: str, number: int) -> HeldGrant:
    """Return a grant of somebody."""
    return HeldGrant(
        id=f"g-{name}-{number}",
        template="t-read",
        terms=policies.offers["t-read"].terms,
        target="orders",
        chain=(("person", f"corp|{name}"),),
        until=2e9,
    )


def timed(work: Callable[[], object], count: int) -> float:
    """Return microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begun) / count * 1e6


def run(progress: Progress, rounds: int, _seconds: float) -> list[Section]:
    """Measure decisions of people who hold nothing, one grant, and twenty."""
    schema = Schema.load({"postgres": protocol.cedar_schema})
    policies = PolicySet.from_files([SourceFile(name="x.cedar", text=_POLICY)], schema)
    others = [grant(policies, f"other{n}", n) for n in range(_OTHERS)]
    mine = [grant(policies, "eve", n) for n in range(20)]
    alice, eve, asked = person("alice", "dev"), person("eve"), select()
    cases: list[tuple[str, Principal, list[HeldGrant]]] = [
        ("no grants at all", alice, []),
        (f"{_OTHERS} grants of others", alice, others),
        (f"{_OTHERS} of others, one's own decides", eve, [*others, mine[0]]),
        (f"{_OTHERS} of others, 20 of one's own", eve, [*others, *mine]),
    ]
    figures = []
    for name, who, grants in cases:
        task = progress.add_task(name, total=rounds)
        cached, cold = [], []
        for _ in range(rounds):
            view = GrantView(time.time, lambda: True)
            view.replace(grants)
            engine = CedarPolicy(policies, time.time, view)
            decide = _decides(engine, who, asked)
            decide()
            cached.append(timed(decide, _CACHED))
            cold.append(timed(_anew(policies, view, who, asked), _COLD))
            progress.advance(task)
        figures.append(_figure(f"{name}: from the cache", cached, at_most(50.0)))
        figures.append(_figure(f"{name}: anew", cold, at_most(1500.0)))
    method = f"{len(policies.rules)} policies and a template; one access, one hop"
    return [Section(name="decisions with grants", method=method, figures=figures)]


def _decides(engine: CedarPolicy, who: Principal, asked: Operation) -> Callable[[], object]:
    return lambda: engine.decide(who, asked, "s-1")


def _anew(
    policies: PolicySet, view: GrantView, who: Principal, asked: Operation
) -> Callable[[], object]:
    """Return what decides with an empty cache; what is compiled stays compiled."""
    return lambda: CedarPolicy(policies, time.time, view).decide(who, asked, "s-1")


def _figure(name: str, samples: list[float], target: Target) -> Figure:
    return Figure(name=name, samples=tuple(samples), unit="µs", target=target)


def main() -> None:
    """Measure and show."""
    with Progress(transient=True) as progress:
        sections = run(progress, 5, 0.0)
    for section in sections:
        show(Console(), section)


if __name__ == "__main__":
    main()
