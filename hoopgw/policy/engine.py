"""The policy as the data worker sees it: one set, asked through a cache; and its directory.

**The cache may never say more than a fresh evaluation would.** Its key is all that goes into one:
every hop with its groups, caps and attributes, whether the key was proved, every resource with its
labels and parents, every name, value *and type* of the context (to Python ``True == 1``, to Cedar
not), the grants that the chain holds at this moment, and the second if any policy reads the time.
It belongs to one set, so a reload begins an empty one. What erred is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from attrs import define, evolve, field
from twisted.logger import Logger

from hoopgw.errors import PolicyError
from hoopgw.events import Hop, Operation, Principal, Resource
from hoopgw.grants.held import HeldGrant
from hoopgw.masking import KINDS
from hoopgw.policy.cache import Recent
from hoopgw.policy.decision import Hidden, Sight, Sights, Verdict
from hoopgw.policy.granting import (
    QUESTIONS_LIMIT,
    Effort,
    judge_granted,
    judge_sights_granted,
)
from hoopgw.policy.pace import Pace
from hoopgw.policy.questions import Inquiry, in_batches, see_of
from hoopgw.policy.schema import Schema
from hoopgw.policy.sets import PolicySet
from hoopgw.policy.text import read_directory, version_of

log = Logger()

VERDICTS_LIMIT: Final = 20_000
"""Accesses in all verdicts that are kept: who is refused may ask for hundreds at once."""
SIGHTS_LIMIT: Final = 50_000

_SightKey: TypeAlias = tuple[tuple[Hop, ...], bool, Resource, int, tuple[HeldGrant, ...]]


class Grants(Protocol):
    """What is granted for a while, as a worker knows it: `hoopgw.grants.view`."""

    @property
    def epoch(self) -> str:
        """Changes whenever an answer of `held` may; empty as long as nothing was ever held."""
        ...

    def held(self, principal: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        """Return what a principal holds now in one of its sessions."""
        ...


class NoGrants:
    """Nobody holds anything. Implements `Grants`."""

    epoch: Final = ""

    def held(self, principal: Principal, session: str = "") -> tuple[HeldGrant, ...]:
        """Return nothing."""
        return ()


@define(eq=False)
class CedarPolicy:
    """Asks one set of policies. Implements `hoopgw.spi.Policy`.

    Args:
        policies: the set.
        time: gives seconds since the epoch.
        grants: what is granted for a while.

    """

    policies: PolicySet
    _time: Callable[[], float]
    _grants: Grants = field(factory=NoGrants, repr=False)
    _verdicts: Recent[Hashable, Verdict] = field(init=False, repr=False)
    _sights: Recent[_SightKey, Sight | Hidden] = field(init=False, repr=False)
    _pace: Pace = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._pace = Pace(self._time)
        self._verdicts = Recent(VERDICTS_LIMIT)
        self._sights = Recent(SIGHTS_LIMIT)

    @property
    def version(self) -> str:
        """The set's version."""
        return self.policies.version

    @property
    def epoch(self) -> str:
        """The set's version, with what is granted, and the second if a policy reads the time."""
        policies, granted = self.policies, self._grants.epoch
        version = f"{policies.version} {granted}" if granted else policies.version
        return f"{version} {self._second()}" if policies.reads_now else version

    def decide(self, principal: Principal, operation: Operation, session: str = "") -> Verdict:
        """Judge an operation; a microsecond or two if the like of it was judged before."""
        second = self._second()
        held = self._grants.held(principal, session)
        context = operation.context
        values = tuple(context.values())
        key = (
            principal.chain,
            principal.proved,
            operation.accesses,
            tuple(context),
            values,
            tuple(map(type, values)),
            second,
            held,
        )
        try:
            found = self._verdicts.get(key)
        except TypeError:  # a context value that cannot be hashed is refused by `judge`
            return self._judge(principal, operation, second, held)[0]
        if found is None:
            found, is_whole = self._judge(principal, operation, second, held)
            if is_whole and not found.errors:
                self._verdicts.put(key, found, len(operation.accesses))
        return found

    def _second(self) -> int:
        """Return the part of a key that the time is: no policy sees less than a second pass."""
        return int(self._time()) if self.policies.reads_now else 0

    def _judge(
        self,
        principal: Principal,
        operation: Operation,
        second: int,
        held: tuple[HeldGrant, ...],
    ) -> tuple[Verdict, bool]:
        """Judge anew; say, too, whether it is all that there is to say, so that it can be kept."""
        room = self._pace.room(principal.root.id)
        effort = Effort(min(QUESTIONS_LIMIT, room))
        verdict = judge_granted(
            self.policies,
            Inquiry(
                chain=principal.chain,
                accesses=operation.accesses,
                context=operation.context,
                now=second or int(self._time()),
                proved=principal.proved,
            ),
            held,
            effort,
        )
        self._pace.used(principal.root.id, effort.used)
        if verdict.errors:
            log.error(
                "policy {version} erred, so an operation was refused: {errors}",
                version=self.version,
                errors=verdict.errors,
            )
        verdict = evolve(verdict, now=second, held=held) if second or held else verdict
        return verdict, room >= QUESTIONS_LIMIT or not effort.is_short

    def sights(self, principal: Principal, fields: Sequence[Resource], session: str = "") -> Sights:
        """Say how each field is shown, by its id."""
        chain = principal.chain
        second = self._second()
        held = self._grants.held(principal, session)
        judged: dict[Resource, Sight | Hidden] = {}
        missing: dict[Resource, None] = {}
        for each in fields:
            found = self._sights.get((chain, principal.proved, each, second, held))
            if found is None:
                missing[each] = None
            else:
                judged[each] = found
        if missing:
            judged.update(self._judge_sights(principal, tuple(missing), second, held))
        shown = {each.id: sight for each, sight in judged.items()}
        if len(shown) != len(judged):
            _hide_doubles(shown, judged)
        return shown

    def _judge_sights(
        self,
        principal: Principal,
        fields: Sequence[Resource],
        second: int,
        held: tuple[HeldGrant, ...],
    ) -> Iterator[tuple[Resource, Sight | Hidden]]:
        now, chain, proved = second or int(self._time()), principal.chain, principal.proved
        for part in in_batches(fields, len(chain)):
            inquiry = Inquiry(
                chain=chain, accesses=tuple(map(see_of, part)), now=now, proved=proved
            )
            judged = judge_sights_granted(self.policies, inquiry, held)
            for each, found in zip(part, judged, strict=True):
                if not found.errors:
                    self._sights.put((chain, proved, each, second, held), found.sight)
                else:
                    log.error(
                        "policy {version} erred, so {field} is hidden: {errors}",
                        version=self.version,
                        field=each.id,
                        errors=found.errors,
                    )
                yield each, found.sight


