"""Attacks on how agents join, renew and are put out."""

from __future__ import annotations

import base64
import signal
import time
from typing import Any

import psycopg
import pytest
import requests
from attrs import asdict, evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from hoopgw.control import enrolment
from hoopgw.identity.keyfiles import load_certificate, load_private_key
from hoopgw.link.certificates import (
    agent_name,
    issue_agent,
    issue_listener,
    moment,
    request_certificate,
)
from hoopgw.link.enrolment_api import EnrolRequest, JoinToken, sign_renewal
from tests.control.gateway_case import ALICE, ROOT, ROOTS_AGENT, GatewayCase, Reply
from tests.integration.test_failures import Sleeping, works
from tests.link.world import new_key, pem
from tests.recording.samples import VERIFIER
from tests.support import gateway, postgres
from tests.support.gateway import RigTarget
from tests.support.processes import wait_until


class EnrolmentCase(GatewayCase):
    """One control process, and agents that want in."""

    def setUp(self) -> None:
        super().setUp()
        (self.config.paths.log / "verifier").write_text(VERIFIER.encode())  # as the recorder does

    async def join_token(self, agent: str = "local") -> JoinToken:
        """Make a join token."""
        made = await self.call("POST", "/v1/join-tokens", ROOT, {"agent": agent})
        return JoinToken.decode(made.body["token"])

    async def enrol(
        self, token: JoinToken, csr: str | None = None, name: str = "local", **changes: Any
    ) -> Reply:
        """Use a join token."""
        csr = request_certificate(new_key(), name) if csr is None else csr
        body = {"name": name, "secret": token.secret, "csr": csr, **changes}
        return await self.call("POST", "/agents/enrol", None, body)

    async def joined(self, name: str = "local") -> tuple[str, ec.EllipticCurvePrivateKey]:
        """Enrol an agent; return its certificate and key."""
        key = new_key()
        answer = await self.enrol(await self.join_token(name), request_certificate(key, name), name)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.body["certificate"], key

    async def test_a_join_token_from_before_it_was_put_out(self) -> None:
        """Whoever kept one is not let in with it; one that was made since is good."""
        await self.joined()
        kept, of_nobody = await self.join_token(), await self.join_token("never-joined")
        for name in ("local", "never-joined"):
            put_out = await self.call("POST", f"/v1/agents/{name}/revoke", ROOT, {})
            self.assertEqual(put_out.status, 200, put_out.body)
        self.assertEqual((await self.enrol(kept)).status, 403)
        self.assertEqual((await self.enrol(of_nobody, name="never-joined")).status, 403)
        self.assertEqual((await self.enrol(await self.join_token())).status, 200)

    async def renew(
        self, certificate: str, key: Any, name: str = "local", at: float | None = None
    ) -> Reply:
        """Renew a certificate."""
        csr = request_certificate(new_key(), name)
        request = sign_renewal(key, certificate, name, csr, time.time() if at is None else at)
        return await self.call("POST", "/agents/renew", None, asdict(request))

    async def accepted(self, name: str, certificate: str) -> bool:
        """Ask as a worker does when an agent dials in."""
        serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        answer = await peer.call("agent_certificate", name=name, serial=f"{serial:x}")
        return bool(answer["ok"])


