"""Tests for `hoopgw.identity.delegation` and the exchange of chains."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from joserfc.jwk import OKPKey

from hoopgw.errors import UnavailableError
from hoopgw.events import Budget, Cap, Principal
from hoopgw.identity.chains import read_chain
from hoopgw.identity.dpop import ProvedKey, check_proof, make_proof
from hoopgw.identity.hops import HopClaims, mint_hop, node_id, prove, public_jwk
from hoopgw.identity.issuers import Issuer, Issuers
from hoopgw.identity.jose import PublicKey, parse
from hoopgw.identity.refusals import ExchangeError
from hoopgw.identity.settings import PersonRule
from hoopgw.identity.tokens import GATEWAY, GatewayToken
from hoopgw.identity.urns import ID_TOKEN, JWT, SESSION_PASSWORD
from tests.identity.forge import NOW, claims, rsa_key, settings, token
from tests.identity.lineage import key
from tests.identity.test_exchange import ORDERS, URL, ExchangeTestCase
from tests.identity.test_oidc import FixedKeys

MACHINES = "https://machines.example"
READ = {"target": "orders", "actions": ["Postgres::read"]}


class DelegationTestCase(ExchangeTestCase):
    """Alice, with a key, and an issuer of workloads' tokens besides hers."""

    def setUp(self) -> None:
        super().setUp()
        keys = FixedKeys({"one": PublicKey(rsa_key())})
        machines = settings(
            alias="machines",
            issuer=MACHINES,
            client_id="",
            kind="workload",
            groups_claim="roles",
            persons=PersonRule(ids={"12": "corp|carol-1"}, unknown="keep"),
        )
        known = [Issuer(settings(), keys), Issuer(machines, keys)]
        self.seen: list[Principal] = []
        self.with_parts(issuers=Issuers.of(known, lambda: self.now), keep=self.seen.append)
        self.alice = self.ask(token(), self.proof("alice"))["access_token"]

    def proof(self, who: str) -> ProvedKey:
        url = URL + "/sts/token"
        return check_proof(make_proof(key(who), "POST", url, self.now), "POST", url, self.now)

    def cnf(self, who: str) -> str:
        return json.dumps({"jwk": public_jwk(key(who))})

    def delegate(
        self, subject: str | None = None, parent: str = "alice", child: str = "planner", **more: Any
    ) -> dict[str, Any]:
        """Delegate, as the parent does it itself."""
        form = {"name": child, "cnf": self.cnf(child)} | more
        return self.ask(subject or self.alice, self.proof(parent), **form)

    def refused(
        self,
        code: str,
        subject: str | None = None,
        parent: str | None = "alice",
        child: str = "planner",
        **more: Any,
    ) -> ExchangeError:
        form = {"name": child, "cnf": self.cnf(child)} | more
        proved = None if parent is None else self.proof(parent)
        return self.assert_refused(code, subject or self.alice, proved, **form)

    def read(self, given: dict[str, Any]) -> GatewayToken:
        return self.verifier.read(given["access_token"], GATEWAY, self.now)

    def machine(self, **changes: Any) -> str:
        """Return a workload's own token."""
        values = {"iss": MACHINES, "sub": "planner", "name": "Planner", "azp": None}
        return token(claims(**(values | changes)))


