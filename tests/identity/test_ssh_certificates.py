"""Tests for `hoopgw.identity.ssh_certificates`; OpenSSH's own programs read what is made."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificateBuilder,
    SSHCertificateType,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError
from hoopgw.identity.certified import SIZE_LIMIT, encode
from hoopgw.identity.ssh_certificates import (
    CHAIN,
    HOST_LIFETIME,
    Restrictions,
    SshCaller,
    issue_host,
    issue_user,
    verify_user,
)
from tests.identity.chains_sample import CERTIFIED, GATEWAY, NOW
from tests.identity.chains_sample import CHAIN as WHO


class SshCase(SynchronousTestCase):
    """A CA of SSH users, and a user's key."""

    def setUp(self) -> None:
        self.ca, self.key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def issued(self, *logins: str, **options: Any) -> str:
        text, self.serial = issue_user(
            self.ca, CERTIFIED, self.key.public_key(), logins or ("root",), NOW, **options
        )
        return text

    def verify(self, text: str, login: str = "root", now: float = NOW) -> SshCaller:
        return verify_user(text, [self.ca.public_key()], GATEWAY, "orders", login, now)

    def refused(self, text: str, why: str, **options: Any) -> None:
        with self.assertRaisesRegex(AuthenticationError, why):
            self.verify(text, **options)

    def forge(
        self,
        options: dict[str, bytes],
        kind: SSHCertificateType = SSHCertificateType.USER,
        logins: list[bytes] | None = None,
        signer: Ed25519PrivateKey | None = None,
    ) -> str:
        """Sign what the CA would never sign, as with its stolen key."""
        builder = (
            SSHCertificateBuilder()
            .public_key(self.key.public_key())
            .serial(7)
            .type(kind)
            .key_id(b"x")
            .valid_after(int(NOW - 60))
            .valid_before(int(NOW + 60))
        )
        names = [b"root"] if logins is None else logins
        builder = builder.valid_principals(names) if names else builder.valid_for_all_principals()
        for name, value in options.items():
            builder = builder.add_critical_option(name.encode(), value)
        return builder.sign(signer or self.ca).public_bytes().decode()

    def shown(self, text: str) -> str:
        """Return what ``ssh-keygen -L`` says."""
        path = Path(self.mktemp())
        path.write_text(text + "\n")
        return subprocess.run(
            ["ssh-keygen", "-L", "-f", path], capture_output=True, text=True, check=True
        ).stdout


class GoodTests(SshCase):
    """What is issued, and what it says."""

    def test_whole_chain(self) -> None:
        """Whoever verifies it knows the chain as it was certified, and what revokes it."""
        caller = self.verify(self.issued())
        self.assertEqual(caller.certified, CERTIFIED)
        self.assertEqual(caller.key, self.key.public_key())
        self.assertEqual(caller.lineage, (*WHO.lineage, f"cert:{self.serial:x}"))
        self.assertEqual(caller.restrictions, Restrictions())

    def test_openssh_reads_it(self) -> None:
        """A user's, for these accounts, with the option that a stock sshd does not know."""
        shown = self.shown(
            self.issued(
                "root", "deploy", restrictions=Restrictions(permissions=frozenset({"permit-pty"}))
            )
        )
        self.assertIn("ssh-ed25519-cert-v01@openssh.com user certificate", shown)
        principals = shown.partition("Principals:")[2].partition("Critical Options:")
        self.assertEqual(principals[0].split(), ["deploy", "root"])
        options, _, extensions = principals[2].partition("Extensions:")
        self.assertIn(f"{CHAIN} UNKNOWN OPTION", options)
        self.assertEqual(extensions.split(), ["permit-pty"])
        self.assertIn(f"Serial: {self.serial}", shown)

    def test_nothing_is_permitted_unasked(self) -> None:
        """No terminal, no forwarding, no rc file."""
        extensions = self.shown(self.issued()).partition("Extensions:")[2]
        self.assertEqual(extensions.split(), ["(none)"])

    def test_restrictions(self) -> None:
        """They come back for who enforces them, and OpenSSH reads them as its own."""
        given = Restrictions(
            sources=("10.0.0.0/8", "2001:db8::/32"),
            command="uptime",
            permissions=frozenset({"permit-pty"}),
        )
        text = self.issued(restrictions=given)
        self.assertEqual(self.verify(text).restrictions, given)
        shown = self.shown(text)
        self.assertIn("force-command uptime", shown)
        self.assertIn("source-address 10.0.0.0/8,2001:db8::/32", shown)
        self.assertTrue(given.admits_address("10.1.2.3"))
        self.assertFalse(given.admits_address("11.1.2.3"))
        self.assertFalse(given.admits_address("nonsense"))
        self.assertTrue(Restrictions().admits_address("11.1.2.3"))

    def test_lifetime(self) -> None:
        """An hour at most, and never longer than the log-in."""
        text = self.issued(lifetime=9e9)
        self.verify(text, now=NOW + 3599)
        self.refused(text, "outside its time", now=NOW + 3600)
        self.refused(text, "outside its time", now=NOW - 301)
        short = evolve(CERTIFIED, principal=evolve(WHO, expires=NOW + 9))
        text, _ = issue_user(self.ca, short, self.key.public_key(), ["root"], NOW)
        self.refused(text, "outside its time", now=NOW + 9)

    def test_hosts(self) -> None:
        """A host's certificate is for its names, from a CA of its own, and logs nobody in."""
        text = issue_host(self.ca, self.key.public_key(), ["gw.example", "*.gw.example"], NOW)
        shown = self.shown(text)
        self.assertIn("host certificate", shown)
        self.assertIn("*.gw.example", shown)
        self.refused(text, "host's")
        for names in ([], ["a b"], ["-x"], [""]):
            with self.assertRaises(AuthenticationError):
                issue_host(self.ca, self.key.public_key(), names, NOW)
        self.assertGreater(HOST_LIFETIME, 86_400)

    def test_what_is_not_issued(self) -> None:
        """Accounts and restrictions that are none."""
        for logins in ([], ["a b"], ["x" * 70], ["root,admin"], [f"u{n}" for n in range(40)]):
            with self.assertRaises(AuthenticationError):
                issue_user(self.ca, CERTIFIED, self.key.public_key(), logins, NOW)
        for bad in (
            Restrictions(permissions=frozenset({"permit-everything"})),
            Restrictions(sources=("10.0.0.0/33",)),
            Restrictions(sources=("everywhere",)),
            Restrictions(command="x" * 5000),
        ):
            with self.assertRaises(AuthenticationError):
                self.issued(restrictions=bad)


