"""YAML as people mean it, read strictly: plain data, each key once, and nothing that expands.

Of YAML 1.2's core schema: maps with text keys, lists, text, whole numbers, ``true``, ``false``,
``null``. Everything else of YAML is refused with its line: aliases and anchors (which make a small
file a huge one), tags (which make objects), a key that comes twice, a second document. ``no`` and
``12:30`` are text, and so is a date.

The text is read as a stream of events, so that nesting is counted before anything recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import yaml
from attrs import define, field

from hoopgw.errors import PolicyError

DEPTH_LIMIT: Final = 20
NODES_LIMIT: Final = 200_000
"""Values in one file."""
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
# The parser of libyaml is ten times as fast; it is not in every build of PyYAML.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Lines: TypeAlias = dict[int, int]
"""``id`` of a map that was read, to the line where it begins."""


@define(eq=False)
class _Map:
    line: int
    values: dict[str, Any] = field(factory=dict)
    key: str | None = None


@define(eq=False)
class _List:
    line: int
    values: list[Any] = field(factory=list)


def load(text: str, name: str) -> tuple[Any, Lines]:
    """Read one document; return it, and the line where each map in it begins.

    Raises:
        PolicyError: it is not of this YAML; the text begins with ``name`` and the line.

    """
    document: _List = _List(0)
    stack: list[_Map | _List] = [document]
    lines: Lines = {}
    for count, event in enumerate(_events(text, name)):
        line = event.start_mark.line + 1
        where = f"{name}:{line}"
        if count > NODES_LIMIT:
            raise PolicyError(f"{where}: more than {NODES_LIMIT} values; split the file")
        _check(event, where)
        if isinstance(event, yaml.ScalarEvent):
            _add(stack[-1], _scalar(event), where)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(stack) > DEPTH_LIMIT:
                raise PolicyError(f"{where}: nests deeper than {DEPTH_LIMIT}")
            _expect_value(stack[-1], where)
            stack.append(_Map(line) if isinstance(event, yaml.MappingStartEvent) else _List(line))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = stack.pop()
            if isinstance(done, _Map):
                lines[id(done.values)] = done.line
            _add(stack[-1], done.values, where)
        elif isinstance(event, yaml.DocumentStartEvent) and document.values:
            raise PolicyError(f"{where}: a second document; give it a file of its own")
    if not document.values:
        raise PolicyError(f"{name} is empty")
    return document.values[0], lines


def _events(text: str, name: str) -> Iterator[Any]:
    """Yield the events of a text."""
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = name if mark is None else f"{name}:{mark.line + 1}"
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise PolicyError(f"{where} is no YAML: {said}") from error


def _check(event: Any, where: str) -> None:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise PolicyError(f"{where}: anchors and aliases (& and *) are not taken; write it out")
    if getattr(event, "tag", None) is not None:
        raise PolicyError(f"{where}: tags (!) are not taken")


def _scalar(event: Any) -> Any:
    value: str = event.value
    if event.style:  # it is quoted, or a block of text
        return value
    if value in _WORDS:
        return _WORDS[value]
    return int(value) if _INTEGER.fullmatch(value) else value


def _expect_value(into: _Map | _List, where: str) -> None:
    if isinstance(into, _Map) and into.key is None:
        raise PolicyError(f"{where}: a key is a text")


def _add(into: _Map | _List, value: Any, where: str) -> None:
    if isinstance(into, _List):
        into.values.append(value)
    elif into.key is None:
        if not isinstance(value, str):
            raise PolicyError(f"{where}: a key is a text, not {value!r}; put it in quotes")
        if value in into.values:
            raise PolicyError(f"{where}: {value!r} comes twice")
        into.key = value
    else:
        into.values[into.key] = value
        into.key = None
