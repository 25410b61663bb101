"""Tests for `hoopgw.identity.kept_proofs`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop, HopKind, Node, Principal
from hoopgw.identity.kept_proofs import KEPT_LIMIT, KeptProofs


def principal(
    name: str = "alice", session: str = "s-1", alias: str = "corp", kind: HopKind = "person"
) -> Principal:
    """Return a log-in."""
    hop = Hop(id=f"{alias}|{name}", name=name, kind=kind)
    return Principal(chain=(hop,), session=session, expires=1000.0)


class KeptProofsTests(SynchronousTestCase):
    """What a log-in began with, and who gets it."""

    def setUp(self) -> None:
        self.now = 100.0
        self.kept = KeptProofs({"corp": frozenset({"azure"})}, lambda: self.now)

    def refused(self, who: Principal, agent: str = "azure") -> str:
        """Return why it is not given."""
        return str(self.assertRaises(AuthenticationError, self.kept.give, who, agent))

    def test_for_the_agent_that_is_named(self) -> None:
        self.kept.keep(principal(), "token", 200.0)
        self.assertEqual(self.kept.give(principal(), "azure"), ("token", 200.0))
        self.assertIn("may not act on behalf of alice", self.refused(principal(), "other"))

    def test_for_the_chain_below(self) -> None:
        """The root is who logged in, whoever acts for it."""
        self.kept.keep(principal(), "token", 200.0)
        child = Hop(id="corp|alice~planner", name="planner", kind="agent")
        below = Principal(
            chain=(*principal().chain, child),
            nodes=(Node(id="n-1"),),
            session="s-1",
            expires=1000.0,
        )
        self.assertEqual(self.kept.give(below, "azure")[0], "token")

    def test_for_this_log_in_only(self) -> None:
        """Not for another of the same person, nor for another person of the same session."""
        self.kept.keep(principal(), "token", 200.0)
        for who in (principal(session="s-2"), principal("bob")):
            self.assertIn("log in again", self.refused(who))

    def test_until_it_ends(self) -> None:
        self.kept.keep(principal(), "token", 200.0)
        self.now = 200.0
        self.assertIn("log in again", self.refused(principal()))
        self.kept.keep(principal(session="s-2"), "other", 300.0)
        self.assertEqual(len(self.kept._kept), 1)

    def test_what_is_not_kept(self) -> None:
        """Of issuers that nobody acts for, and of what is no person."""
        for who in (principal(alias="other"), principal(kind="workload")):
            self.kept.keep(who, "token", 200.0)
        self.assertEqual(len(self.kept._kept), 0)

    def test_as_many_as_may_be(self) -> None:
        for number in range(KEPT_LIMIT + 1):
            self.kept.keep(principal(session=str(number)), "token", 200.0)
        self.assertIn("log in again", self.refused(principal(session="0")))
        self.kept.give(principal(session="1"), "azure")

    def test_it_is_shown_nowhere(self) -> None:
        self.kept.keep(principal(), "t0ken", 200.0)
        self.assertNotIn("t0ken", repr(self.kept) + repr(list(self.kept._kept.values())))
