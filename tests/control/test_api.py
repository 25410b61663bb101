"""Tests of the admin API over real sockets: `hoopgw.control.api_requests`, `callers`, `web`."""

from __future__ import annotations

import json
import time
from typing import Any

from attrs import evolve
from joserfc.jwk import OKPKey

from hoopgw.events import Origin, Principal
from hoopgw.identity.tokens import target_audience
from hoopgw.policy.decision import Remedy
from hoopgw.store.rows import Request
from tests.control.gateway_case import (
    AGENT,
    ALICE,
    AUDITOR,
    CAROL,
    DAVE,
    ROOT,
    ROOTS_AGENT,
    GatewayCase,
    soon,
)
from tests.store.values import DBA, ask, digest, hop, person, principal


class RequestTests(GatewayCase):
    """Approving over HTTP."""

    def file(self, text: str, by: Principal = ALICE, remedy: Remedy = DBA) -> Request:
        """File a request."""
        return self.docket.file(ask(text, by, remedy))

    async def test_listed_read_and_approved(self) -> None:
        filed = self.file("delete from orders where note = 'naïve'")
        listed = await self.call("GET", "/v1/requests?state=requested", CAROL)
        self.assertEqual([r["id"] for r in listed.body["requests"]], [filed.id])
        one = await self.call("GET", f"/v1/requests/{filed.id}", CAROL)
        self.assertEqual(one.body["text"], "delete from orders where note = 'naïve'")
        self.assertEqual(one.body["principal"]["path"], "alice")
        self.assertTrue(one.body["may_approve"])
        self.assertEqual(one.headers["Cache-Control"], "no-store")
        done = await self.call("POST", f"/v1/requests/{filed.id}/approve", CAROL, {"comment": "go"})
        self.assertEqual((done.status, done.body["state"]), (200, "approved"))
        self.assertEqual(done.body["votes"][0]["comment"], "go")
        self.assertTrue(self.docket.consume(filed.id, filed.digest))

    async def test_nobody_approves_for_oneself(self) -> None:
        """Not alice with the group, not as administrator, not for her agent; not through one."""
        boss = soon(person("alice", "dba", "admins"))
        for by in (ALICE, AGENT):
            filed = self.file("delete 1", by)
            refused = await self.call("POST", f"/v1/requests/{filed.id}/approve", boss)
            self.assertEqual((refused.status, refused.body["error"]), (403, "refused"))
            self.assertIn("oneself", refused.body["detail"])
            one = await self.call("GET", f"/v1/requests/{filed.id}", boss)
            self.assertFalse(one.body["may_approve"])
        agent = soon(evolve(AGENT, chain=(CAROL.root, AGENT.chain[1]), session=CAROL.session))
        refused = await self.call("POST", f"/v1/requests/{filed.id}/approve", agent)
        self.assertEqual(refused.status, 404)  # an agent of an approver does not even see it
        self.assertEqual(self.store.votes(filed.id), [])

    async def test_nobody_approves_for_the_job_that_one_set_off(self) -> None:
        """Carol pushed the button: she sees what the job asks, and somebody else decides."""
        job = soon(principal(hop("deploy", kind="workload")))
        behind = Origin(persons=frozenset({CAROL.root.id}), attributes=(("run_id", "7"),))
        filed = self.file("delete 1", evolve(job, origin=behind))
        path = f"/v1/requests/{filed.id}"
        one = await self.call("GET", path, CAROL)
        self.assertEqual((one.status, one.body["may_approve"]), (200, False))
        refused = await self.call("POST", f"{path}/approve", CAROL)
        self.assertEqual((refused.status, refused.body["error"]), (403, "refused"))
        done = await self.call("POST", f"{path}/approve", DAVE)
        self.assertEqual((done.status, done.body["state"]), (200, "approved"))

    async def test_an_administrator_sees_but_does_not_approve(self) -> None:
        filed = self.file("delete 1")
        self.assertEqual((await self.call("GET", f"/v1/requests/{filed.id}", ROOT)).status, 200)
        refused = await self.call("POST", f"/v1/requests/{filed.id}/approve", ROOT)
        self.assertEqual(refused.status, 403)

    async def test_what_is_not_yours_is_not_there(self) -> None:
        filed = self.file("delete 1")
        stranger = soon(person("mallory", "dev"))
        for path in ("", "/approve", "/deny", "/withdraw"):
            method = "POST" if path else "GET"
            answer = await self.call(method, f"/v1/requests/{filed.id}{path}", stranger)
            self.assertEqual(answer.status, 404, path)
        listed = await self.call("GET", "/v1/requests", stranger)
        self.assertEqual(listed.body, {"requests": [], "complete": True})
        self.assertEqual((await self.call("GET", "/v1/requests/r-none", CAROL)).status, 404)

    async def test_too_late(self) -> None:
        filed = self.file("delete 1")
        await self.call("POST", f"/v1/requests/{filed.id}/deny", CAROL, {"comment": "no"})
        late = await self.call("POST", f"/v1/requests/{filed.id}/approve", DAVE)
        self.assertEqual((late.status, late.body["error"]), (409, "too_late"))

    async def test_the_requester_gives_a_reason_and_withdraws(self) -> None:
        filed = self.file("delete 1", AGENT, evolve(DBA, prompt="which incident?"))
        path = f"/v1/requests/{filed.id}"
        refused = await self.call("POST", f"{path}/approve", CAROL)
        self.assertEqual(refused.status, 403)
        given = await self.call("POST", f"{path}/reason", AGENT, {"reason": "INC-1"})
        self.assertEqual(given.body["reason"], "INC-1")
        refused = await self.call("POST", f"{path}/withdraw", CAROL)
        self.assertEqual(refused.status, 403)
        ended = await self.call("POST", f"{path}/withdraw", ALICE)
        self.assertEqual(ended.body["state"], "withdrawn")

    async def test_bytes_that_are_no_text_are_shown_exactly(self) -> None:
        filed = self.docket.file(evolve(ask("x", ALICE, DBA), text=b"\xff\x00", digest=digest("y")))
        one = await self.call("GET", f"/v1/requests/{filed.id}", CAROL)
        self.assertEqual((one.body["text"], one.body["text_base64"]), ("\\xff\x00", "/wA="))


