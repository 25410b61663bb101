"""Agents that are shown by another's name, to be permitted what that one is."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.events import Hop
from hoopgw.identity.chains import hop_of
from hoopgw.policy.decision import Allow, Deny
from hoopgw.policy.engine import CedarPolicy
from hoopgw.policy.questions import kind_of
from tests.policy.world import ALICE, hop, operation, policies, principal

TEXT = """
@id("people") permit (principal is Hoopgw::Person, action, resource);
@id("migrator") permit (principal in Hoopgw::AgentKind::"{}", action, resource)
when {{ context.chain.hop > 0 && principal has attested && principal.attested }};
"""
MIGRATOR = evolve(hop("migrator", kind="agent"), attested=True)
"""As the token endpoint makes it of an actor token: id and name are what its issuer says."""


class KindTests(SynchronousTestCase):
    """A permit goes by the kind of an agent that is attested."""

    def is_allowed(self, kind: str, child: Hop) -> bool:
        policy = CedarPolicy(policies(TEXT.format(kind)), lambda: 0.0)
        verdict = policy.decide(principal(ALICE, child), operation("take"))
        self.assertEqual(verdict.errors, ())
        self.assertIsInstance(verdict.decision, Allow | Deny)
        return isinstance(verdict.decision, Allow)

    def test_shown_by_the_same_name(self) -> None:
        """Another issuer's agent, whatever that issuer shows it by; the right one is permitted."""
        by_id = MIGRATOR.id
        self.assertTrue(self.is_allowed(by_id, MIGRATOR))
        self.assertTrue(self.is_allowed(by_id, evolve(MIGRATOR, name="shown otherwise")))
        stranger = evolve(MIGRATOR, id="lab|42")
        for name in ("migrator", by_id, f"{by_id} ", "corp|*"):
            for kind in (by_id, "migrator"):
                self.assertFalse(self.is_allowed(kind, evolve(stranger, name=name)), (kind, name))
        # What such a permit would have gone by: the name for people, which both have.
        self.assertEqual(stranger.name, MIGRATOR.name)

    def test_named_by_its_parent(self) -> None:
        """No hop can be named like an id, nor is it attested by being named so."""
        claims = {"kind": "agent", "name": MIGRATOR.id}
        self.assertRaises(AuthenticationError, hop_of, claims, ALICE.id)
        made = hop_of(claims | {"name": "migrator"}, ALICE.id)
        self.assertNotEqual(kind_of(made), MIGRATOR.id)
        self.assertFalse(self.is_allowed(MIGRATOR.id, made))