class JoinTests(EnrolmentCase):
    """Join tokens."""

    async def test_reuse(self) -> None:
        token = await self.join_token()
        self.assertEqual((await self.enrol(token)).status, 200)
        self.assertEqual((await self.enrol(token)).status, 403)

    async def test_another_name(self) -> None:
        """Not for another agent, nor in another spelling of its own name."""
        token = await self.join_token()
        for name in ("other", "Local", "local ", "local\n", "local.", "lo-cal", "", "\uff4cocal"):
            self.assertEqual((await self.enrol(token, "x", name)).status, 403, name)
        self.assertEqual((await self.enrol(token)).status, 200)

    async def test_too_old(self) -> None:
        token = await self.join_token()
        later = time.time() + enrolment.JOIN_LIFETIME + 1
        self.patch(self.service.enrolment, "_now", lambda: later)
        self.assertEqual((await self.enrol(token)).status, 403)

    async def test_guessed(self) -> None:
        """A part of a secret or a longer one; guessing is slowed down, and hinders no agent."""
        certificate, key = await self.joined("other")
        token = await self.join_token()
        for secret in (token.secret[:-1], token.secret + "A", token.secret.swapcase(), "", "%"):
            self.assertEqual((await self.enrol(evolve(token, secret=secret))).status, 403, secret)
        statuses = [(await self.enrol(evolve(token, secret="x"))).status for _ in range(30)]
        self.assertEqual(statuses[-1], 429)
        self.assertEqual((await self.enrol(token)).status, 200)
        self.assertEqual((await self.renew(certificate, key, "other")).status, 200)

    async def test_the_request_cannot_name_anybody(self) -> None:
        """Whatever it says of names, CAs and uses counts for nothing."""
        key = new_key()
        builder = x509.CertificateSigningRequestBuilder()
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, "other")]
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier("hoopgw:agent:other"),
            x509.DNSName("hoopgw-link"),
        ]
        csr = (
            builder.subject_name(x509.Name(subject))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        answer = await self.enrol(await self.join_token(), csr.public_bytes(Encoding.PEM).decode())
        self.assertEqual(answer.status, 200)
        issued = x509.load_pem_x509_certificate(answer.body["certificate"].encode())
        self.assertEqual(agent_name(issued), "local")
        self.assertFalse(issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        self.assertNotIn("other", issued.subject.rfc4514_string())

    async def test_weak_and_strange_keys(self) -> None:
        """Only P-256; and a refusal does not use the token up."""
        token = await self.join_token()
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        requests_: list[Any] = [
            builder.sign(rsa.generate_private_key(65537, 1024), hashes.SHA256()),  # noqa: S505
            builder.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
            builder.sign(ec.generate_private_key(ec.SECP224R1()), hashes.SHA256()),
            builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()),
            builder.sign(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
            builder.sign(ed25519.Ed25519PrivateKey.generate(), None),
        ]
        texts = [csr.public_bytes(Encoding.PEM).decode() for csr in requests_]
        stolen = x509.load_pem_x509_csr(request_certificate(new_key(), "local").encode())
        der = bytearray(stolen.public_bytes(Encoding.DER))
        der[-1] ^= 1  # not signed by its own key
        broken = base64.encodebytes(bytes(der)).decode()
        texts.append(
            f"-----BEGIN CERTIFICATE REQUEST-----\n{broken}-----END CERTIFICATE REQUEST-----\n"
        )
        texts += ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\n" * 500, "\0"]
        for csr in texts:
            self.assertEqual((await self.enrol(token, csr)).status, 403, csr[:60])
        self.assertEqual((await self.enrol(token)).status, 200)

    async def test_who_may_make_one(self) -> None:
        for who in (ALICE, ROOTS_AGENT):
            answer = await self.call("POST", "/v1/join-tokens", who, {"agent": "local"})
            self.assertEqual(answer.status, 403)


class RenewTests(EnrolmentCase):
    """Renewals."""

    async def test_with_another_agents_certificate(self) -> None:
        """Certificate and key must fit, and the name is the certificate's."""
        (mine, my_key), (theirs, their_key) = await self.joined("a"), await self.joined("b")
        for certificate, key, name in (
            (theirs, my_key, "b"),
            (mine, their_key, "a"),
            (mine, my_key, "b"),
            (theirs, my_key, "a"),
        ):
            self.assertEqual((await self.renew(certificate, key, name)).status, 403)
        renewed = await self.renew(mine, my_key, "a")
        issued = x509.load_pem_x509_certificate(renewed.body["certificate"].encode())
        self.assertEqual(agent_name(issued), "a")

    async def test_certificates_that_are_no_agents(self) -> None:
        """The listener's own, another CA's, and one that nobody enrolled."""
        paths, key, now = self.config.paths, new_key(), moment(time.time())
        ca, ca_key = (
            load_certificate(paths.link_ca_certificate),
            load_private_key(paths.link_ca_key),
        )
        gateway_ca = load_certificate(paths.ca_certificate)
        other = new_key()
        public = key.public_key()
        for certificate in (
            issue_listener(ca, ca_key, public, now),
            issue_agent(gateway_ca, load_private_key(paths.ca_key), "local", public, now),
            issue_agent(ca, other, "local", public, now),
            issue_agent(ca, ca_key, "local", public, now),  # good, but not in the store
        ):
            self.assertEqual((await self.renew(pem(certificate).decode(), key)).status, 403)

    async def test_clocks(self) -> None:
        certificate, key = await self.joined()
        now = time.time()
        for at in (now - 400, now + 400, 0.0, 2.0**62):
            self.assertEqual((await self.renew(certificate, key, at=at)).status, 403, at)
        self.assertEqual((await self.renew(certificate, key, at=now - 200)).status, 200)

    async def test_one_that_has_ended(self) -> None:
        certificate, key = await self.joined()
        later = time.time() + 25 * 3600
        self.patch(self.service.enrolment, "_now", lambda: later)
        self.assertEqual((await self.renew(certificate, key, at=later)).status, 403)

    async def test_a_stolen_old_one(self) -> None:
        """Once the new certificate was seen in use, the one before renews nothing."""
        old, old_key = await self.joined()
        key = new_key()
        request = sign_renewal(
            old_key, old, "local", request_certificate(key, "local"), time.time()
        )
        answer = await self.call("POST", "/agents/renew", None, asdict(request))
        new = answer.body["certificate"]
        self.assertTrue(await self.accepted("local", old))  # the answer may have been lost
        self.assertTrue(await self.accepted("local", new))
        self.assertFalse(await self.accepted("local", old))
        self.assertEqual((await self.renew(old, old_key)).status, 403)
        self.assertEqual((await self.renew(new, key)).status, 200)

    async def test_after_a_revocation(self) -> None:
        certificate, key = await self.joined()
        await self.call("POST", "/v1/agents/local/revoke", ROOT, {})
        self.assertEqual((await self.renew(certificate, key)).status, 403)
        self.assertFalse(await self.accepted("local", certificate))

    async def test_malformed(self) -> None:
        """Nothing makes it fail otherwise than by a refusal."""
        certificate, key = await self.joined()
        good = asdict(
            sign_renewal(key, certificate, "local", request_certificate(key, "local"), time.time())
        )
        for name, values in {
            "certificate": ("", "x", certificate[:200], "\0", None, 7),
            "signature": ("", "x", "%%%", good["signature"][:-4], "A" * 50_000, None),
            "time": (-1, 2**63, 1e300, "now", None),
            "csr": ("", "x", certificate, None),
        }.items():
            for value in values:
                answer = await self.call("POST", "/agents/renew", None, {**good, name: value})
                self.assertIn(answer.status, (403, 429), f"{name}: {value!r}"[:80])
        self.assertEqual((await self.call("GET", "/healthz")).status, 200)

    async def test_an_agents_certificate_opens_no_api(self) -> None:
        """Control takes tokens; a certificate of the link is nothing to it."""
        certificate, _key = await self.joined()
        headers = {"X-Client-Cert": certificate.replace("\n", " ")}
        self.assertEqual((await self.call("GET", "/v1/agents", None, headers=headers)).status, 401)


def test_a_revoked_agent_is_out_at_once() -> None:
    """Its sessions end within seconds, it does not come back, and a new join token helps."""
    rig = gateway.start(RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t (a int)"))
    try:
        sleeping = Sleeping(rig)
        rig.api("POST", f"/v1/agents/{gateway.AGENT}/revoke", {})
        assert isinstance(sleeping.ended(5.0), psycopg.OperationalError)
        wait_until("it is gone", lambda: not any(a["connected"] for a in rig.agents()), 10)
        assert rig.agent is not None
        rig.agent.wait_for_line("the gateway cannot be reached", 30)
        with pytest.raises(psycopg.OperationalError):
            rig.connect("orders")
        rig.agent.stop()
        rig._enrol_agent()
        rig.start_agent()
        assert works(rig)
    finally:
        rig.stop()


def test_enrolment_needs_the_recorder() -> None:
    """Without the log's key an agent could not watch the log: it is told to try again."""
    rig = gateway.start(
        RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t (a int)"), agent=False
    )
    try:
        token = JoinToken.decode(rig.api("POST", "/v1/join-tokens", {"agent": "late"})["token"])
        (rig.settings.paths.log / "verifier").rename(rig.folder / "verifier")
        body = EnrolRequest(
            name="late", secret=token.secret, csr=request_certificate(new_key(), "late")
        )
        url = f"{rig.settings.control.url}/agents/enrol"
        first = requests.post(url, json=asdict(body), verify=str(rig.ca), timeout=60)
        (rig.folder / "verifier").rename(rig.settings.paths.log / "verifier")
        second = requests.post(url, json=asdict(body), verify=str(rig.ca), timeout=60)
        assert [first.status_code, second.status_code] == [503, 200]
        assert rig.gateway.stop() in (0, -signal.SIGTERM)
    finally:
        rig.stop()
