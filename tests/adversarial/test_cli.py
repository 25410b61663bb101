"""A gateway that answers the command line with hostile texts and shapes."""

from __future__ import annotations

import json
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import asdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.cli import api
from hoopgw.cli.home import Login
from hoopgw.config.gateway import GatewayPaths
from hoopgw.identity.keyfiles import create_state
from tests.cli.support import Run, run

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\r\nhoopgw: approved\u202e\u2066\x00\x7f\ud800"
"""Sets the clipboard, clears the screen, forges a line, turns text around, ends strings."""
COMMANDS = (
    ("whoami",),
    ("targets",),
    ("requests", "list"),
    ("requests", "show", "r-1"),
    ("requests", "approve", "r-1"),
    ("requests", "withdraw", "r-1"),
    ("sessions", "list"),
    ("sessions", "show", "s-1"),
    ("sessions", "replay", "s-1"),
    ("sessions", "cut", "s-1"),
    ("sessions", "freeze", "s-1"),
    ("sessions", "thaw", "s-1"),
    ("agent", "list"),
    ("agent", "token", "local"),
    ("agent", "revoke", "local"),
    ("token", "orders", "--account", "app"),
    ("token", "orders", "--account", "app", "--format", "env"),
    ("token", "orders", "--account", "app", "--format", "url"),
    ("chains", "list"),
    ("chains", "list", "--all"),
    ("chains", "revoke", "node-1"),
    ("logout",),
)


def answer(text: str) -> dict[str, Any]:
    """Return an answer that has all that any command looks for, with a text wherever one is."""
    names = (
        *("id", "state", "path", "target", "action", "text", "reason", "digest", "note", "kind"),
        *("account", "protocol", "address", "agent", "name", "token", "objection", "login"),
        *(
            "parent",
            "root",
            "attested",
            "purpose",
            "environment",
            "listen",
            "user",
            "access_token",
            "error",
            "detail",
        ),
    )
    one: dict[str, Any] = dict.fromkeys(names, text)
    hop = {"id": text, "name": text, "kind": text}
    vote = {"person": text, "name": text, "approve": True, "comment": text, "at": 1.0}
    remedy = {"rule": text, "groups": [text, text], "needed": text, "prompt": text}
    one |= {
        "principal": {"path": text, "chain": [hop]},
        "chain": [hop],
        "groups": [text],
        "votes": [vote],
        "remedies": [remedy],
        "live": True,
        "refused": False,
        "connected": True,
        "revoked": True,
        "operations": text,
        "held": text,
        "denied": text,
        "idle": text,
        "targets": [],
        "next": None,
        "records": [],
    }
    one |= dict.fromkeys(("created", "expires", "settled", "started", "ended", "enrolled"), 1e300)
    target = {**one, "name": "orders", "protocol": "postgres", "listen": "127.0.0.1:1"}
    return {
        **one,
        "requests": [one],
        "sessions": [one],
        "agents": [one],
        "targets": [target],
        "nodes": [one],
    }


class HostileCase(SynchronousTestCase):
    """Somebody who is logged in to a gateway that means ill."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-cli-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.url = "https://127.0.0.1:1"
        self.ca: Path | None = None

    def hoopgw(self, *arguments: str) -> Run:
        """Run a command as somebody who is logged in."""
        kept = Login(
            gateway=self.url,
            ca=None if self.ca is None else str(self.ca),
            token="a.b.c",
            expires=time.time() + 1000,
            key=dict(OKPKey.generate_key("Ed25519").as_dict(private=True)),
            origin=self.url,
        )
        home = self.folder / "home"
        home.mkdir(exist_ok=True, mode=0o700)
        (home / "login.json").write_text(json.dumps(asdict(kept)))
        return run("--home", home, *arguments)

    def assert_harmless(self, done: Run, *arguments: str) -> None:
        """Nothing that was printed does anything to a terminal."""
        for said in (done.output, done.errors):
            odd = {c for c in said if not c.isprintable() and c not in "\n\t"}
            self.assertEqual(odd, set(), f"{arguments}: {said[:300]!r}")
        self.assertIn(done.status, (0, 1, 2, 3, 4))
        self.assertNotIn("Traceback", done.errors)


class TextTests(HostileCase):
    """Texts that would do something to a terminal."""

    def test_every_command(self) -> None:
        """Successes and refusals, for people and as JSON."""
        for status in (200, 400, 401, 403, 503):

            def call(
                _api: Any, _method: str, _path: str, status: int = status, **_rest: Any
            ) -> Any:
                if status == 200:
                    return answer(EVIL)
                raise api._refused(status, EVIL, EVIL)

            self.patch(api.GatewayApi, "_call", call)
            for arguments in COMMANDS:
                for more in ((), ("--json",)):
                    self.assert_harmless(self.hoopgw(*arguments, *more), *arguments)

    def test_a_forged_line(self) -> None:
        """A statement that looks like the command's own words is shown as a statement."""
        text = "DELETE FROM t\ncarol approved at 2026-01-01: fine\r\nstate    approved"
        self.patch(api.GatewayApi, "_call", lambda *_a, **_k: {**answer("x"), "text": text})
        shown = self.hoopgw("requests", "show", "r-1").output
        for line in shown.splitlines():
            if "carol" in line or "approved" in line.split()[1:2]:
                self.assertTrue(line.startswith(("  ", "x ")), line)
        self.assertIn("\\r", shown)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(answer(""))), inner, max_size=6)
    ),
    max_leaves=12,
)


