"""What can be known of a template's expressions without being Azure. Pure.

Names and scopes in templates are mostly expressions over parameters and variables. The few
functions that names are made of are evaluated here; of everything else, `UNKNOWN` takes the place,
alone or inside a text. It is a character that no name has, so a text of which a part is not known
is never taken for one that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from hoopgw_azure.errors import UnclearRequestError
from hoopgw_azure.ids import Scope
from hoopgw_azure.strict_json import Json, member, texts

UNKNOWN: Final = "\0"
"""What is not known: a whole value, or a part of a text."""

EXPRESSION_LIMIT: Final = 24_576
"""Characters of one expression; Azure's own limit."""
DEPTH_LIMIT: Final = 32
STEPS_LIMIT: Final = 50_000
"""Words and marks of expressions evaluated for one request."""
TEXT_LIMIT: Final = 8192
"""Characters of a value that is made; what is longer is not known."""

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*+')|(?P<number>-?[0-9]+)|(?P<name>[A-Za-z_][\w.]*)(?=\s*\()"
    r"|(?P<member>\.\s*[A-Za-z_$][\w$-]*)|(?P<mark>[\[\](),]))"
)
_CALLED: Final = re.compile(r"'(?:[^']|'')*+(?:'|\Z)|([A-Za-z_]\w*+)(\s*+\()?")
_HOLE: Final = re.compile(r"\{([0-9]{1,3})\}")


def is_expression(text: str) -> bool:
    """Whether Azure evaluates a text. What only looks like it counts, too."""
    text = text.strip()
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def functions(value: Json) -> frozenset[str]:
    """Name all functions that are called anywhere in a value, in lower case.

    Raises:
        UnclearRequestError: an expression is longer than Azure takes.

    """
    found: set[str] = set()
    for text in texts(value):
        if text[:1] == "[" or (text[:1].isspace() and text.lstrip()[:1] == "["):
            if len(text) > EXPRESSION_LIMIT and is_expression(text):
                raise UnclearRequestError("an expression is longer than Azure takes")
            found.update(name for name, bracket in _CALLED.findall(text) if bracket)
    return frozenset(name.lower() for name in found)


@define(eq=False)
class Steps:
    """How much may yet be evaluated."""

    left: int = STEPS_LIMIT


@frozen(eq=False)
class Environment:
    """What expressions of one template may name."""

    scope: Scope | None
    """Where the deployment is; None if that is not known."""
    parameters: Mapping[str, Json] = field(factory=dict)
    """By name in lower case: given values, and defaults, which may be expressions."""
    variables: Mapping[str, Json] = field(factory=dict)
    steps: Steps = field(factory=Steps)
    _found: dict[tuple[bool, str], Json] = field(factory=dict, init=False)
    """Parameters (true) and variables that were evaluated."""

    @classmethod
    def of(cls, template: Json, given: Mapping[str, Json], scope: Scope | None) -> Environment:
        """Return a template's own, with what was given for its parameters."""
        parameters: dict[str, Json] = {
            name: member(each, "defaultValue")
            if member(each, "defaultValue") is not None
            else UNKNOWN
            for name, each in _items(member(template, "parameters"))
        }
        parameters.update(given)
        return cls(scope, parameters, dict(_items(member(template, "variables"))))

    def text(self, value: Json) -> str:
        """Return a value as the text that Azure will see, as far as it is known."""
        found = self.value(value)
        return found if isinstance(found, str) else UNKNOWN

    def value(self, value: Json, depth: int = 0) -> Json:
        """Evaluate a value; objects and lists are given as they are, to look into."""
        if not isinstance(value, str):
            return value
        if not is_expression(value):
            if UNKNOWN in value:
                return UNKNOWN
            return value[1:] if value.startswith("[[") else value
        if len(value) > EXPRESSION_LIMIT or depth > DEPTH_LIMIT:
            return UNKNOWN
        if self.steps.left <= 0:
            return UNKNOWN
        tokens = _tokens(value.strip()[1:-1])
        if tokens is None:
            return UNKNOWN
        self.steps.left -= len(tokens)
        reader = _Reader(self, tokens)
        found = reader.expression(depth + 1)
        if reader.at != len(tokens):
            return UNKNOWN
        return UNKNOWN if isinstance(found, str) and len(found) > TEXT_LIMIT else found

    def named(self, name: str, level: int, *, parameter: bool) -> Json:
        """Evaluate a parameter or a variable, once."""
        values = self.parameters if parameter else self.variables
        key = parameter, name.lower()
        if key not in self._found:
            self._found[key] = UNKNOWN  # as long as it is being evaluated
            self._found[key] = self.value(values.get(key[1], UNKNOWN), level)
        return self._found[key]