class DelegateTests(DelegationTestCase):
    """What a child gets."""

    def test_a_child(self) -> None:
        """A token of its own, bound to its key, with the whole chain in it."""
        given = self.delegate(
            caps=json.dumps([READ]),
            ttl="120",
            nest="1",
            budget='{"rows": 7}',
            purpose="step 3",
            isolated="true",
        )
        read = self.read(given)
        root, child = read.principal.chain
        self.assertEqual(root.groups, {"dba", "staff"})
        self.assertEqual((child.id, child.name), ("corp|alice-1~planner", "planner"))
        self.assertEqual((child.kind, child.groups, child.attested), ("agent", frozenset(), False))
        self.assertEqual(child.caps, (Cap(target="orders", actions=frozenset({"Postgres::read"})),))
        self.assertTrue(child.isolated)
        (node,) = read.principal.nodes
        login = self.verifier.read(self.alice, GATEWAY, self.now).principal.session
        self.assertEqual(node.id, node_id(login, key("planner").thumbprint()))
        self.assertEqual((node.budget, node.purpose), (Budget(rows=7), "step 3"))
        self.assertEqual((read.expires, read.principal.expires), (NOW + 120, NOW + 120))
        self.assertEqual((read.thumbprint, read.hops_left), (key("planner").thumbprint(), 1))
        self.assertEqual((given["token_type"], given["node"]), ("DPoP", node.id))
        self.assertEqual(self.seen, [read.principal])
        self.assertNotIn("refresh_token", given)

    def test_as_a_hop_that_the_parent_signs(self) -> None:
        """Online or offline, the principal is the same."""
        terms = HopClaims(name="planner", expires=NOW + 300, nest=1)
        signed = mint_hop(self.alice, key("alice"), key("planner"), terms, NOW)
        shown = read_chain(signed, GATEWAY, NOW, self.verifier, holder=key("planner").thumbprint())
        online = self.read(self.delegate(ttl="300", nest="1"))
        self.assertEqual(online.principal, evolve(shown.principal, proved=False))
        self.assertEqual(online.hops_left, shown.hops_left)

    def test_the_child_asks_itself(self) -> None:
        """With its parent's pop, and a proof of its own key."""
        shown = prove(self.alice, key("alice"), GATEWAY, NOW)
        given = self.ask(shown, self.proof("planner"), name="planner")
        self.assertEqual(self.read(given).thumbprint, key("planner").thumbprint())
        self.assert_refused("invalid_grant", shown, self.proof("planner"), name="planner")

    def test_grandchildren(self) -> None:
        """Online below online, and offline below online; the depth runs out alike."""
        planner = self.delegate()["access_token"]
        migrator = self.delegate(planner, "planner", "migrator")["access_token"]
        self.assertEqual(
            self.verifier.read(migrator, GATEWAY, NOW).principal.path,
            "Alice / planner / migrator",
        )
        third = self.delegate(migrator, "migrator", "third")
        self.assertEqual(self.read(third).hops_left, 0)
        self.refused("access_denied", third["access_token"], "third", "fourth")
        terms = HopClaims(name="fourth", expires=NOW + 60)
        fourth = mint_hop(third["access_token"], key("third"), key("fourth"), terms, NOW)
        self.assert_refused("invalid_grant", fourth, self.proof("fourth"), audience=ORDERS)

    def test_never_beyond_the_parent(self) -> None:
        """Time and depth only shrink; caps of every hop stay in the chain."""
        child = self.delegate(ttl="999999", nest="5", caps=json.dumps([READ]))
        self.assertEqual(child["expires_in"], 600)
        self.assertEqual(self.read(child).hops_left, 2)
        none = self.delegate(nest="0")["access_token"]
        self.refused("access_denied", none, "planner", "migrator")
        wide = json.dumps([{"target": "*", "actions": ["*"]}])
        below = self.delegate(child["access_token"], "planner", "migrator", caps=wide, ttl="9999")
        caps = [hop.caps for hop in self.read(below).principal.chain]
        self.assertEqual(caps[1], (Cap(target="orders", actions=frozenset({"Postgres::read"})),))
        self.assertEqual(below["expires_in"], 600)

    def test_terms(self) -> None:
        """What is not as it should be is refused, and not ignored."""
        for name, value in (
            ("name", "Planner"),
            ("name", "pl\u0430nner"),
            ("name", ""),
            ("name", "a~b"),
            ("kind", "person"),
            ("caps", "[{}]"),
            ("caps", "x"),
            ("caps", '[],"kind":"person"'),
            ("caps", '[{"target":"orders","target":"*","actions":["*"]}]'),
            ("caps", json.dumps([READ] * 65)),
            ("ttl", "0"),
            ("ttl", "-5"),
            ("ttl", "1e9"),
            ("ttl", "\u0661"),
            ("nest", "true"),
            ("nest", "-1"),
            ("nest", '1,"isolated":true'),
            ("budget", '{"rows": -1}'),
            ("budget", '{"coffee": 1}'),
            ("purpose", "x" * 600),
            ("purpose", "a\nb"),
            ("isolated", "1"),
            ("cnf", "{}"),
            ("cnf", json.dumps({"jwk": OKPKey.generate_key("Ed25519").as_dict(private=True)})),
            ("cnf", json.dumps({"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AQ"}})),
            ("cnf", '{"jkt": "x"}'),
        ):
            with self.subTest(name, value=value):
                self.refused("invalid_request", **{name: value})
        self.refused("invalid_request", cnf=None)
        self.refused("invalid_target", audience=ORDERS)
        self.assertEqual(self.seen, [])

    def test_a_key_of_its_own(self) -> None:
        """The child's key is not the parent's, and not another than was proved."""
        self.refused("invalid_request", cnf=self.cnf("alice"))
        shown = prove(self.alice, key("alice"), GATEWAY, NOW)
        self.refused("invalid_request", shown, "planner", cnf=self.cnf("other"))

    def test_without_the_parents_key(self) -> None:
        for proved in (None, "planner"):
            self.refused("invalid_grant", parent=proved)

    def test_revoked(self) -> None:
        """Of the parent, or of the very delegation: to the same key it is never given again."""
        node = self.delegate()["node"]
        self.revoked.sessions.add(node)
        self.refused("access_denied")
        self.delegate(child="other")
        self.revoked.sessions.add(self.verifier.read(self.alice, GATEWAY, NOW).principal.session)
        self.refused("invalid_grant", child="other")

    def test_too_many(self) -> None:
        """What cannot be written down is not given."""

        def full(_principal: Principal) -> None:
            raise UnavailableError("Alice has 5000 delegations already")

        self.with_parts(keep=full)
        self.assertIn("5000", self.refused("temporarily_unavailable").text)


