"""The straight way over HTTP beside the usual one: nobody can tell them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.policy.decision import Sight
from tests.adversarial.azure_gateway import REST_HOST, Gateway
from tests.adversarial.rest_service import ORDER, made


@define
class Asked:
    """One exchange: what the client asks, and what the target says, in which pieces."""

    path: str
    fields: dict[str, Any]
    answer: bytes
    cuts: list[int] = field(factory=list)


_JSON: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HEADS: Final = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    _JSON + b'Content-Length: 8\r\nETag: x\r\n\r\n{"a": 1}',
    _JSON + b'Content-Length: 30\r\n\r\n{"next": "https://rest.test/"}',
    _JSON + b'Content-Length: 24\r\nETag: x\r\n\r\n{"next": "//evil.test/"}',
    _JSON + b"Content-Length: 5\r\n\r\nhello",
    _JSON + b"Content-Length: 6\r\n\r\na://b,",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 Fine\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\nX-Ms-Request-Id: 1\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nServer: x\r\nContent-Length: 1\r\n\r\n.",
    b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"a" * 20_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.too much",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"rubbish\r\n\r\n",
]
exchanges = st.builds(
    Asked,
    st.sampled_from([ORDER, ORDER, "/orders/2", "/unknown", "/cards/1"]),
    st.sampled_from([{}, {}, {"If_Match": "1"}, {"Connection": "close"}, {"User_Agent": "u"}]),
    st.sampled_from([HEADS[0], *HEADS]),
    st.lists(st.integers(1, 80), max_size=2),
)


class SameTests(SynchronousTestCase):
    """The straight way beside the usual one."""

    @given(st.lists(exchanges, max_size=6))
    def test_both_ways_are_one(self, asked: list[Asked]) -> None:
        """Client and target get the same bytes, and the recording says the same."""
        asked = [Asked(ORDER, {}, HEADS[0])] * 2 + asked  # the third goes straight
        usual = converse(asked, Gateway.change)
        self.assertEqual(converse(asked, lambda _world: None), usual)


def converse(asked: list[Asked], before: Callable[[Gateway], None]) -> object:
    """Return all that was said and recorded in a conversation."""
    world = made(sights=lambda _field: Sight(mask=None), hosts=["rest.test"])
    client = world.connect()
    told: list[object] = []
    for each in asked:
        if client.wire.ended:
            client = world.connect()
        before(world)
        sent = client.ask("GET", each.path, host=REST_HOST, **each.fields)
        told.append(sent)
        target = world.targets[-1] if world.targets else None
        if sent or target is None:
            continue
        told.append(target.wire.take())
        at = 0
        for end in [*sorted(each.cuts), len(each.answer)]:
            if target.wire.connected and not target.wire.ended and end > at:
                target.send(each.answer[at:end])
                at = end
        told += [client.wire.take(), client.wire.ended, target.wire.ended, len(world.targets)]
    client.leave()
    return told, [plain(record) for record in world.recorder.records]


def plain(record: Any) -> object:
    """Return a record without what time it was."""
    fields = {**msgspec.structs.asdict(record), "at": 0}
    return type(record).__name__, {name: fields[name] for name in fields if name != "duration"}
