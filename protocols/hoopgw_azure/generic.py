"""Any other REST service: rules of method and path in the target's options give names. Pure.

    [[targets.operations]]
    name = "readOrder"
    method = "GET"
    path = "/v1/orders/{order}"

``pages = ["page"]`` names what in a path says which part of a list is meant: all parts are one list
for the limits of `hoopgw_azure.exports`.

A request that fits no rule is ``unknown``, which no ordinary policy permits. Where two rules fit,
the one counts that has a word where the other has a name in braces; two that are alike are refused
when the configuration is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

from hoopgw.errors import ConfigError
from hoopgw.events import Resource
from hoopgw_azure.asked import Asked
from hoopgw_azure.calls import Call, Secrets, Touch, Verb
from hoopgw_azure.resources import Place

RULES_LIMIT: Final = 1000
_METHODS: Final[dict[str, Verb]] = {
    "GET": "read",
    "HEAD": "read",
    "PUT": "write",
    "PATCH": "write",
    "POST": "action",
    "DELETE": "delete",
}
_VERBS: Final[dict[str, Verb]] = {
    verb: verb for verb in ("read", "write", "delete", "action", "mint", "execute", "grant")
}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_HOLE: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_]{0,31})\}")
_WORD: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_KEYS: Final = frozenset({"name", "method", "path", "verb", "query", "secrets", "pages"})


@frozen(kw_only=True)
class Rule:
    """One operation of a service."""

    name: str
    method: str
    words: tuple[str, ...]
    """Segments; ``{name}`` stands for any."""
    verb: Verb
    query: frozenset[str] | None = None
    """The parameters that may be there; None is any."""
    secrets: Secrets = field(factory=Secrets)
    pages: frozenset[str] = frozenset()
    """Names in braces that say which part of a list is meant."""
    _holes: tuple[str, ...] = field(init=False, eq=False, repr=False)
    """Names in braces, in the order of the words; nothing where a word is itself."""

    def __attrs_post_init__(self) -> None:
        found = (_HOLE.fullmatch(word) for word in self.words)
        holes = tuple("" if hole is None else hole[1] for hole in found)
        object.__setattr__(self, "_holes", holes)  # rules are read once, and asked for each request

    def parameters(self, asked: Asked) -> tuple[tuple[str, str], ...] | None:
        """Return what stands for the names in braces; None if a request does not fit."""
        if asked.method != self.method or len(asked.segments) != len(self.words):
            return None
        if self.query is not None and not {name for name, _ in asked.query} <= self.query:
            return None
        found: list[tuple[str, str]] = []
        for word, hole, segment in zip(self.words, self._holes, asked.segments, strict=True):
            if hole:
                found.append((hole, segment))
            elif word != segment:
                return None
        return tuple(found)

    def listing(self, asked: Asked) -> str:
        """Return the list that a request is for, without which page."""
        pairs = zip(self._holes, asked.segments, strict=True)
        return "/" + "/".join(
            f"{{{hole}}}" if hole in self.pages else segment.lower() for hole, segment in pairs
        )

    @property
    def shape(self) -> tuple[str, tuple[str, ...]]:
        """What two rules must not share."""
        words = zip(self.words, self._holes, strict=True)
        return self.method, tuple("{}" if hole else word for word, hole in words)

    @property
    def _order(self) -> tuple[bool, ...]:
        return tuple(map(bool, self._holes))


@frozen
class Rules:
    """All operations of a service, the more particular first."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, tables: object) -> Rules:
        """Read the ``operations`` of a target's options.

        Raises:
            ConfigError: one is not of the format, or two are alike.

        """
        if not isinstance(tables, list) or not tables or len(tables) > RULES_LIMIT:
            raise ConfigError(f"options.operations must be 1 to {RULES_LIMIT} tables")
        rules = [_rule(number, table) for number, table in enumerate(tables)]
        seen: dict[tuple[str, tuple[str, ...]], str] = {}
        for rule in rules:
            other = seen.setdefault(rule.shape, rule.name)
            if other is not rule.name:
                raise ConfigError(
                    f"options.operations: {rule.name} and {other} fit the same requests"
                )
        return cls(tuple(sorted(rules, key=lambda rule: rule._order)))

    def call(self, asked: Asked, place: Place) -> Call:
        """Return what a request does."""
        # A slash at the end may be another resource than without: no rule can say so.
        for rule in () if asked.slash and asked.segments else self.rules:
            found = rule.parameters(asked)
            if found is not None:
                return _called(rule, found, place, rule.listing(asked))
        route = Resource(
            type="Rest::Route", id=f"{place.target.id}/unknown", parents=(place.target,)
        )
        return Call(
            operation="unknown",
            touches=(Touch(verb="unknown", resource=route, operation="unknown"),),
        )


def _called(rule: Rule, parameters: Iterable[tuple[str, str]], place: Place, listing: str) -> Call:
    route = Resource(
        type="Rest::Route",
        id=f"{place.target.id}/{rule.name}",
        parents=(place.target,),
        labels=place.labels_of(rule.name.lower()),
    )
    return Call(
        operation=rule.name,
        type=rule.name,
        touches=(Touch(verb=rule.verb, resource=route, operation=rule.name),),
        secrets=rule.secrets,
        listing=listing,
        mints=rule.verb == "mint",
        executes=rule.verb == "execute",
        grants=rule.verb == "grant",
        extra=(("parameters", tuple(sorted(f"{name}={value}" for name, value in parameters))),),
    )


def _rule(number: int, table: object) -> Rule:
    where = f"options.operations[{number}]"
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} must be a table")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise ConfigError(
            f"{where}: {unknown[0]} is not known; these are: {', '.join(sorted(_KEYS))}"
        )
    name, method, path = (table.get(key) for key in ("name", "method", "path"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{where}.name must be a word of at most 64 letters and digits")
    if name == "unknown" or not isinstance(method, str) or method not in _METHODS:
        raise ConfigError(f"{where}.method must be one of {', '.join(_METHODS)}")
    verb = _VERBS.get(str(table.get("verb", _METHODS[method])))
    if verb is None:
        raise ConfigError(f"{where}.verb must be one of {', '.join(_VERBS)}")
    query = table.get("query")
    words = _words(where, path)
    pages = frozenset(_texts(f"{where}.pages", table.get("pages", [])))
    holes = {match[1] for word in words if (match := _HOLE.fullmatch(word))}
    if not pages <= holes:
        raise ConfigError(f"{where}.pages must be names in braces of its path")
    return Rule(
        name=name,
        method=method,
        words=words,
        verb=verb,
        query=None if query is None else frozenset(_texts(f"{where}.query", query)),
        secrets=_secrets(where, table),
        pages=pages,
    )


def _words(where: str, path: object) -> tuple[str, ...]:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigError(f"{where}.path must begin with /")
    words = tuple(path[1:].split("/")) if path != "/" else ()
    for word in words:
        if not (_HOLE.fullmatch(word) or _WORD.fullmatch(word)) or word in (".", ".."):
            raise ConfigError(f"{where}.path: {word!r} is neither a word nor a name in braces")
    names = [match[1] for word in words if (match := _HOLE.fullmatch(word))]
    if len(names) != len(set(names)):
        raise ConfigError(f"{where}.path has a name in braces twice")
    return words


def _secrets(where: str, table: Mapping[str, Any]) -> Secrets:
    written = table.get("secrets", [])
    if written == "all":
        return Secrets(everything=True)
    return Secrets(paths=_texts(f"{where}.secrets", written))


def _texts(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigError(f"{where} must be a list of texts")
    return tuple(value)
