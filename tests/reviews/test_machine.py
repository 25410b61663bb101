"""The docket against a model, through any order of steps (a Hypothesis state machine)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from hoopgw.events import Principal
from hoopgw.reviews.docket import USABLE, Docket, VoteRefusedError
from tests.store.values import (
    ALICE,
    ALICES_AGENT,
    CAROL,
    DAVE,
    DBA,
    ERIN,
    PLANNER,
    SECURITY,
    ask,
    digest,
    open_store,
    principal,
)

REMEDIES = ((DBA,), (evolve(DBA, needed=2),), (DBA, SECURITY))
ASKERS = (ALICE, ALICES_AGENT, CAROL)
VOTERS = (ALICE, CAROL, DAVE, ERIN, ALICES_AGENT, principal(PLANNER))
FINAL = ("denied", "expired", "withdrawn", "consumed")


@define
class Known:
    """What the model knows of one request."""

    text: str
    by: Principal
    demands: int
    expires: float
    approvers: set[str] = field(factory=set)
    denied: bool = False
    withdrawn: bool = False
    uses: int = 0
    last: str = "requested"


class Reviews(RuleBasedStateMachine):
    """Ask, vote, use, wait, restart, in any order."""

    requests: Bundle[str] = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1000.0
        self.known: dict[str, Known] = {}

    @initialize()
    def begin(self) -> None:
        """Open the store."""
        self.store = open_store(Path(self.folder.name) / "store.db")
        self.docket = Docket(self.store, lambda: self.now)

    def teardown(self) -> None:
        """Remove the store."""
        self.store.close()
        self.folder.cleanup()

    @rule(
        target=requests,
        text=st.sampled_from("ab"),
        by=st.sampled_from(ASKERS),
        remedies=st.sampled_from(REMEDIES),
    )
    def file(self, text: str, by: Principal, remedies: tuple[object, ...]) -> str:
        """Ask; what waits already is joined."""
        filed = self.docket.file(ask(text, by, *remedies))  # type: ignore[arg-type]  # of REMEDIES
        if filed.id not in self.known:
            demands = sum(remedy.needed for remedy in filed.remedies)
            self.known[filed.id] = Known(text, by, demands, filed.expires)
        assert self.known[filed.id].last == "requested"
        assert self.known[filed.id].text == text
        return filed.id

    @rule(request=requests, voter=st.sampled_from(VOTERS), approve=st.booleans())
    def vote(self, request: str, voter: Principal, approve: bool) -> None:
        """Vote; refused votes change nothing."""
        known = self.known[request]
        try:
            self.docket.vote(request, voter, approve=approve)
        except VoteRefusedError:
            return
        assert known.last == "requested"
        assert self.now < known.expires
        assert len(voter.chain) == 1
        assert voter.root.kind == "person"
        if approve:
            assert voter.root.id not in {hop.id for hop in known.by.chain}
            known.approvers.add(voter.root.id)
        else:
            known.denied = True

    @rule(request=requests, text=st.sampled_from("ab"))
    def consume(self, request: str, text: str) -> None:
        """Use an approval."""
        known = self.known[request]
        if self.docket.consume(request, digest(text)):
            assert text == known.text
            assert len(known.approvers) >= known.demands
            assert not known.denied
            assert not known.withdrawn
            known.uses += 1

    @rule(request=requests)
    def withdraw(self, request: str) -> None:
        """Nobody waits any more."""
        if self.docket.withdraw(request, "gone"):
            self.known[request].withdrawn = True

    @rule(seconds=st.sampled_from((1.0, USABLE, DBA.patience)), sweep=st.booleans())
    def wait(self, seconds: float, sweep: bool) -> None:
        """Let time pass, with a sweep or before it."""
        self.now += seconds
        if sweep:
            self.docket.expire()

    @rule()
    def restart(self) -> None:
        """Kill the process: nothing is closed, another opens the file."""
        self.store = open_store(Path(self.folder.name) / "store.db")
        self.docket = Docket(self.store, lambda: self.now)

    @invariant()
    def states_only_move_forward(self) -> None:
        """Check that what ended stays so, and that nothing is approved by too few or used twice."""
        for request, known in self.known.items():
            found = self.store.request(request)
            assert found is not None
            if known.last in FINAL:
                assert found.state == known.last
            if known.last == "approved":
                assert found.state in ("approved", "consumed", "expired")
            if found.state in ("approved", "consumed"):
                assert len(known.approvers) >= known.demands
            assert known.uses == (found.state == "consumed")
            known.last = found.state
        assert self.store.tampered == 0


Reviews.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
ReviewsTest = Reviews.TestCase
