"""What is wrong with a configuration, said so that it can be mended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from attrs import define, field, frozen

from hoopgw.errors import ConfigError

_SHOWN_LIMIT: Final = 60
"""Characters of a wrong value that an error shows."""
_MAY_BE_SECRET: Final = ("password", "secret", "token", "key", "source", "credential")


@frozen
class Finding:
    """One thing that is wrong, or (a warning) that is probably not meant."""

    where: str
    """Path to the key: ``targets[1].agent``; empty for the file as a whole."""
    problem: str
    """What was found."""
    expected: str
    """What should be there, or what to do."""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """Return one line for a person."""
        place = f"{self.where}: " if self.where else ""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{mark}{place}{self.problem}; {self.expected}"


@define(eq=False)
class Findings:
    """Collects what is wrong with one file, so that all of it is told at once."""

    path: Path
    found: list[Finding] = field(factory=list)

    def error(self, where: str, problem: str, expected: str) -> None:
        """Note something that must be mended."""
        self.found.append(Finding(where, problem, expected))

    def warn(self, where: str, problem: str, expected: str) -> None:
        """Note something that works, and is probably not meant."""
        self.found.append(Finding(where, problem, expected, "warning"))

    @property
    def errors(self) -> list[Finding]:
        """Only what keeps the configuration from being used."""
        return [finding for finding in self.found if finding.severity == "error"]

    def raise_errors(self) -> None:
        """Tell them, if there are any.

        Raises:
            ConfigError: the text has the file's name and one line for each error.

        """
        errors = self.errors
        if not errors:
            return
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise ConfigError("\n  ".join([f"{self.path}: {count}", *map(str, errors)]))

    @contextmanager
    def at(self, where: str, value: Any) -> Iterator[None]:
        """Note a ``ValueError``, ``TypeError`` or `ConfigError` as being about this key."""
        try:
            yield
        except (ValueError, TypeError, ConfigError) as error:
            text = str(error.args[0]) if error.args else str(error)
            self.error(where, f"found {shown(value, where)}", text)


def shown(value: Any, where: str = "") -> str:
    """Show a wrong value to a person: with its type, cut, and never where it may be a secret."""
    kind = type_name(value)
    last = where.rsplit(".", 1)[-1].lower()
    if any(word in last for word in _MAY_BE_SECRET):
        return f"{kind} (not shown)"
    if isinstance(value, dict | list):
        return kind
    text = repr(value)[: _SHOWN_LIMIT + 1]
    if len(text) > _SHOWN_LIMIT:
        text = text[:_SHOWN_LIMIT] + "…"
    return f"{text} ({kind})"


def type_name(value: Any) -> str:
    """Name the TOML type of a value, with its article."""
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        str: "a string",
        list: "an array",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def listed(names: Iterable[str]) -> str:
    """Join names for an error's text."""
    return ", ".join(sorted(names)) or "none"