class ActorTests(DelegationTestCase):
    """Children with an identity of their own."""

    def act(self, actor: str, kind: str = JWT, **more: Any) -> dict[str, Any]:
        form = {"actor_token": actor, "actor_token_type": kind, "cnf": self.cnf("planner")} | more
        return self.ask(self.alice, self.proof("alice"), **form)

    def assert_no_actor(self, code: str, actor: str, kind: str = JWT, **more: Any) -> None:
        error = self.assertRaises(ExchangeError, self.act, actor, kind, **more)
        assert isinstance(error, ExchangeError)
        self.assertEqual(error.code, code)

    def test_attested(self) -> None:
        """Its own issuer says who it is; what groups it has does not count."""
        given = self.act(self.machine(roles=["admins"]), caps=json.dumps([READ]))
        child = self.read(given).principal.chain[1]
        self.assertEqual((child.id, child.name), ("machines|planner", "Planner"))
        self.assertEqual((child.kind, child.attested), ("workload", True))
        self.assertEqual(child.groups, frozenset())
        self.assertIsNotNone(child.caps)
        self.assertEqual(child.attributes, (("issuer", "machines"),))
        narrow = self.ask(given["access_token"], self.proof("planner"), audience=ORDERS)
        found = self.verifier.verify(narrow["access_token"], ORDERS, NOW)
        self.assertTrue(found.chain[1].attested)

    def test_who_set_the_actor_off(self) -> None:
        """That person stands behind the whole chain, and so cannot approve what it asks."""
        given = self.act(self.machine(actor_id="12"))
        self.assertEqual(self.read(given).principal.origin.persons, frozenset({"corp|carol-1"}))
        given = self.act(self.machine())
        self.assertEqual(self.read(given).principal.origin.persons, frozenset())

    def test_who_may_not_act(self) -> None:
        """Strangers, people, the subject itself, our own tokens, what is over."""
        for code, actor in (
            ("invalid_grant", self.machine(iss="https://evil.example")),
            ("invalid_grant", self.machine(exp=NOW - 60)),
            ("invalid_grant", self.machine(aud="other")),
            ("access_denied", token()),
            ("access_denied", token(claims(sub="bob"))),
            ("invalid_grant", self.machine(sub="planner~x")),
            ("invalid_grant", self.alice),
            ("invalid_grant", "garbage"),
        ):
            self.assert_no_actor(code, actor)
        self.assert_no_actor("invalid_request", self.machine(), ID_TOKEN)
        self.assert_no_actor("invalid_request", self.machine(), name="planner")
        self.assert_refused(
            "invalid_request",
            self.alice,
            self.proof("alice"),
            actor_token_type=JWT,
            cnf=self.cnf("planner"),
        )

    def test_subject_as_its_own_actor(self) -> None:
        """A workload that shows its own token twice is not attested as its own child."""
        machine = self.machine()
        parent = self.ask(machine, self.proof("machine"))["access_token"]
        form = {"actor_token": machine, "actor_token_type": JWT, "cnf": self.cnf("planner")}
        self.assert_refused("access_denied", parent, self.proof("machine"), **form)

    def test_an_actor_that_is_bound_to_a_key(self) -> None:
        """Then it must be proved: the parent cannot lend it to another key."""
        bound = self.machine(cnf={"jkt": key("planner").thumbprint()})
        self.assert_no_actor("invalid_grant", bound)
        shown = prove(self.alice, key("alice"), GATEWAY, NOW)
        form = {"actor_token": bound, "actor_token_type": JWT}
        self.assert_refused("invalid_grant", shown, self.proof("thief"), **form)
        shown = prove(self.alice, key("alice"), GATEWAY, NOW)
        self.ask(shown, self.proof("planner"), **form)


