"""Targets that answer anything: no secret comes out, and every request's end is recorded."""

from __future__ import annotations

import random
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from hoopgw.recording.records import Intent, Result
from tests.adversarial.azure_gateway import Gateway
from tests.azure.world import GROUP

KEYS: Final = (
    f"{GROUP}/providers/Microsoft.Storage/storageAccounts/shop/listKeys?api-version=2023-01-01"
)
SECRET: Final = b"SECRETVALUE"
STATUSES: Final = (
    *(200, 201, 202, 203, 204, 206, 207, 226, 300, 302, 304, 400, 401, 403, 404, 409, 418, 429),
    *(500, 503, 599),
)
FIELDS: Final = (
    b"Content-Type: application/json",
    b"Content-Type: text/plain",
    b"Content-Type: application/xml",
    b"Content-Type: application/x-ndjson",
    b"Content-Type: text/html",
    b"Content-Type: application/octet-stream",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Type: multipart/byteranges; boundary=a",
    b"Content-Type: application/merge-patch+json;stream=watch",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"Content-Range: bytes 0-1/2",
    b"Transfer-Encoding: chunked",
    b"Location: https://management.azure.com/subscriptions/x/operationresults/y",
    b"Location: https://evil.example/",
    b"Content-Length: 0",
    b"Connection: close",
)
BODIES: Final = (
    b'{"keys":[{"value":"SECRETVALUE"}]}',
    b'{"error":{"code":"x","details":["SECRETVALUE"]}}',
    b'"SECRETVALUE"',
    b"SECRETVALUE",
    b"<a>SECRETVALUE</a>",
    b'<a b="SECRETVALUE"/>',
    b'{"keys":"SECRETVALUE"}\n{"a":"SECRETVALUE"}\n',
    b'\xef\xbb\xbf{"a":"SECRETVALUE"}',
    b'[["SECRETVALUE"]]',
    b'{"a":"SECRETVALUE',
    b'{"nextLink":"https://management.azure.com/x","value":["SECRETVALUE"]}',
    b'{"a":"SECRET\\u0056ALUE"}',
    b'<!DOCTYPE a [<!ENTITY x "SECRETVALUE">]><a>&x;</a>',
    b"<!--SECRETVALUE--><a/>",
    b"<a><![CDATA[SECRETVALUE]]></a>",
    b"<?x SECRETVALUE?><a/>",
)


class HostileTests(SynchronousTestCase):
    """Answers by chance, from a fixed seed."""

    def answer(self, chance: random.Random) -> bytes:
        """Return an answer, which may be none."""
        fields, body = chance.sample(FIELDS, chance.randint(0, 3)), chance.choice(BODIES)
        if b"Transfer-Encoding: chunked" in fields:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif chance.random() < 0.8:
            fields.append(b"Content-Length: %d" % len(body))
        line = b"HTTP/1.1 %d X" % chance.choice(STATUSES)
        return b"\r\n".join((line, *fields, b"", body))

    def test_nothing_comes_out(self) -> None:
        chance = random.Random(5)  # the same each time
        for _ in range(600):
            world = Gateway()
            client = world.connect()
            got = client.ask("POST", KEYS)
            data = self.answer(chance)
            cut = chance.randint(1, len(data))
            for piece in (data[:cut], data[cut:]):
                if piece and world.target.wire.connected:
                    world.target.send(piece)
            world.target.wire.lose()
            world.clock.advance(1)
            got += client.wire.take()
            client.leave()
            with self.subTest(data=data):
                self.assertNotIn(SECRET, got)
                self.assertEqual(len(world.recorder.of(Intent)), 1)
                (result,) = world.recorder.of(Result)
                self.assertNotIn(SECRET, result.output)
                self.assertTrue(result.outcome)
                self.assertEqual(self.flushLoggedErrors(), [])
