"""What is classified in a database, and what of it one principal sees masked: values only.

`catalog` makes a `ClassifiedSet` of the server's catalogue; the policy's sights make a `MaskedSet`
of that. Relations are found by name when a statement is judged, and by OID in its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from attrs import field, frozen

from hoopgw.policy.annotations import strictest
from hoopgw.policy.decision import Hidden, Sight
from hoopgw_postgres.masking import ColumnMask

Key: TypeAlias = tuple[str, str, str]
"""Schema, table and column, as the configuration classifies them."""


@frozen
class Attribute:
    """One column of a relation."""

    number: int
    name: str
    type: int
    """OID; of a domain, the base type's."""
    typmod: int
    text: bool
    """Its type is one of strings."""
    generated: bool
    """Computed by the server; COPY leaves it out unless it is named."""


@frozen(kw_only=True)
class ClassifiedRelation:
    """A relation that holds classified columns, or shows those of another."""

    oid: int
    schema: str
    name: str
    attributes: tuple[Attribute, ...]
    """All that live, by number."""
    classified: Mapping[int, frozenset[Key]]
    """Attribute number to the columns that the configuration names."""
    derived: frozenset[int] = frozenset()
    """Of these, what the server computes from a classified column."""
    opaque: frozenset[Key] = frozenset()
    """Columns that it uses in ways that cannot be followed: then it is not read at all."""


@frozen(kw_only=True)
class ClassifiedSet:
    """All that is classified in one database."""

    relations: tuple[ClassifiedRelation, ...] = ()
    shadowed: frozenset[str] = frozenset()
    """Names of ``pg_catalog`` functions that somebody has defined elsewhere as well."""
    operators: frozenset[str] = frozenset()
    """Operators that call somebody's own functions."""
    row_functions: frozenset[str] = frozenset()
    """Somebody's own functions of a row, which can be written as a column of it."""

    def labels(self, labels: Mapping[Key, frozenset[str]]) -> dict[tuple[str, str], frozenset[str]]:
        """Return the labels of each relation, by schema and name, from those of columns."""
        return {
            (relation.schema, relation.name): frozenset().union(
                *(labels.get(key, frozenset()) for key in _keys(relation))
            )
            for relation in self.relations
        }

    def seen(self, sights: Mapping[Key, Sight | Hidden]) -> MaskedSet:
        """Return what is masked, given how each classified column is shown.

        A column that ``sights`` does not hold is hidden.
        """
        found: dict[str, list[MaskedRelation]] = {}
        for relation in self.relations:
            masked = _masked(relation, sights)
            if masked is not None:
                found.setdefault(relation.name, []).append(masked)
        return MaskedSet(
            relations={name: tuple(relations) for name, relations in found.items()},
            shadowed=self.shadowed,
            operators=self.operators,
            row_functions=self.row_functions,
        )


@frozen(kw_only=True)
class MaskedRelation:
    """A relation of which one principal does not see everything in clear."""

    oid: int
    schema: str
    name: str
    attributes: tuple[Attribute, ...]
    masks: Mapping[int, ColumnMask]
    """By attribute number."""
    hidden: frozenset[int] = frozenset()
    """Of these, what the principal may not even see masked."""
    opaque: bool = False
    names: frozenset[str] = field(init=False)
    """Of masked columns."""
    columns: frozenset[str] = field(init=False)
    """Names of all columns."""

    @names.default
    def _names(self) -> frozenset[str]:
        return frozenset(a.name for a in self.attributes if a.number in self.masks)

    @columns.default
    def _columns(self) -> frozenset[str]:
        return frozenset(a.name for a in self.attributes)


@frozen(kw_only=True)
class MaskedSet:
    """All that is masked for one principal in one database."""

    relations: Mapping[str, tuple[MaskedRelation, ...]] = field(factory=dict)
    """By name, in whatever schema."""
    shadowed: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    row_functions: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether anything is masked."""
        return bool(self.relations)

    @property
    def masks(self) -> dict[tuple[int, int], ColumnMask]:
        """By relation OID and attribute number, for `hoopgw_postgres.masking.MaskPlan`."""
        return {
            (relation.oid, number): mask
            for relations in self.relations.values()
            for relation in relations
            for number, mask in relation.masks.items()
        }


def _keys(relation: ClassifiedRelation) -> Iterable[Key]:
    return frozenset(relation.opaque).union(*relation.classified.values())


def _masked(
    relation: ClassifiedRelation, sights: Mapping[Key, Sight | Hidden]
) -> MaskedRelation | None:
    masks: dict[int, ColumnMask] = {}
    hidden: set[int] = set()
    texts = {attribute.number: attribute.text for attribute in relation.attributes}
    for number, keys in relation.classified.items():
        kinds, is_hidden = _kinds(keys, sights)
        if is_hidden:
            hidden.add(number)
        kind = strictest(kinds)
        if kind is not None:
            # What is computed from a column has no mask of its own that would say less.
            kind = "null" if number in relation.derived else kind
            masks[number] = ColumnMask(kind, texts.get(number, False))
    opaque = bool(_kinds(relation.opaque, sights)[0])
    if not masks and not opaque:
        return None
    return MaskedRelation(
        oid=relation.oid,
        schema=relation.schema,
        name=relation.name,
        attributes=relation.attributes,
        masks=masks,
        hidden=frozenset(hidden),
        opaque=opaque,
    )


def _kinds(keys: Iterable[Key], sights: Mapping[Key, Sight | Hidden]) -> tuple[set[str], bool]:
    """Return the masks of columns, and whether one is hidden (and then masked as NULL)."""
    kinds: set[str] = set()
    is_hidden = False
    for key in keys:
        match sights.get(key):
            case Sight(mask=None):
                pass
            case Sight(mask=str() as kind):
                kinds.add(kind)
            case _:
                kinds.add("null")
                is_hidden = True
    return kinds, is_hidden
