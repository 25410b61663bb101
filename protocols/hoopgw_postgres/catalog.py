"""What of a database is classified: the questions to its catalogue, and what their answers mean.

The gateway asks them on the fresh session, as one simple query, before the client's first
statement. The configuration classifies columns by name; here they become relation OIDs and
attribute numbers, together with what else shows them: inheritance parents and children and
partitions (by the column's name), columns that refer to them by a foreign key, generated columns,
views and materialised views (`view_trees`). A classified column that does not exist is an error: a
rename must not unmask.

What this cannot see: copies that were made earlier, functions and triggers that somebody else
wrote (functions are refused when they are called), and changes after it was asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import evolve, frozen

from hoopgw.errors import LinkError
from hoopgw_postgres.masked import Attribute, ClassifiedRelation, ClassifiedSet, Key
from hoopgw_postgres.view_trees import Shown, TreeError, view_columns

Row: TypeAlias = Sequence[bytes | None]

_FIND: Final = """
WITH wanted(s, t, c) AS (VALUES {wanted})
SELECT w.s, w.t, w.c, r.oid, a.attnum
FROM wanted w
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.s
LEFT JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = w.t
LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = r.oid AND a.attname = w.c AND a.attnum > 0 AND NOT a.attisdropped
"""

# A column of this name in whatever is above or below in the tree of inheritance is the same column,
# and what refers to it by a foreign key holds the same values.
_CLOSURE: Final = """
WITH RECURSIVE wanted(s, t, c) AS (VALUES {wanted}),
kin(a, b) AS (
    SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
    UNION ALL SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
),
found(relid, name, s, t, c) AS (
    SELECT r.oid, a.attname, w.s, w.t, w.c
    FROM wanted w
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.s
    JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = w.t
    JOIN pg_catalog.pg_attribute a
        ON a.attrelid = r.oid AND a.attname = w.c AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT l.relid, l.name, f.s, f.t, f.c
    FROM found f CROSS JOIN LATERAL (
        SELECT a.attrelid, a.attname
        FROM kin k JOIN pg_catalog.pg_attribute a
            ON a.attrelid = k.b AND a.attname = f.name AND NOT a.attisdropped
        WHERE k.a = f.relid
        UNION ALL
        SELECT a.attrelid, a.attname
        FROM pg_catalog.pg_constraint o
        CROSS JOIN LATERAL pg_catalog.generate_subscripts(o.confkey, 1) AS i(i)
        JOIN pg_catalog.pg_attribute r
            ON r.attrelid = o.confrelid AND r.attnum = o.confkey[i.i] AND r.attname = f.name
        JOIN pg_catalog.pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = o.conkey[i.i]
        WHERE o.contype = 'f' AND o.confrelid = f.relid
    ) AS l(relid, name)
),
direct(relid, attnum, s, t, c, derived) AS (
    SELECT f.relid, a.attnum, f.s, f.t, f.c, false
    FROM found f JOIN pg_catalog.pg_attribute a ON a.attrelid = f.relid AND a.attname = f.name
),
columns AS (
    SELECT * FROM direct
    UNION
    SELECT d.relid, e.adnum, d.s, d.t, d.c, true
    FROM direct d
    JOIN pg_catalog.pg_depend p
        ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.refobjid = d.relid
        AND p.refobjsubid = d.attnum
    JOIN pg_catalog.pg_attrdef e ON e.oid = p.objid AND e.adrelid = d.relid AND e.adnum <> d.attnum
),
"""

# Relations whose rules depend on a column, or hold a whole row of anything (":varattno 0": that
# leaves no trace in pg_depend), and what depends on those in turn.
_PLAIN_VIEWS: Final = """
plain(relid, through) AS (
    SELECT DISTINCT w.ev_class, w.oid
    FROM columns k
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = k.relid
        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_class <> k.relid
    WHERE d.refobjsubid = k.attnum OR w.ev_action::text ~ ':varattno 0 '
    UNION
    SELECT w.ev_class, w.oid
    FROM plain v
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = v.relid
        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_class <> v.relid
),
"""
# What is written in another language than C, and belongs to no extension, is somebody's own code.
_OWN: Final = """
own AS (
    SELECT p.oid, p.proname, p.prosrc, p.pronargs, p.pronargdefaults, p.proargtypes
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND l.lanname NOT IN ('c', 'internal')
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
        AND d.deptype = 'e'
    )
)"""
# A view may call somebody's own code, which reads a masked relation without a trace in pg_depend:
# its source has the relation's name, or that of more such code, or makes a statement as it runs.
_CODE_VIEWS: Final = """,
hidden(relid, name) AS (
    SELECT c.oid, pg_catalog.lower(c.relname::pg_catalog.text)
    FROM (SELECT relid FROM columns UNION SELECT relid FROM plain) q
    JOIN pg_catalog.pg_class c ON c.oid = q.relid
),
called(rule, oid, source) AS (
    SELECT DISTINCT d.objid, o.oid, pg_catalog.lower(o.prosrc)
    FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_operator r
        ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND r.oid = d.refobjid
    JOIN own o ON o.oid = CASE
        WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.refobjid
        ELSE r.oprcode::pg_catalog.oid END
    WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
),
suspect(name) AS (
    SELECT name FROM hidden
    UNION SELECT pg_catalog.lower(proname::pg_catalog.text) FROM own
    UNION SELECT 'execute'
),
code(rule) AS MATERIALIZED (
    SELECT DISTINCT c.rule
    FROM called c
    CROSS JOIN LATERAL pg_catalog.regexp_split_to_array(c.source, '[^a-z0-9_]+') AS w(words)
    WHERE EXISTS (
        SELECT FROM suspect s WHERE CASE
            WHEN s.name ~ '^[a-z0-9_]+$' THEN s.name = ANY (w.words)
            ELSE pg_catalog.strpos(c.source, s.name) > 0 END
    )
    OR EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = c.oid
        AND CASE d.refclassid
            WHEN 'pg_catalog.pg_class'::pg_catalog.regclass
                THEN d.refobjid IN (SELECT relid FROM hidden)
            WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass
                THEN d.refobjid IN (SELECT oid FROM own) END
    )
),
views(relid, through, code) AS (
    SELECT relid, through, false FROM plain
    UNION
    SELECT w.ev_class, w.oid, true FROM code c JOIN pg_catalog.pg_rewrite w ON w.oid = c.rule
    UNION
    SELECT w.ev_class, w.oid, false
    FROM views v
    JOIN pg_catalog.pg_depend d
        ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = v.relid
        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid AND w.ev_class <> v.relid
)
"""
_COLUMNS: Final = "SELECT relid, attnum, s, t, c, derived FROM columns"
_RULES: Final = """
SELECT v.relid, w.ev_type, w.ev_action::text, v.code
FROM views v JOIN pg_catalog.pg_rewrite w ON w.oid = v.through
"""
_ATTRIBUTES: Final = """
SELECT r.oid, n.nspname, r.relname, a.attnum, a.attname,
    CASE WHEN b.typtype = 'd' THEN b.typbasetype ELSE b.oid END,
    CASE WHEN b.typtype = 'd' THEN b.typtypmod ELSE a.atttypmod END,
    b.typcategory = 'S', a.attgenerated <> ''
