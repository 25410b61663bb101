"""Tests for `hoopgw.control.api_contents`: real files, and who may read what of them."""

from __future__ import annotations

import base64
import hashlib

from hoopgw.recording.content_frames import ContentReader
from tests.control.gateway_case import AGENT, ALICE, AUDITOR, CAROL, GatewayCase
from tests.recording.recorded_contents import RecordedContents


class ContentApiTests(GatewayCase):
    """Alice's session ``a``, which is over, and ``b``, which goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.recorded = RecordedContents(self.config.paths.log, self.config.paths.contents)
        self.addCleanup(self.recorded.store.stop)
        self.recorded.write(self.recorded.shell("a"), self.recorded.shell("b", ends=False))

    async def test_a_list(self) -> None:
        answer = await self.call("GET", "/v1/sessions/a/contents", ALICE)
        self.assertEqual(answer.status, 200, answer.body)
        (content,) = answer.body["contents"]
        data = (self.recorded.folder.kept / "a.0").read_bytes()
        self.assertEqual((content["size"], content["state"]), (len(data), "kept"))
        self.assertEqual(content["digest"], hashlib.sha256(data).hexdigest())
        self.assertEqual((content["kind"], content["outcome"]), ("shell", "exit 0"))
        self.assertIsNone(answer.body["next"])
        (self.recorded.folder.kept / "a.0").unlink()
        answer = await self.call("GET", "/v1/sessions/a/contents", ALICE)
        self.assertEqual(answer.body["contents"][0]["state"], "missing")
        page = await self.call("GET", "/v1/sessions/a/contents/0", ALICE)
        self.assertEqual(page.status, 404)

    async def test_what_it_holds(self) -> None:
        answer = await self.call("GET", "/v1/sessions/a/contents/0", ALICE)
        self.assertEqual(answer.status, 200, answer.body)
        reader = ContentReader()
        reader.receive(base64.b64decode(answer.body["data"]))
        self.assertEqual(len(list(reader.frames())), 5)
        self.assertTrue(answer.body["last"] and answer.body["ended"])
        rest = await self.call(
            "GET", f"/v1/sessions/a/contents/0?after={answer.body['next']}", ALICE
        )
        self.assertEqual((rest.body["data"], rest.body["next"]), ("", answer.body["next"]))

    async def test_while_it_goes_on(self) -> None:
        (content,) = (await self.call("GET", "/v1/sessions/b/contents", ALICE)).body["contents"]
        self.assertEqual((content["state"], content["digest"]), ("open", None))
        page = await self.call("GET", "/v1/sessions/b/contents/0", ALICE)
        self.assertTrue(page.body["last"])
        self.assertFalse(page.body["ended"])

    async def test_who_may(self) -> None:
        """Who may read the session's records."""
        for path in ("contents", "contents/0"):
            for who, status in ((ALICE, 200), (AUDITOR, 200), (CAROL, 404), (AGENT, 404)):
                answer = await self.call("GET", f"/v1/sessions/a/{path}", who)
                self.assertEqual(answer.status, status, path)

    async def test_what_is_none(self) -> None:
        for path in (
            "a/contents/1",
            "a/contents/x",
            "a/contents/-1",
            "a/contents/..",
            "z/contents",
        ):
            answer = await self.call("GET", f"/v1/sessions/{path}", ALICE)
            self.assertEqual(answer.status, 404, path)
        wrong = await self.call("GET", "/v1/sessions/a/contents/0?after=x", ALICE)
        self.assertEqual(wrong.status, 400)

    async def test_a_file_that_is_no_content(self) -> None:
        (self.recorded.folder.kept / "a.0").write_bytes(b"something else, and not a content")
        answer = await self.call("GET", "/v1/sessions/a/contents/0", ALICE)
        self.assertEqual((answer.status, answer.body["error"]), (409, "damaged"))
