"""What is compared in lower case: marked in a schema, and looked for in policies.

Some targets do not tell upper from lower case; their protocols give ids and names in lower case
then, and mark that in their schema with ``@case("lower")``, on an entity type or an attribute of a
context. A policy that writes a capital there would never match, and nobody would notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen
from cedarpy import pst

from hoopgw.policy.lint import walk

_LOWER: Final = re.compile(
    r"""^namespace[ ](?P<space>[\w:]+)[ ]\{
      | ^[ ]*@case\("lower"\)\n[ ]*(?:entity[ ](?P<entity>\w+)|(?P<attribute>\w+)\??:[ ])""",
    re.MULTILINE | re.VERBOSE,
)


@frozen
class LowerCase:
    """What a schema marks with ``@case("lower")``: it is compared, and never has capitals."""

    entities: frozenset[str] = frozenset()
    """Types, with namespace, whose ids are so."""
    attributes: frozenset[str] = frozenset()
    """Attributes of contexts whose texts are so."""

    @classmethod
    def of(cls, text: str) -> LowerCase:
        """Read the canonical form of a schema."""
        space, entities, attributes = "", set[str](), set[str]()
        for match in _LOWER.finditer(text):
            space = match["space"] or space
            if match["entity"]:
                entities.add(f"{space}::{match['entity']}")
            elif match["attribute"]:
                attributes.add(match["attribute"])
        return cls(frozenset(entities), frozenset(attributes))


def capitals(policy: pst.Template, lower: LowerCase) -> Iterator[str]:
    """Yield what a policy writes with capitals that it is compared with never has.

    Cedar finds nothing wrong with it: a permit would never hold, and a forbid forbid nothing.
    """
    for node in walk((policy.principal, policy.resource, policy.clauses)):
        match node:
            case pst.EntityUid(type=kind, id=name) if str(kind) in lower.entities:
                if name != name.lower():
                    yield f'ids of {kind} are in lower case: write {kind}::"{name.lower()}"'
            case pst.BinaryOp(left=left, right=right):
                for this, other in ((left, right), (right, left)):
                    yield from _capitals_beside(this, _texts(other), lower)
            case pst.Like(base=base, pattern=pattern):
                written = "".join(c.value for c in pattern if isinstance(c, pst.Char))
                yield from _capitals_beside(base, [written], lower)


def _capitals_beside(expression: pst.Expr, texts: Iterable[str], lower: LowerCase) -> Iterator[str]:
    match expression:
        case pst.GetAttr(base=pst.Var(name="context"), attr=name) if name in lower.attributes:
            for text in texts:
                if text != text.lower():
                    yield f'context.{name} is in lower case: write "{text.lower()}"'


def _texts(expression: pst.Expr) -> list[str]:
    match expression:
        case pst.StringLit(value=text):
            return [text]
        case pst.Set(elements=elements):
            return [each.value for each in elements if isinstance(each, pst.StringLit)]
    return []
