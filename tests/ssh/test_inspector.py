"""What inspectors may do in a channel, and several behind one another."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import succeed

from hoopgw_ssh.channels import STDERR, WINDOW, Request
from hoopgw_ssh.inspector import Passage, Stack
from hoopgw_ssh.rulings import Ruling
from tests.ssh.test_relay import STATUS
from tests.ssh.test_relay import RelayCase as Case


@define
class Named:
    """An inspector that writes its name behind whatever passes."""

    name: bytes
    put_off: bool = False
    steps: list[str] = field(factory=list)
    passage: Passage = field(init=False)

    def attach(self, passage: Passage) -> None:
        """Keep it."""
        self.passage = passage

    def to_target(self, data: bytes) -> bytes:
        """Write it."""
        return data + self.name

    def input_ended(self) -> bytes | None:
        """Write it."""
        self.steps.append("input")
        return None if self.put_off else b"." + self.name

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Write it."""
        del code
        return data + self.name

    def rest(self, code: int | None) -> bytes:
        """Write it."""
        return b"" if code else b"." + self.name

    def abandoned(self) -> None:
        """Note it."""
        self.steps.append("abandoned")

    def ended(self, status: Request | None) -> None:
        """Note it."""
        del status
        self.steps.append("ended")


class PassageTests(Case):
    """What inspectors do besides passing on, two of them behind one another."""

    def setUp(self) -> None:
        super().setUp()
        self.outer, self.inner = Named(b"o"), Named(b"i")
        stack = Stack(self.outer, self.inner)
        self.judging.answers[b"exec"] = succeed(Ruling(allowed=True, inspector=stack))
        self.channel, self.taker = self.session()
        self.channel.request(b"exec", b"", None)
        self.run_all()
        self.there, self.far_taker = self.far
        del self.taker.events[:], self.far_taker.events[:]

    def test_both_ways(self) -> None:
        """Input passes the outer one first, output the inner one; what is kept comes at the end."""
        self.channel.write(b"a")
        self.channel.eof()
        self.there.write(b"z")
        self.there.eof()
        self.run_all()
        self.assertEqual(
            self.far_taker.events, [(None, b"aoi"), (None, b".oi"), (None, b".i"), "eof"]
        )
        self.assertEqual(self.taker.events, [(None, b"zio"), (None, b".io.o"), "eof"])

    def test_of_their_own(self) -> None:
        """What one sends passes the others on its way, and what left is told in bytes."""
        left: list[int] = []
        self.inner.passage.to_client(b"x", None, left.append)
        self.outer.passage.to_client(b"y", STDERR, left.append)
        self.inner.passage.to_target(b"b")
        self.outer.passage.to_target(b"c")
        self.run_all()
        self.assertEqual(self.taker.events, [(None, b"xo"), (STDERR, b"y")])
        self.assertEqual(self.far_taker.text, b"bci")
        self.assertEqual(left, [1, 1])

    def test_holds(self) -> None:
        """Keep input back until each has let go; the window is not given back meanwhile."""
        self.outer.passage.hold()
        self.inner.passage.hold()
        for _ in range(2 * WINDOW // 30_000):
            self.channel.write(bytes(30_000))
        self.channel.eof()
        self.run_all()
        self.assertEqual((self.channel.sent, self.far_taker.events), (WINDOW, []))
        self.inner.passage.release()
        self.run_all()
        self.assertEqual(self.far_taker.events, [])
        self.outer.passage.release()
        self.run_all()
        self.assertGreater(len(self.far_taker.text), 2 * WINDOW - 30_000)
        self.assertEqual(self.far_taker.events[-1], "eof")

    def test_an_end_that_is_put_off(self) -> None:
        """Comes when whoever put it off says so, behind what it sends."""
        self.outer.put_off = self.inner.put_off = True
        self.channel.eof()
        self.run_all()
        self.assertEqual((self.outer.steps, self.inner.steps), (["input"], []))
        self.outer.passage.to_target(b"late")
        self.outer.passage.end_input()
        self.run_all()
        self.assertEqual(self.inner.steps, ["input"])
        self.assertEqual(self.far_taker.events, [(None, b"latei")])
        self.inner.passage.end_input()
        self.run_all()
        self.assertEqual(self.far_taker.events[-1], "eof")

    def test_ends_the_channel(self) -> None:
        """With the reason, and the status of what is refused."""
        self.inner.passage.end("Enough.")
        self.run_all()
        self.assertEqual(self.taker.events, [(STDERR, b"Enough.\r\n"), STATUS, "eof", "closed"])
        self.assertEqual(self.far_taker.events, ["closed"])
        self.assertEqual(self.inner.steps, ["abandoned", "ended"])

    def test_a_client_that_leaves(self) -> None:
        """Is told to both, before the target has closed; a second input of its own is dropped."""
        self.channel.write_extended(STDERR, b"unseen")
        self.run_all()
        self.assertEqual(self.far_taker.events, [])
        self.far_taker.closes = False
        self.channel.close()
        self.run_all()
        self.assertEqual(self.outer.steps, ["abandoned"])
        self.there.close()
        self.run_all()
        self.assertEqual(self.inner.steps, ["abandoned", "ended"])

    def test_room_for_output(self) -> None:
        """Is not given back while somebody holds it, and no byte of it is lost, at the end too."""
        self.outer.passage.hold_output()
        self.inner.passage.hold_output()
        for _ in range(2 * WINDOW // 30_000):
            self.there.write(bytes(30_000))
        self.run_all()
        self.assertEqual(self.there.sent, WINDOW)
        self.assertGreater(len(self.taker.text), WINDOW)  # all that came has gone on
        self.inner.passage.release_output()
        self.run_all()
        self.assertEqual(self.there.sent, WINDOW)
        self.outer.passage.release_output()
        self.there.eof()
        self.run_all()
        self.assertGreater(self.there.sent, 2 * WINDOW - 30_000)
        self.assertEqual(self.taker.events[-1], "eof")


@define
class Noting(Named):
    """An inspector that notes requests. Implements `Attentive`."""

    def requested(self, request: Request) -> None:
        """Note it."""
        self.steps.append(request.name.decode())


class RequestTests(Case):
    """An inspector that wants to know of requests."""

    def test_told_of_what_is_passed_on(self) -> None:
        noting, both = Noting(b"o"), Named(b"i")
        stack = Stack(noting, both)
        self.judging.answers[b"exec"] = succeed(Ruling(allowed=True, inspector=stack))
        self.judging.answers[b"signal"] = succeed(Ruling(allowed=False))
        channel, _ = self.session()
        for name in (b"exec", b"window-change", b"signal"):
            channel.request(name, b"", None)
        self.run_all()
        self.assertEqual((noting.steps, both.steps), (["exec", "window-change"], []))