FROM (SELECT relid FROM columns UNION SELECT relid FROM views) q
JOIN pg_catalog.pg_class r ON r.oid = q.relid
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type b ON b.oid = a.atttypid
ORDER BY r.oid, a.attnum
"""
# Names that mean somebody's own code: functions that are also in pg_catalog (f), operators (o), and
# functions of a row, which can be written as a column of it (c).
_SHADOWED: Final = """
SELECT proname, 'f' FROM own WHERE EXISTS (
    SELECT FROM pg_catalog.pg_proc o
    WHERE o.proname = own.proname AND o.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
)
UNION
SELECT o.oprname, 'o' FROM own JOIN pg_catalog.pg_operator o ON o.oprcode = own.oid
UNION
SELECT proname, 'c' FROM own JOIN pg_catalog.pg_type t ON t.oid = own.proargtypes[0]
WHERE pronargs > 0 AND pronargs - pronargdefaults <= 1 AND t.typtype IN ('c', 'p')
"""
# For this transaction. Compiling these queries takes longer than running them; what the client has
# set must neither break them off nor give them operators of somebody's own.
_SETTINGS: Final = """
SELECT pg_catalog.set_config('jit', 'off', true),
    pg_catalog.set_config('statement_timeout', '0', true),
    pg_catalog.set_config('lock_timeout', '0', true),
    pg_catalog.set_config('search_path', 'pg_catalog', true)