class RefusedTests(SshCase):
    """What is not taken."""

    def test_a_stock_sshd_refuses_it(self) -> None:
        """The option is critical, so it is no extension that might be passed over."""
        shown = self.shown(self.issued())
        self.assertIn(CHAIN, shown.partition("Critical Options:")[2].partition("Extensions:")[0])

    def test_another_account_or_target(self) -> None:
        """Only for those that it names."""
        text = self.issued("root")
        self.refused(text, "not for account", login="admin")
        with self.assertRaisesRegex(AuthenticationError, "not for target"):
            verify_user(text, [self.ca.public_key()], GATEWAY, "stock", "root", NOW)
        with self.assertRaisesRegex(AuthenticationError, "another gateway"):
            verify_user(text, [self.ca.public_key()], "https://x.example", "orders", "root", NOW)

    def test_everybody(self) -> None:
        """OpenSSH takes no principals for all of them; we do not."""
        self.refused(self.forge({CHAIN: encode(CERTIFIED)}, logins=[]), "names no account")

    def test_kind(self) -> None:
        """A host's certificate with a user's chain in it is a host's."""
        forged = self.forge({CHAIN: encode(CERTIFIED)}, SSHCertificateType.HOST)
        self.refused(forged, "host's, not a user's")

    def test_options(self) -> None:
        """The chain must be there, and nothing critical that is not known here."""
        form = encode(CERTIFIED)
        self.verify(self.forge({CHAIN: form}))
        self.refused(self.forge({}), "holds no chain")
        self.refused(self.forge({CHAIN: b"{}"}), "lacks")
        self.refused(self.forge({CHAIN: b"x" * (SIZE_LIMIT + 1)}), "holds no chain")
        self.refused(self.forge({CHAIN: form, "verify-required": b""}), "not known here")
        self.refused(self.forge({CHAIN: form, "zz@example": b"x"}), "not known here")
        self.refused(self.forge({CHAIN: form, "source-address": b"anywhere"}), "no network")
        self.refused(self.forge({CHAIN: form, "source-address": b""}), "no network")
        self.refused(self.forge({CHAIN: form, "force-command": b""}), "force-command")
        self.refused(self.forge({CHAIN: form, "force-command": b"\xff"}), "no text")

    def test_ca(self) -> None:
        """The key in the certificate says who signed; whether that one may, we say."""
        other = Ed25519PrivateKey.generate()
        self.refused(self.forge({CHAIN: encode(CERTIFIED)}, signer=other), "not from the SSH")
        with self.assertRaisesRegex(AuthenticationError, "not from the SSH"):
            verify_user(self.issued(), [], GATEWAY, "orders", "root", NOW)

    def test_changed(self) -> None:
        """A bit of it changed is a wrong signature, or no certificate."""
        kind, blob = self.issued().split(" ")
        for at in range(0, len(blob), 41):
            letter = "A" if blob[at] != "A" else "B"
            self.refused(f"{kind} {blob[:at]}{letter}{blob[at + 1 :]}", ".")

    def test_other_keys(self) -> None:
        """A plain key, an RSA certificate's name, and what is too long are none."""
        plain = self.key.public_key()
        self.refused(self.shown_line(plain), "not an Ed25519 certificate")
        self.refused("ssh-rsa-cert-v01@openssh.com AAAA", "not an Ed25519 certificate")
        self.refused("ssh-ed25519-cert-v01@openssh.com " + "A" * 60_000, "not an Ed25519")
        self.refused("ssh-ed25519-cert-v01@openssh.com !!", "malformed")

    def shown_line(self, key: Any) -> str:
        from hoopgw.identity.ssh_certificates import public_line

        return public_line(key)

    @given(
        st.text(max_size=80) | st.text(max_size=80).map("ssh-ed25519-cert-v01@openssh.com ".__add__)
    )
    def test_garbage(self, text: str) -> None:
        """Whatever it is, it is refused in one way."""
        ca = Ed25519PrivateKey.generate().public_key()
        with self.assertRaises(AuthenticationError):
            verify_user(text, [ca], GATEWAY, "orders", "root", NOW)
