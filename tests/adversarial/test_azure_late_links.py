"""Links that come late in an answer, of which a part went on without being read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.http.bodies import End
from hoopgw.http.looking import KEPT, WHOLE
from hoopgw.http.messages import ResponseHead
from hoopgw.http.wire import ResponseReader
from hoopgw.recording.records import Result
from tests.adversarial.azure_gateway import REST_HOST, Client, Gateway
from tests.adversarial.rest_service import ORDER, made

OWN: Final = "https://api.example/orders/2"
OURS: Final = "https://rest.gw.example/orders/2"
OTHER: Final = "https://elsewhere.example/"
FILLER: Final = b'"filler":"' + b"x" * WHOLE + b'"'
SPELLINGS: Final = (
    b"https://api.example/orders/2",
    b"HTTPS://API.EXAMPLE/orders/2",
    b"https:\\/\\/api.example\\/orders\\/2",
    b"\\u0068ttps\\u003A//api.example/orders/2",
    b"ht\\ntps\\t://api.example/orders/2",
    b" \\rhttps:/\\n/api.example:443/orders/2",
)


@frozen
class Seen:
    """What a client gets."""

    head: ResponseHead
    body: bytes
    is_whole: bool


def read(data: bytes) -> Seen:
    """Read an answer, as far as it came."""
    reader = ResponseReader()
    reader.expect("GET")
    reader.receive(data)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    body = bytearray()
    while (event := reader.next_event()) is not None and not isinstance(event, End):
        assert not isinstance(event, ResponseHead)
        body += event
    return Seen(head, bytes(body), event is not None)


class World:
    """A gateway before a service with links, and a client that has asked."""

    def __init__(self) -> None:
        self.gateway: Gateway = made(hosts=["api.example"])
        self.client: Client = self.gateway.connect()

    def answer(self, pieces: Iterable[bytes], size: int) -> Seen:
        """Ask, let the service answer in these pieces, and return what came."""
        self.client.ask("GET", ORDER, host=REST_HOST)
        target = self.gateway.target
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: x\r\n"
        target.send(f"{head}Content-Length: {size}\r\n\r\n".encode())
        for piece in pieces:
            if target.wire.connected:
                target.send(piece)
        return read(self.client.wire.take())

    @property
    def result(self) -> Result:
        """What the recording says of the last one."""
        last: Result = self.gateway.recorder.of(Result)[-1]
        return last


def shown(body: bytes, cuts: Iterable[int] = ()) -> Seen:
    """Return what a client gets of a long answer."""
    ends = sorted({*(each % len(body) for each in cuts), len(body)})
    pieces, at = [], 0
    for end in ends:
        pieces.append(body[at:end])
        at = end
    return World().answer(pieces, len(body))


class LateTests(SynchronousTestCase):
    """What is sent before a link comes is as it is, and the link is what it should be."""

    @settings(max_examples=40)
    @given(st.sampled_from(SPELLINGS), st.lists(st.integers(0, 3 * WHOLE), max_size=5))
    def test_a_link_behind_much_else(self, link: bytes, cuts: list[int]) -> None:
        """In any spelling, and however the answer was cut."""
        body = b'{"id":7,' + FILLER + b',"next":"' + link + b'","last":"%b"}' % (b"y" * 9)
        near = body.index(b'"next"') + 12
        seen = shown(body, [*cuts, near, near + 5])
        self.assertTrue(seen.is_whole)
        expected = {**json.loads(body), "next": OURS}
        self.assertEqual(json.loads(seen.body), expected)
        self.assertEqual(seen.head.headers.get(b"etag"), None)

    @given(st.lists(st.integers(0, WHOLE), max_size=5))
    def test_no_link(self, cuts: list[int]) -> None:
        body = b'{"id":7,' + FILLER + b',"next":"cursor-2","url":"/orders"}'
        seen = shown(body, cuts)
        self.assertEqual((seen.body, seen.is_whole), (body, True))

    def test_a_link_of_another_host(self) -> None:
        """The answer ends before it."""
        world = World()
        body = b'{"id":7,' + FILLER + b',"next":"%b"}' % OTHER.encode()
        seen = world.answer([body[:-60], body[-60:]], len(body))
        self.assertFalse(seen.is_whole)
        self.assertTrue(body.startswith(seen.body))
        self.assertNotIn(b"elsewhere", seen.body)
        self.assertEqual(world.client.wire.ended, "aborted")
        self.assertTrue(world.result.outcome.startswith("FAILED: "))

    def test_a_name_that_is_there_again(self) -> None:
        """Of which the first went on as it was: the answer ends where a link comes."""
        first, link = b'{"next":"1","next":"2",' + FILLER, b',"links":{"a":"%b"}}' % OWN.encode()
        world = World()
        seen = world.answer([first, link], len(first + link))
        self.assertEqual((seen.body, seen.is_whole), (first[:-1], False))
        self.assertIn("does not go with what follows", world.result.outcome)

    def test_what_is_no_json(self) -> None:
        """It may go on where nothing in it leads elsewhere, and where something does it may not."""
        harmless = b"no JSON " * WHOLE
        self.assertEqual(shown(harmless, [9]).body, harmless)
        leading = harmless + OWN.encode()
        seen = shown(leading, [len(harmless)])
        self.assertFalse(seen.is_whole)
        self.assertNotIn(b"api.example", seen.body)

    def test_more_than_is_kept(self) -> None:
        """From there on all is read, and what went before, too."""
        body = b'{"filler":"' + b"x" * (KEPT + WHOLE) + b'","next":"%b"}' % OWN.encode()
        seen = shown(body, range(WHOLE, len(body), WHOLE))
        self.assertEqual(seen.body, body.replace(OWN.encode(), OURS.encode()))
        self.assertTrue(seen.is_whole)

    def test_a_client_that_reads_slowly(self) -> None:
        """The target is not read meanwhile; afterwards all goes on."""
        world = World()
        body = b'{"id":7,' + FILLER + b"," + FILLER.replace(b"filler", b"more") + b',"a":"b"}'
        world.client.ask("GET", ORDER, host=REST_HOST)
        target, wire = world.gateway.target, world.client.wire
        head = "200 OK\r\nContent-Type: application/json"
        wire.stuck = True
        target.answer(head, body[: WHOLE + 30], length=len(body))
        self.assertFalse(target.wire.reading)
        wire.drain()
        world.gateway.clock.advance(0)
        self.assertTrue(target.wire.reading)
        target.send(body[WHOLE + 30 :])
        self.assertEqual(read(wire.take()).body, body)


class SmallTests(SynchronousTestCase):
    """Answers that are here at once."""

    def test_one_without_links_is_as_it_was_sent(self) -> None:
        """Its length and its tag too, in the usual way and in the straight one."""
        world = World()
        head = "200 OK\r\nContent-Type: application/json\r\nETag: x"
        for _ in range(3):
            asked = world.gateway.policy.asked
            world.client.ask("GET", ORDER, host=REST_HOST)
            world.gateway.target.answer(head, b'{"next": "2"}')
            seen = read(world.client.wire.take())
            self.assertEqual(seen.head.headers.get(b"content-length"), b"13")
            self.assertEqual(seen.head.headers.get(b"etag"), b"x")
            self.assertEqual((seen.body, world.result.masked), (b'{"next": "2"}', 0))
        self.assertEqual(world.gateway.policy.asked, asked)

    def test_one_with_links(self) -> None:
        """It has another length, and no tag."""
        world = World()
        head = "200 OK\r\nContent-Type: application/json\r\nETag: x"
        for _ in range(3):
            world.client.ask("GET", ORDER, host=REST_HOST)
            world.gateway.target.answer(head, b'{"next": "%b"}' % OWN.encode())
            seen = read(world.client.wire.take())
            self.assertEqual(seen.body, b'{"next": "%b"}' % OURS.encode())
            self.assertEqual(seen.head.headers.get(b"content-length"), b"%d" % len(seen.body))
            self.assertEqual(seen.head.headers.get(b"etag"), None)
            self.assertEqual(world.result.masked, 1)
