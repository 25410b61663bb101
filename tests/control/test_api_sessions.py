"""Tests for `hoopgw.control.api_sessions`: a small real log, and who may read what of it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from typing import Any

from attrs import evolve

from hoopgw.control import api_sessions
from hoopgw.events import Origin, Principal
from hoopgw.recording.index import SessionIndex
from hoopgw.recording.records import AnyRecord, HopRecord, SessionStarted, decode, encode
from hoopgw.store.rows import SessionHead
from tests.control.gateway_case import (
    AGENT,
    ALICE,
    AUDITOR,
    CAROL,
    ROOT,
    TOML,
    GatewayCase,
    keeping,
    soon,
)
from tests.recording.samples import START, ended, fill, intent, opened, result
from tests.store.values import person

SSH = """
[[listeners]]
protocol = "ssh"
listen = "127.0.0.1:6422"
[[targets]]
name = "web1"
protocol = "ssh"
agent = "local"
"""


def begun(session: str, *hops: str, name: str = "") -> SessionStarted:
    """Make the beginning of a session of a chain, alice's if not told otherwise."""
    chain = [
        HopRecord(f"corp|{hop}", name or hop, "agent" if n else "person", [])
        for n, hop in enumerate(hops or ("alice",))
    ]
    return SessionStarted(
        session, 0, START, "postgres", "orders", "reader", chain, "sid-1", "token", "::1", "local"
    )


