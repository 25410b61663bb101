"""SFTP: what waits, what is bounded, and both sides at their worst."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from hoopgw_ssh import sftp as sftp_module
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.files import FileRuling
from hoopgw_ssh.sftp_line import UNREAD_LIMIT
from hoopgw_ssh.sftp_packets import Bulk
from hoopgw_ssh.sftp_wire import Attributes, Request
from hoopgw_ssh.wire import string
from tests.ssh.sftp_bench import Bench, SftpCase
from tests.ssh.test_sftp_wire import write

NONE = Attributes()


class HoldTests(SftpCase):
    """Somebody is asked."""

    def test_only_paths_wait(self) -> None:
        """What is open goes on; what comes behind is decided in order."""
        handle = self.bench.open(1, b"/a")
        held = self.deciding.held["remove /x"] = Deferred[FileRuling]()
        self.bench.ask(sftp.REMOVE, 2, b"/x")
        self.bench.ask(sftp.STAT, 3, b"/y")
        self.bench.ask(sftp.READ, 4, handle, 0, 10)
        self.assertEqual([each.id for each in self.bench.got[1:]], [4])
        self.assertIn(b"Waiting for bob.\r\n", self.ground.stderr)
        held.callback(self.deciding.yes())
        self.bench.run()
        self.assertEqual([each.id for each in self.bench.got[1:]], [4, 2, 3])

    def test_refused_after_a_while(self) -> None:
        held = self.deciding.held["remove /x"] = Deferred[FileRuling]()
        self.bench.ask(sftp.REMOVE, 2, b"/x")
        held.callback(FileRuling(allowed=False, reason="Bob said no."))
        self.bench.run()
        self.assertEqual(self.bench.statuses, [(2, sftp.PERMISSION_DENIED)])
        self.assertEqual(self.bench.seen, [])

    def test_a_link_that_changed_meanwhile(self) -> None:
        """Leads elsewhere than what was approved: nothing is done."""
        held = self.deciding.held["write /srv/real"] = Deferred[FileRuling]()
        self.bench.links = {"/srv/l": "/srv/real"}
        self.bench.ask(sftp.OPEN, 2, b"/srv/l", 26, NONE)
        self.bench.links = {"/srv/l": "/etc/passwd"}
        held.callback(self.deciding.yes())
        self.bench.run()
        self.assertEqual(self.bench.statuses, [(2, sftp.PERMISSION_DENIED)])
        self.assertEqual((self.bench.seen, self.deciding.outcomes), ([], ["NOT DONE"]))

    def test_who_leaves(self) -> None:
        """Withdraws; what is approved too late is not done."""
        withdrawn: list[object] = []
        self.deciding.held["remove /x"] = Deferred(withdrawn.append)
        self.bench.ask(sftp.REMOVE, 2, b"/x")
        self.bench.ask(sftp.REMOVE, 3, b"/y")
        self.bench.inspector.abandoned()
        self.bench.inspector.ended(None)
        self.bench.run()
        self.assertEqual((len(withdrawn), self.bench.seen), (1, []))
        self.assertEqual(self.deciding.texts, ["remove /x"])

    def test_who_leaves_before_the_target_has_answered(self) -> None:
        """What it answers later is nobody's, and harms nothing."""
        self.bench.answers = self.bench.resolves = False
        self.bench.ask(sftp.SYMLINK, 2, b"/to", b"/at")
        (asked,) = self.bench.asked
        assert asked.id is not None
        self.bench.inspector.abandoned()
        self.bench.target(sftp.name(asked.id, b"/"))
        self.bench.inspector.ended(None)
        self.assertEqual((self.bench.seen, self.ground.ends), ([], []))

    def test_the_end_of_input(self) -> None:
        """Waits for what is held."""
        held = self.deciding.held["remove /x"] = Deferred[FileRuling]()
        self.bench.ask(sftp.REMOVE, 2, b"/x")
        self.assertIsNone(self.bench.inspector.input_ended())
        self.assertFalse(self.ground.input_ended)
        held.callback(self.deciding.yes())
        self.bench.run()
        self.assertTrue(self.ground.input_ended)
        self.assertEqual(self.bench.inspector.input_ended(), b"")

    def test_a_judge_that_fails(self) -> None:
        """Has refused."""
        held = self.deciding.held["remove /x"] = Deferred[FileRuling]()
        self.bench.ask(sftp.REMOVE, 2, b"/x")
        held.errback(RuntimeError("inside"))
        self.bench.run()
        self.assertEqual(self.bench.statuses, [(2, sftp.PERMISSION_DENIED)])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNotIn(b"inside", self.ground.stderr)

    def test_names_change_in_order(self) -> None:
        """Behind a link of the same channel no path is asked for before the link is there."""
        self.bench.answers = False
        self.bench.ask(sftp.SYMLINK, 2, b"/srv/b", b"/srv/l")
        asked = len(self.bench.asked)
        self.bench.ask(sftp.OPEN, 3, b"/srv/l", 1, NONE)
        self.assertEqual(len(self.bench.asked), asked)
        self.bench.target(sftp.status(2, sftp.OK, ""))
        self.assertEqual(len(self.bench.asked), asked + 1)


