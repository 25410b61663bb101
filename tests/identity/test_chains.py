"""Tests for `hoopgw.identity.chains` and `hoopgw.identity.hops`. Attacks are in ``adversarial``."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Budget, Cap, Hop, Node, Principal
from hoopgw.identity.chains import read_chain, verify_chain
from hoopgw.identity.hops import (
    CAPS_LIMIT,
    PURPOSE_LIMIT,
    HopClaims,
    is_chain,
    mint_hop,
    node_id,
    prove,
    public_jwk,
    thumbprint_of,
)
from hoopgw.identity.jose import parse
from hoopgw.identity.tokens import GATEWAY, target_audience
from tests.identity.forge import NOW
from tests.identity.lineage import ALICE, ORDERS, SESSION, Family, key

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
caps = st.builds(
    Cap,
    target=st.one_of(st.just("*"), st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)),
    actions=st.frozensets(
        st.sampled_from(["*", "Postgres::select", "Postgres::read", "Azure::Vault::get a/b"]).map(
            lambda action: action.replace(" ", "-")
        ),
        min_size=1,
        max_size=3,
    ),
)
amounts = st.none() | st.integers(0, 2**40)
budgets = st.builds(Budget, operations=amounts, rows=amounts, bytes=amounts, reviews=amounts)
hop_claims = st.builds(
    HopClaims,
    name=names,
    expires=st.integers(int(NOW) + 100, int(NOW) + 3600).map(float),
    kind=st.sampled_from(["agent", "workload"]),
    caps=st.none() | st.lists(caps, max_size=3).map(tuple),
    budget=st.none() | budgets,
    purpose=st.text(max_size=40).filter(str.isprintable),
    isolated=st.booleans(),
)


class ChainsTestCase(SynchronousTestCase):
    """A family."""

    def setUp(self) -> None:
        self.family = Family()


class ReadingTests(ChainsTestCase):
    """What a good chain stands for."""

    def test_whole(self) -> None:
        """Root, two hops and a pop: names, ids, nodes, the first end, proved."""
        token = self.family.hop(
            self.family.root(),
            "alice",
            "planner",
            caps=(Cap(target="orders", actions=frozenset({"Postgres::read"})),),
            budget=Budget(rows=100),
            purpose="ticket 17",
            isolated=True,
            expires=NOW + 300,
        )
        token = self.family.hop(token, "planner", "db-migrator", kind="workload", expires=NOW + 200)
        shown = self.family.read(self.family.shown(token, "db-migrator"))
        first = node_id(SESSION, key("planner").thumbprint())
        planner = Hop(
            id="corp|alice-1~planner",
            name="planner",
            kind="agent",
            caps=(Cap(target="orders", actions=frozenset({"Postgres::read"})),),
            isolated=True,
        )
        migrator = Hop(id="corp|alice-1~planner~db-migrator", name="db-migrator", kind="workload")
        self.assertEqual(
            shown.principal,
            Principal(
                chain=(ALICE, planner, migrator),
                nodes=(
                    Node(id=first, budget=Budget(rows=100), purpose="ticket 17"),
                    Node(id=node_id(first, key("db-migrator").thumbprint())),
                ),
                session=SESSION,
                expires=NOW + 200,
                proved=True,
            ),
        )
        self.assertEqual(shown.thumbprint, key("db-migrator").thumbprint())

    def test_a_proved_root(self) -> None:
        """A person can make a one-use password of a log-in alone."""
        shown = self.family.read(self.family.shown(self.family.root(), "alice"))
        self.assertEqual(shown.principal.chain, (ALICE,))
        self.assertEqual(shown.principal.expires, NOW + 3600)

    def test_the_transport_proves_the_key(self) -> None:
        """Then no pop is needed; and it must be the last key."""
        token = self.family.chain("alice", "planner")
        shown = self.family.read(token, holder=key("planner").thumbprint())
        self.assertIsNone(shown.proof)
        for holder in (None, key("alice").thumbprint(), ""):
            with self.assertRaisesRegex(AuthenticationError, "nothing proves"):
                self.family.read(token, holder=holder)

    def test_minting_again_keeps_the_node(self) -> None:
        """A new root of the same log-in, or a new hop for the same key: the same delegation."""
        first = self.family.read(
            self.family.shown(self.family.chain("alice", "planner"), "planner")
        )
        root = self.family.root(issued=NOW - 5, expires=NOW + 1000)
        token = self.family.hop(root, "alice", "planner", name="other", expires=NOW + 60)
        again = self.family.read(self.family.shown(token, "planner"))
        self.assertEqual(first.principal.lineage, again.principal.lineage)

    def test_a_root_of_several_hops(self) -> None:
        """A flattened chain that is bound to a key goes on, as deep as it would have been."""
        planner = Hop(id="corp|alice-1~planner", name="planner", kind="agent", attested=True)
        principal = Principal(
            chain=(ALICE, planner),
            nodes=(Node(id="n1"),),
            session=SESSION,
            expires=NOW + 600,
        )
        token = self.family.root("planner", principal=principal)
        token = self.family.hop(token, "planner", "a")
        token = self.family.hop(token, "a", "b")
        shown = self.family.read(self.family.shown(token, "b"))
        self.assertEqual(shown.principal.chain[:2], (ALICE, planner))
        self.assertEqual(shown.principal.lineage[:2], (SESSION, "n1"))
        token = self.family.hop(token, "b", "c")
        with self.assertRaisesRegex(AuthenticationError, "longer than"):
            self.family.read(self.family.shown(token, "c"))

    def test_a_chain_outlives_the_showing_of_its_root(self) -> None:
        """A root is shown within minutes; what it opens, and its hops, last as the log-in."""
        token = self.family.hop(self.family.root(expires=NOW + 60), "alice", "planner")
        shown = self.family.read(self.family.shown(token, "planner"))
        self.assertEqual(shown.principal.expires, NOW + 600)
        with self.assertRaisesRegex(AuthenticationError, "expired"):
            self.family.read(prove(token, key("planner"), ORDERS, NOW + 60), now=NOW + 60)

    def test_three_hops_and_no_more(self) -> None:
        """Unless the root says so."""
        token = self.family.chain("alice", "a", "b", "c")
        self.assertEqual(len(self.family.read(self.family.shown(token, "c")).principal.chain), 4)
        token = self.family.hop(token, "c", "d")
        with self.assertRaisesRegex(AuthenticationError, "longer than"):
            self.family.read(self.family.shown(token, "d"))

    def test_a_root_may_allow_more_or_less(self) -> None:
        """Up to what a chain can hold."""
        token = self.family.root(nest=4)
        for parent, child in (("alice", "a"), ("a", "b"), ("b", "c"), ("c", "d")):
            token = self.family.hop(token, parent, child)
        self.assertEqual(len(self.family.read(self.family.shown(token, "d")).principal.chain), 5)
        token = self.family.hop(self.family.root(nest=0), "alice", "a")
        with self.assertRaisesRegex(AuthenticationError, "longer than"):
            self.family.read(self.family.shown(token, "a"))

    def test_used_up(self) -> None:
        """`verify_chain` uses the pop up, after everything else was good."""
        token, seen = self.family.shown(self.family.chain("alice", "planner"), "planner"), set()

        def used(name: str, expires: float) -> bool:
            self.assertEqual(expires, NOW + 120)
            new = name not in seen
            seen.add(name)
            return new

        verifier = self.family.verifier
        self.assertRaises(AuthenticationError, verify_chain, token, GATEWAY, NOW, verifier, used)
        self.assertTrue(verify_chain(token, ORDERS, NOW, verifier, used).proved)
        with self.assertRaisesRegex(AuthenticationError, "used before"):
            verify_chain(token, ORDERS, NOW, verifier, used)

    @given(st.lists(hop_claims, max_size=3), st.data())
    def test_round_trip(self, hops: list[HopClaims], data: st.DataObject) -> None:
        """Whatever is minted is read as it was meant, and ends with whoever ends first."""
        token, ends = self.family.root(), NOW + 3600
        for number, claims in enumerate(hops):
            ends = min(ends, claims.expires)
            token = (
                mint_hop(
                    token, key(str(number)), key(str(number + 1)), evolve(claims, expires=ends), NOW
                )
                if number
                else mint_hop(token, key("alice"), key("1"), claims, NOW)
            )
        holder = key(str(len(hops)) if hops else "alice")
        principal = self.family.read(prove(token, holder, ORDERS, NOW)).principal
        self.assertEqual(principal.expires, ends)
        for claims, hop, node in zip(hops, principal.chain[1:], principal.nodes, strict=True):
            self.assertEqual(
                (hop.name, hop.kind, hop.caps, hop.isolated, hop.groups, hop.attested),
                (claims.name, claims.kind, claims.caps, claims.isolated, frozenset(), False),
            )
            self.assertEqual((node.budget, node.purpose), (claims.budget, claims.purpose))

    @given(st.binary(max_size=200).map(lambda data: data.decode("latin-1")), st.integers(0, 3))
    def test_garbage_is_only_ever_refused(self, garbage: str, place: int) -> None:
        """In the place of any part."""
        parts = self.family.shown(self.family.chain("alice", "a", "b"), "b").split("~")
        parts[place] = garbage
        with self.assertRaises(AuthenticationError):
            self.family.read("~".join(parts))


class MintingTests(ChainsTestCase):
    """What nobody would take is not made."""

    def test_refused(self) -> None:
        """Each with a ValueError that says why."""
        cases: list[tuple[str, dict[str, Any]]] = [
            ("a name", {"name": "Planner"}),
            ("a name", {"name": "a~b"}),
            ("a name", {"name": "a" * 65}),
            ("a name", {"name": "plаnner"}),  # noqa: RUF001  # a Cyrillic letter
            ("over at once", {"expires": NOW}),
            ("nest", {"nest": -1}),
            ("nest", {"nest": 6}),
            ("purpose", {"purpose": "x" * (PURPOSE_LIMIT + 1)}),
            ("purpose", {"purpose": "a\nb"}),
            ("target", {"caps": (Cap(target="Orders", actions=frozenset({"*"})),)}),
            ("action", {"caps": (Cap(target="*", actions=frozenset({"select"})),)}),
            ("caps", {"caps": (Cap(target="*", actions=frozenset("*")),) * (CAPS_LIMIT + 1)}),
            (
                "actions",
                {"caps": (Cap(target="*", actions=frozenset(f"A::{n}" for n in range(65))),)},
            ),
            ("budget", {"budget": Budget(rows=-1)}),
        ]
        for why, changes in cases:
            with self.subTest(why, **changes), self.assertRaisesRegex(ValueError, why):
                self.family.hop(self.family.root(), "alice", "planner", **changes)

    def test_only_with_the_key_that_is_confirmed(self) -> None:
        """By the last part; a token that is bound to none has no hops."""
        root = self.family.root()
        for bad in ("planner", "gateway"):
            with self.assertRaisesRegex(ValueError, "another key"):
                self.family.hop(root, bad, "x")
        for confirmation in (None, {"jkt": key("alice").thumbprint()}):
            with self.assertRaisesRegex(ValueError, "to none"):
                self.family.hop(self.family.root(confirmation=confirmation), "alice", "x")

    def test_nothing_follows_a_pop(self) -> None:
        """Neither a hop nor another pop."""
        token = self.family.shown(self.family.root(), "alice")
        for make in (self.family.shown, lambda t, k: self.family.hop(t, k, "x")):
            with self.assertRaisesRegex(ValueError, "follow a pop"):
                make(token, "alice")

    def test_too_long(self) -> None:
        """A chain has six parts at most, and a size."""
        token = self.family.chain("alice", "a", "b", "c", "d", "e")
        with self.assertRaisesRegex(ValueError, "6 parts"):
            self.family.shown(token, "e")
        wide = tuple(
            Cap(target="*", actions=frozenset(f"Name::{'x' * 100}{n}" for n in range(60)))
            for _ in range(3)
        )
        with self.assertRaisesRegex(ValueError, "too long"):
            self.family.hop(self.family.root(), "alice", "a", caps=wide)

    def test_a_pop_is_short(self) -> None:
        """Two minutes at most."""
        for lifetime in (0, 121):
            with self.assertRaisesRegex(ValueError, "seconds"):
                prove(self.family.root(), key("alice"), ORDERS, NOW, lifetime)

    def test_the_private_part_stays(self) -> None:
        """A child's key pair given whole leaves only its public part in the hop."""
        token = self.family.chain("alice", "planner")
        jwk = parse(token.split("~")[1]).claims["cnf"]["jwk"]
        self.assertEqual(jwk, public_jwk(key("planner")))
        self.assertEqual(set(jwk), {"kty", "crv", "x"})

    def test_keys_of_other_kinds(self) -> None:
        """Only Ed25519."""
        good = public_jwk(key("planner"))
        for bad in ({}, {**good, "crv": "X25519"}, {**good, "kty": "EC"}, {**good, "x": "!"}):
            with self.assertRaisesRegex(ValueError, "Ed25519"):
                public_jwk(bad)


class NamesTests(ChainsTestCase):
    """Small things that others rely on."""

    def test_thumbprint(self) -> None:
        """As joserfc has it."""
        self.assertEqual(thumbprint_of(public_jwk(key("alice"))["x"]), key("alice").thumbprint())

    def test_node_ids(self) -> None:
        """They are 22 characters, and differ by parent and by key."""
        made = {node_id(p, t) for p in ("s", "t") for t in ("1", "2")}
        self.assertEqual(len(made), 4)
        self.assertEqual({len(node) for node in made}, {22})

    def test_what_is_a_chain(self) -> None:
        """It has a separator, which no single token has."""
        self.assertTrue(is_chain(self.family.shown(self.family.root(), "alice")))
        self.assertFalse(is_chain(self.family.root()))

    def test_other_targets(self) -> None:
        """A pop is for one audience."""
        token = self.family.shown(self.family.root(), "alice")
        for audience in (GATEWAY, target_audience("other")):
            with self.assertRaisesRegex(AuthenticationError, "something else"):
                read_chain(token, audience, NOW, self.family.verifier)
