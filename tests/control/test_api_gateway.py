"""Tests for the rest of `hoopgw.control`: enrolment, explaining, health, metrics, commands."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, Final

import msgspec
from attrs import asdict, evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from hoopgw.control.local import call_local
from hoopgw.control.peers import OwnPeers, listen_own
from hoopgw.errors import ConfigError, UnavailableError
from hoopgw.identity.passwords import scram_keys
from hoopgw.identity.tokens import target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT, SESSION_PASSWORD
from hoopgw.ipc import Peer, RemoteError, peer_uid
from hoopgw.link.certificates import agent_name, request_certificate
from hoopgw.link.enrolment_api import EnrolRequest, JoinToken, RenewRequest, sign_renewal
from hoopgw.store.rows import LoginRow
from tests.control.gateway_case import (
    AGENT,
    ALICE,
    AUDITOR,
    CAROL,
    ROOT,
    GatewayCase,
    Reply,
    keeping,
)
from tests.recording.samples import VERIFIER
from tests.store.values import ask

CONTEXT: Final = {
    "hasWhere": True,
    "multiStatement": False,
    "functions": [],
    "mintsCredentials": False,
    "inTransaction": False,
}
"""What policy may read of a statement, as PostgreSQL's schema declares it."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make an agent's key."""
    return ec.generate_private_key(ec.SECP256R1())


class GroupTests(GatewayCase):
    """What a log-in has lost, its tokens that are out have lost too."""

    async def test_an_administrator_no_longer(self) -> None:
        """As soon as a refresh has found out; tokens with the groups that are left are good."""
        now = time.time()
        fewer = evolve(ROOT, chain=(evolve(ROOT.root, groups=frozenset({"dev"})),))
        row = LoginRow(
            id=ROOT.session,
            principal=ROOT,
            thumbprint="t",
            refresh=bytes(32),
            began=now,
            groups_at=now,
            expires=now + 3600,
        )
        self.assertTrue(self.store.logins.keep(row))
        token = self.token(ROOT)
        self.assertEqual((await self.call("GET", "/v1/agents", token)).status, 200)
        self.assertTrue(self.store.logins.replace(row, evolve(row, principal=fewer)))
        self.assertEqual((await self.call("GET", "/v1/agents", token)).status, 401)
        self.assertEqual((await self.call("GET", "/v1/me", token)).status, 401)
        self.assertEqual((await self.call("GET", "/v1/me", fewer)).status, 200)


class EnrolmentTests(GatewayCase):
    """An agent's way in, and out."""

    def setUp(self) -> None:
        super().setUp()
        (self.config.paths.log / "verifier").write_text(VERIFIER.encode())  # as the recorder does

    async def join_token(self, agent: str = "local") -> JoinToken:
        """Make a join token as an administrator."""
        made = await self.call("POST", "/v1/join-tokens", ROOT, {"agent": agent})
        self.assertEqual(made.status, 200, made.body)
        self.assertLess(abs(made.body["expires"] - time.time() - 900), 30)
        return JoinToken.decode(made.body["token"])

    async def enrol(self, token: JoinToken, name: str, key: ec.EllipticCurvePrivateKey) -> Reply:
        """Use a join token."""
        csr = request_certificate(key, name)
        request = EnrolRequest(name=name, secret=token.secret, csr=csr)
        return await self.call("POST", "/agents/enrol", None, asdict(request))

    async def renew(self, certificate: str, key: ec.EllipticCurvePrivateKey) -> Reply:
        """Ask for the next certificate, for the same key."""
        csr = request_certificate(key, "local")
        request = sign_renewal(key, certificate, "local", csr, time.time())
        return await self.call("POST", "/agents/renew", None, asdict(request))

    async def accepted(self, certificate: str) -> bool:
        """Ask as a worker does when an agent dials in."""
        serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        answer = await peer.call("agent_certificate", name="local", serial=f"{serial:x}")
        upper = await peer.call("agent_certificate", name="local", serial=f"0{serial:X}")
        self.assertEqual(answer, upper)
        peer.close()
        return bool(answer["ok"])

    async def test_the_whole_life_of_an_agent(self) -> None:
        token, key = await self.join_token(), new_key()
        ca = await self.call("GET", "/agents/ca")
        der = x509.load_pem_x509_certificate(ca.body.encode()).public_bytes(Encoding.DER)
        self.assertEqual(hashlib.sha256(der).hexdigest(), token.ca_sha256)
        self.assertEqual(token.url, self.url)

        first = await self.enrol(token, "local", key)
        self.assertEqual(first.status, 200, first.body)
        certificate = first.body["certificate"]
        self.assertEqual(agent_name(x509.load_pem_x509_certificate(certificate.encode())), "local")
        self.assertEqual(len(first.body["ticket_keys"]["keys"]), 1)
        self.assertNotIn('"d"', msgspec.json.encode(first.body).decode())
        self.assertTrue(await self.accepted(certificate))

        second = await self.renew(certificate, key)
        again = await self.renew(certificate, key)  # the answer was lost: asked once more
        self.assertEqual((second.status, again.status), (200, 200))
        self.assertTrue(await self.accepted(again.body["certificate"]))
        third = await self.renew(again.body["certificate"], key)
        self.assertEqual(third.status, 200)
        self.assertFalse(await self.accepted(certificate))
        self.assertEqual((await self.renew(certificate, key)).status, 403)

        listed = await self.call("GET", "/v1/agents", AUDITOR)
        self.assertEqual([a["name"] for a in listed.body["agents"]], ["local"])
        revoked = await self.call("POST", "/v1/agents/local/revoke", ROOT)
        self.assertEqual(revoked.status, 200)
        self.assertFalse(await self.accepted(third.body["certificate"]))
        self.assertEqual((await self.renew(third.body["certificate"], key)).status, 403)
        self.assertEqual((await self.enrol(await self.join_token(), "local", key)).status, 200)

    async def test_a_join_token_is_for_one_name_once(self) -> None:
        token, key = await self.join_token(), new_key()
        self.assertEqual((await self.enrol(token, "other", key)).status, 403)
        self.assertEqual((await self.enrol(token, "local", key)).status, 200)
        refused = await self.enrol(token, "local", key)
        self.assertEqual((refused.status, refused.body["error"]), (403, "refused"))

    async def test_a_renewal_needs_the_certificates_key(self) -> None:
        token, key, other = await self.join_token(), new_key(), new_key()
        certificate = (await self.enrol(token, "local", key)).body["certificate"]
        self.assertEqual((await self.renew(certificate, other)).status, 403)
        csr = request_certificate(key, "local")
        good = sign_renewal(key, certificate, "local", csr, time.time())
        changed = RenewRequest(
            certificate=certificate,
            csr=request_certificate(other, "local"),
            time=good.time,
            signature=good.signature,
        )
        answer = await self.call("POST", "/agents/renew", None, asdict(changed))
        self.assertEqual(answer.status, 403)

    async def test_malformed_enrolments(self) -> None:
        for body in ({}, {"name": 1}, {"name": "local", "secret": "x", "csr": "x"}):
            for path in ("/agents/enrol", "/agents/renew"):
                self.assertEqual((await self.call("POST", path, None, body)).status, 403)
        self.assertEqual((await self.call("GET", "/agents/enrol")).status, 405)
        self.assertEqual((await self.call("GET", "/agents/x")).status, 404)
        bad = await self.call("POST", "/v1/join-tokens", ROOT, {"agent": "Not A Name"})
        self.assertEqual(bad.status, 400)

    async def test_workers_are_told_of_a_revocation(self) -> None:
        told: list[Any] = []
        peer = await self.peer(agent_revoked=keeping(told))
        await peer.call("hello", worker="w1")
        await self.enrol(await self.join_token(), "local", new_key())
        await self.call("POST", "/v1/agents/local/revoke", ROOT)
        await peer.call("review_alive", requests=[])
        self.assertEqual([body["name"] for body in told], ["local"])
        missing = await self.call("POST", "/v1/agents/none/revoke", ROOT)
        self.assertEqual(missing.status, 404)


