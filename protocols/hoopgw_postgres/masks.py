"""What one session may see: learnt from the policy and the target's catalogue at its start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import define, evolve, field

from hoopgw.errors import ProtocolViolationError
from hoopgw.events import Principal
from hoopgw.policy.decision import Hidden, Sight
from hoopgw.spi import Policy, TargetSettings
from hoopgw_postgres import catalog
from hoopgw_postgres.copy import CopyMasker
from hoopgw_postgres.flow import Masker
from hoopgw_postgres.masked import ClassifiedSet, Key, MaskedSet
from hoopgw_postgres.masking import Column, MaskPlan
from hoopgw_postgres.masking_rules import ByIndex, MaskRule, judge_facts
from hoopgw_postgres.operations import Place, column_labels
from hoopgw_postgres.prelude import Prelude
from hoopgw_postgres.statements import Facts

_WHERE: Final = (
    b"SELECT pg_catalog.current_database(), n FROM pg_catalog.unnest("
    b"pg_catalog.current_schemas(false)) WITH ORDINALITY AS s(n, i) ORDER BY i;"
    b"SELECT pg_catalog.current_database()"
)


@define(eq=False)
class SessionMasks:
    """How a session's answers are masked, and what may run because of that.

    Args:
        policy: asked again when it changes.
        principal: who sees.
        place: where.
        classified: what the database holds.
        key: for tokens.

    """

    policy: Policy
    principal: Principal
    place: Place
    classified: ClassifiedSet
    key: bytes = field(repr=False)
    questions: tuple[bytes, ...] = ()
    """What was asked of the catalogue, to ask it again."""
    session: str = ""
    """The gateway session's id, for what is granted for one."""
    masked: MaskedSet = field(init=False)
    _plan: MaskPlan = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.look_again()

    @property
    def hides(self) -> bool:
        """Whether anything is masked."""
        return bool(self.masked)

    def look_again(self) -> None:
        """Go by what the policy shows now: more than before, since a grant was claimed."""
        self.masked = self.classified.seen(self._sights())
        self._plan = MaskPlan(self.masked.masks, self.key)

    def judge(self, facts: Facts) -> MaskRule:
        """Say whether a text may run, and how its answer is masked."""
        return judge_facts(facts, self.masked)

    def are_current(self) -> bool:
        """Whether the policy still shows the principal what it did when the session began."""
        return self.classified.seen(self._sights()) == self.masked

    def hold(self, answers: Sequence[Sequence[catalog.Row]]) -> bool:
        """Whether these are right by what the catalogue says now.

        Raises:
            LinkError: what is classified does not exist any more.

        """
        sights = self._sights()
        found = _lasting(catalog.answer(answers)).seen(sights)
        return found == _lasting(self.classified).seen(sights)

    def for_rows(self, description: bytes, formats: tuple[int, ...] | None) -> Masker | None:
        """Return what masks the rows of a RowDescription."""
        return self._plan.for_row_description(description, formats)

    def for_copy(self, facts: Facts) -> Masker | None:
        """Return what masks the rows of a COPY TO STDOUT; None if it shows nothing masked.

        Raises:
            ProtocolViolationError: nothing was copied.

        """
        if all(statement.copy is None for statement in facts.statements):
            raise ProtocolViolationError("rows of a COPY that no statement asked for")
        rule = self.judge(facts)
        copied = facts.statements[0].copy
        if not isinstance(rule, ByIndex) or copied is None:
            return None
        code = 1 if copied.format == "binary" else 0
        masks = {}
        for index, (attribute, mask) in rule.masks.items():
            column = Column(0, attribute.number, attribute.type, attribute.typmod, code)
            masks[index] = self._plan.compile(mask, column, code)
        return CopyMasker(copied.format, copied.header, rule.count, masks) if masks else None

    def _sights(self) -> dict[Key, Sight | Hidden]:
        columns = self.place.columns()
        sights = self.policy.sights(self.principal, list(columns.values()), self.session)
        return {key: sights[resource.id] for key, resource in columns.items()}


def _lasting(classified: ClassifiedSet) -> ClassifiedSet:
    """Leave out what other sessions have made for themselves: they come and go."""
    kept = (r for r in classified.relations if not r.schema.startswith("pg_temp_"))
    return evolve(classified, relations=tuple(kept))


async def learn(
    prelude: Prelude,
    policy: Policy,
    principal: Principal,
    target: TargetSettings,
    account: str,
    key: bytes,
    session: str = "",
) -> tuple[Place, SessionMasks | None]:
    """Ask the target where the session is, and say what is masked there for the principal.

    The latter is None if nothing is classified there.

    Raises:
        LinkError: the target did not say, or what is classified does not exist there.

    """
    schemas, database = await prelude.ask(_WHERE)
    where = Place(
        target,
        (database[0][0] or b"").decode(),
        account,
        tuple((row[1] or b"").decode() for row in schemas),
    )
    labels = column_labels(target)
    if not labels:
        return where, None
    questions = catalog.questions(labels)
    classified = catalog.answer(await prelude.ask(b";".join(questions)))
    place = Place(target, where.database, account, where.schemas, classified.labels(labels))
    return place, SessionMasks(policy, principal, place, classified, key, questions, session)