def given(parameters: Json, outer: Environment | None) -> dict[str, Json]:
    """Return values for parameters, as a deployment gives them.

    Args:
        parameters: name to ``{"value": ...}``.
        outer: where expressions in them are evaluated; None if they are none.

    """
    found: dict[str, Json] = {}
    for name, each in _items(parameters):
        value = member(each, "value")
        if outer is not None and isinstance(value, str):
            value = outer.value(value)
        # What looks like an expression now is a text for Azure; it must not be evaluated again.
        opaque = any(text.lstrip().startswith("[") for text in texts(value))
        found[name] = UNKNOWN if value is None or opaque else value
    return found


def _items(value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield name.lower(), each


def _tokens(text: str) -> list[tuple[str, str]] | None:
    found: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        found.append((str(match.lastgroup), match.group().strip()))
        at = match.end()
    return found


@define(eq=False)
class _Reader:
    """Reads and evaluates one expression."""

    environment: Environment
    tokens: Sequence[tuple[str, str]]
    at: int = 0

    def expression(self, level: int) -> Json:
        """Evaluate what comes next; ``level`` counts all that it is inside of."""
        kind, text = self._next()
        value: Json = UNKNOWN
        if level > DEPTH_LIMIT:
            self.at = len(self.tokens) + 1
        elif kind == "text":
            value = text[1:-1].replace("''", "'")
        elif kind == "number":
            value = int(text) if len(text) < 19 else UNKNOWN
        elif kind == "name":
            value = self._call(text.lower(), self._arguments(level), level)
        else:
            self.at = len(self.tokens) + 1  # not understood: the whole is not known
        return self._members(value, level)

    def _next(self) -> tuple[str, str]:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        self.at += 1
        return token

    def _peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def _arguments(self, level: int) -> list[Json]:
        self._next()
        found: list[Json] = []
        if self._peek() == ("mark", ")"):
            self.at += 1
            return found
        while self.at <= len(self.tokens):
            found.append(self.expression(level + 1))
            if self._next() != ("mark", ","):
                break
        if self.at <= len(self.tokens) and self.tokens[self.at - 1] != ("mark", ")"):
            self.at = len(self.tokens) + 1
        return found

    def _members(self, value: Json, level: int) -> Json:
        while self.at < len(self.tokens):
            kind, text = self._peek()
            if kind == "member":
                self.at += 1
                value = self._member(value, text[1:].strip(), level)
            elif (kind, text) == ("mark", "["):
                self.at += 1
                key = self.expression(level + 1)
                if self._next() != ("mark", "]"):
                    self.at = len(self.tokens) + 1
                value = self._element(value, key, level)
            else:
                break
        return value

    def _member(self, value: Json, name: str, level: int) -> Json:
        found = member(value, name)
        return UNKNOWN if found is None else self.environment.value(found, level)

    def _element(self, value: Json, key: Json, level: int) -> Json:
        if isinstance(key, str) and UNKNOWN not in key:
            return self._member(value, key, level)
        if not isinstance(value, Sequence) or isinstance(value, str) or not isinstance(key, int):
            return UNKNOWN
        return self.environment.value(value[key], level) if 0 <= key < len(value) else UNKNOWN

    def _call(self, name: str, arguments: list[Json], level: int) -> Json:
        match name, arguments:
            case "parameters", [str(key)]:
                return self.environment.named(key, level, parameter=True)
            case "variables", [str(key)]:
                return self.environment.named(key, level, parameter=False)
            case "concat", [*parts]:
                return "".join(map(_part, parts))[: TEXT_LIMIT + 1]
            case "format", [str(form), *parts]:
                return _format(form, parts)
            case "tolower", [str(text)]:
                return text.lower()
            case "toupper", [str(text)]:
                return text.upper()
            case "string", [str() | int() as only]:
                return _part(only)
            case _:
                return _placed(name, arguments, self.environment.scope)


def _part(value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return UNKNOWN
    return str(value)


def _format(form: str, parts: Sequence[Json]) -> str:
    def fill(match: re.Match[str]) -> str:
        number = int(match[1])
        return _part(parts[number]) if number < len(parts) else UNKNOWN

    if "{{" in form or "}}" in form:
        return UNKNOWN
    filled = _HOLE.sub(fill, form)
    return (UNKNOWN if "{" in filled or "}" in filled else filled)[: TEXT_LIMIT + 1]


def _placed(name: str, arguments: list[Json], scope: Scope | None) -> Json:
    """Evaluate what depends on where the deployment is."""
    words = [each if isinstance(each, str) else UNKNOWN for each in arguments]
    path = UNKNOWN if scope is None else scope.path
    match name:
        case "subscription" | "resourcegroup" | "managementgroup" if not words:
            return _place(name, scope)
        case "tenant":
            return {"id": "/"}
        case "resourceid":
            return _resource_id(words, scope)
        case "subscriptionresourceid":
            above = f"/subscriptions/{scope.subscription}" if scope is not None else UNKNOWN
            if words and "/" not in words[0]:
                above, words = f"/subscriptions/{words[0]}", words[1:]
            return above + _provided(words)
        case "tenantresourceid":
            return _provided(words)
        case "managementgroupresourceid" if words and "/" not in words[0]:
            return Scope(management_group=words[0]).path + _provided(words[1:])
        case "extensionresourceid" if words:
            return words[0].rstrip("/") + _provided(words[1:])
        case "managementgroupresourceid":
            return path + _provided(words)
    return UNKNOWN


def _place(name: str, scope: Scope | None) -> Json:
    if scope is None:
        return UNKNOWN
    if name == "subscription" and scope.subscription:
        identifier = f"/subscriptions/{scope.subscription}"
        return {"id": identifier, "subscriptionId": scope.subscription}
    if name == "resourcegroup" and scope.resource_group:
        return {"id": scope.path, "name": scope.resource_group}
    if name == "managementgroup" and scope.management_group:
        return {"id": scope.path, "name": scope.management_group}
    return UNKNOWN


def _resource_id(words: list[str], scope: Scope | None) -> str:
    """``resourceId([subscription], [resource group], type, name ...)``."""
    kind = next((at for at, word in enumerate(words) if "/" in word), None)
    if kind is None or kind > 2 or any(UNKNOWN in word for word in words[: kind + 1]):
        return UNKNOWN
    if scope is None and kind < 2:
        return UNKNOWN
    here = scope or Scope()
    subscription = words[0] if kind == 2 else here.subscription
    group = words[kind - 1] if kind else here.resource_group
    return Scope(subscription=subscription, resource_group=group).path + _provided(words[kind:])


def _provided(words: Iterable[str]) -> str:
    """Return ``/providers/NAMESPACE/type/name ...`` of a type and names."""
    kind, *names = list(words) or [UNKNOWN]
    namespace, *types = kind.split("/")
    if not types or len(types) != len(names) or UNKNOWN in kind:
        return UNKNOWN
    pairs = "".join(f"/{each}/{name}" for each, name in zip(types, names, strict=True))
    return f"/providers/{namespace}{pairs}"