class CallerTests(GatewayCase):
    """Who gets in."""

    async def test_without_a_good_token_nobody(self) -> None:
        good = self.token(ALICE)
        header, body, signature = good.split(".")
        for token in (
            None,
            "",
            "nonsense",
            f"{header}.{body}.{signature[:-4]}AAAA",
            self.token(ALICE, target_audience("orders")),
        ):
            answer = await self.call("GET", "/v1/me", token)
            self.assertEqual(answer.status, 401, token)
            self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
        self.assertEqual((await self.call("GET", "/v1/me", good)).body["path"], "alice")

    async def test_a_bound_token_needs_its_key_each_time(self) -> None:
        key, other = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
        token = self.token(ALICE, key=key)
        self.assertEqual((await self.call("GET", "/v1/me", token)).status, 401)
        self.assertEqual((await self.call("GET", "/v1/me", token, key=other)).status, 401)
        self.assertEqual((await self.call("GET", "/v1/me", token, key=key)).status, 200)

    async def test_a_proof_is_good_once(self) -> None:
        key = OKPKey.generate_key("Ed25519")
        token = self.token(ALICE, key=key)
        from hoopgw.identity.dpop import make_proof

        proof = make_proof(key, "GET", f"{self.url}/v1/me", time.time(), token)
        headers = {"DPoP": proof}
        first = await self.call("GET", "/v1/me", token, headers=headers)
        again = await self.call("GET", "/v1/me", token, headers=headers)
        self.assertEqual((first.status, again.status), (200, 401))

    async def test_a_revoked_login_is_out(self) -> None:
        revoked = await self.call("POST", "/v1/logins/mine/revoke", ALICE)
        self.assertEqual(revoked.status, 200)
        self.assertEqual((await self.call("GET", "/v1/me", ALICE)).status, 401)
        other = await self.call("POST", f"/v1/logins/{CAROL.session}/revoke", DAVE)
        self.assertEqual(other.status, 403)
        admin = await self.call("POST", f"/v1/logins/{CAROL.session}/revoke", ROOT)
        self.assertEqual(admin.status, 200)
        self.assertEqual((await self.call("GET", "/v1/me", CAROL)).status, 401)

    async def test_rights_are_those_of_persons(self) -> None:
        """The agent of an administrator is no administrator."""
        me = [(await self.call("GET", "/v1/me", w)).body for w in (ROOT, AUDITOR, ROOTS_AGENT)]
        self.assertEqual([m["admin"] for m in me], [True, False, False])
        self.assertEqual([m["auditor"] for m in me], [True, True, False])
        for who in (ALICE, AUDITOR, ROOTS_AGENT):
            refused = await self.call("POST", "/v1/join-tokens", who, {"agent": "local"})
            self.assertEqual(refused.status, 403)

    async def test_guessing_is_slowed_down(self) -> None:
        statuses = [(await self.call("GET", "/v1/me", "guess")).status for _ in range(70)]
        self.assertEqual(statuses[0], 401)
        self.assertEqual(statuses[-1], 429)