class ChainTests(DelegationTestCase):
    """Chains that were minted offline, at the token endpoint."""

    def setUp(self) -> None:
        super().setUp()
        cap = Cap(target="orders", actions=frozenset({"Postgres::read"}))
        one = HopClaims(name="planner", expires=NOW + 500, caps=(cap,), nest=1)
        planner = mint_hop(self.alice, key("alice"), key("planner"), one, NOW)
        two = HopClaims(name="migrator", expires=NOW + 400, purpose="p")
        self.chain = mint_hop(planner, key("planner"), key("migrator"), two, NOW)

    def test_flat(self) -> None:
        """One plain token with all that the chain says, and no more."""
        given = self.ask(self.chain, self.proof("migrator"))
        read, shown = self.read(given), self.shown()
        self.assertEqual(read.principal, evolve(shown.principal, proved=False))
        self.assertEqual((given["expires_in"], read.hops_left), (400, 0))
        self.assertEqual(read.thumbprint, key("migrator").thumbprint())
        self.assertNotIn("refresh_token", given)
        act = parse(given["access_token"]).claims["act"]
        self.assertEqual([act["name"], act["act"]["name"]], ["migrator", "planner"])
        self.assertEqual(act["act"]["caps"], [READ])

    def test_flat_with_a_pop(self) -> None:
        """A pop for the gateway proves it too, once; one for a target does not."""
        shown = prove(self.chain, key("migrator"), GATEWAY, NOW)
        self.assertEqual(self.read(self.ask(shown)).thumbprint, key("migrator").thumbprint())
        self.assert_refused("invalid_grant", shown)
        self.assert_refused("invalid_grant", prove(self.chain, key("migrator"), ORDERS, NOW))

    def test_not_proved(self) -> None:
        for who in (None, "planner", "alice", "thief"):
            self.assert_refused(
                "invalid_grant", self.chain, None if who is None else self.proof(who)
            )

    def test_for_a_target(self) -> None:
        """Tokens and passwords, with the whole chain, and a tenant for Azure's clients."""
        given = self.ask(self.chain, self.proof("migrator"), audience=ORDERS)
        found = self.verifier.verify(given["access_token"], ORDERS, NOW)
        self.assertEqual(found, evolve(self.shown().principal, proved=False))
        self.assertEqual(given["expires_in"], 300)
        self.assertRegex(parse(given["access_token"]).claims["tid"], r"^[0-9a-f-]{36}$")
        password = self.ask(
            self.chain,
            self.proof("migrator"),
            audience=ORDERS,
            requested_token_type=SESSION_PASSWORD,
            account="reader",
        )
        stored, expires = self.passwords.kept[password["handle"]]
        self.assertEqual((stored.principal, expires), (found, NOW + 400))

    def test_tenant_of_the_issuer(self) -> None:
        self.with_parts(tenants={"corp": "72f988bf-0000-0000-0000-000000000001"})
        given = self.ask(self.alice, self.proof("alice"), audience=ORDERS)
        tenant = parse(given["access_token"]).claims["tid"]
        self.assertEqual(tenant, "72f988bf-0000-0000-0000-000000000001")

    def test_delegated_further(self) -> None:
        """Within what the last hop leaves."""
        self.refused("access_denied", self.chain, "migrator", "third")
        planner = self.chain.rpartition("~")[0]
        given = self.delegate(planner, "planner", "other")
        self.assertEqual(self.read(given).principal.path, "Alice / planner / other")

    def test_written_down(self) -> None:
        """Each use makes the delegations known."""
        self.ask(self.chain, self.proof("migrator"), audience=ORDERS)
        self.assertEqual([each.path for each in self.seen], ["Alice / planner / migrator"])

    def test_revoked(self) -> None:
        """Of any hop of it."""
        for node in self.shown().principal.lineage:
            self.revoked.sessions = {node}
            self.assert_refused("invalid_grant", self.chain, self.proof("migrator"))

    def test_type(self) -> None:
        """A chain is no ID token."""
        self.assert_refused(
            "invalid_request", self.chain, self.proof("migrator"), subject_token_type=ID_TOKEN
        )

    def test_flat_again(self) -> None:
        """A flat token is not made anew: that would be a refresh."""
        flat = self.ask(self.chain, self.proof("migrator"))["access_token"]
        self.assert_refused("invalid_target", flat, self.proof("migrator"))

    def shown(self) -> Any:
        holder = key("migrator").thumbprint()
        return read_chain(self.chain, GATEWAY, NOW, self.verifier, holder=holder)