class TokenEndpointTests(GatewayCase):
    """``/sts``: what control adds to the token endpoint is the store."""

    async def exchange(self, token: str, **form: str) -> Reply:
        """Ask for something in exchange for a token."""
        data = {
            "grant_type": GRANT,
            "subject_token": token,
            "subject_token_type": ACCESS_TOKEN,
            "audience": target_audience("orders"),
            **form,
        }
        return await self.call("POST", "/sts/token", data=data)

    async def test_a_session_password_reaches_the_worker(self) -> None:
        token = self.token(ALICE)
        wish = {"requested_token_type": SESSION_PASSWORD, "account": "reader"}
        made = await self.exchange(token, **wish)
        self.assertEqual(made.status, 200, made.body)
        peer = await self.peer(cut=keeping([]))
        await peer.call("hello", worker="w1")
        found = await peer.call("session_password", handle=made.body["handle"])
        self.assertEqual((found["target"], found["account"]), ("orders", "reader"))
        keys = scram_keys(made.body["password"].encode(), found["salt"], found["iterations"])
        self.assertEqual(keys, (found["stored_key"], found["server_key"]))
        # With the log-in goes what it was exchanged for.
        await self.call("POST", "/v1/logins/mine/revoke", token)
        with self.assertRaises(RemoteError):
            await peer.call("session_password", handle=made.body["handle"])
        self.assertEqual((await self.exchange(token, **wish)).status, 400)

    async def test_only_targets_that_there_are(self) -> None:
        token = self.token(ALICE)
        for change in (
            {"audience": target_audience("billing")},
            {"account": "no such\naccount", "requested_token_type": SESSION_PASSWORD},
        ):
            answer = await self.exchange(token, **change)
            self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_target"))
        self.assertEqual((await self.exchange(token)).status, 200)


