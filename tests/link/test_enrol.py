"""Tests for enrolment: certificates, the messages, and `hoopgw.link.enrol` over real HTTPS."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from attrs import asdict, evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import AuthenticationError, ConfigError, HoopgwError, UnavailableError
from hoopgw.link import enrol, identity
from hoopgw.link.certificates import (
    agent_name,
    is_agent_name,
    issue_agent,
    issue_listener,
    make_ca,
    moment,
    request_certificate,
    requested_key,
    verify_agent,
)
from hoopgw.link.enrolment_api import (
    Enrolled,
    EnrolRequest,
    JoinToken,
    RenewRequest,
    read,
    secret_digest,
    sign_renewal,
    verify_renewal,
)
from hoopgw.link.tickets import public_keys
from tests.link.world import Authority, new_key, pem
from tests.support.certificates import Authority as WebAuthority

TOKEN = JoinToken(
    url="https://127.0.0.1:8443", ca_sha256="a" * 64, name="local", secret="s3cret" * 8
)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a public key as it is written into a request."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class CertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = float(int(time.time()))
        self.authority = Authority.new()
        self.ca = self.authority.certificate
        self.key = new_key()

    def issue(self, name: str = "local", **options: Any) -> x509.Certificate:
        public, now = self.key.public_key(), moment(self.now)
        return issue_agent(self.ca, self.authority.key, name, public, now, **options)

    def refused(self, certificate: x509.Certificate, after: float = 0.0) -> None:
        now = moment(self.now + after)
        self.assertRaises(AuthenticationError, verify_agent, certificate, [self.ca], now)

    def test_an_agents_certificate_names_it(self) -> None:
        self.assertEqual(verify_agent(self.issue(), [self.ca], moment(self.now)), "local")

    def test_it_lasts_a_day(self) -> None:
        issued = self.issue()
        verify_agent(issued, [self.ca], moment(self.now + 86_399))
        self.refused(issued, 86_401)
        self.refused(issued, -301)

    def test_another_ca_of_the_same_name_does_not_count(self) -> None:
        key = new_key()
        impostor = make_ca(key, moment(self.now))
        self.refused(issue_agent(impostor, key, "local", self.key.public_key(), moment(self.now)))

    def test_the_listeners_certificate_names_no_agent(self) -> None:
        public, now = self.key.public_key(), moment(self.now)
        listener = issue_listener(self.ca, self.authority.key, public, now)
        self.refused(listener)
        self.assertRaises(AuthenticationError, agent_name, self.ca)

    def test_names_are_dns_labels(self) -> None:
        for name in ("a", "local", "eu-1", "x" * 63):
            self.assertTrue(is_agent_name(name))
        for name in ("", "-a", "a-", "A", "a.b", "a b", "a\n", "x" * 64, "é", "a:b"):
            self.assertFalse(is_agent_name(name))
            self.assertRaises(ValueError, self.issue, name)

    def test_a_request_proves_that_its_sender_has_the_key(self) -> None:
        csr = request_certificate(self.key, "local")
        self.assertEqual(requested_key(csr), self.key.public_key())
        request = x509.load_pem_x509_csr(csr.encode())
        forged = request.public_bytes(Encoding.DER).replace(point(self.key), point(new_key()))
        wrong = x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM).decode()
        self.assertRaises(AuthenticationError, requested_key, wrong)

    def test_only_one_curve_is_taken(self) -> None:
        big = request_certificate(ec.generate_private_key(ec.SECP384R1()), "local")
        for csr in (big, "", "x" * 10_000, pem(self.ca).decode()):
            self.assertRaises(AuthenticationError, requested_key, csr)


class JoinTokenTests(SynchronousTestCase):
    def test_a_token_comes_back(self) -> None:
        self.assertEqual(JoinToken.decode(f" {TOKEN.encode()}\n"), TOKEN)

    def test_its_secret_is_not_shown(self) -> None:
        self.assertNotIn("s3cret", repr(TOKEN))
        self.assertNotIn("s3cret", repr(EnrolRequest(name="a", secret="s3cret", csr="")))

    @given(st.text(max_size=80) | st.text(max_size=80).map(lambda text: "hgw1." + text))
    def test_garbage_is_no_token(self, garbage: str) -> None:
        self.assertRaises(AuthenticationError, JoinToken.decode, garbage)

    def test_each_part_is_checked(self) -> None:
        for changed in (
            evolve(TOKEN, url="http://127.0.0.1"),
            evolve(TOKEN, name="not a name"),
            evolve(TOKEN, ca_sha256="a"),
            evolve(TOKEN, secret="short"),
        ):
            self.assertRaises(AuthenticationError, JoinToken.decode, changed.encode())

    def test_the_store_keeps_a_digest(self) -> None:
        self.assertEqual(len(secret_digest("x")), 32)
        self.assertNotEqual(secret_digest("x"), hashlib.sha256(b"x").digest())


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = float(int(time.time()))
        self.authority = Authority.new()
        self.agent = self.authority.agent("local")
        self.next = new_key()
        self.request = self.sign(self.agent.key)

    def sign(self, key: ec.EllipticCurvePrivateKey, name: str = "local") -> RenewRequest:
        csr = request_certificate(self.next, "local")
        return sign_renewal(key, pem(self.agent.certificate).decode(), name, csr, self.now)

    def refused(self, request: RenewRequest, after: float = 0.0) -> None:
        ca, now = self.authority.certificate, self.now + after
        self.assertRaises(AuthenticationError, verify_renewal, request, [ca], now)

    def test_a_renewal_names_agent_serial_and_next_key(self) -> None:
        request = read(msgspec.json.encode(asdict(self.request)), RenewRequest)
        found = verify_renewal(request, [self.authority.certificate], self.now)
        self.assertEqual(found.name, "local")
        self.assertEqual(found.serial, self.agent.certificate.serial_number)
        self.assertEqual(found.key, self.next.public_key())

    def test_only_the_present_key_signs_it(self) -> None:
        self.refused(self.sign(self.next))
        self.refused(self.sign(self.agent.key, "remote"))

    def test_nothing_of_it_can_be_changed(self) -> None:
        other = self.authority.agent("local")
        csr = request_certificate(new_key(), "local")
        for changed in (
            evolve(self.request, csr=csr),
            evolve(self.request, time=self.request.time + 1),
            evolve(self.request, certificate=pem(other.certificate).decode()),
            evolve(self.request, certificate="x"),
            evolve(self.request, signature="x"),
            evolve(self.request, signature="é"),
            evolve(self.request, signature=""),
            evolve(self.request, time=10**30),
            evolve(self.request, time=-1),
        ):
            self.refused(changed)

    def test_it_is_of_now(self) -> None:
        self.refused(self.request, 301)
        self.refused(self.request, -301)

    def test_another_ca_does_not_count(self) -> None:
        self.authority = Authority.new()
        self.refused(self.request)


class Gateway(ThreadingHTTPServer):
    """What control serves to agents, as far as the agent sees it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.web, self.link = WebAuthority.make(), Authority.new()
        self.ticket_key = OKPKey.generate_key("Ed25519")
        self.seen: list[tuple[str, bytes]] = []
        self.answer: Callable[[Enrolled], Enrolled] = lambda enrolled: enrolled
        self.ca = self.web.certificate.public_bytes(Encoding.PEM)
        pair = self.web.issue(folder, "web")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def token(self) -> JoinToken:
        der = self.web.certificate.public_bytes(Encoding.DER)
        return evolve(
            TOKEN,
            url=f"https://127.0.0.1:{self.server_address[1]}",
            ca_sha256=hashlib.sha256(der).hexdigest(),
        )

    def issue(self, name: str, key: ec.EllipticCurvePublicKey) -> Enrolled:
        authority = self.link
        issued = issue_agent(authority.certificate, authority.key, name, key, moment(time.time()))
        return self.answer(
            Enrolled(
                certificate=pem(issued).decode(),
                link_ca=pem(authority.certificate).decode(),
                ticket_keys=public_keys([self.ticket_key]),
            )
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients that refuse our certificate are a part of the tests."""


class Requests(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self.server.seen.append((self.path, b""))
        self.reply(200, self.server.ca)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, body))
        if self.path == "/agents/enrol":
            request = read(body, EnrolRequest)
            if request.secret != TOKEN.secret:
                self.reply(403, b'{"error": "refused", "detail": "the token is used\\u001b"}')
                return
            enrolled = self.server.issue(request.name, requested_key(request.csr))
        else:
            ca = self.server.link.certificate
            renewal = verify_renewal(read(body, RenewRequest), [ca], time.time())
            enrolled = self.server.issue(renewal.name, renewal.key)
        self.reply(200, msgspec.json.encode(asdict(enrolled)))

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Stay silent."""


class JoinTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hgwjoin"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.state = self.folder / "agent"
        self.gateway = Gateway(self.folder)
        thread = threading.Thread(target=self.gateway.serve_forever, args=(0.02,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.gateway.server_close)
        self.addCleanup(self.gateway.shutdown)

    def join(self, token: JoinToken | None = None, name: str = "local") -> identity.Identity:
        return enrol.join((token or self.gateway.token).encode(), self.state, name)

    def refused(self, kind: type[HoopgwError], **options: Any) -> str:
        error = self.assertRaises(kind, self.join, **options)
        self.assertFalse((self.state / identity.FILE).exists())
        return str(error)

    def paths(self) -> list[str]:
        return [path for path, _ in self.gateway.seen]

    def test_joining_keeps_an_identity(self) -> None:
        joined = self.join()
        loaded = identity.load(self.state, time.time())
        self.assertEqual(loaded.enrolment, joined.enrolment)
        self.assertEqual(loaded.key.certificate, joined.key.certificate)
        self.assertEqual(list(loaded.ticket_keys), list(joined.ticket_keys))
        self.assertEqual(self.state.stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.state / identity.FILE).stat().st_mode & 0o777, 0o600)
        self.assertNotIn("PRIVATE", repr(loaded))

    def test_the_secret_goes_to_nobody_else(self) -> None:
        """Whoever answers with another CA than the token's learns nothing."""
        other = evolve(self.gateway.token, ca_sha256="b" * 64)
        self.assertIn("not the gateway", self.refused(AuthenticationError, token=other))
        self.assertEqual(self.paths(), ["/agents/ca"])

    def test_a_ca_that_did_not_issue_the_certificate_is_not_enough(self) -> None:
        impostor = WebAuthority.make().certificate
        self.gateway.ca = impostor.public_bytes(Encoding.PEM)
        fingerprint = hashlib.sha256(impostor.public_bytes(Encoding.DER)).hexdigest()
        token = evolve(self.gateway.token, ca_sha256=fingerprint)
        self.assertIn("not trusted", self.refused(UnavailableError, token=token))
        self.assertEqual(self.paths(), ["/agents/ca"])

    def test_what_is_no_certificate_is_no_ca(self) -> None:
        self.gateway.ca = b"hello"
        self.refused(AuthenticationError)

    def test_a_ca_of_ones_own_is_used_instead(self) -> None:
        token = evolve(self.gateway.token, ca_sha256="b" * 64)
        ca = self.gateway.ca.decode()
        enrol.join(token.encode(), self.state, "local", ca=ca)
        self.assertEqual(self.paths(), ["/agents/enrol"])

    def test_a_token_for_another_agent_is_not_sent(self) -> None:
        self.refused(AuthenticationError, name="remote")
        self.assertEqual(self.paths(), [])

    def test_the_gateways_refusal_is_told(self) -> None:
        used = evolve(self.gateway.token, secret="x" * 43)
        self.assertIn("(403): the token is used ", self.refused(UnavailableError, token=used))

    def test_a_gateway_that_is_not_there_is_told(self) -> None:
        nowhere = evolve(self.gateway.token, url="https://127.0.0.1:1")
        self.assertIn("cannot be reached", self.refused(UnavailableError, token=nowhere))

    def test_an_answer_that_does_not_fit_is_not_kept(self) -> None:
        other = Authority.new().agent("local")
        strange = pem(self.gateway.link.agent("local").certificate).decode()
        wrong: list[dict[str, Any]] = [
            {"certificate": strange},
            {"certificate": pem(other.certificate).decode()},
            {"certificate": "x"},
            {"link_ca": "x"},
            {"ticket_keys": {"keys": []}},
        ]
        for changes in wrong:
            self.gateway.answer = partial(evolve, **changes)
            self.refused(ConfigError)

    def test_a_renewal_replaces_key_and_certificate(self) -> None:
        first = self.join()
        second = enrol.renew(first)
        self.assertNotEqual(second.chain, first.chain)
        self.assertEqual(self.paths()[-1], "/agents/renew")
        third = enrol.renew(second)
        self.assertNotEqual(third.chain, second.chain)

    def test_a_renewal_that_fails_leaves_what_was(self) -> None:
        first = self.join()
        self.gateway.answer = lambda enrolled: evolve(enrolled, certificate="x")
        self.assertRaises(ConfigError, enrol.renew, first)
        self.assertEqual(identity.load(self.state, time.time()).enrolment, first.enrolment)

    def test_half_of_the_life_is_when_to_renew(self) -> None:
        joined = self.join()
        half = timedelta(hours=12).total_seconds()
        self.assertLess(abs(joined.half_life - time.time() - half), 300)
        self.assertLess(abs(joined.ends - time.time() - 2 * half), 60)


class StateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hgwstate"))
        self.addCleanup(shutil.rmtree, self.folder)
        authority = Authority.new()
        agent = authority.agent("local")
        self.enrolment = identity.Enrolment(
            name="local",
            url="https://127.0.0.1",
            gateway_ca="",
            certificate=pem(agent.certificate).decode(),
            key=identity.key_pem(agent.key),
            link_ca=pem(authority.certificate).decode(),
            ticket_keys=public_keys([OKPKey.generate_key("Ed25519")]),
        )
        identity.save(self.folder, self.enrolment)
        self.path = self.folder / identity.FILE

    def refused(self) -> str:
        error = self.assertRaises(ConfigError, identity.load, self.folder, time.time())
        self.assertNotIn("PRIVATE", str(error))
        return str(error)

    def test_what_was_saved_is_loaded(self) -> None:
        self.assertEqual(identity.load(self.folder, time.time()).enrolment, self.enrolment)
        self.assertEqual([path.name for path in self.folder.iterdir()], [identity.FILE])

    def test_before_joining_there_is_none(self) -> None:
        self.path.unlink()
        self.assertIn("hoopgw agent join", self.refused())

    def test_a_file_that_others_can_read_is_not_used(self) -> None:
        self.path.chmod(0o640)
        self.assertIn("open to others", self.refused())

    def test_a_link_is_not_followed(self) -> None:
        self.path.rename(self.folder / "other")
        self.path.symlink_to(self.folder / "other")
        self.assertIn("cannot be read", self.refused())

    def test_damage_is_told_without_the_key(self) -> None:
        whole = self.path.read_bytes()
        for damaged in (b"", whole[:-20], whole.replace(b"BEGIN EC", b"BEGIN"), b"{}"):
            if damaged != whole:
                self.path.write_bytes(damaged)
                self.assertIn("damaged", self.refused())

    def test_parts_of_two_enrolments_do_not_fit_together(self) -> None:
        other = identity.key_pem(new_key())
        for changed in (evolve(self.enrolment, key=other), evolve(self.enrolment, name="remote")):
            identity.save(self.folder, changed)
            self.assertIn("does not fit", self.refused())

    def test_a_folder_that_others_can_enter_is_not_used(self) -> None:
        self.folder.chmod(0o750)
        self.assertRaises(ConfigError, identity.save, self.folder, self.enrolment)

    def test_a_certificate_that_has_ended_is_loaded_all_the_same(self) -> None:
        """So that the agent can say that it must join again, and not that it is damaged."""
        identity.load(self.folder, time.time() + 10 * 86_400)
