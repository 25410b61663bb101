"""What one session may do: text to decision, with what was learnt kept.

A text's facts come from the parser processes, or from a cache that all sessions share: facts depend
on the text alone. Literals that follow a comparison change no fact, so a text that differs from a
known one in those alone is known too (`shape`). Decisions are kept for the session, and forgotten
when the policy changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from attrs import evolve, field, frozen

from hoopgw.errors import UnavailableError
from hoopgw.events import Access, ContextValue, Operation, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Decision, Deny
from hoopgw.spi import Grants, NoGrants, Policy
from hoopgw_postgres.masking_rules import MaskRule, Refused, Untouched
from hoopgw_postgres.operations import Place, connecting, operation
from hoopgw_postgres.settings import refused_setting
from hoopgw_postgres.shape import shape
from hoopgw_postgres.statements import Facts, Statement, executed, fetched

FACTS_LIMIT: Final = 10_000
"""Texts whose facts a worker keeps."""
FACTS_TEXT_LIMIT: Final = 16_384
"""Bytes of the longest text that is kept."""
_FACTS_BYTES: Final = 4 * 2**20
"""Of all texts, or shapes, whose facts are kept: facts are many times as long."""
_DECISIONS_LIMIT: Final = 2_000
_ACCESSES_LIMIT: Final = 10_000
"""In all judgements that a session keeps."""
GRANT_OVER: Final = "the access that was granted for a while is over"
OUTDATED: Final = "57P01"
"""SQLSTATE of the refusal that ends a session."""


class Masking(Protocol):
    """What the session's masks say."""

    def judge(self, facts: Facts) -> MaskRule:
        """Say whether a text may run, and how its answer is masked."""
        ...

    @property
    def hides(self) -> bool:
        """Whether anything is masked."""
        ...

    def look_again(self) -> None:
        """Go by what the policy shows now."""
        ...

    def are_current(self) -> bool:
        """Whether the policy still shows what it did when the session began."""
        ...


@frozen(kw_only=True, eq=False)
class Judged:
    """A text, judged for one session."""

    facts: Facts
    action: str
    accesses: tuple[Access, ...]
    resources: list[str]
    context: Mapping[str, ContextValue]
    decision: Decision
    because: list[str]
    policy: str
    decided: int = 0
    """The second that policy saw; 0 if it does not read the time."""
    held: tuple[HeldGrant, ...] = ()
    """What the principal held then."""
    is_asked: bool = False
    """Whether this is what policy said of the accesses and the context."""
    code: str = "42501"
    """SQLSTATE, if it is denied."""
    hint: str = ""
    position: int = 0
    touches: bool = False
    """A relation with masked columns."""
    executes: tuple[str, ...] = ()
    """Prepared statements that SQL's EXECUTE in it names, and it has not prepared itself before."""
    fetches: tuple[str, ...] = ()
    """Cursors or portals that SQL's FETCH or MOVE in it names, likewise."""
    by_name: bool = False
    """What it runs was found by name, and may be something else by the time that it runs again."""
    copies_in: bool = False
    """Data follow it: COPY FROM STDIN."""
    names: bool = False
    """It changes settings, prepared statements or cursors."""
    grants: tuple[str, ...] = ()
    """Without which it would be refused."""
    once: bool = False
    """By a grant that was used up for it: nothing ends that any more."""
    strict: bool = False
    """Glass was broken for it: its intent is synced before it runs."""
    cures: tuple[str, ...] = ()
    """Grants that would cure its refusal."""
    breakglass: tuple[str, ...] = ()
    """The same, that the principal can take itself."""
    executed: bytes = field(default=b"", repr=False)
    """The texts of what it executes; a part of the digest."""
    is_plain: bool = field(init=False, repr=False)
    """It is allowed as it is, and nothing of it, or of its answer, needs a second look."""

    @is_plain.default
    def _is_plain(self) -> bool:
        special = self.touches or self.refers or self.by_name or self.copies_in or self.names
        special |= self.strict
        return isinstance(self.decision, Allow) and self.decision.max_rows is None and not special

    @property
    def is_refused(self) -> bool:
        """Whether it is refused whatever happens; some refusals are lifted by using a grant."""
        return isinstance(self.decision, Deny) and not self.decision.uses

    @property
    def max_rows(self) -> int | None:
        """How many rows it may show; None is no limit."""
        return None if isinstance(self.decision, Deny) else self.decision.max_rows

    @property
    def refers(self) -> bool:
        """Whether it runs what was prepared or opened before, by name."""
        return bool(self.executes or self.fetches)


