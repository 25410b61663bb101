"""Which targets somebody may connect to, and as which accounts: what ``/v1/targets`` shows.

The policy is asked what it would be asked when a session begins. That is a help for people and
agents, not a wall: the worker asks again, for the session that is really opened. What would be
permitted if it were granted is shown too, and what to ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, evolve, frozen

from hoopgw.control.fleet import AgentStatus
from hoopgw.control.policy_files import PolicyFiles
from hoopgw.control.web import ApiError
from hoopgw.errors import PolicyError
from hoopgw.events import Operation, Principal
from hoopgw.grants.held import HeldGrant
from hoopgw.policy.decision import Allow, Deny, Verdict
from hoopgw.policy.granting import judge_granted
from hoopgw.policy.questions import Inquiry
from hoopgw.policy.sets import PolicySet
from hoopgw.spi import ProtocolSpec, TargetSettings

ASKED_LIMIT: Final = 2_000
"""Accounts that the policy is asked about for one list; about 0.1 ms each."""


@frozen(kw_only=True)
class Reachable:
    """One target that somebody may connect to."""

    accounts: tuple[str, ...] = ()
    """None if its agent has not told of any."""
    offers: tuple[str, ...] = ()
    """Grants that must be asked for first; none if it may be connected to as it is."""
    is_open: bool = False


@define(eq=False)
class Reach:
    """Tells it."""

    _targets: Mapping[str, TargetSettings]
    _protocols: Mapping[str, ProtocolSpec]
    _files: PolicyFiles
    _held: Callable[[Principal], tuple[HeldGrant, ...]]
    _now: Callable[[], float]

    async def of(
        self, principal: Principal, agents: Mapping[str, AgentStatus]
    ) -> dict[str, Reachable]:
        """Return the targets that somebody may connect to.

        Raises:
            ApiError: there is no valid policy.
            UnavailableError: too much is asked at once.

        """
        found: dict[str, Reachable] = {}
        asked: list[tuple[str, str, Operation]] = []
        for target, account, place in _places(self._targets, agents):
            spec = self._protocols.get(target.protocol)
            if spec is None or spec.connecting is None:
                _add(found, target.name, account, None)
            elif len(asked) < ASKED_LIMIT:
                asked.append((target.name, account, spec.connecting(target, account, place)))
        held, now = self._held(principal), int(self._now())
        operations = [operation for _, _, operation in asked]
        try:
            verdicts = await self._files.ask_last(
                lambda policies: _verdicts(policies, principal, operations, held, now)
            )
        except PolicyError as error:
            raise ApiError(503, "unavailable", f"the policy is not valid: {error}") from error
        for (name, account, _), verdict in zip(asked, verdicts, strict=True):
            _add(found, name, account, verdict)
        return found

    def all(self, agents: Mapping[str, AgentStatus]) -> dict[str, Reachable]:
        """Return every target with every account, for who oversees."""
        found: dict[str, Reachable] = {}
        for target, account, _ in _places(self._targets, agents):
            _add(found, target.name, account, None)
        return found


def _verdicts(
    policies: PolicySet,
    principal: Principal,
    operations: Sequence[Operation],
    held: tuple[HeldGrant, ...],
    now: int,
) -> list[Verdict]:
    """Judge as for sessions that prove the caller's key: they may be."""
    return [
        judge_granted(
            policies,
            Inquiry(
                chain=principal.chain,
                accesses=operation.accesses,
                context=operation.context,
                now=now,
                proved=True,
            ),
            held,
        )
        for operation in operations
    ]


def _add(found: dict[str, Reachable], name: str, account: str, verdict: Verdict | None) -> None:
    """Note an account of a target, if the verdict lets it be used; None is not asked."""
    decision = None if verdict is None else verdict.decision
    is_open = verdict is None or isinstance(decision, Allow)
    is_open = is_open or (isinstance(decision, Deny) and bool(decision.uses))
    offers = () if verdict is None or is_open else verdict.cures
    if not is_open and not offers:
        return
    before = found.get(name, Reachable())
    found[name] = evolve(
        before,
        accounts=(*before.accounts, account) if account else before.accounts,
        offers=tuple(dict.fromkeys((*before.offers, *offers))),
        is_open=before.is_open or is_open,
    )


def _places(
    targets: Mapping[str, TargetSettings], agents: Mapping[str, AgentStatus]
) -> list[tuple[TargetSettings, str, str]]:
    """Return each target with each of its accounts and where it is, empty where not known."""
    found: list[tuple[TargetSettings, str, str]] = []
    for target in targets.values():
        agent = agents.get(target.agent)
        known = {} if agent is None else agent.accounts.get(target.name, {})
        found += [(target, account, place) for account, place in (known or {"": ""}).items()]
    return found