class ReportTests(GatewayCase):
    """What anybody, or a monitor, may ask."""

    async def test_ready_is_when_every_part_is(self) -> None:
        ready = await self.call("GET", "/readyz")
        self.assertEqual(ready.status, 503)
        self.assertTrue(ready.body["parts"]["store"]["ok"])
        problems = {n: p["detail"] for n, p in ready.body["parts"].items() if not p["ok"]}
        self.assertEqual(
            problems,
            {
                "recorder": "the recorder is not connected",
                "worker": "no worker is connected",
                "agents": "not connected: local",
            },
        )
        answers: list[Any] = [{}]

        def hello(_body: object) -> dict[str, Any]:
            return dict(answers[0])

        loop: Any = reactor
        listener = listen_own(
            loop,
            self.config.paths.recorder_socket,
            OwnPeers(lambda ready, lost: Peer({"hello": hello}, loop, ready, lost)),
        )
        self.addCleanup(listener.stopListening)
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        await peer.call(
            "agent_status",
            agents=[{"name": "local", "connected": True, "idle": 4, "targets": ["orders"]}],
        )
        ready = await self.call("GET", "/readyz")
        while ready.status != 200:  # it looks anew once a second; trial's time-out bounds it
            await deferLater(loop, 0.05)
            ready = await self.call("GET", "/readyz")
        self.assertEqual(ready.body["ready"], True, ready.body)
        targets = await self.call("GET", "/v1/targets", ALICE)
        self.assertEqual(
            targets.body["targets"],
            [
                {
                    "name": "orders",
                    "protocol": "postgres",
                    "environment": "prod",
                    "listen": "127.0.0.1:6432",
                    "agent": "local",
                    "connected": True,
                    "accounts": [],
                    "access": "open",
                    "offers": [],
                }
            ],
        )

    async def test_health_says_only_that_it_lives(self) -> None:
        self.assertEqual((await self.call("GET", "/healthz")).body["alive"], True)

    async def test_metrics(self) -> None:
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        values = {"operations_allow": 7, "operations_odd": 1, "recorder_lag_bytes": 9}
        await peer.call("metrics", values=values)
        self.docket.file(ask("x", ALICE))
        text = (await self.call("GET", "/metrics")).body
        for line in (
            'hoopgw_operations_total{decision="allow",worker="w1"} 7.0',
            'hoopgw_recorder_lag_bytes{worker="w1"} 9.0',
            'hoopgw_worker{name="operations_odd",worker="w1"} 1.0',
            'hoopgw_reviews{state="requested"} 1.0',
            "hoopgw_workers 1.0",
            "hoopgw_agents_connected 0.0",
            "hoopgw_store_up 1.0",
        ):
            self.assertIn(line + "\n", text)

    async def test_agents_are_not_for_everybody(self) -> None:
        for who in (ALICE, CAROL, AGENT):
            self.assertEqual((await self.call("GET", "/v1/agents", who)).status, 403)