class WebTests(GatewayCase):
    """Requests that are not as they should be."""

    async def error(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return status and error of a call by carol."""
        answer = await self.call(method, path, CAROL, **options)
        return answer.status, answer.body["error"]

    async def test_unknown_paths_methods_and_arguments(self) -> None:
        bad = (400, "invalid_request")
        self.assertEqual(await self.error("GET", "/v1/nothing"), (404, "not_found"))
        self.assertEqual(await self.error("GET", "/v1/requests//"), (404, "not_found"))
        self.assertEqual(await self.error("DELETE", "/v1/requests"), (405, "method_not_allowed"))
        self.assertEqual(await self.error("GET", "/v1/requests?state=open"), bad)
        self.assertEqual(await self.error("GET", "/v1/requests?limit=0"), bad)
        self.assertEqual(await self.error("GET", "/v1/requests?limit=9&limit=10"), bad)
        self.assertEqual(await self.error("GET", "/v1/requests?sort=id"), bad)
        filed = self.docket.file(ask("x", ALICE, DBA))
        vote = f"/v1/requests/{filed.id}/deny"
        self.assertEqual(await self.error("POST", vote, body={"comment": 7}), bad)
        self.assertEqual(await self.error("POST", vote, body={"kommentar": ""}), bad)
        self.assertEqual(await self.error("POST", vote, body=["x"]), bad)

    async def test_bodies_that_are_no_json(self) -> None:
        for data in (b"{", b"\xff", b'{"comment": "\\ud800"}', b"[" * 100_000):
            headers = {"Content-Type": "application/json"}
            answer = await self.call(
                "POST", "/v1/requests/x/deny", CAROL, data=data, headers=headers
            )
            self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_request"))
        answer = await self.call("POST", "/v1/requests/x/deny", CAROL, data=b"comment=x")
        self.assertEqual(answer.status, 415)

    async def test_a_body_that_is_too_long_is_not_waited_for(self) -> None:
        head = b"POST /v1/requests/x/deny HTTP/1.1\r\nHost: x\r\n"
        said = await self.raw(head + b"Content-Length: 99999999\r\n\r\nabc")
        self.assertTrue(said.startswith(b"HTTP/1.1 413"), said[:80])
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        sent = await self.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20)
        self.assertIn(sent[:12], (b"HTTP/1.1 413", b""))

    async def test_two_lengths_are_refused(self) -> None:
        said = await self.raw(
            b"POST /v1/me HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
        )
        self.assertTrue(said.startswith(b"HTTP/1.1 400"), said[:80])

    async def test_a_fault_of_ours_shows_nothing_of_itself(self) -> None:
        def broken(*_arguments: object) -> None:
            raise ZeroDivisionError("secret detail")

        self.patch(type(self.store), "request_ids", broken)
        answer = await self.call("GET", "/v1/requests", CAROL)
        self.assertEqual((answer.status, answer.body["error"]), (500, "internal"))
        self.assertNotIn("secret", json.dumps(answer.body))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((await self.call("GET", "/healthz")).status, 200)

    async def test_a_store_that_is_gone_is_503(self) -> None:
        self.store._db.connection.execute("PRAGMA query_only = ON")
        filed = await self.call("POST", "/v1/logins/mine/revoke", CAROL)
        self.assertEqual((filed.status, filed.body["error"]), (503, "unavailable"))
        ready = await self.call("GET", "/readyz")
        self.assertFalse(ready.body["parts"]["store"]["ok"])
        self.store._db.connection.execute("PRAGMA query_only = OFF")
