"""Attacks on the control listener: hostile HTTP, and tokens that are not for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from joserfc.jwk import OKPKey
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from hoopgw.control import health, site, web
from hoopgw.events import Principal
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner, target_audience
from hoopgw.identity.urns import ACCESS_TOKEN, GRANT
from tests.control.gateway_case import ALICE, CAROL, DAVE, ROOT, GatewayCase, soon
from tests.store.values import DBA, ask, person
from tests.support.processes import PATIENCE, SOON
from tests.support.waiting import eventually


class RawCase(GatewayCase):
    """Bytes over TLS."""

    def connection(self, stack: ExitStack) -> ssl.SSLSocket:
        """Connect, and shake hands."""
        context = ssl.create_default_context(cafile=str(self.config.paths.ca_certificate))
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=60))
        return stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))

    async def gone(self) -> None:
        """Every connection has ended, on the gateway's side too."""
        connections = self.service._connections
        assert connections is not None
        await eventually(reactor, lambda: not connections.protocols)

    async def alive(self) -> None:
        """Somebody else is served as ever."""
        self.assertEqual((await self.call("GET", "/v1/me", CAROL)).status, 200)


class SlowTests(RawCase):
    """Peers that take their time."""

    def setUp(self) -> None:
        self.patch(web, "IDLE_TIMEOUT", 0.5)
        self.patch(web.BoundedChannel, "abortTimeout", 0.2)
        super().setUp()

    async def test_a_byte_now_and_then(self) -> None:
        """In the first line, in the headers, in the body: it ends soon after the deadline."""
        line = b"POST /v1/requests/x/deny HTTP/1.1\r\n"
        head = line + b"Host: x\r\nContent-Length: 1000\r\n\r\n"
        for start in (b"", line, head):
            with ExitStack() as stack:
                connection = await deferToThread(self.connection, stack)
                connection.sendall(start)
                born = await deferToThread(self._drip, connection)
                self.assertLess(born, SOON)
        await self.alive()

    def _drip(self, connection: ssl.SSLSocket) -> float:
        began = time.monotonic()
        connection.settimeout(0.1)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < PATIENCE:
                connection.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(4096):
                        break
        return time.monotonic() - began

    async def test_nothing_at_all(self) -> None:
        """Neither without a handshake, nor behind it."""

        def wait(secured: bool) -> bytes:
            with ExitStack() as stack:
                where = ("127.0.0.1", self.port)
                plain = stack.enter_context(socket.create_connection(where, timeout=60))
                with contextlib.suppress(ConnectionResetError):
                    return (self.connection(stack) if secured else plain).recv(1)
            return b""

        for secured in (False, True):
            self.assertEqual(await deferToThread(wait, secured), b"")

    async def test_who_never_reads(self) -> None:
        """An answer that nobody takes is not kept for ever."""
        self.patch(self.service.health, "_last", {"ready": True, "filler": "x" * (32 * 2**20)})
        self.patch(health, "FRESH", float("inf"))
        with ExitStack() as stack:
            connection = await deferToThread(self.connection, stack)
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await self.gone()


class ManyTests(RawCase):
    """Connections without end."""

    async def test_one_address_cannot_have_all(self) -> None:
        self.patch(web, "CONNECTIONS_LIMIT_ADDRESS", 5)
        with ExitStack() as stack:
            for _ in range(5):
                await deferToThread(self.connection, stack)
            with self.assertRaises(OSError):
                await deferToThread(self.connection, stack)
        await self.gone()
        await self.alive()

    async def test_nor_can_all(self) -> None:
        self.patch(web, "CONNECTIONS_LIMIT", 3)
        with ExitStack() as stack:
            for _ in range(3):
                await deferToThread(self.connection, stack)
            with self.assertRaises(OSError):
                await deferToThread(self.connection, stack)
        await self.gone()
        await self.alive()


