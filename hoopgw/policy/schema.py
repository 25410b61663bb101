"""The Cedar schema: the core's and those of the protocols, as one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

import cedarpy
from attrs import define, field

from hoopgw.errors import PolicyError
from hoopgw.policy.caps import ActionGroups
from hoopgw.policy.lower_case import LowerCase

_PROBE: Final = """
permit (principal, action, resource) when {
  context.chain.depth + context.chain.hop + context.now == 0 && !context.breakglass &&
  context.chain.kinds.contains("") && context.chain.proved && context.approvals.contains("")
};
"""
_ATTRIBUTE: Final = re.compile(r'^[ \t]*"?([^":{\n]+?)"?\??: ', re.MULTILINE)


def core_schema() -> str:
    """Return the text of ``core.cedarschema``."""
    return resources.files(__package__).joinpath("core.cedarschema").read_text("utf-8")


@define(eq=False)
class Schema:
    """A parsed schema, and what has to be asked of it again and again."""

    handle: cedarpy.Schema = field(repr=False)
    nothing: cedarpy.Entities = field(repr=False)
    """The entities of the actions. Without them `action in Group` matches nothing, silently."""
    attributes: frozenset[str]
    """All names that the schema gives to attributes of whatever."""
    lower: LowerCase
    """What a policy must write in lower case, or never match."""
    groups: ActionGroups
    """Each action to all groups that hold it."""
    _labelled: dict[str, bool] = field(factory=dict, init=False, repr=False)

    @classmethod
    def load(cls, protocols: Mapping[str, str]) -> Schema:
        """Join the core's schema and the protocols'.

        Args:
            protocols: a protocol's name to its schema, in Cedar's human-readable syntax.

        Raises:
            PolicyError: one does not parse, or lacks what each context must declare.

        """
        core = core_schema()
        for name, text in protocols.items():
            _check_protocol(name, _parse(f"{core}\n{text}", f"of protocol {name}"))
        handle = _parse("\n".join([core, *protocols.values()]), "of all protocols together")
        nothing = cedarpy.Entities.from_json_str("[]", handle)
        return cls(
            handle=handle,
            nothing=nothing,
            groups=_groups(json.loads(str(nothing))),
            attributes=frozenset(_ATTRIBUTE.findall(str(handle))),
            lower=LowerCase.of(str(handle)),
        )

    def entity(
        self,
        kind: str,
        name: str,
        parents: list[dict[str, str]],
        labels: frozenset[str],
    ) -> dict[str, Any]:
        """Return a resource as Cedar's JSON, with ``labels`` if its type declares them.

        Raises:
            ValueError: the schema knows no such type, or it has no labels to give them to.

        """
        attributes: dict[str, Any] = {}
        if self._is_labelled(kind):
            attributes["labels"] = sorted(labels)
        elif labels:
            raise ValueError(f"{kind} declares no labels")
        return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": parents}

    def _is_labelled(self, kind: str) -> bool:
        """Ask Cedar, since a parsed schema cannot be looked into."""
        known = self._labelled.get(kind)
        if known is None:
            known = self._accepts(kind, {"labels": []})
            if not known and not self._accepts(kind, {}):
                raise ValueError(f"the schema has no entity type {kind} that hoopgw could fill")
            self._labelled[kind] = known
        return known

    def _accepts(self, kind: str, attributes: dict[str, list[str]]) -> bool:
        probe = [{"uid": {"type": kind, "id": ""}, "attrs": attributes, "parents": []}]
        try:
            cedarpy.Entities.from_json_str(json.dumps(probe), self.handle)
        except ValueError:
            return False
        return True


def _groups(actions: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return all groups above each action, however many levels up."""
    above = {_name(each["uid"]): [_name(up) for up in each["parents"]] for each in actions}
    found: dict[str, frozenset[str]] = {}
    for action in above:
        reached: set[str] = set()
        waiting = list(above[action])
        while waiting:
            group = waiting.pop()
            if group not in reached:
                reached.add(group)
                waiting += above.get(group, ())
        found[action] = frozenset(reached)
    return found


def _name(uid: Mapping[str, str]) -> str:
    """Return an action's name as `hoopgw.events.Access.action` has it."""
    return f"{uid['type'].removesuffix('Action')}{uid['id']}"


def _parse(text: str, whose: str) -> cedarpy.Schema:
    try:
        return cedarpy.Schema.from_str(text)
    except ValueError as error:
        raise PolicyError(f"the Cedar schema {whose} does not parse: {error}") from error


def _check_protocol(name: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(_PROBE, schema)
    if not result.validation_passed:
        raise PolicyError(
            f"the Cedar schema of protocol {name}: the context of each action must declare "
            "`chain: Hoopgw::Chain, approvals: Set<String>, breakglass: Bool, now: Long`; "
            f"Cedar says: {result.errors[0].error}"
        )
