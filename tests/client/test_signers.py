"""Log-ins and children that prove and delegate; what is made is verified as a gateway does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.client.errors import Refused
from hoopgw.client.signers import DEFAULT_TTL, end_of, new_key
from hoopgw.client.values import parse_caps
from hoopgw.events import Budget
from hoopgw.identity.hops import public_jwk
from hoopgw.identity.tokens import target_audience
from tests.client.family import LOGIN_LIFE, TOKEN_LIFE, Gateway

ORDERS = target_audience("orders")


class SignersTestCase(SynchronousTestCase):
    """A gateway, and alice."""

    def setUp(self) -> None:
        self.gateway = Gateway()
        self.alice = self.gateway.login()

    def refused(self, code: str) -> _Refusing:
        """Expect a refusal with this code."""
        return _Refusing(self, code)


class _Refusing:
    def __init__(self, case: SynchronousTestCase, code: str) -> None:
        self._case, self._code = case, code

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Refused):
            self._case.fail(f"not refused: {error!r}")
        self._case.assertEqual(error.code, self._code, str(error))
        return True


class LoginTests(SignersTestCase):
    """A log-in."""

    def test_a_proof_is_hers(self) -> None:
        """The gateway sees alice, and that she holds her key."""
        seen = self.gateway.sees(self.alice.prove(ORDERS).value)
        self.assertEqual((seen.path, seen.proved), ("alice", True))

    def test_standing(self) -> None:
        """What is told is what the token says: the log-in lasts longer than its token."""
        standing = self.alice.standing()
        self.assertEqual((standing.path, standing.node), ("alice", "login-1"))
        self.assertEqual(standing.expires, self.gateway.now + LOGIN_LIFE)

    def test_two_proofs_differ(self) -> None:
        """Each is good once, so none is given twice."""
        self.assertNotEqual(self.alice.prove(ORDERS).value, self.alice.prove(ORDERS).value)


class ChildTests(SignersTestCase):
    """A child."""

    def test_all_that_is_said_of_it(self) -> None:
        """Caps, budget, purpose and end arrive; what it calls its node is what the gateway does."""
        child = self.gateway.child(
            self.alice,
            caps=parse_caps(["orders:Postgres::read"]),
            budget=Budget(operations=5),
            purpose="step 3",
            isolated=True,
        )
        seen = self.gateway.sees(child.prove(ORDERS).value)
        self.assertEqual(seen.path, "alice / planner")
        self.assertEqual(seen.chain[1].caps, child.terms.caps)
        self.assertTrue(seen.chain[1].isolated)
        self.assertEqual(seen.nodes[0].budget, Budget(operations=5))
        self.assertEqual(seen.nodes[0].purpose, "step 3")
        self.assertEqual(seen.nodes[0].id, child.standing().node)
        self.assertEqual(seen.expires, child.standing().expires)

    def test_it_outlasts_the_token_that_it_stands_on(self) -> None:
        """When the log-in is refreshed, the chain is made anew: the same node, the same end."""
        child = self.gateway.child(self.alice)
        before = self.gateway.sees(child.prove(ORDERS).value)
        self.gateway.now += TOKEN_LIFE + 1
        after = self.gateway.sees(child.prove(ORDERS).value)
        self.assertEqual(self.gateway.refreshes, 2)
        self.assertEqual((after.lineage, after.expires), (before.lineage, before.expires))

    def test_it_does_with_what_it_has_while_the_gateway_is_away(self) -> None:
        """Until the old chain is over; then it says so."""
        child = self.gateway.child(self.alice)
        child.chain()
        self.gateway.is_down = True
        self.gateway.now += TOKEN_LIFE - 1
        self.gateway.sees(child.prove(ORDERS).value)
        self.gateway.now += 1
        with self.refused("unreachable"):
            child.prove(ORDERS)

    def test_it_ends(self) -> None:
        """Nothing is proved after its end."""
        child = self.gateway.child(self.alice)
        self.gateway.now += 1801
        with self.refused("expired"):
            child.prove(ORDERS)
        with self.refused("expired"):
            child.mint(public_jwk(new_key()), child.terms)

    def test_until_its_very_end(self) -> None:
        """It proves in its last second too, and then it is its own delegation that is over."""
        child = self.gateway.child(self.alice)
        self.gateway.now += 1790.0
        child.chain()
        self.gateway.now += 9.5
        self.gateway.sees(child.prove(ORDERS).value)
        late = self.gateway.child(self.alice, expires=self.gateway.now + 1.0)
        self.gateway.now += 0.5
        for one in (child, late):
            with self.assertRaisesRegex(Refused, "the delegation to planner is over"):
                one.prove(ORDERS)

    def test_no_longer_than_the_log_in(self) -> None:
        """What is asked beyond is cut: the gateway would take no hop that outlives its root."""
        child = self.gateway.child(self.alice, expires=self.gateway.now + 10 * LOGIN_LIFE)
        self.assertEqual(child.standing().expires, self.gateway.now + LOGIN_LIFE)
        self.gateway.sees(child.prove(ORDERS).value)

    def test_targets_outside_of_its_caps(self) -> None:
        """They are neither listed nor proved for, and it is told what it has."""
        child = self.gateway.child(self.alice, caps=parse_caps(["orders:Postgres::read"]))
        self.assertEqual([target.name for target in child.targets()], ["orders"])
        with self.refused("not_in_caps"):
            child.prove(target_audience("billing"))

    def test_other_audiences(self) -> None:
        """A proof is for the gateway or a target, and for nobody else."""
        child = self.gateway.child(self.alice)
        self.gateway.sees(child.prove("hoopgw").value, None)
        for audience in ("", "https://vault.azure.net", "hoopgw:", "hoopgw:targets:orders"):
            with self.refused("bad_request"):
                child.prove(audience)

    def test_a_child_without_caps_reaches_all(self) -> None:
        """It is no narrower than its parent."""
        child = self.gateway.child(self.alice)
        self.assertEqual(len(child.targets()), 3)
        self.gateway.sees(child.prove(target_audience("billing")).value, "billing")

    def test_bad_names(self) -> None:
        """What no verifier would take is refused when it is made."""
        for name in ("", "Planner", "a~b", "x" * 65, "é"):
            with self.refused("bad_request"):
                self.gateway.child(self.alice, name).chain()


class GrandchildTests(SignersTestCase):
    """A child's child."""

    def setUp(self) -> None:
        super().setUp()
        caps = parse_caps(["orders:Postgres::read"])
        self.planner = self.gateway.child(self.alice, caps=caps)

    def test_the_whole_chain(self) -> None:
        """All three are seen, each with its caps."""
        caps = parse_caps(["orders:Postgres::select"])
        migrator = self.gateway.child(self.planner, "migrator", caps=caps)
        seen = self.gateway.sees(migrator.prove(ORDERS).value)
        self.assertEqual(seen.path, "alice / planner / migrator")
        self.assertEqual(seen.chain[2].id, "corp|alice~planner~migrator")
        self.assertEqual([hop.caps for hop in seen.chain], [None, self.planner.terms.caps, caps])

    def test_wider(self) -> None:
        """Another target, all targets, or all actions are more than its parent has."""
        for wanted in ("billing:Postgres::read", "*:Postgres::read", "orders:*"):
            with self.refused("not_in_caps"):
                caps = parse_caps([wanted])
                self.gateway.child(self.planner, "migrator", caps=caps).chain()

    def test_longer(self) -> None:
        """It cannot outlive its parent."""
        with self.refused("outlives"):
            self.gateway.child(self.planner, "m", expires=self.gateway.now + 1801).chain()

    def test_deeper(self) -> None:
        """Three generations follow a log-in; fewer if somebody said so."""
        migrator = self.gateway.child(self.planner, "migrator")
        third = self.gateway.child(migrator, "third")
        self.gateway.sees(third.prove(ORDERS).value)
        with self.refused("too_deep"):
            self.gateway.child(third, "fourth").chain()
        last = self.gateway.child(self.alice, "last", nest=0)
        with self.refused("too_deep"):
            self.gateway.child(last, "more").chain()

    def test_it_is_made_anew_through_its_parent(self) -> None:
        """A refresh reaches all generations, and changes no node."""
        migrator = self.gateway.child(self.planner, "migrator")
        before = self.gateway.sees(migrator.prove(ORDERS).value)
        self.gateway.now += TOKEN_LIFE + 1
        after = self.gateway.sees(migrator.prove(ORDERS).value)
        self.assertEqual(before.lineage, after.lineage)


class EndTests(SignersTestCase):
    """How long a child lives."""

    def test_as_asked(self) -> None:
        """In seconds from now."""
        self.assertEqual(end_of(self.alice, 60.0, 1000.0), 1060.0)

    def test_as_usual(self) -> None:
        """An hour, but not after its parent."""
        now = self.gateway.now
        self.assertEqual(end_of(self.alice, None, now), now + DEFAULT_TTL)
        planner = self.gateway.child(self.alice)
        self.assertEqual(end_of(planner, None, now), now + 1800.0)

    def test_nonsense(self) -> None:
        """No time, or no end, is none."""
        for ttl in (0.0, -1.0, float("inf"), float("nan")):
            with self.refused("bad_request"):
                end_of(self.alice, ttl, 1000.0)


class UseTests(SignersTestCase):
    """Whether the gateway can know of a child."""

    def test_used(self) -> None:
        """Not before it has proved or delegated: then its end must be told."""
        child = self.gateway.child(self.alice)
        child.chain()
        child.targets()
        self.assertFalse(child.was_used)
        other = self.gateway.child(self.alice, "other")
        self.gateway.child(other, "third").chain()
        self.assertTrue(other.was_used)
        child.prove(ORDERS)
        self.assertTrue(child.was_used)