class MalformedTests(RawCase):
    """Requests that are none."""

    def setUp(self) -> None:
        self.patch(web, "IDLE_TIMEOUT", 1.0)  # some of them are never whole
        super().setUp()

    async def test_each_is_refused_and_nothing_breaks(self) -> None:
        token = self.token(CAROL).encode()
        for data in (
            b"\0" * 100 + b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /v1/me\r\n\r\n",
            b"GET /v1/me HTTP/9.9\r\n\r\n",
            b"GET /v1/me HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /v1/me HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n",
            b"GET /v1/me HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
            b"GET /v1/me HTTP/1.1\r\n" + b"A: b\r\n" * 2_000 + b"\r\n",
            b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /v1/me HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /v1/me HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
            b"POST /v1/me HTTP/1.1\r\nContent-Length: 1_0\r\n\r\nx",
            b"POST /v1/me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            b"POST /v1/me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 50 + b"\r\n",
            b"POST /v1/me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 99_999,
            b"POST /v1/me HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            (
                b"POST /v1/me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
                b"Content-Length: 5\r\n\r\n0\r\n\r\n"
            ),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x00\x05hello",
            b"GET /v1/me HTTP/1.1\r\nAuthorization: Bearer "
            + token
            + b"\r\nAuthorization: Bearer "
            + token
            + b"\r\nConnection: close\r\n\r\n",
        ):
            said = await self.raw(data)
            self.assertNotIn(b" 200 ", said[:20], data[:80])
            self.assertNotIn(b" 500 ", said[:20], data[:80])
        await self.alive()

    async def test_smuggling(self) -> None:
        """What follows a request with two lengths is never taken for another."""
        filed = self.docket.file(ask("delete 1", ALICE, DBA))
        vote = (
            f"POST /v1/requests/{filed.id}/deny HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {self.token(CAROL)}\r\n\r\n"
        ).encode()
        for head in (
            (
                b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            (
                b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n"
                b"Content-Length: %d\r\n\r\n"
            ),
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length : %d\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n X: y\r\n\r\n",
        ):
            await self.raw(head % len(vote) + vote + b"\r\n")
        self.assertEqual(self.store.votes(filed.id), [])

    async def test_pipelined(self) -> None:
        """Each is answered for itself, in order, and a refusal in between changes no other."""
        good, bad = self.token(CAROL), "nonsense"
        request = "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{}\r\n"
        sent = "".join(
            request.format(token, "Connection: close\r\n" if last else "")
            for token, last in ((good, False), (bad, False), (good, False), (bad, True))
        )
        said = (await self.raw(sent.encode())).decode()
        codes = [part.split(" ", 1)[0] for part in said.split("HTTP/1.1 ")[1:]]
        self.assertEqual(codes, ["200", "401", "200", "401"])
        await self.raw(("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3_000).encode())
        await self.alive()

    async def test_paths(self) -> None:
        """No way around what a path means."""
        filed = self.docket.file(ask("delete 1", ALICE, DBA))
        for path in (
            "//v1/me",
            "/v1//me",
            "/v1/./me",
            "/v1/x/../me",
            "/v1/me/",
            "/v1/me%00",
            "/v1/%6De/..",
            "/v1;x/me",
            "/V1/me",
            "/healthz/../v1/me",
            f"/v1/requests/{filed.id}%2Fdeny",
            f"/v1/requests/%2e%2e/requests/{filed.id}",
            f"/v1/requests/{filed.id}%20",
            "/v1/sessions/..%2f..%2fkeys%2flog.key/records",
            "/v1/sessions/" + quote("' OR 1=1 --") + "/records",
            "/v1/sessions/" + "x" * 5_000,
            "/v1/requests/%ff%fe",
            "/agents/ca/../../v1/me",
            "/.well-known/../v1/me",
            "*",
        ):
            line = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head = f"{line}Authorization: Bearer {self.token(CAROL)}\r\n\r\n"
            said = await self.raw(head.encode())
            self.assertNotIn(b'"carol"', said, path)
            self.assertNotIn(b" 500 ", said[:20], path)
            self.assertNotIn(b"Traceback", said)
        self.assertEqual(self.store.votes(filed.id), [])

    async def test_methods(self) -> None:
        """What changes something is a POST, spelt so, and nothing else is."""
        filed = self.docket.file(ask("delete 1", ALICE, DBA))
        for method in (
            "GET",
            "HEAD",
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "post",
            "POSTX",
        ):
            line = f"{method} /v1/requests/{filed.id}/deny HTTP/1.1\r\nHost: x\r\n"
            head = f"{line}Connection: close\r\nAuthorization: Bearer {self.token(CAROL)}\r\n\r\n"
            said = await self.raw(head.encode())
            self.assertIn(said[9:12], (b"400", b"405", b"501"), method)
        for header in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
            await self.call("GET", f"/v1/requests/{filed.id}", CAROL, headers={header: "POST"})
        for path in ("/sts/token", "/agents/enrol", "/agents/renew", "/v1/join-tokens"):
            self.assertEqual((await self.call("GET", path, ROOT)).status, 405, path)
        self.assertEqual(self.store.votes(filed.id), [])

    async def test_json(self) -> None:
        """Whatever is in the body, the answer is 400 or what the field says."""
        path = f"/v1/requests/{self.docket.file(ask('x', ALICE, DBA)).id}/deny"
        headers = {"Content-Type": "application/json"}
        deep = b'{"comment":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        for data in (
            b"null",
            b"true",
            b'"x"',
            b"[]",
            b'{"comment": null}',
            b'{"comment": {"a": 1}}',
            b'{"comment": 1e400}',
            b'{"comment": ' + b"9" * 5_000 + b"}",
            b'{"comment": NaN}',
            b'{"comment": "a\x00b"}',
            b'{"comment": "\\ud83d"}',
            b'\xef\xbb\xbf{"comment": "x"}',
            b'{"comment": "x"} {"comment": "y"}',
            b'{"comment": "' + b"x" * 5_000 + b'"}',
            b'{"__proto__": {}}',
            deep,
            "{“comment”: “x”}".encode(),
            '{"comment": "x"}'.encode("utf-16"),
        ):
            answer = await self.call("POST", path, CAROL, data=data, headers=headers)
            self.assertEqual((answer.status, answer.body["error"]), (400, "invalid_request"), data)

    async def test_words_are_kept_without_what_a_terminal_would_do(self) -> None:
        """A comment with escapes, bidirectional marks and lines is one harmless line."""
        filed = self.docket.file(ask("x", ALICE, DBA))
        comment = "ok\x1b]0;owned\x07\x1b[2J\u202e evil \u2066\r\nDENIED by root\x00"
        answer = await self.call(
            "POST", f"/v1/requests/{filed.id}/deny", CAROL, {"comment": comment}
        )
        self.assertEqual(answer.status, 200)
        kept = self.store.votes(filed.id)[0].comment + answer.body["note"]
        self.assertTrue(kept.isprintable(), repr(kept))


class ForeignTests(RawCase):
    """Tokens that are good, but not here, not now or not for whoever shows them."""

    def other_signer(self) -> TokenSigner:
        """Return somebody who signs as we do, with another key."""
        return TokenSigner(OKPKey.generate_key("Ed25519"), self.url)

    def signed(self, signer: TokenSigner, who: Principal, **changes: Any) -> str:
        """Sign a token."""
        now = time.time()
        values = {"audience": GATEWAY, "issued": now, "expires": now + 60.0, **changes}
        return signer.sign(GatewayToken(principal=who, confirmation=None, **values))

    async def test_tokens(self) -> None:
        now, signer = time.time(), self.service.signer
        key = OKPKey.generate_key("Ed25519")
        good = self.token(ROOT)
        head, body, signature = good.split(".")
        other = TokenSigner(OKPKey.generate_key("Ed25519"), "https://other.example")
        for name, token in {
            "of a target": self.signed(signer, ROOT, audience=target_audience("orders")),
            "expired": self.signed(signer, ROOT, issued=now - 500, expires=now - 60),
            "of the future": self.signed(signer, ROOT, issued=now + 500, expires=now + 900),
            "of another key": self.signed(self.other_signer(), ROOT),
            "of another gateway": self.signed(other, ROOT),
            "bound, without its proof": self.token(ROOT, key=key),
            "without a signature": f"{head}.{body}.",
            "in two parts": f"{head}.{body}",
            "in another spelling": f"{head}.{body}.{signature}=",
            "with space": f"{head}. {body}.{signature}",
            "long": good + "A" * 10_000,
        }.items():
            answer = await self.call("POST", "/v1/join-tokens", token, {"agent": "x"})
            self.assertIn(answer.status, (400, 401), name)

    async def test_schemes(self) -> None:
        """A token is taken as bearer, and nowhere else."""
        token = self.token(ROOT)
        for headers in (
            {"Authorization": f"Basic {token}"},
            {"Authorization": token},
            {"Authorization": f"Bearer{token}"},
            {"Cookie": f"token={token}; Authorization={token}"},
            {"X-Forwarded-User": "root", "X-Remote-User": "root", "X-Forwarded-For": "127.0.0.1"},
            {"Proxy-Authorization": f"Bearer {token}"},
        ):
            answer = await self.call("GET", "/v1/agents", None, headers=headers)
            self.assertEqual(answer.status, 401, headers)
        for path in (f"/v1/agents?access_token={token}", f"/v1/agents?token={token}"):
            self.assertEqual((await self.call("GET", path)).status, 401)
        form = {"access_token": token}
        self.assertEqual((await self.call("POST", "/v1/join-tokens", None, form)).status, 401)

    async def test_from_another_origin(self) -> None:
        """A page elsewhere gets no permission, and without a token nothing happens."""
        filed = self.docket.file(ask("x", ALICE, DBA))
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for method in ("OPTIONS", "GET", "POST"):
            for who in (None, CAROL):
                answer = await self.call(method, "/v1/me", who, headers=headers)
                names = {name.lower() for name in answer.headers}
                self.assertFalse([name for name in names if name.startswith("access-control")])
        form = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": "https://evil.example",
        }
        path = f"/v1/requests/{filed.id}/approve"
        answer = await self.call("POST", path, headers=form, data=b"a=b")
        self.assertIn(answer.status, (401, 415))
        self.assertEqual(self.store.votes(filed.id), [])


class GuessTests(RawCase):
    """Tokens that are none, one after the other."""

    def setUp(self) -> None:
        self.patch(site, "_PER_SECOND", 0.01)  # sixty are too many, however slow the machine is
        super().setUp()

    async def test_good_tokens_are_served_while_others_guess(self) -> None:
        """From the same address, as behind a proxy or on a jump host."""
        guesses = [(await self.call("GET", "/v1/me", "guess")).status for _ in range(60)]
        self.assertEqual(guesses[-1], 429)
        for who in (CAROL, DAVE):
            self.assertEqual((await self.call("GET", "/v1/me", who)).status, 200)


class TokenEndpointTests(RawCase):
    """``/sts/token``."""

    async def form(self, **fields: str) -> tuple[int, Any]:
        """Ask for a token."""
        answer = await self.call("POST", "/sts/token", None, data=fields)
        return answer.status, answer.body

    async def test_what_is_no_subject(self) -> None:
        """Tokens of targets, bound ones, revoked ones and foreign ones lead to nothing."""
        key = OKPKey.generate_key("Ed25519")
        self.store.revoke("login-gone", time.time() + 1_000)
        gone = Principal(chain=CAROL.chain, session="login-gone", expires=CAROL.expires)
        other = TokenSigner(OKPKey.generate_key("Ed25519"), self.url)
        now = time.time()
        foreign = other.sign(
            GatewayToken(
                principal=CAROL, audience=GATEWAY, issued=now, expires=now + 60, confirmation=None
            )
        )
        for name, token in {
            "of a target": self.token(CAROL, target_audience("orders")),
            "bound": self.token(CAROL, key=key),
            "revoked": self.token(gone),
            "of another key": foreign,
            "empty": "",
            "long": "a.b." + "c" * 60_000,
            "none": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.",
        }.items():
            status, body = await self.form(
                grant_type=GRANT,
                subject_token=token,
                subject_token_type=ACCESS_TOKEN,
                audience=target_audience("orders"),
            )
            self.assertEqual(status, 400, name)
            self.assertNotIn("access_token", body)

    async def test_a_narrow_token_is_never_widened(self) -> None:
        """A token for one target opens no other, and lasts no longer than its log-in."""
        now, who = time.time(), soon(person("carol", "dba"), 5.0)
        login = GatewayToken(
            principal=who, audience=GATEWAY, issued=now, expires=now + 5, confirmation=None
        )
        status, body = await self.form(
            grant_type=GRANT,
            subject_token=self.service.signer.sign(login),
            subject_token_type=ACCESS_TOKEN,
            audience=target_audience("orders"),
        )
        self.assertEqual(status, 200)
        self.assertLessEqual(body["expires_in"], 5)
        for audience in (GATEWAY, target_audience("orders"), target_audience("other")):
            status, _body = await self.form(
                grant_type=GRANT,
                subject_token=body["access_token"],
                subject_token_type=ACCESS_TOKEN,
                audience=audience,
            )
            self.assertEqual(status, 400)

    async def test_hostile_forms(self) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for body in (
            b"&" * 10_000,
            b"a=b&" * 5_000,
            b"grant_type=%ff%fe",
            b"grant_type=a&grant_type=b",
            b"%00=%00",
            b"=" * 60_000,
            b"\xff" * 1_000,
            b"subject_token=" + b"%" * 60_000,
        ):
            answer = await self.call("POST", "/sts/token", data=body, headers=headers)
            self.assertEqual(answer.status, 400, body[:40])
            known = ("invalid_request", "unsupported_grant_type")
            self.assertIn(answer.body["error"], known, body[:40])
        said = await self.raw(
            b"POST /sts/token HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
        )
        self.assertEqual(said[:12], b"HTTP/1.1 413")
