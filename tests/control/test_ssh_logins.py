"""Certificates of SSH, as a worker verifies them: by the CAs that control told, and not revoked."""

from __future__ import annotations

from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.control.logins import ControlLogins
from hoopgw.control.trust import WorkerTrust
from hoopgw.errors import AuthenticationError
from hoopgw.identity.caller_certificates import certificate_node
from hoopgw.identity.certified import Certified
from hoopgw.identity.ssh_certificates import issue_user
from tests.store.values import ALICE

URL = "https://gateway.example:8443"


class SshLoginTests(SynchronousTestCase):
    """One worker, and what control told it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(ALICE.expires - 1_000.0)
        self.ca, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        certified = Certified(issuer=URL, principal=ALICE, targets=frozenset({"web1"}))
        now = self.clock.seconds()
        self.text, self.serial = issue_user(self.ca, certified, key.public_key(), ["deploy"], now)
        self.revoked: set[str] = set()
        self.control = SimpleNamespace(
            trust=self.trusting(self.ca),
            is_revoked=lambda lineage: not self.revoked.isdisjoint(lineage),
        )
        self.logins = ControlLogins(self.control, self.clock)  # type: ignore[arg-type]  # has what is used

    def trusting(self, *authorities: Ed25519PrivateKey) -> WorkerTrust:
        """Return what control tells: these CAs of SSH users."""
        keys = tuple(each.public_key().public_bytes_raw() for each in authorities)
        return WorkerTrust(
            issuer=URL, link=(), callers=(), ssh_users=keys, ticket="", mask="", agents=""
        )

    def refused(self, target: str = "web1", account: str = "deploy") -> str:
        """Return why the certificate is not taken."""
        with self.assertRaises(AuthenticationError) as caught:
            self.logins.ssh_certificate(self.text, target, account)
        return str(caught.exception)

    def test_good(self) -> None:
        """Whom it stands for is known."""
        caller = self.logins.ssh_certificate(self.text, "web1", "deploy")
        self.assertEqual(caller.principal.root, ALICE.root)

    def test_where(self) -> None:
        """Only for its targets and accounts."""
        self.assertIn("not for target web2", self.refused(target="web2"))
        self.assertIn("not for account root", self.refused(account="root"))

    def test_the_authority(self) -> None:
        """As control says now: a CA that was taken out, or none that is known yet."""
        other = Ed25519PrivateKey.generate()
        self.control.trust = self.trusting(other, self.ca)
        self.logins.ssh_certificate(self.text, "web1", "deploy")
        self.control.trust = self.trusting(other)
        self.assertIn("not from the SSH users' CA", self.refused())
        self.control.trust = None
        self.assertIn("not known yet", self.refused())

    def test_revoked(self) -> None:
        """The certificate itself, or the log-in that it stands for."""
        for node in (certificate_node(self.serial), ALICE.session):
            self.revoked = {node}
            self.assertIn("was revoked", self.refused())

    def test_over(self) -> None:
        """The log-in."""
        self.clock.advance(1_000.0)
        self.assertIn("outside its time", self.refused())