class FactsCache:
    """Facts of texts, for all sessions of a worker.

    Args:
        classify: asks a parser; fails with `UnavailableError`.

    """

    def __init__(self, classify: Callable[[bytes], Awaitable[Facts]]) -> None:
        self._classify = classify
        self._kept: OrderedDict[bytes, Facts] = OrderedDict()
        self._size = 0

    def known(self, key: bytes) -> Facts | None:
        """Return the facts that are kept for a text or shape."""
        facts = self._kept.get(key)
        if facts is not None:
            self._kept.move_to_end(key)
        return facts

    async def find(self, text: bytes, key: bytes) -> Facts:
        """Return the facts of a text, and keep them.

        Raises:
            UnavailableError: no parser could say.

        """
        facts = self.known(key)
        if facts is None:
            facts = await self._classify(text)
            if len(key) <= FACTS_TEXT_LIMIT and not facts.error:
                self._keep(key, facts)
        return facts

    def _keep(self, key: bytes, facts: Facts) -> None:
        if self._kept.pop(key, None) is None:  # another may have asked for the same meanwhile
            self._size += len(key)
        self._kept[key] = facts
        while len(self._kept) > FACTS_LIMIT or self._size > _FACTS_BYTES:
            stalest, _ = self._kept.popitem(last=False)
            self._size -= len(stalest)


