"""A session that somebody freezes: nothing goes through, either way, until it is thawed or ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.errors import RecorderError
from hoopgw.policy.decision import Deny, Verdict
from hoopgw.recording.records import Intent, SessionEnded, SessionFrozen, SessionThawed
from hoopgw.sessions.ends import REVOKED
from hoopgw_ssh.channels import PROHIBITED, STDERR, WINDOW
from hoopgw_ssh.wire import string
from tests.ssh.ends import Taker
from tests.ssh.gateway_world import Talk, World

NO = Verdict(decision=Deny(reason="no more"), because=("p",), policy="v1")
BOB: Any = {"by": "bob", "by_id": "corp|bob", "reason": ""}
HUNG_UP = (b"signal", string(b"HUP"))


class FreezingTests(SynchronousTestCase):
    """One command that runs, and what goes to it and comes of it."""

    def setUp(self) -> None:
        self.world = World()
        self.visitor = self.world.connect().log_in()
        self.talk = self.visitor.start(b"cat")
        self.far_taker = self.talk.far.takers[0]
        self.far = self.talk.far.openings[0][1]
        (self.near,) = self.talk.near.connection.channels.values()
        taker = self.near.taker
        assert isinstance(taker, Taker)
        self.near_taker = taker

    def freeze(self, *, frozen: bool = True, reason: str = "") -> None:
        """Freeze it, or let it go on."""
        self.world.freeze(frozen=frozen, by="bob", by_id="corp|bob", reason=reason)
        self.visitor.run()
        self.talk.run()

    def say(self, up: bytes, down: bytes) -> None:
        """Let both sides say something."""
        self.near.write(up)
        self.far.write(down)
        self.talk.run()

    def told(self) -> str:
        """Return what the client got on standard error."""
        events = self.near_taker.events
        return b"".join(e[1] for e in events if isinstance(e, tuple) and e[0] == STDERR).decode()

    def test_nothing_goes_through(self) -> None:
        """Neither way; the client is told once, and later all goes on in its order."""
        self.say(b"one", b"eins")
        self.freeze(reason="what is \x1b[31mthis")
        self.say(b"two", b"zwei")
        self.say(b"three", b"drei")
        self.assertEqual((self.far_taker.text, self.near_taker.text), (b"one", b"eins"))
        self.assertEqual(self.told().count("hoopgw: frozen by bob: what is "), 1)
        self.assertNotIn("\x1b", self.told())
        self.freeze(frozen=False)
        self.say(b"four", b"vier")
        self.assertEqual(self.far_taker.text, b"onetwothreefour")
        self.assertEqual(self.near_taker.text, b"einszweidreivier")
        self.assertIn("hoopgw: thawed by bob.", self.told())

    def test_what_waits_for_room_does_not_leave(self) -> None:
        """What came before the freeze, and a side gives room for now, is kept back, too."""
        self.far_taker.credits = self.near_taker.credits = False
        self.say(b"u" * WINDOW, b"d" * WINDOW)
        self.say(b"up", b"down")
        before = len(self.far_taker.text), len(self.near_taker.text)
        self.freeze()
        self.far.credit(WINDOW)
        self.near.credit(WINDOW)
        self.talk.run()
        self.assertEqual((len(self.far_taker.text), len(self.near_taker.text)), before)
        self.freeze(frozen=False)
        self.assertTrue(self.far_taker.text.endswith(b"up"))
        self.assertTrue(self.near_taker.text.endswith(b"down"))

    def test_it_is_bounded(self) -> None:
        """No side is given more room than its window: the rest stays where it is."""
        self.freeze()
        self.say(b"u" * 3 * WINDOW, b"d" * 3 * WINDOW)
        self.assertGreaterEqual(self.near.waiting, 2 * WINDOW)
        self.assertGreaterEqual(self.far.waiting, 2 * WINDOW)
        self.freeze(frozen=False)
        self.assertEqual(len(self.far_taker.text), 3 * WINDOW)
        self.assertEqual(len(self.near_taker.text), 3 * WINDOW)

    def test_it_is_recorded(self) -> None:
        """Each once, however often it is said."""
        for frozen in (True, True, False, False, True):
            self.freeze(frozen=frozen, reason="why")
        found = [
            (type(each), each.by, each.by_id, each.reason)
            for each in self.world.recorder.records
            if isinstance(each, SessionFrozen | SessionThawed)
        ]
        kinds = (SessionFrozen, SessionThawed, SessionFrozen)
        self.assertEqual(found, [(kind, "bob", "corp|bob", "why") for kind in kinds])

    def test_nothing_new_is_opened(self) -> None:
        """Neither a session nor a forward; also not what was asked before."""
        self.freeze()
        taker = Taker()
        self.talk.near.connection.open(b"session", b"", taker)
        asked: list[bytes | None] = []
        self.talk.near.connection.request(b"tcpip-forward", string(b"") + b"\0" * 4, asked.append)
        self.talk.run()
        ((word, code, text),) = taker.events
        self.assertEqual((word, code), ("refused", PROHIBITED))
        self.assertIn(b"frozen by bob", text)
        self.assertEqual(asked, [None])
        self.assertEqual(len(self.talk.far.openings), 1)

    def test_what_is_asked_meanwhile_is_decided_later(self) -> None:
        """By what policy says then."""
        taker = Taker()
        taker.channel = channel = self.talk.near.connection.open(b"session", b"", taker)
        self.talk.run()
        before = len(self.world.recorder.of(Intent))
        self.freeze()
        channel.request(b"exec", string(b"reboot"))
        self.talk.run()
        self.assertEqual(len(self.world.recorder.of(Intent)), before)
        self.world.verdict = lambda _operation: NO
        self.freeze(frozen=False)
        intent = self.world.recorder.of(Intent)[-1]
        self.assertEqual((intent.text, intent.decision), (b"reboot", "deny"))
        self.assertNotIn(b"exec", [each.name for each in self.talk.far.takers[1].requests])

    def test_keep_alives(self) -> None:
        """Both sides are answered: nobody takes the other for dead."""
        self.freeze()
        answers: list[Any] = []
        keep_alive = b"keepalive@openssh.com"
        self.talk.near.connection.request(keep_alive, b"", answers.append)
        self.far.request(keep_alive, b"", answers.append)
        self.talk.run()
        self.assertEqual(answers, [None, False])
        self.assertNotIn(keep_alive, [each.name for each in self.near_taker.requests])

    def test_the_targets_end_waits(self) -> None:
        """Its last output, status and end come when it is thawed."""
        self.freeze()
        self.far.write(b"last")
        self.far.request(b"exit-status", b"\0\0\0\3")
        self.far.eof()
        self.far.close()
        self.talk.run()
        self.assertNotIn("closed", self.near_taker.events)
        self.freeze(frozen=False)
        got = [event for event in self.near_taker.events if event[0] != STDERR]
        self.assertEqual(
            got[-4:], [(None, b"last"), (b"exit-status", b"\0\0\0\3"), "eof", "closed"]
        )

    def test_the_client_closes_its_channel(self) -> None:
        """The target's ends, without what was kept back of the input."""
        self.far_taker.credits = False
        self.say(b"u" * (WINDOW + 10_000), b"")
        self.freeze()
        self.near.write(b"rm -rf /\n")
        self.near.close()
        self.talk.run()
        self.assertEqual(self.far_taker.events[-1], "closed")
        self.assertEqual(self.far_taker.text, b"u" * WINDOW)

    def test_the_client_leaves(self) -> None:
        self.freeze()
        self.visitor.leave()
        self.assertEqual(self.world.links[0].ended, "closed")
        self.assertEqual(len(self.world.recorder.of(SessionEnded)), 1)

    def test_it_can_be_cut(self) -> None:
        """Nothing of what was kept back gets to the target with it; what runs is hung up."""
        self.freeze()
        self.say(b"rm -rf /\n", b"secret")
        self.world.cut(REVOKED)
        self.talk.run()
        self.assertEqual(self.far_taker.events[-2:], [HUNG_UP, "closed"])
        self.assertEqual((self.far_taker.text, self.near_taker.text), (b"", b""))
        self.assertTrue(self.visitor.client.told.startswith(REVOKED))
        self.freeze(frozen=False)
        self.assertEqual(self.world.recorder.of(SessionThawed), [])

    def test_a_thaw_that_cannot_be_recorded(self) -> None:
        """It does not go on."""
        self.freeze()
        self.say(b"rm -rf /\n", b"secret")
        self.patch(self.world.recorder, "put_off_encoded", _refuse)
        with self.assertRaises(RecorderError):
            self.freeze(frozen=False)
        self.talk.run()
        self.assertEqual((self.far_taker.text, self.near_taker.text), (b"", b""))


class OpeningTests(SynchronousTestCase):
    """A session that is frozen before its target is open."""

    def test_it_begins_frozen(self) -> None:
        world = World(opening=Deferred())
        visitor = world.connect().log_in()
        world.freeze(frozen=True, **BOB)
        world.opening.callback(None)
        visitor.run()
        self.assertEqual(len(world.recorder.of(SessionFrozen)), 1)
        talk, taker = Talk(visitor), Taker()
        visitor.client.service = talk
        talk.near.connection.open(b"session", b"", taker)
        talk.run()
        self.assertEqual([event[0] for event in taker.events], ["refused"])
        self.assertEqual(talk.far.openings, [])
        world.freeze(frozen=False, **BOB)
        self.assertEqual(len(visitor.start(b"ls").far.takers), 1)


def _refuse(_record: bytes) -> None:
    raise RecorderError("the disk is full")