class BoundTests(SftpCase):
    """Nothing grows without an end."""

    def test_requests_that_wait(self) -> None:
        """A client is not read beyond so many; all are answered in the end."""
        held = self.deciding.held["remove /x"] = Deferred[FileRuling]()
        self.bench.ask(sftp.REMOVE, 999, b"/x")
        data = b"".join(Request(sftp.STAT, n, (b"/y",)).encode() for n in range(200))
        self.bench.client(data)
        self.assertEqual(self.ground.holds, 1)
        self.assertLessEqual(len(self.bench.inspector._queue), sftp_module.UNDECIDED_LIMIT)
        held.callback(self.deciding.yes())
        self.bench.run()
        self.assertEqual(self.ground.holds, 0)
        self.assertEqual([each.id for each in self.bench.got], [999, *range(200)])

    def test_requests_that_are_not_answered(self) -> None:
        """By the target."""
        self.patch(sftp_module, "OUTSTANDING_LIMIT", 10)
        handle = self.bench.open(1, b"/a")
        self.bench.answers = False
        self.bench.client(
            b"".join(Request(sftp.READ, n, (handle, n, 1)).encode() for n in range(30))
        )
        self.assertEqual((len(self.bench.seen), self.ground.holds), (11, 1))
        for number in range(30):
            self.bench.target(sftp.packet(sftp.DATA, number, string(b"x")))
        self.assertEqual((len(self.bench.seen), self.ground.holds), (31, 0))
        self.assertEqual([each.id for each in self.bench.got[1:]], list(range(30)))

    def test_a_client_that_reads_nothing(self) -> None:
        """And asks on for what is refused."""
        self.ground.reads = False
        refused = Request(sftp.CLOSE, 0, (b"none",))
        for number in range(20_000):
            if self.ground.holds:
                break
            self.bench.client(Request(sftp.CLOSE, number, refused.fields).encode())
        self.assertEqual(self.ground.holds, 1)
        self.assertLess(number, UNREAD_LIMIT // 50)
        for left in self.ground.left:
            left()
        self.assertEqual(self.ground.holds, 0)

    def test_what_is_said(self) -> None:
        """Some clients never read their standard error."""
        self.deciding.refused = {"remove /x"}
        for number in range(2_000):
            self.bench.ask(sftp.REMOVE, number, b"/x")
        self.assertLessEqual(len(self.ground.stderr), sftp_module.SAID_LIMIT)
        self.assertEqual(len(self.bench.statuses), 2_000)


class HostileTests(SftpCase):
    """Both sides."""

    def test_a_client(self) -> None:
        """Ids twice, no id, a packet that is too long: the channel ends."""
        handle = self.bench.open(1, b"/a")
        read = Request(sftp.READ, 5, (handle, 0, 1)).encode()
        for data in (
            read + read,
            b"\0\0\0\1\x11",
            b"\xff\xff\xff\xff\x11",
            read[:-5] + b"\xff",
        ):
            case = HostileTests("test_a_client")
            case.setUp()
            case.bench.open(1, b"/a")
            case.bench.answers = False
            case.bench.client(data)
            case.bench.client(b"\0\0\0\5\x63\0\0\0\1")
            self.assertLessEqual(len(case.ground.ends), 1)
        self.bench.ask(sftp.READ, 0xFFFFFFFF, handle, 0, 1)
        self.assertEqual(self.ground.ends, [])

    def test_a_target(self) -> None:
        """Answers that nobody asked for, or of another kind, or longer: the channel ends."""
        content = sftp.packet(sftp.DATA, 5, string(b"x" * 11))
        for data in (
            sftp.status(77, sftp.OK, ""),
            content,
            sftp.packet(sftp.DATA, 6, string(b"x")),
            sftp.packet(sftp.HANDLE, 6, string(b"h")),
            sftp.packet(sftp.HANDLE, 7, string(b"\0\0\0\1")),
            sftp.packet(sftp.HANDLE, 7, string(b"")),
            sftp.packet(sftp.NAME, 7, b""),
            sftp.encode_version(3, ()),
            b"\xff\xff\xff\xff\x65",
            sftp.packet(sftp.STATUS, 6, b"")[:-1] + b"",
            b"\0\0\0\1\x65",
        ):
            case = HostileTests("test_a_target")
            case.setUp()
            handle = case.bench.open(1, b"/a")
            case.bench.answers = False
            case.bench.ask(sftp.READ, 5, handle, 0, 10)
            case.bench.ask(sftp.STAT, 6, b"/a")
            case.bench.ask(sftp.OPEN, 7, b"/b", 1, NONE)
            del case.bench.got[:]
            case.bench.target(data)
            if len(data) > 8:
                self.assertEqual(len(case.ground.ends), 1, data)
            self.assertEqual([each for each in case.bench.got if isinstance(each, Bulk)], [])

    def test_a_target_that_names_no_place(self) -> None:
        """Where a path leads must be clear."""
        for place in (b"relative", b"/a/../b", b"/a//b", b"/\xff", b"/a\0b", b""):
            case = HostileTests("test_a_target_that_names_no_place")
            case.setUp()
            named = partial(sftp.name, path=place)
            case.bench.special = {sftp.REALPATH: named}
            case.bench.ask(sftp.STAT, 1, b"/a")
            self.assertEqual(case.bench.statuses, [(1, sftp.PERMISSION_DENIED)])
            self.assertEqual(case.deciding.operations, [])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(1, 40), max_size=60), st.booleans())
    def test_any_cut(self, cuts: list[int], refuses: bool) -> None:
        """A conversation is the same, however its bytes come; what is open may overtake paths."""
        whole, pieces = Bench().begin(), Bench().begin()
        for bench in (whole, pieces):
            if refuses:
                bench.deciding.refused = {"remove /x"}
        requests = (
            Request(sftp.OPEN, 1, (b"/a", 26, NONE)).encode()
            + Request(sftp.REMOVE, 2, (b"/x",)).encode()
            + write(3, b"\0\0\0\1", 0, b"content" * 9)
            + Request(sftp.STAT, 4, (b"/y",)).encode()
            + Request(sftp.CLOSE, 5, (b"\0\0\0\1",)).encode()
        )
        first = len(Request(sftp.OPEN, 1, (b"/a", 26, NONE)).encode())
        whole.client(requests[:first])
        pieces.client(requests[:first])
        whole.client(requests[first:])
        at = first
        for size in [*cuts, len(requests)]:
            pieces.client(requests[at : at + size])
            at += size
        by_id = attrgetter("id")
        self.assertEqual(sorted(pieces.got, key=by_id), sorted(whole.got, key=by_id))
        self.assertEqual(sorted(pieces.seen, key=by_id), sorted(whole.seen, key=by_id))
        self.assertEqual(sorted(pieces.deciding.outcomes), sorted(whole.deciding.outcomes))
        self.assertEqual(bytes(pieces.content), bytes(whole.content))

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=120), st.binary(max_size=120))
    def test_garbage(self, up: bytes, down: bytes) -> None:
        """Raises nothing, whichever side it comes from."""
        bench = Bench().begin()
        bench.client(up)
        bench.target(down)
        bench.inspector.abandoned()
        bench.inspector.ended(None)