class Judge:
    """Judges the texts of one session.

    Args:
        principal: who asks.
        place: where.
        policy: what decides.
        facts: the worker's.
        masking: None if nothing is classified where the session is.
        grants: where grants are used.
        session: the session's id.

    """

    def __init__(
        self,
        principal: Principal,
        place: Place,
        policy: Policy,
        facts: FactsCache,
        masking: Masking | None,
        grants: Grants | None = None,
        session: str = "",
    ) -> None:
        self.principal = principal
        self._place = place
        self._policy = policy
        self._facts = facts
        self._masking = masking
        self.grants = NoGrants() if grants is None else grants
        self._session = session
        self._epoch = policy.epoch
        self._outdated = False
        self._decided: dict[tuple[bytes, bool], Judged] = {}
        self._accesses = 0

    def known(self, text: bytes, in_transaction: bool) -> Judged | None:
        """Return the judgement on a text, if it is known without asking anybody."""
        epoch = self._policy.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self._decided.clear()
            self._accesses = 0
            self._outdated |= self._masking is not None and not self._masking.are_current()
        if self._outdated:
            return self.refused(OUTDATED, "what you may see has changed: connect again")
        judged = self._decided.get((text, in_transaction))
        if judged is not None:
            return judged
        key = shape(text)
        return None if key is None else self._decided.get((key, in_transaction))

    async def judge(self, text: bytes, in_transaction: bool) -> Judged:
        """Judge a text."""
        judged = self.known(text, in_transaction)
        if judged is not None:
            return judged
        key = shape(text) or text
        try:
            facts = await self._facts.find(text, key)
        except UnavailableError as error:
            return self.refused("57P03", f"the statement could not be judged: {error}")
        # What may be run and seen may have changed while the parser was asked.
        if (judged := self.known(text, in_transaction)) is not None:
            return judged
        version = self._policy.version
        judged = self._judge_facts(facts, text, in_transaction)
        if len(key) <= FACTS_TEXT_LIMIT and judged.policy == version and judged.code != "57P03":
            self._accesses += len(judged.accesses)
            if len(self._decided) >= _DECISIONS_LIMIT or self._accesses > _ACCESSES_LIMIT:
                self._decided.clear()
                self._accesses = len(judged.accesses)
            self._decided[key, in_transaction] = judged
        return judged

    def resolved(
        self, judged: Judged, text: bytes, meant: Sequence[Judged], in_transaction: bool
    ) -> Judged:
        """Judge an EXECUTE or FETCH together with what its names mean."""
        if isinstance(judged.decision, Deny) and judged.code != "42501":
            return judged
        if any(each.refers or each.by_name for each in meant):
            return self._denied(
                judged.facts, "a name that stands for another is not followed", "0A000"
            )
        runs = [statement for each in meant for statement in each.facts.statements]
        if any(statement.copy is not None for statement in runs):
            return self._denied(judged.facts, "EXECUTE of a COPY is not passed", "0A000")
        found = self._judge_facts(judged.facts, text, in_transaction, runs)
        touches = found.touches or any(each.touches for each in meant)
        return evolve(found, touches=touches, executes=(), fetches=(), by_name=True)

    def refused(self, code: str, reason: str) -> Judged:
        """Return a refusal that no policy made."""
        return self._denied(Facts(), reason, code)

    def outdate(self) -> None:
        """Refuse everything from now on: what is masked is not what it was."""
        self._outdated = True

    def search_path_changed(self, schemas: tuple[str, ...]) -> None:
        """Count names without schema as names in these schemas, too; never in fewer than before."""
        self._place.schemas = tuple(dict.fromkeys((*self._place.schemas, *schemas)))
        self._decided.clear()

    async def use(self, judged: Judged, digest: bytes) -> Judged:
        """Use a grant that would lift a refusal; return what the operation is then.

        Args:
            judged: a refusal with `Deny.uses`.
            digest: of all that would be sent.

        """
        assert isinstance(judged.decision, Deny)
        for use in judged.decision.uses:
            if use.digest is not None and judged.copies_in:
                continue  # what comes later is not in the digest
            if await self.grants.use(use, self._session, digest):
                if use.digest is None and self._masking is not None:
                    self._masking.look_again()
                return evolve(
                    judged,
                    decision=Allow(max_rows=use.max_rows),
                    because=list(use.because),
                    grants=(use.grant,),
                    once=use.digest is not None,
                )
        return evolve(judged, decision=Deny(reason=judged.decision.reason))

    def note_use(self, judged: Judged) -> None:
        """Say that what was granted has allowed an operation, if it was needed."""
        if judged.grants:
            self.grants.used(judged.grants, self._session)

    def reconsider(self, running: Iterable[Judged]) -> str | None:
        """Say why the session must end by what is granted now, or None.

        Args:
            running: what the target has not answered yet.

        """
        connect = self._policy.decide(self.principal, connecting(self._place), self._session)
        if not isinstance(connect.decision, Allow):
            return GRANT_OVER
        answering = False
        for judged in running:
            answering = True
            if self.is_over(judged):
                return GRANT_OVER
        if answering and self._masking is not None and not self._masking.are_current():
            return "what you may see has changed"
        return None

    @property
    def epoch(self) -> str:
        """Changes whenever what is allowed may have changed."""
        return self._policy.epoch

    def is_over(self, judged: Judged) -> bool:
        """Whether what was granted allowed an operation, and does not any more."""
        if not judged.grants or judged.once:
            return False
        again = Operation(
            protocol="postgres",
            target=self._place.target.name,
            action=judged.action,
            accesses=judged.accesses,
            text="",
            context=judged.context,
            digest=b"",
        )
        decision = self._policy.decide(self.principal, again, self._session).decision
        return isinstance(decision, Deny)

    def _judge_facts(
        self,
        facts: Facts,
        text: bytes,
        in_transaction: bool,
        runs: Sequence[Statement] = (),
    ) -> Judged:
        if facts.error:
            return evolve(self._denied(facts, facts.error, "42601"), position=facts.position)
        if not facts.understood:
            return self._denied(facts, "hoopgw does not understand this statement", "0A000")
        if (reason := refused_setting(facts)) is not None:
            return self._denied(facts, reason, "42501")
        if any("execute" in s.kinds and s.kind != "execute" for s in facts.statements):
            reason = "EXECUTE inside another statement is not passed"
            return self._denied(facts, reason, "0A000")
        masking = self._masking
        rule = masking.judge(facts) if masking is not None and masking.hides else Untouched()
        if isinstance(rule, Refused):
            return evolve(self._denied(facts, rule.reason, "42501"), hint=rule.hint)
        asked = operation(self._place, facts, text, in_transaction=in_transaction, runs=runs)
        verdict = self._policy.decide(self.principal, asked, self._session)
        judged = Judged(
            facts=facts,
            action=asked.action,
            accesses=asked.accesses,
            resources=list(dict.fromkeys(access.resource.id for access in asked.accesses)),
            context=asked.context,
            decision=verdict.decision,
            because=list(verdict.because),
            policy=verdict.policy,
            decided=verdict.now,
            held=verdict.held,
            is_asked=True,
            touches=not isinstance(rule, Untouched),
            executes=executed(facts.statements),
            fetches=fetched(facts.statements),
            copies_in=any(s.copy is not None and s.copy.into for s in facts.statements),
            names=_changes_names(facts),
            grants=verdict.grants,
            strict=verdict.strict,
            cures=verdict.cures,
            breakglass=verdict.breakglass,
        )
        if isinstance(judged.decision, Allow):
            self.note_use(judged)  # what is held is not allowed yet
        return judged

    def _denied(self, facts: Facts, reason: str, code: str) -> Judged:
        place = self._place.resource
        return Judged(
            facts=facts,
            action=", ".join(dict.fromkeys(s.kind for s in facts.statements)) or "unknown",
            accesses=(Access(action="Postgres::other", resource=place),),
            resources=[place.id],
            context={},
            decision=Deny(reason=reason),
            because=[],
            policy=self._policy.version,
            code=code,
        )


_NAMING: Final = frozenset({"prepare", "deallocate", "discard", "declare", "close", "set"})


def _changes_names(facts: Facts) -> bool:
    return any(s.kind in _NAMING or s.settings or s.kinds & _NAMING for s in facts.statements)


def schemas_of(value: str) -> tuple[str, ...]:
    """Split the value of search_path."""
    return tuple(
        name.strip().strip('"') for name in value.split(",") if name.strip() not in ("", '"$user"')
    )
