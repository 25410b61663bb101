"""What was measured, beside what was wanted: values, tables, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import frozen
from rich.console import Console
from rich.table import Table

_SMALL: Final = 10.0


@frozen
class Target:
    """A bound that a figure is held to."""

    bound: float
    at_most: bool = True

    def reached(self, value: float) -> bool:
        """Say whether a value keeps the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {_shown(self.bound)}"


def at_least(bound: float) -> Target:
    """Return a lower bound."""
    return Target(bound, at_most=False)


def at_most(bound: float) -> Target:
    """Return an upper bound."""
    return Target(bound)


@frozen(kw_only=True)
class Figure:
    """One measured thing: a sample for each round."""

    name: str
    samples: tuple[float, ...]
    unit: str = ""
    target: Target | None = None

    @property
    def median(self) -> float:
        """The value that counts."""
        return statistics.median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None without one."""
        return None if self.target is None else self.target.reached(self.median)

    def as_json(self) -> dict[str, Any]:
        """Return what goes into the file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "least": min(self.samples),
            "most": max(self.samples),
            "rounds": len(self.samples),
            "target": None if self.target is None else str(self.target),
            "reached": self.reached,
        }


@frozen(kw_only=True)
class Section:
    """The figures of one benchmark, and how they were measured."""

    name: str
    method: str
    figures: Sequence[Figure]


def show(console: Console, section: Section) -> None:
    """Print a section."""
    table = Table(title=section.name, caption=section.method, title_justify="left", expand=False)
    table.add_column("figure")
    for heading in ("median", "least .. most", "unit", "target", "reached"):
        table.add_column(heading, justify="right")
    for figure in section.figures:
        spread = f"{_shown(min(figure.samples))} .. {_shown(max(figure.samples))}"
        table.add_row(
            figure.name,
            _shown(figure.median),
            spread if len(figure.samples) > 1 else "",
            figure.unit,
            "" if figure.target is None else str(figure.target),
            {None: "", True: "[green]yes", False: "[red]no"}[figure.reached],
        )
    console.print(table)


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> tuple[float, ...]:
    """Return the ratio within each round."""
    return tuple(one / other for one, other in zip(ours, theirs, strict=True))


def _shown(value: float) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < _SMALL else f"{value:.1f}"