def _hide_doubles(
    shown: dict[str, Sight | Hidden], judged: Mapping[Resource, Sight | Hidden]
) -> None:
    """Hide what came with two descriptions under one id: which one is true is not known."""
    seen: set[str] = set()
    for each in judged:
        if each.id in seen:
            shown[each.id] = Hidden(reason=f"{each.id} is described in two ways")
        seen.add(each.id)


@define(eq=False)
class PolicyDirectory:
    """The policy of a directory, replaced as a whole when its files change to something valid.

    Implements `hoopgw.spi.Policy`. Who owns it decides when to look: `reload` parses in the
    caller's thread; to keep a reactor free, run `read` in a thread and give the set to `adopt`.
    """

    directory: Path
    _schema: Schema = field(repr=False)
    _kinds: Collection[str] = field(repr=False)
    _time: Callable[[], float] = field(repr=False)
    _grants: Grants = field(repr=False)
    _current: CedarPolicy
    problem: str | None = field(default=None, init=False)
    """Why the files that are there now are not in force; None if they are."""

    @classmethod
    def open(
        cls,
        directory: Path,
        schemas: Mapping[str, str],
        time: Callable[[], float],
        kinds: Collection[str] = KINDS,
        grants: Grants | None = None,
    ) -> PolicyDirectory:
        """Load a directory for the first time.

        Args:
            directory: of ``*.cedar`` files.
            schemas: a protocol's name to its Cedar schema.
            time: gives seconds since the epoch.
            kinds: the masks that ``@mask`` may name.
            grants: what is granted for a while; nothing if it is left out.

        Raises:
            PolicyError: it is not valid; a gateway without policy must not start.

        """
        schema = Schema.load(schemas)
        policies = PolicySet.from_files(read_directory(directory), schema, kinds)
        held = NoGrants() if grants is None else grants
        return cls(directory, schema, kinds, time, held, CedarPolicy(policies, time, held))

    @property
    def version(self) -> str:
        """The version in force."""
        return self._current.version

    @property
    def epoch(self) -> str:
        """The version in force, with what is granted, and the second if a policy reads it."""
        current = self._current
        if current.policies.reads_now or self._grants.epoch:
            return current.epoch
        return current.policies.version  # each statement asks, and this is the usual case

    @property
    def policies(self) -> PolicySet:
        """The set in force."""
        return self._current.policies

    def decide(self, principal: Principal, operation: Operation, session: str = "") -> Verdict:
        """Judge an operation."""
        return self._current.decide(principal, operation, session)

    def sights(self, principal: Principal, fields: Sequence[Resource], session: str = "") -> Sights:
        """Say how each field is shown, by its id."""
        return self._current.sights(principal, fields, session)

    def reload(self) -> bool:
        """Put the files as they are now in force; say whether anything changed.

        What is not valid changes nothing, and is told by `problem` and the log.
        """
        try:
            return self.adopt(self.read())
        except PolicyError as error:
            self.refuse(error)
            return False

    def read(self) -> PolicySet:
        """Read the files without putting them in force. Touches nothing, so any thread may.

        Raises:
            PolicyError: they are not valid.

        """
        files = read_directory(self.directory)
        if version_of(files) == self.version:
            return self.policies
        return PolicySet.from_files(files, self._schema, self._kinds)

    def adopt(self, policies: PolicySet) -> bool:
        """Put a set in force, with an empty cache; say whether that changed anything."""
        self.problem = None
        if policies.version == self.version:
            return False
        log.info("policy {new} replaces {old}", new=policies.version, old=self.version)
        self._current = CedarPolicy(policies, self._time, self._grants)
        return True

    def refuse(self, error: PolicyError) -> None:
        """Keep what is in force, and say why."""
        if str(error) != self.problem:
            log.error(
                "policy {version} stays, as the new one is not valid: {problem}",
                version=self.version,
                problem=str(error),
            )
        self.problem = str(error)
