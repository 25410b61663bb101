"""What is known of Azure's operations, read once from the tables of this package.

Where the tables come from, and under which licence, is in ``NOTICE.txt``. Names are compared
without regard to case, in lower case. Absence proves nothing, and so means "unknown".
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Final

from attrs import field, frozen

_VERBS: Final = ("read", "write", "delete")


@frozen
class Template:
    """One row: a path with ``{}`` for each parameter, and the operations that it stands for."""

    method: str
    segments: tuple[str, ...]
    """Lower case."""
    operations: tuple[str, ...]
    agrees: bool
    """Whether the generic rule yields one of the operations."""

    def matches(self, segments: tuple[str, ...]) -> bool:
        """Whether a path in lower case is of this form."""
        return len(segments) == len(self.segments) and all(
            wanted == "{}" or wanted == got or ("{}" in wanted and _fits(wanted, got))
            for wanted, got in zip(self.segments, segments, strict=True)
        )


def _fits(wanted: str, got: str) -> bool:
    before, _, after = wanted.partition("{}")
    return len(got) > len(before) + len(after) and got.startswith(before) and got.endswith(after)


@frozen(eq=False)
class Operations:
    """The names of operations, and the paths where the generic rule does not find them."""

    spelling: Mapping[str, str] = field(repr=False)
    """Each operation in lower case to how it is written."""
    exceptions: Mapping[tuple[str, int, str], tuple[Template, ...]] = field(repr=False)
    """By method, length, and namespace of the last provider in the path."""

    def exception(self, method: str, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the operations of a path (lower case) for which the rule is wrong."""
        for namespace in (_namespace(segments), "{}"):
            for template in self.exceptions.get((method, len(segments), namespace), ()):
                if template.matches(segments):
                    return template.operations
        return None


def _namespace(segments: tuple[str, ...]) -> str:
    """Return the segment behind the last ``providers``; nothing if there is none."""
    for at in range(len(segments) - 2, -1, -1):
        if segments[at] == "providers":
            return segments[at + 1]
    return ""


def templates() -> Iterator[Template]:
    """Yield all rows of the map from method and path to operations."""
    for row in _rows("operations.tsv.gz"):
        yield Template(
            method=row["method"],
            segments=tuple(row["path"].lower().strip("/").split("/")),
            operations=tuple(row["operations"].split(",")),
            agrees=row["generic_rule"] == "same",
        )


@cache
def operations() -> Operations:
    """Return the operations that are known; the tables are read the first time."""
    spelling: dict[str, str] = {}
    exceptions: dict[tuple[str, int, str], list[Template]] = {}
    for template in templates():
        for name in template.operations:
            spelling.setdefault(name.lower(), name)
        if not template.agrees and not _is_for_any_type(template):
            key = template.method, len(template.segments), _namespace(template.segments)
            exceptions.setdefault(key, []).append(template)
    for row in _rows("operations_extra.tsv.gz"):
        for name in _extra(row["operation"], row["source"]):
            spelling.setdefault(name.lower(), name)
    for name in _lines("operations_ours.txt"):
        spelling.setdefault(name.lower(), name)
    _complete(spelling)
    return Operations(spelling, {key: tuple(each) for key, each in exceptions.items()})


def _complete(spelling: dict[str, str]) -> None:
    """Give a type of which it is known that it is read, written or deleted all three.

    The tables have holes (``Microsoft.Web/sites/delete``), and what GET, PUT and DELETE of a known
    type are leaves no doubt. Actions are never guessed.
    """
    for name in tuple(spelling.values()):
        kind, _, verb = name.rpartition("/")
        if verb.lower() in _VERBS:
            for other in _VERBS:
                spelling.setdefault(f"{kind}/{other}".lower(), f"{kind}/{other}")


def _is_for_any_type(template: Template) -> bool:
    """Whether a row is for whatever type of whatever provider: it would make all GETs known."""
    if "providers" not in template.segments:
        return False
    start = len(template.segments) - 1 - template.segments[::-1].index("providers")
    return template.segments[start + 1 : start + 3] == ("{}", "{}")


def _extra(name: str, source: str) -> Iterable[str]:
    if source == "type":
        return (f"{name.removesuffix('/*')}/{verb}" for verb in _VERBS)
    return (name,)


def _rows(name: str) -> Iterator[dict[str, str]]:
    data = resources.files(__package__).joinpath(name).read_bytes()
    text = gzip.decompress(data) if name.endswith(".gz") else data
    yield from csv.DictReader(
        io.StringIO(text.decode("utf-8"), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE
    )


def _lines(name: str) -> Iterator[str]:
    text = resources.files(__package__).joinpath(name).read_text("ascii")
    yield from (line for line in text.splitlines() if line and not line.startswith("#"))


@frozen(eq=False)
class SecretTables:
    """Where the specifications of Azure's services, or we, say that secrets come back."""

    actions: Mapping[tuple[str, str], tuple[str, ...]] = field(repr=False)
    """Type and action, in lower case, to JSON paths in the answer; no path is all of it."""
    fields: Mapping[str, tuple[str, ...]] = field(repr=False)
    """Type in lower case to JSON paths from the root of the resource."""


@cache
def secrets() -> SecretTables:
    """Return the tables of secrets; they are read the first time."""
    actions = {
        (row["resource_type"].lower(), row["action"].lower()): tuple(
            _path(path) for path in row["secret_paths"].split(",") if path
        )
        for row in _rows("secret_actions.tsv")
    }
    found: dict[str, list[str]] = {}
    for row in _rows("secret_fields.tsv"):
        found.setdefault(row["resource_type"].lower(), []).append(_path(row["json_path"]))
    return SecretTables(actions, {kind: tuple(paths) for kind, paths in found.items()})


def _path(written: str) -> str:
    """Return a path as `hoopgw.documents.paths` has it."""
    return written.replace(".[]", "[*]")


@cache
def lasting() -> Mapping[tuple[str, str], int]:
    """Return what clients take for a long operation, or for a short one.

    Method, and operation in lower case as the rule makes it, to the status with which they let it
    begin; 0: it is short for them.
    """
    return {
        (row["method"], row["operation"]): 0 if row["status"] == "-" else int(row["status"])
        for row in _rows("lasting.tsv")
    }


def prepare() -> None:
    """Read all tables now, some 0.3 s, so that no request has to wait for them."""
    operations()
    secrets()
    roles()
    lasting()


@cache
def roles() -> Mapping[str, str]:
    """Return built-in roles: id in lower case to name."""
    pairs = (line.split("\t") for line in _lines("roles.txt"))
    return {line[0]: line[1] for line in pairs}