"""
_ENCODING: Final = "SELECT pg_catalog.getdatabaseencoding()"
_RESULTS: Final = 7


def questions(keys: Iterable[Key]) -> tuple[bytes, ...]:
    """Return the statements to send in one transaction; there must be a key."""
    wanted = ", ".join(f"({', '.join(_quote(part) for part in key)})" for key in keys)
    closure = _CLOSURE.format(wanted=wanted) + _PLAIN_VIEWS + _OWN + _CODE_VIEWS
    texts = (
        _SETTINGS,
        _FIND.format(wanted=wanted),
        closure + _COLUMNS,
        closure + _ATTRIBUTES,
        closure + _RULES,
        f"WITH {_OWN} {_SHADOWED}",
        _ENCODING,
    )
    return tuple(text.encode() for text in texts)


def answer(results: Sequence[Sequence[Row]]) -> ClassifiedSet:
    """Return what is classified, from the rows of each of the `questions`, in text format.

    Raises:
        LinkError: a classified column does not exist, or the answer is not understood.

    """
    if len(results) != _RESULTS or len(results[-1]) != 1:
        raise LinkError("the target's catalogue gave an answer that is not understood")
    _, found, columns, attributes, rules, shadowed, encoding = results
    missing = [".".join(_text(part) for part in row[:3]) for row in found if row[4] is None]
    if missing:
        raise LinkError(f"classified columns do not exist: {', '.join(sorted(missing))}")
    relations = _relations(attributes)
    _check_names(relations.values(), _text(encoding[0][0]))
    shown: dict[int, _Sources] = {}
    for relid, number, *key, derived in columns:
        sources = shown.setdefault(_int(relid), _Sources({}, frozenset(), frozenset()))
        shown[_int(relid)] = sources.with_column(
            _int(number), (_text(key[0]), _text(key[1]), _text(key[2])), _text(derived) == "t"
        )
    _follow_views(rules, shown)
    classified = (
        evolve(
            relations[relid],
            classified=sources.columns,
            derived=sources.derived,
            opaque=sources.opaque,
        )
        for relid, sources in shown.items()
    )
    return ClassifiedSet(
        relations=tuple(sorted(classified, key=lambda relation: relation.oid)),
        shadowed=_names(shadowed, "f"),
        operators=_names(shadowed, "o"),
        row_functions=_names(shadowed, "c"),
    )


def _names(rows: Iterable[Row], kind: str) -> frozenset[str]:
    return frozenset(_text(name) for name, found in rows if _text(found) == kind)


def _check_names(relations: Iterable[ClassifiedRelation], encoding: str) -> None:
    """Refuse names that the server may fold in a way of its own.

    With a single-byte encoding, it makes lower case of all letters of its locale; our grammar, as a
    UTF-8 server, only of ASCII. Then a statement could name a relation that we do not recognise.
    """
    for relation in relations:
        names = (relation.name, *(attribute.name for attribute in relation.attributes))
        if encoding != "UTF8" and not all(name.isascii() for name in names):
            raise LinkError(
                f"{relation.schema}.{relation.name} cannot be masked in a database that is not UTF8"
            )


@frozen
class _Sources:
    """Where the columns of one relation come from."""

    columns: Mapping[int, frozenset[Key]]
    derived: frozenset[int]
    opaque: frozenset[Key]

    def with_column(self, number: int, key: Key, derived: bool) -> _Sources:
        columns = {**self.columns, number: self.columns.get(number, frozenset()) | {key}}
        return evolve(
            self, columns=columns, derived=self.derived | ({number} if derived else set())
        )

    @property
    def all(self) -> frozenset[Key]:
        return self.opaque.union(*self.columns.values())


def _relations(rows: Iterable[Row]) -> dict[int, ClassifiedRelation]:
    relations: dict[int, ClassifiedRelation] = {}
    for oid, schema, name, number, column, kind, typmod, text, generated in rows:
        attribute = Attribute(
            number=_int(number),
            name=_text(column),
            type=_int(kind),
            typmod=_int(typmod),
            text=_text(text) == "t",
            generated=_text(generated) == "t",
        )
        relation = relations.setdefault(
            _int(oid),
            ClassifiedRelation(
                oid=_int(oid),
                schema=_text(schema),
                name=_text(name),
                attributes=(),
                classified={},
            ),
        )
        relations[relation.oid] = evolve(relation, attributes=(*relation.attributes, attribute))
    return relations


def _follow_views(rules: Iterable[Row], shown: dict[int, _Sources]) -> None:
    """Add to ``shown`` what views show, until nothing changes: views may stand on views."""
    waiting = [
        # What calls somebody's own code is followed no further.
        (_int(relid), _text(kind), "" if _text(code) == "t" else _text(action))
        for relid, kind, action, code in rules
    ]
    changed = True
    while changed:
        changed = False
        for relid, kind, action in waiting:
            before = shown.get(relid)
            after = _through(kind, action, shown, before)
            if after is not None and after != before:
                shown[relid] = after
                changed = True


def _through(
    kind: str, action: str, shown: Mapping[int, _Sources], before: _Sources | None
) -> _Sources | None:
    """Return what a relation shows through one of its rules; None if nothing."""
    sources = before or _Sources({}, frozenset(), frozenset())
    masked = {relid: frozenset(found.columns) for relid, found in shown.items()}
    opaque = frozenset(relid for relid, found in shown.items() if found.opaque)
    try:
        columns: list[Shown] | None = view_columns(action, masked, opaque)
    except TreeError:
        columns = None
    if columns is None or (columns and kind != "1"):
        # It uses them in a way that is not followed, or a rule does something with them later.
        used = frozenset().union(*(found.all for found in shown.values()))
        return evolve(sources, opaque=sources.opaque | used)
    for column in columns:
        found = shown[column.relation]
        for key in found.columns[column.attribute]:
            sources = sources.with_column(column.number, key, column.attribute in found.derived)
    return sources if sources.all else None


def _quote(text: str) -> str:
    """Return a literal; standard_conforming_strings is on (the gateway ends sessions without)."""
    return "'" + text.replace("'", "''") + "'::pg_catalog.text"


def _text(value: bytes | None) -> str:
    if value is None:
        raise LinkError("the target's catalogue gave an answer that is not understood")
    return value.decode()


def _int(value: bytes | None) -> int:
    return int(_text(value))
