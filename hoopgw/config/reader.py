"""Reads TOML tables into frozen attrs classes, by their annotations.

Every key of a table is an attribute of its class, with the same name; a key that is none of them
is an error. All that is wrong is collected in `Findings`, with the path to each key, and whatever
is not wrong is still read, so that one run tells everything.

Types that are understood: ``str``, ``int``, ``float``, ``bool``, ``Path``, `Address`, ``Literal``,
``tuple[T, ...]``, ``frozenset[T]``, ``Mapping[str, T]``, attrs classes, and any of these or None.
Converters and validators of attrs are run for each attribute on its own first.
"""

from __future__ import annotations

import difflib
import math
import os
import stat
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from attrs import define, field

from hoopgw.config.address import read_address
from hoopgw.config.findings import Findings, listed, shown
from hoopgw.transport import Address

T = TypeVar("T")

FILE_LIMIT: Final = 2**20
"""Bytes of a configuration file."""
_TEXT_LIMIT: Final = 4096
_ITEMS_LIMIT: Final = 10_000
_DEPTH_LIMIT: Final = 32
"""Levels of tables and arrays."""

_MISSING: Final = object()
_INLINE_SECRETS: Final = frozenset({"password", "secret", "token", "client_secret", "private_key"})


def read_toml(path: Path, findings: Findings) -> dict[str, Any]:
    """Read a TOML file; an unreadable one is noted, and read as empty."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                # Whoever writes it says where credentials go, and which policy holds.
                findings.error("", "may be written by every user", f"run: chmod o-w {path}")
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        findings.error(
            "", f"cannot be read ({error.strerror})", "give a file that this user may read"
        )
        return {}
    if len(data) > FILE_LIMIT:
        findings.error("", "is too large", f"expected at most {FILE_LIMIT} bytes")
        return {}
    try:
        return tomllib.loads(data.decode())
    except RecursionError:
        findings.error("", "is nested too deep", f"expected at most {_DEPTH_LIMIT} levels")
    except UnicodeDecodeError as error:
        findings.error("", f"is not UTF-8 (byte {error.start})", "save it as UTF-8")
    except ValueError as error:  # TOMLDecodeError is one, and so is an integer of 5000 digits
        findings.error("", f"is not TOML: {error}", "mend it there")
    return {}


@define(eq=False)
class TableReader:
    """Turns tables into values. One for each file."""

    findings: Findings
    base: Path
    """Relative paths are relative to this directory."""
    rest: Mapping[type, str]
    """Classes that take more keys than their attributes, and the attribute that keeps those."""
    _hints: dict[type, dict[str, Any]] = field(factory=dict, init=False)

    def read(self, cls: type[T], table: Any, where: str = "", depth: int = 0) -> T | None:
        """Read one table, or note what is wrong and give None."""
        if not isinstance(table, dict):
            self.findings.error(where, f"found {shown(table)}", "expected a table")
            return None
        before = len(self.findings.errors)
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]  # cls is an attrs class
        attributes = {a.name: a for a in fields if not a.metadata.get("given")}
        rest = self.rest.get(cls)
        known = attributes.keys() - {rest}
        more = self._unknown_keys(table, known, where, open_ended=rest is not None)
        values: dict[str, Any] = {rest: more} if rest else {}
        for name in (each for each in attributes if each in known):  # in the order of the class
            value = self._attribute(attributes[name], self._types(cls)[name], table, where, depth)
            if value is not _MISSING:
                values[name] = value
        if len(self.findings.errors) > before:
            return None
        with self.findings.at(where, table):
            return cls(**values)
        return None

    def _types(self, cls: type) -> dict[str, Any]:
        if cls not in self._hints:
            self._hints[cls] = typing.get_type_hints(cls)
        return self._hints[cls]

    def _unknown_keys(
        self, table: dict[str, Any], known: set[str], where: str, *, open_ended: bool
    ) -> dict[str, Any]:
        more = {}
        for key, value in table.items():
            if key in known:
                continue
            place = _join(where, key)
            near = difflib.get_close_matches(key, known, 1, 0.85 if open_ended else 0.6)
            if near:
                self.findings.error(place, "is not known here", f"did you mean {near[0]!r}?")
            elif not open_ended:
                self.findings.error(place, "is not known here", f"these are: {listed(known)}")
            elif self._has_no_secret(place, value, 0):
                more[key] = value
        return more

    def _has_no_secret(self, where: str, value: Any, depth: int) -> bool:
        """Look through what only the protocol understands: a credential is never written inline."""
        if depth > _DEPTH_LIMIT:  # dotted keys nest deeper than tomllib's own recursion goes
            self.findings.error(where[:80], "is nested too deep", f"expected {_DEPTH_LIMIT} levels")
            return False
        if where.rsplit(".", 1)[-1].lower() in _INLINE_SECRETS:
            self.findings.error(
                where, "would be a secret in this file", "secrets are given by reference (source)"
            )
            return False
        if isinstance(value, dict):
            inner = [(_join(where, key), inside) for key, inside in value.items()]
        elif isinstance(value, list):
            inner = [(f"{where}[{index}]", inside) for index, inside in enumerate(value)]
        else:
            return True
        each = [self._has_no_secret(place, inside, depth + 1) for place, inside in inner]
        return all(each)

    def _attribute(
        self,
        attribute: attrs.Attribute[Any],
        hint: Any,
        table: dict[str, Any],
        where: str,
        depth: int,
    ) -> Any:
        place = _join(where, attribute.name)
        if attribute.name not in table:
            if attribute.default is attrs.NOTHING:
                self.findings.error(place, "is missing", f"expected {_hint_name(hint)}")
            return _MISSING
        found = table[attribute.name]
        value = self._value(hint, found, place, depth + 1)
        if value is _MISSING:
            return _MISSING
        with self.findings.at(place, found):
            return _checked(attribute, value)
        return _MISSING

    def _value(self, hint: Any, found: Any, where: str, depth: int) -> Any:
        """Convert one value, or note what is wrong and give `_MISSING`."""
        if depth > _DEPTH_LIMIT:
            self.findings.error(where, "is nested too deep", f"expected {_DEPTH_LIMIT} levels")
            return _MISSING
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            (hint,) = (a for a in arguments if a is not type(None))
            return self._value(hint, found, where, depth)
        if attrs.has(hint) and hint is not Address:
            value = self.read(hint, found, where, depth)
            return _MISSING if value is None else value
        if origin in (tuple, frozenset):
            return self._items(origin, arguments[0], found, where, depth)
        if origin is not None and issubclass_safe(origin, Mapping):
            return self._mapping(arguments[1], found, where, depth)
        if origin is typing.Literal:
            return self._scalar(_one_of(arguments), _hint_name(hint), found, where)
        return self._scalar(_SCALARS[hint], _hint_name(hint), found, where)

    def _scalar(
        self, convert: Callable[[Any, Path], Any], expected: str, found: Any, where: str
    ) -> Any:
        try:
            value = convert(found, self.base)
        except ValueError as error:
            self.findings.error(where, f"found {shown(found, where)}", str(error))
            return _MISSING
        if value is _MISSING:
            self.findings.error(where, f"found {shown(found, where)}", f"expected {expected}")
        return value

    def _items(
        self, make: Callable[[list[Any]], Any], hint: Any, found: Any, where: str, depth: int
    ) -> Any:
        if not isinstance(found, list) or len(found) > _ITEMS_LIMIT:
            expected = f"expected an array of {_hint_name(hint)}"
            self.findings.error(where, f"found {shown(found)}", expected)
            return _MISSING
        values = [self._value(hint, v, f"{where}[{i}]", depth + 1) for i, v in enumerate(found)]
        if any(value is _MISSING for value in values):
            return _MISSING
        if make is frozenset and len(set(values)) < len(values):
            self.findings.error(where, "has a value twice", "expected each value once")
            return _MISSING
        return make(values)

    def _mapping(self, hint: Any, found: Any, where: str, depth: int) -> Any:
        if not isinstance(found, dict) or len(found) > _ITEMS_LIMIT:
            self.findings.error(where, f"found {shown(found)}", "expected a table")
            return _MISSING
        values = {k: self._value(hint, v, _join(where, k), depth + 1) for k, v in found.items()}
        return _MISSING if any(v is _MISSING for v in values.values()) else values


def issubclass_safe(origin: Any, cls: type) -> bool:
    """Say whether a hint's origin is a class below ``cls``."""
    return isinstance(origin, type) and issubclass(origin, cls)