class SessionApiTests(GatewayCase):
    """Alice's session ``a``, which is over, and others."""

    toml = TOML + SSH

    def setUp(self) -> None:
        super().setUp()
        self.write(
            [
                begun("a"),
                intent("a", 1, b"select '\xff'"),
                result("a", 2, 1),
                ended("a", 3),
                begun("b", "carol"),
                begun("c", "alice", "planner"),
                begun("x", "mallory", name="corp|alice"),
            ]
        )

    def write(self, records: Iterable[AnyRecord]) -> None:
        """Write a log as the recorder does."""
        log = opened(self.config.paths.log).writer
        for record in records:
            fill(log, [encode(record)])
        index = SessionIndex.open(self.config.paths.log, log.size)
        index.close()
        log.close()

    def open(
        self, session: str, worker: str = "w1", who: object = ALICE, protocol: str = "postgres"
    ) -> None:
        """Let a session live."""
        assert isinstance(who, type(ALICE))
        self.store.open_session(
            SessionHead(
                id=session,
                worker=worker,
                principal=who,
                target="orders",
                protocol=protocol,
                account="reader",
                address="::1",
                opened=time.time(),
            )
        )

    async def ids(self, who: object, query: str = "") -> list[str]:
        """Return which sessions are listed."""
        assert isinstance(who, type(ALICE))
        answer = await self.call("GET", f"/v1/sessions{query}", who)
        self.assertEqual(answer.status, 200, answer.body)
        return sorted(session["id"] for session in answer.body["sessions"])

    async def test_each_sees_its_own_and_auditors_all(self) -> None:
        """Also where somebody calls himself by alice's id."""
        self.assertEqual(await self.ids(ALICE), ["a", "c"])
        self.assertEqual(await self.ids(CAROL), ["b"])
        self.assertEqual(await self.ids(AGENT), [])
        self.assertEqual(await self.ids(AUDITOR), ["a", "b", "c", "x"])
        self.assertEqual(await self.ids(AUDITOR, "?target=billing"), [])
        self.assertEqual(await self.ids(AUDITOR, "?limit=2"), ["c", "x"])

    async def test_live_ones_are_there_before_the_index_knows_them(self) -> None:
        self.open("d", who=AGENT)
        self.open("b", who=CAROL)
        self.assertEqual(await self.ids(AUDITOR, "?live=true"), ["b", "d"])
        self.assertEqual(await self.ids(AUDITOR, "?live=false"), ["a"])
        self.assertEqual(await self.ids(AGENT), ["d"])
        self.assertEqual(await self.ids(ALICE, "?live=true"), ["d"])
        one = await self.call("GET", "/v1/sessions/d", ALICE)
        self.assertTrue(one.body["live"])
        self.assertEqual((await self.call("GET", "/v1/sessions/d", CAROL)).status, 404)

    async def test_records_come_in_order_and_in_pages(self) -> None:
        answer = await self.call("GET", "/v1/sessions/a/records", ALICE)
        kinds = [record["kind"] for record in answer.body["records"]]
        self.assertEqual(kinds, ["session.started", "intent", "result", "session.ended"])
        record = answer.body["records"][1]
        self.assertEqual((record["text"], record["decision"]), ("select '\\xff'", "allow"))
        self.assertEqual(decode(base64.b64decode(record["raw"])), intent("a", 1, b"select '\xff'"))
        self.assertIsNone(answer.body["next"])
        pages, after = [], 0
        while after is not None:
            page = await self.call("GET", f"/v1/sessions/a/records?limit=3&after={after}", ALICE)
            pages.append(len(page.body["records"]))
            after = page.body["next"]
        self.assertEqual(pages, [3, 1])
        self.patch(api_sessions, "RECORDS_BYTES", 100)
        page = await self.call("GET", "/v1/sessions/a/records", ALICE)
        self.assertLess(len(page.body["records"]), 4)

    async def test_a_recording_is_not_for_others(self) -> None:
        agent = await self.call("GET", "/v1/sessions/c/records", AGENT)
        self.assertEqual(agent.status, 404)
        imposter = soon(person("mallory", "dev"))
        for who in (CAROL, imposter):
            for what in ("", "/records", "/replay"):
                answer = await self.call("GET", f"/v1/sessions/a{what}", who)
                self.assertEqual(answer.status, 404)
        self.assertEqual((await self.call("GET", "/v1/sessions/x/records", ALICE)).status, 404)
        for who in (AUDITOR, ROOT):
            self.assertEqual((await self.call("GET", "/v1/sessions/a/records", who)).status, 200)

    async def test_a_replay_is_for_people(self) -> None:
        answer = await self.call("GET", "/v1/sessions/a/replay", ALICE)
        self.assertEqual(answer.status, 200, answer.body)
        text = "\n".join(line["text"] for line in answer.body["lines"])
        self.assertIn("select", text)
        self.assertFalse(answer.body["truncated"])

    async def test_before_anything_was_recorded(self) -> None:
        for file in self.config.paths.log.iterdir():
            file.unlink()
        self.assertEqual(await self.ids(AUDITOR), [])
        self.assertEqual((await self.call("GET", "/v1/sessions/a", AUDITOR)).status, 404)

    async def test_ending_a_session(self) -> None:
        """One's own, or any as administrator; auditors only look."""
        told: list[object] = []
        peer = await self.peer(cut=keeping(told))
        await peer.call("hello", worker="w1")
        for session in ("d", "e"):
            self.open(session)
        cut = {"reason": "enough"}
        for who, status in ((CAROL, 404), (AGENT, 404), (AUDITOR, 403), (ALICE, 200)):
            answer = await self.call("POST", "/v1/sessions/d/cut", who, cut)
            self.assertEqual(answer.status, status, answer.body)
        self.assertEqual((await self.call("POST", "/v1/sessions/e/cut", ROOT, {})).status, 200)
        await peer.call("review_alive", requests=[])  # what was told before has come
        self.assertEqual(
            told,
            [
                {"session": "d", "reason": "ended by alice: enough"},
                {"session": "e", "reason": "ended by root"},
            ],
        )
        self.open("f", worker="gone")
        self.assertEqual((await self.call("POST", "/v1/sessions/f/cut", ALICE, {})).status, 503)
        self.assertEqual((await self.call("POST", "/v1/sessions/a/cut", ALICE, {})).status, 404)

    async def test_freezing_a_session(self) -> None:
        """Who may end it may freeze it; who froze it, or stands above, lets it go on."""
        told: list[Any] = []
        peer = await self.peer(freeze=keeping(told))
        await peer.call("hello", worker="w1")
        self.open("d", who=AGENT, protocol="ssh")
        self.open("o")

        async def says(who: Principal, verb: str, status: int, session: str = "d") -> Any:
            answer = await self.call("POST", f"/v1/sessions/{session}/{verb}", who, {})
            self.assertEqual(answer.status, status, answer.body)
            return answer.body

        refused = await says(ALICE, "freeze", 409, "o")
        self.assertIn("sessions of postgres cannot be frozen", str(refused))
        for who, status in ((CAROL, 404), (AUDITOR, 403)):
            await says(who, "freeze", status)
            await says(who, "thaw", status)
        await says(ALICE, "thaw", 403)  # nobody knows who froze it, if anybody did
        await says(ALICE, "freeze", 200)
        await says(AGENT, "freeze", 200)
        await says(AGENT, "thaw", 403)
        await says(ALICE, "thaw", 200)
        await says(ROOT, "freeze", 200)
        await says(ALICE, "freeze", 200)
        refused = await says(ALICE, "thaw", 403)
        self.assertIn("only who froze it", str(refused))
        await says(ROOT, "thaw", 200)
        await peer.call("review_alive", requests=[])  # what was told before has come
        self.assertEqual(
            [(each["frozen"], each["by"]) for each in told],
            [
                (True, "alice"),
                (True, AGENT.path),
                (False, "alice"),
                (True, "root"),
                (True, "alice"),
                (False, "root"),
            ],
        )
        self.assertEqual(told[1]["by_id"], AGENT.chain[-1].id)

    async def test_an_administrator_does_not_free_oneself(self) -> None:
        """Nor what runs for one."""
        peer = await self.peer(freeze=keeping([]))
        await peer.call("hello", worker="w1")
        other = soon(person("olga", "admins"))
        self.open("r", who=ROOT, protocol="ssh")
        pushed = Origin(persons=frozenset({ROOT.root.id}))
        self.open("w", who=evolve(CAROL, origin=pushed), protocol="ssh")
        for session in ("r", "w"):
            path = f"/v1/sessions/{session}"
            self.assertEqual((await self.call("POST", f"{path}/freeze", other, {})).status, 200)
            self.assertEqual((await self.call("POST", f"{path}/thaw", ROOT, {})).status, 403)
            self.assertEqual((await self.call("POST", f"{path}/thaw", other, {})).status, 200)
