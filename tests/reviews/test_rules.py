"""Tests of `hoopgw.reviews.rules`."""

from __future__ import annotations

from itertools import permutations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Origin, Principal
from hoopgw.policy.decision import Remedy
from hoopgw.reviews.rules import is_enough, is_own, may_see, objection
from hoopgw.store.rows import Request, Vote
from tests.store.values import (
    ALICE,
    ALICES_AGENT,
    CAROL,
    DAVE,
    DBA,
    ERIN,
    PLANNER,
    SECURITY,
    hop,
    person,
    principal,
    request,
)


def asking(*remedies: Remedy, by: Principal = ALICE) -> Request:
    """Make a request that needs these remedies."""
    return evolve(request(1, by), remedies=remedies)


def vote(name: str, *groups: str, approve: bool = True) -> Vote:
    """Make one person's vote."""
    return Vote(
        request="r-1",
        person=f"corp|{name}",
        name=name,
        groups=frozenset(groups),
        approve=approve,
        at=1.0,
    )


class WhoTests(SynchronousTestCase):
    """Who may vote."""

    def test_a_member_of_an_asked_group_may(self) -> None:
        for remedies in ((DBA,), (DBA, SECURITY), (SECURITY, DBA)):
            self.assertIsNone(objection(asking(*remedies), CAROL, approve=True))

    def test_others_may_not(self) -> None:
        for approve in (True, False):
            refused = objection(asking(DBA), ERIN, approve=approve)
            self.assertIn("dba", refused or "")

    def test_nobody_approves_for_oneself(self) -> None:
        """Not with the group, not as administrator, not as the agent's starter."""
        boss = person("alice", "dba", "admins")
        for by in (ALICE, ALICES_AGENT, principal(CAROL.root, ALICE.root)):
            self.assertIn("oneself", objection(asking(DBA, by=by), boss, approve=True) or "")

    def test_nobody_approves_for_the_job_that_one_set_off(self) -> None:
        """A workload's request is also of the person who pushed the button (persons behind it)."""
        job = principal(hop("deploy", kind="workload"))
        mine = evolve(job, origin=Origin(persons=frozenset({CAROL.root.id})))
        self.assertIsNone(objection(asking(DBA, by=job), CAROL, approve=True))
        self.assertIn("oneself", objection(asking(DBA, by=mine), CAROL, approve=True) or "")
        self.assertIsNone(objection(asking(DBA, by=mine), DAVE, approve=True))
        votes = [vote("carol", "dba")]
        self.assertTrue(is_enough(asking(DBA, by=job), votes))
        self.assertFalse(is_enough(asking(DBA, by=mine), votes))

    def test_but_one_may_deny_it_oneself(self) -> None:
        self.assertIsNone(objection(asking(SECURITY, by=ALICES_AGENT), ALICE, approve=False))

    def test_agents_and_workloads_never_vote(self) -> None:
        agents = (
            principal(hop("bot", "dba", kind="agent")),
            principal(hop("ci", "dba", kind="workload")),
            principal(CAROL.root, hop("bot", "dba", kind="agent")),
            principal(CAROL.root, hop("dave", "dba")),  # a person through a chain is a chain
        )
        for voter in agents:
            for approve in (True, False):
                refused = objection(asking(DBA), voter, approve=approve)
                self.assertIn("only a person", refused or "", voter.path)

    def test_an_agent_cannot_even_deny_its_own(self) -> None:
        self.assertIsNotNone(objection(asking(DBA, by=ALICES_AGENT), ALICES_AGENT, approve=False))

    def test_a_reason_that_policy_asks_for_must_be_there(self) -> None:
        justified = asking(evolve(DBA, prompt="which incident?"))
        self.assertIn("reason", objection(justified, CAROL, approve=True) or "")
        self.assertIsNone(objection(justified, CAROL, approve=False))
        given = evolve(justified, reason="INC-1")
        self.assertIsNone(objection(given, CAROL, approve=True))