class ExplainTests(GatewayCase):
    """``policy/explain``."""

    def question(self, action: str = "delete", **more: Any) -> dict[str, Any]:
        """Ask about a table."""
        table = {"type": "Postgres::Table", "id": "orders/public.orders"}
        access = {"action": f"Postgres::{action}", "resource": table}
        context = {"account": "reader", **CONTEXT}
        return {"target": "orders", "accesses": [access], "context": context, **more}

    async def test_ones_own_question(self) -> None:
        said = await self.call("POST", "/v1/policy/explain", ALICE, self.question())
        self.assertEqual(said.status, 200, said.body)
        self.assertEqual(said.body["decision"], "review", said.body)
        self.assertTrue(any("approve-delete" in line for line in said.body["lines"]))
        said = await self.call("POST", "/v1/policy/explain", ALICE, self.question("select"))
        self.assertEqual(said.body["decision"], "allow", said.body)
        said = await self.call("POST", "/v1/policy/explain", CAROL, self.question("select"))
        self.assertEqual(said.body["decision"], "deny", said.body)

    async def test_only_overseers_ask_for_others(self) -> None:
        chain = [{"id": "corp|alice", "name": "alice", "kind": "person", "groups": ["dev"]}]
        question = self.question("select", chain=chain)
        refused = await self.call("POST", "/v1/policy/explain", CAROL, question)
        self.assertEqual(refused.status, 403)
        said = await self.call("POST", "/v1/policy/explain", AUDITOR, question)
        self.assertEqual(said.body["decision"], "allow")

    async def test_malformed_questions(self) -> None:
        for change, status in (
            ({"target": "billing"}, 404),
            ({"accesses": []}, 400),
            ({"accesses": [{"action": "x"}]}, 400),
            ({"context": {"a": 1.5}}, 400),
            ({"why": ""}, 400),
        ):
            question = {**self.question(), **change}
            answer = await self.call("POST", "/v1/policy/explain", ALICE, question)
            self.assertEqual(answer.status, status, change)
        chain = self.question(chain=[{"id": "x"}])
        answer = await self.call("POST", "/v1/policy/explain", AUDITOR, chain)
        self.assertEqual(answer.status, 400)

    async def test_a_policy_that_is_not_valid_is_said_to_be(self) -> None:
        (self.folder / "policies" / "test.cedar").write_text("permit (")
        answer = await self.call("POST", "/v1/policy/explain", ALICE, self.question())
        self.assertEqual((answer.status, answer.body["error"]), (503, "unavailable"))


class LocalTests(GatewayCase):
    """Commands over the socket."""

    async def local(self, name: str, **body: Any) -> dict[str, Any]:
        """Call as the command line does, from a thread."""
        path = self.config.paths.control_socket
        return await deferToThread(call_local, path, name, **body)

    async def test_an_agent_is_let_in_and_put_out(self) -> None:
        made = await self.local("local_join_token", agent="local")
        self.assertEqual(JoinToken.decode(made["token"]).name, "local")
        for could_join in (True, False):
            put_out = await self.local("local_revoke_agent", agent="local")
            self.assertEqual(put_out, {"revoked": could_join})
        self.assertEqual(await self.local("local_agents"), {"agents": []})
        self.assertFalse((await self.local("local_status"))["ready"])
        self.assertEqual(await self.local("local_reload"), {"workers": []})

    async def test_refusals_have_a_text(self) -> None:
        for name, body in (("local_join_token", {"agent": "A B"}), ("local_join_token", {})):
            with self.assertRaises(UnavailableError) as caught:
                await self.local(name, **body)
            self.assertIn("name", str(caught.exception))
        with self.assertRaises(UnavailableError):
            await self.local("no_such_thing")

    async def test_nobody_at_the_socket(self) -> None:
        await self.stop()
        with self.assertRaises(UnavailableError) as caught:
            await self.local("local_status")
        self.assertIn("is the gateway running", str(caught.exception))

    async def test_the_socket_is_for_us_only(self) -> None:
        path = self.config.paths.control_socket
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        uids: list[int] = []
        factory = self.service._socket_port.factory  # type: ignore[union-attr]  # it listens
        self.addCleanup(setattr, factory, "_uid", factory._uid)
        peer = await self.peer()
        await peer.call("local_status")
        transport: Any = peer.transport
        uids.append(peer_uid(transport.getHandle()))
        self.assertEqual(uids, [os.geteuid()])
        factory._uid = os.geteuid() + 1  # as if another user had connected
        with self.assertRaises(UnavailableError):
            await self.local("local_status")

    async def test_something_in_the_way_is_not_removed(self) -> None:
        path = self.folder / "precious"
        loop: Any = reactor

        def make(*_arguments: object) -> Peer:
            raise AssertionError

        path.write_text("data")
        self.assertRaises(ConfigError, listen_own, loop, path, OwnPeers(make))
        self.assertEqual(path.read_text(), "data")