def _checked(attribute: attrs.Attribute[Any], value: Any) -> Any:
    """Run an attribute's own converter and validator; the class runs them again when made.

    Raises:
        ValueError: the value is not good.

    """
    converted = attribute.converter(value) if callable(attribute.converter) else value
    if attribute.validator is not None:
        try:
            attribute.validator(None, attribute, converted)
        except AttributeError:
            return value  # it looks at other attributes too: the class asks it again
    return value


def _text(value: Any, _base: Path) -> Any:
    if not isinstance(value, str):
        return _MISSING
    if len(value) > _TEXT_LIMIT:
        raise ValueError(f"expected at most {_TEXT_LIMIT} characters")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("expected no control characters")
    return value


def _integer(value: Any, _base: Path) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return _MISSING
    if abs(value) >= 2**53:
        raise ValueError("expected a number below 2^53")
    return value


def _number(value: Any, _base: Path) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return _MISSING
    if not math.isfinite(value) or abs(value) >= 2**53:
        raise ValueError("expected a finite number below 2^53")
    return float(value)


def _boolean(value: Any, _base: Path) -> Any:
    return value if isinstance(value, bool) else _MISSING


def _path(value: Any, base: Path) -> Any:
    text = _text(value, base)
    if text is _MISSING:
        return text
    if not text:
        raise ValueError("expected a path, not an empty string")
    return base / text


def _address(value: Any, base: Path) -> Any:
    text = _text(value, base)
    return text if text is _MISSING else read_address(text, base)


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any, Path], Any]:
    return lambda value, _base: value if value in choices else _MISSING


_SCALARS: Final[Mapping[Any, Callable[[Any, Path], Any]]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
    Path: _path,
    Address: _address,
}
_NAMES: Final[Mapping[Any, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    Address: '"host:port" or "unix:/path"',
}


def _hint_name(hint: Any) -> str:
    """Name a type for the reader of an error."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return _hint_name(arguments[0])
    if origin in (tuple, frozenset):
        return f"an array of {_hint_name(arguments[0])}"
    return _NAMES.get(hint, "a table")


def _join(where: str, key: str) -> str:
    """Add a key to a path, quoted where TOML would quote it."""
    plain = key.isascii() and key.replace("-", "_").isidentifier()
    part = key if plain else '"' + repr(key)[1:-1][:80] + '"'
    return f"{where}.{part}" if where else part