class EnoughTests(SynchronousTestCase):
    """When it is enough."""

    def test_nothing_is_not(self) -> None:
        self.assertFalse(is_enough(asking(DBA), []))
        self.assertFalse(is_enough(asking(), [vote("carol", "dba")]))

    def test_more_than_needed_is(self) -> None:
        """Not only exactly as many as needed."""
        votes = [vote("carol", "dba"), vote("dave", "dba"), vote("erin", "dba")]
        self.assertTrue(is_enough(asking(evolve(DBA, needed=2)), votes))

    def test_one_person_in_two_groups_counts_once(self) -> None:
        dave = vote("dave", "dba", "security")
        self.assertFalse(is_enough(asking(DBA, SECURITY), [dave]))
        self.assertTrue(is_enough(asking(DBA, SECURITY), [dave, vote("erin", "security")]))
        self.assertTrue(is_enough(asking(DBA, SECURITY), [dave, vote("carol", "dba")]))
        either = Remedy(rule="x", groups=frozenset({"dba", "security"}), needed=2)
        self.assertFalse(is_enough(asking(either), [dave]))

    def test_the_same_demand_of_two_rules_is_one(self) -> None:
        again = evolve(DBA, rule="other")
        self.assertTrue(is_enough(asking(DBA, again), [vote("carol", "dba")]))
        two = evolve(again, needed=2)
        self.assertFalse(is_enough(asking(DBA, two), [vote("carol", "dba")]))

    def test_a_denial_outweighs_all(self) -> None:
        votes = [vote("carol", "dba"), vote("dave", "dba", approve=False)]
        self.assertFalse(is_enough(asking(DBA), votes))

    def test_votes_of_the_asking_chain_do_not_count(self) -> None:
        """Even if they got into the store."""
        by = ALICES_AGENT
        votes = [vote("alice", "dba"), vote("planner", "dba")]
        self.assertFalse(is_enough(asking(DBA, by=by), votes))
        self.assertFalse(is_enough(asking(DBA), [evolve(votes[0], person="x", request="r-9")]))

    @given(
        st.lists(
            st.tuples(st.frozensets(st.sampled_from("abc"), min_size=1), st.integers(1, 2)),
            min_size=1,
            max_size=3,
            unique_by=lambda demand: demand[0],
        ),
        st.lists(st.frozensets(st.sampled_from("abcd")), max_size=5),
    )
    def test_it_is_enough_exactly_if_persons_can_be_assigned(
        self,
        demands: list[tuple[frozenset[str], int]],
        members: list[frozenset[str]],
    ) -> None:
        """The matching agrees with trying every assignment."""
        remedies = [
            Remedy(rule=str(i), groups=groups, needed=needed)
            for i, (groups, needed) in enumerate(demands)
        ]
        votes = [vote(f"p{i}", *groups) for i, groups in enumerate(members)]
        places = [groups for groups, needed in demands for _ in range(needed)]
        tried = (
            all(place & groups for place, groups in zip(places, seats, strict=True))
            for seats in permutations(members, len(places))
        )
        self.assertEqual(is_enough(asking(*remedies), votes), any(tried))


class SightTests(SynchronousTestCase):
    """Who sees what."""

    def test_a_chain_owns_what_its_own_children_ask(self) -> None:
        child = principal(ALICE.root, PLANNER, hop("migrator", kind="agent"))
        self.assertTrue(is_own(request(1, child), ALICE))
        self.assertTrue(is_own(request(1, child), ALICES_AGENT))
        self.assertFalse(is_own(request(1, ALICE), ALICES_AGENT))  # no child sees its parent's
        self.assertFalse(is_own(request(1, child), CAROL))

    def test_who_may_vote_may_see(self) -> None:
        one = asking(DBA)
        self.assertTrue(may_see(one, CAROL, oversees=False))
        self.assertFalse(may_see(one, ERIN, oversees=False))
        self.assertTrue(may_see(one, ERIN, oversees=True))
        self.assertTrue(may_see(one, ALICE, oversees=False))
        bot = principal(DAVE.root, hop("bot", "dba", kind="agent"))
        self.assertFalse(may_see(one, bot, oversees=False))