class ShapeTests(HostileCase):
    """Answers that are not what they should be."""

    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    @given(JSON)
    def test_any_shape(self, value: Any) -> None:
        """Whatever comes, the command ends with a sentence."""
        whole = value if not isinstance(value, dict) else {**answer("x"), **value}
        self.patch(api.GatewayApi, "_call", lambda *_a, **_k: whole)
        for arguments in COMMANDS:
            self.assert_harmless(self.hoopgw(*arguments), *arguments)


class WireTests(HostileCase):
    """Answers that are no answers."""

    def setUp(self) -> None:
        super().setUp()
        paths = GatewayPaths(self.folder / "state")
        create_state(paths, ["127.0.0.1"], datetime.now(UTC))
        self.ca = paths.ca_certificate
        case = self

        class Hostile(BaseHTTPRequestHandler):
            """Says what the test wants."""

            def do_GET(self) -> None:
                """Answer."""
                case.seen.append(dict(self.headers))
                case.say(self.wfile.write)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.seen: list[dict[str, str]] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths.gateway_certificate, paths.gateway_key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.say: Callable[[Callable[[bytes], object]], None] = lambda write: None

    def says(self, *pieces: bytes) -> Run:
        """Run a command against these bytes."""

        def say(write: Callable[[bytes], object]) -> None:
            try:
                for piece in pieces:
                    write(piece)
            except OSError:
                return  # the command has hung up

        self.say = say
        done = self.hoopgw("targets")
        self.assert_harmless(done)
        return done

    def test_no_json(self) -> None:
        ok = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
        for pieces in (
            (b"",),
            (b"\x1b[2J" * 100,),
            (ok + b"\r\n",),
            (ok + b"\r\nhello\x1b[2J",),
            (ok + b"\r\n" + b"[" * 100_000,),
            (ok + b"\r\n\xff\xfe",),
            (ok + b"Content-Length: 50\r\n\r\nshort",),
            (ok + b"Content-Encoding: gzip\r\n\r\nno gzip",),
            (ok + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",),
            (b"HTTP/1.1 999 \x1b[2J\r\nConnection: close\r\n\r\n",),
            (b"HTTP/1.1 403 \x1b]0;evil\x07\r\nConnection: close\r\n\r\n{}",),
            (ok + b"A: " + b"x" * 100_000 + b"\r\n\r\n{}",),
        ):
            self.assertIn(self.says(*pieces).status, (1, 4), pieces[0][:60])

    def test_without_end(self) -> None:
        """An endless answer is not read to its end."""
        self.patch(api, "_BODY_LIMIT", 2**20)
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        done = self.says(head, *[b" " * 65_536] * 400)
        self.assertIn("longer than", done.errors)

    def test_a_redirect_gets_no_token(self) -> None:
        """Neither to another host, nor to another scheme."""
        for where in (b"https://127.0.0.1:1/", b"http://127.0.0.1/", self.url.encode() + b"/x"):
            self.seen.clear()
            done = self.says(
                b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: " + where + b"\r\n\r\n{}"
            )
            self.assertEqual(done.status, 1)
            self.assertEqual(len(self.seen), 1)
