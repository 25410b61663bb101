"""SFTP between a client and a target: what is decided, what goes on, what is told."""

from __future__ import annotations

from hashlib import sha256

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hoopgw_ssh import sftp as sftp_module
from hoopgw_ssh import sftp_wire as sftp
from hoopgw_ssh.files import FileRuling
from hoopgw_ssh.sftp_wire import Attributes, Packet, Request
from hoopgw_ssh.wire import string
from tests.ssh.sftp_bench import Bench, SftpCase
from tests.ssh.test_sftp_wire import write

NONE = Attributes()


class BeginningTests(SynchronousTestCase):
    """Versions."""

    def test_any_version_becomes_ours(self) -> None:
        """And of the target's extensions those are told that are understood."""
        bench = Bench()
        bench.client(sftp.init(6))
        (seen,), (got,) = bench.seen, bench.got
        assert isinstance(seen, Packet)
        assert isinstance(got, Packet)
        self.assertEqual(sftp.parse_version(seen.body)[0], 3)
        self.assertEqual(sftp.parse_version(got.body), (3, ((sftp.POSIX_RENAME, b"1"),)))

    def test_what_is_no_beginning(self) -> None:
        """Ends the channel: an older version, a second beginning, requests before it."""
        for data in (
            sftp.init(2),
            sftp.init() + sftp.init(),
            Request(sftp.STAT, 1, (b"/a",)).encode(),
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            bench = Bench()
            bench.client(data)
            self.assertEqual(len(bench.ground.ends), 1)
            self.assertEqual([each for each in bench.paths if each[0] != sftp.INIT], [])

    def test_a_target_of_another_version(self) -> None:
        bench = Bench(answers=False)
        bench.client(sftp.init())
        bench.target(sftp.encode_version(4, ()))
        self.assertEqual(len(bench.ground.ends), 1)


class DecisionTests(SftpCase):
    """What is asked, of which path."""

    def test_words(self) -> None:
        """Each request that names a path, as it is decided and recorded."""
        moded = Attributes(mode=0o4755)
        for number, (kind, name, fields, text) in enumerate(
            (
                (sftp.STAT, b"", (b"/a/b",), "list /a/b"),
                (sftp.LSTAT, b"", (b"/a/b/",), "list /a/b"),
                (sftp.READLINK, b"", (b"/a",), "list /a"),
                (sftp.REALPATH, b"", (b"/a/../c",), "list /c"),
                (sftp.OPENDIR, b"", (b"/a",), "list /a"),
                (sftp.MKDIR, b"", (b"/a", Attributes(mode=0o700)), "mkdir /a mode=0700"),
                (sftp.RMDIR, b"", (b"/a",), "remove /a"),
                (sftp.REMOVE, b"", (b"/a",), "remove /a"),
                (sftp.RENAME, b"", (b"/a", b"/b"), "rename /a /b"),
                (sftp.SYMLINK, b"", (b"/to", b"/at"), "link /to /at"),
                (sftp.SETSTAT, b"", (b"/a", moded), "setattr /a mode=4755"),
                (sftp.SETSTAT, b"", (b"/a", Attributes(size=0)), "write /a size=0"),
                (
                    sftp.SETSTAT,
                    b"",
                    (b"/a", Attributes(size=0, mode=1)),
                    "write and setattr /a mode=0001 size=0",
                ),
                (sftp.OPEN, b"", (b"/a", 0, NONE), "read /a"),
                (sftp.OPEN, b"", (b"/a", 1, NONE), "read /a"),
                (sftp.OPEN, b"", (b"/a", 3, NONE), "write and read /a"),
                (sftp.OPEN, b"", (b"/a", 26, moded), "write and setattr /a mode=4755"),
                (sftp.OPEN, b"", (b"/a", 17, NONE), "write and read /a"),
                (sftp.EXTENDED, sftp.POSIX_RENAME, (b"/a", b"/b"), "rename /a /b"),
                (sftp.EXTENDED, sftp.HARDLINK, (b"/a", b"/b"), "link (hard) /a /b"),
                (sftp.EXTENDED, sftp.STATVFS, (b"/a",), "list /a"),
                (sftp.EXTENDED, sftp.LSETSTAT, (b"/a", moded), "setattr /a mode=4755"),
            )
        ):
            self.bench.ask(kind, number, *fields, name=name)
            self.assertEqual(self.deciding.texts[number:], [text])
            got = self.bench.got[-1]
            self.assertEqual(got.id, number)
        self.assertEqual(self.ground.ends, [])

    def test_where_paths_lead(self) -> None:
        """Relative ones, dots and links: decided is what the target says, and that is sent."""
        self.bench.links = {"/srv/app/secrets": "/etc", "/srv/app/l": "/etc/shadow"}
        self.bench.ask(sftp.OPEN, 1, b"/srv/app/secrets/shadow", 1, NONE)
        self.bench.ask(sftp.STAT, 2, b"x/../y")
        self.bench.ask(sftp.STAT, 3, b"/srv/app/l")
        self.bench.ask(sftp.LSTAT, 4, b"/srv/app/l")
        self.bench.ask(sftp.REMOVE, 5, b"/srv/app/l")
        self.bench.ask(sftp.REMOVE, 6, b"/srv/app/secrets/hosts")
        self.assertEqual(
            [(use.path, use.written) for each in self.deciding.operations for use in each.uses],
            [
                ("/etc/shadow", "/srv/app/secrets/shadow"),
                ("/srv/us/y", "/srv/us/y"),
                ("/etc/shadow", "/srv/app/l"),
                ("/srv/app/l", "/srv/app/l"),
                ("/srv/app/l", "/srv/app/l"),
                ("/etc/hosts", "/srv/app/secrets/hosts"),
            ],
        )
        self.assertEqual(
            [paths for _, paths in self.bench.paths],
            [
                (b"/etc/shadow",),
                (b"/srv/us/y",),
                (b"/etc/shadow",),
                *[(b"/srv/app/l",)] * 2,
                (b"/etc/hosts",),
            ],
        )
        self.assertIn("/etc/shadow (written as /srv/app/l)", self.deciding.texts[2])

    def test_an_exclusive_opening(self) -> None:
        """Does not follow a link: it is the name that must not be there."""
        self.bench.links = {"/srv/l": "/etc/new"}
        self.bench.ask(sftp.OPEN, 1, b"/srv/l", 2 | 8 | 32, NONE)
        self.assertEqual(self.bench.paths, [(sftp.OPEN, (b"/srv/l",))])

    def test_what_is_refused(self) -> None:
        """Reaches nobody; the client is told why, twice, and goes on."""
        self.deciding.refused = {"remove /etc/hosts", "link /etc/shadow", "rename /b"}
        self.bench.links = {"/l": "/etc/shadow"}
        self.bench.ask(sftp.REMOVE, 1, b"/etc/hosts")
        self.bench.ask(sftp.SYMLINK, 2, b"/etc/shadow", b"/tmp/x")
        self.bench.ask(sftp.SYMLINK, 3, b"../l", b"/tmp/x")
        self.bench.ask(sftp.RENAME, 4, b"/a", b"/b")
        self.bench.ask(sftp.EXTENDED, 5, b"/etc/shadow", b"/x", name=sftp.HARDLINK)
        self.assertEqual(self.bench.seen, [])
        denied = sftp.PERMISSION_DENIED
        self.assertEqual(self.bench.statuses, [(number, denied) for number in range(1, 6)])
        first = self.bench.got[0]
        assert isinstance(first, Packet)
        self.assertEqual(sftp.parse_status(first.body), (denied, "No remove /etc/hosts."))
        self.assertIn(b"hoopgw: No remove /etc/hosts.\r\n", self.ground.stderr)
        self.bench.ask(sftp.STAT, 6, b"/a")
        self.assertEqual(self.bench.got[-1].id, 6)
        self.assertEqual(self.deciding.outcomes, ["OK"])

    def test_names_that_are_no_text(self) -> None:
        """Cannot be decided on: NUL, and what is not UTF-8; a long one does not hold together."""
        for number, path in enumerate((b"/a\0/b", b"/a\xff", b"/" + b"a" * 5_000)):
            self.bench.ask(sftp.STAT, number, path)
        self.assertEqual(
            (self.deciding.operations, self.bench.seen, self.bench.asked), ([], [], [])
        )
        denied = sftp.PERMISSION_DENIED
        self.assertEqual(self.bench.statuses, [(0, denied), (1, denied), (2, sftp.BAD_MESSAGE)])

    def test_names_that_hide_something(self) -> None:
        """Are shown so that a terminal does nothing with them."""
        self.bench.ask(sftp.STAT, 1, "/a\x1b[2K\u202eb\n".encode())
        self.assertEqual(self.deciding.texts, ["list /a\\x1b[2K\\u202eb\\x0a"])

    def test_what_nobody_knows(self) -> None:
        """Is not passed on."""
        for number, kind in enumerate((21, 150, 199)):
            self.bench.client(sftp.packet(kind, number, b"what"))
        self.bench.client(sftp.packet(sftp.EXTENDED, 3, string(b"new@example")))
        self.bench.client(sftp.packet(sftp.STAT, 4, b"\0\0\0\x09short"))
        self.bench.ask(sftp.OPEN, 5, b"/a", 64, NONE)
        self.assertEqual(self.bench.seen, [])
        self.assertEqual(
            self.bench.statuses,
            [(number, sftp.OP_UNSUPPORTED) for number in range(4)]
            + [(4, sftp.BAD_MESSAGE), (5, sftp.FAILURE)],
        )

    def test_where_it_begins(self) -> None:
        """Is told to who asks, without a decision."""
        self.bench.ask(sftp.REALPATH, 1, b".")
        (got,) = self.bench.got
        assert isinstance(got, Packet)
        self.assertEqual(sftp.parse_name(got.body), b"/srv/us")
        self.assertEqual(self.deciding.operations, [])

    def test_what_is_not_there(self) -> None:
        """The target's answer is told only to who may know."""
        self.deciding.refused = {"list /etc/x/y"}
        self.bench.missing = {"/etc/x/y", "/srv/x/y", "/srv/x", "/etc/x"}
        self.bench.ask(sftp.STAT, 1, b"/etc/x/y")
        self.bench.ask(sftp.STAT, 2, b"/srv/x/y")
        self.assertEqual(self.bench.statuses, [(1, sftp.PERMISSION_DENIED), (2, sftp.NO_SUCH_FILE)])
        self.assertEqual(self.deciding.outcomes, ["NO_SUCH_FILE"])

    def test_servers_that_resolve_only_what_is_there(self) -> None:
        """A new file stands in its folder; a link that leads nowhere is not written through."""
        self.bench.missing = {"/srv/new"}
        self.bench.open(1, b"/srv/new", 2 | 8)
        self.assertEqual(self.deciding.operations[0].uses[0].path, "/srv/new")
        self.bench.missing = {"/srv/dangling"}
        self.bench.seen.clear()
        self.bench.special = {
            sftp.LSTAT: lambda number: sftp.packet(sftp.ATTRS, number, NONE.encode())
        }
        self.bench.ask(sftp.OPEN, 2, b"/srv/dangling", 2 | 8, NONE)
        self.assertEqual([kind for kind, _ in self.bench.paths], [sftp.LSTAT])
        self.assertEqual(self.bench.statuses, [(2, sftp.NO_SUCH_FILE)])


class FileTests(SftpCase):
    """What is open."""

    def test_a_file_that_is_read(self) -> None:
        """Asked once; the hash of all of it is told when it is closed."""
        handle = self.bench.open(1, b"/a")
        for number, offset in enumerate((0, 32_768, 65_536, 98_304, 100_000), 2):
            self.bench.ask(sftp.READ, number, handle, offset, 32_768)
        self.assertEqual(self.deciding.results, [])
        self.bench.ask(sftp.CLOSE, 9, handle)
        self.assertEqual(self.deciding.texts, ["read /a"])
        ((intent, result),) = self.deciding.results
        (moved,) = result.transfers
        self.assertEqual((intent, result.outcome, moved.extent), (1, "OK", "whole"))
        self.assertEqual((moved.path, moved.size), ("/a", 100_000))
        self.assertEqual(moved.digest, sha256(bytes(100_000)).digest())
        self.assertEqual(len(self.bench.content), 100_000)

    def test_what_is_not_allowed_any_more(self) -> None:
        """Ends the channel, if a file is open."""
        self.bench.ask(sftp.STAT, 1, b"/a")
        self.bench.open(2, b"/a")
        first, second = self.deciding.ends
        self.assertIsNone(first)
        assert second is not None
        second("Over.")
        self.assertEqual(self.ground.ends, ["Over."])
        self.bench.ask(sftp.STAT, 3, b"/a")
        self.assertEqual(len(self.deciding.operations), 2)

    def test_answers_out_of_order(self) -> None:
        """Are put in the order of the file."""
        handle = self.bench.open(1, b"/a")
        self.bench.answers = False
        for number in range(5):
            self.bench.ask(sftp.READ, 10 + number, handle, number * 3, 3)
        for number in (3, 1, 4, 0, 2):
            self.bench.target(sftp.packet(sftp.DATA, 10 + number, string(b"%03d" % number)))
        self.bench.answers = True
        self.bench.ask(sftp.CLOSE, 9, handle)
        (moved,) = self.deciding.results[0][1].transfers
        self.assertEqual(moved.digest, sha256(b"000001002003004").digest())
        self.assertEqual((moved.extent, moved.size), ("range", 15))

    def test_a_file_that_is_written(self) -> None:
        """As one that is new, one that goes on, and one that failed."""
        for flags, begin, extent in ((26, 0, "whole"), (2, 0, "range"), (26, 7, "range")):
            handle = self.bench.open(1, b"/a", flags)
            self.bench.client(write(2, handle, begin, b"abc") + write(3, handle, begin + 3, b"de"))
            self.bench.ask(sftp.CLOSE, 4, handle)
            _, result = self.deciding.results[-1]
            (moved,) = result.transfers
            self.assertEqual((moved.extent, moved.size, moved.offset), (extent, 5, begin))
            self.assertEqual(moved.digest, sha256(b"abcde").digest())
            self.assertTrue(moved.is_upload)
        handle = self.bench.open(1, b"/a", 26)
        self.bench.answers = False
        self.bench.client(write(2, handle, 0, b"abc"))
        self.bench.target(sftp.status(2, sftp.FAILURE, "No space left"))
        self.bench.answers = True
        self.bench.ask(sftp.CLOSE, 3, handle)
        _, result = self.deciding.results[-1]
        self.assertEqual((result.outcome, result.transfers[0].extent), ("FAILURE", "partial"))

    def test_an_empty_file(self) -> None:
        """Is a file."""
        self.bench.ask(sftp.CLOSE, 2, self.bench.open(1, b"/a", 26))
        (moved,) = self.deciding.results[0][1].transfers
        self.assertEqual((moved.extent, moved.digest), ("whole", sha256().digest()))

    def test_appended(self) -> None:
        """The target puts it behind what is there, whatever the client says."""
        handle = self.bench.open(1, b"/a", 2 | 4 | 8)
        self.bench.client(write(2, handle, 0, b"abc") + write(3, handle, 0, b"de"))
        self.bench.ask(sftp.CLOSE, 4, handle)
        (moved,) = self.deciding.results[0][1].transfers
        self.assertEqual((moved.extent, moved.digest), ("range", sha256(b"abcde").digest()))

    def test_handles_that_were_not_given(self) -> None:
        """Or not for this, or that are closed: nothing of it reaches the target."""
        reads, writes = self.bench.open(1, b"/a"), self.bench.open(2, b"/b", 2)
        self.bench.ask(sftp.OPENDIR, 3, b"/c")
        folder = b"\0\0\0\3"
        closed = self.bench.open(4, b"/d", 3)
        self.bench.ask(sftp.CLOSE, 5, closed)
        del self.bench.seen[:], self.bench.got[:]
        for number, handle in enumerate((b"\0\0\0\x09", b"", writes, folder, closed)):
            self.bench.ask(sftp.READ, number, handle, 0, 10)
        for number, handle in enumerate((b"\0\0\0\x09", reads, folder, closed), 10):
            self.bench.client(write(number, handle, 0, b"content"))
        self.bench.ask(sftp.CLOSE, 20, b"\0\0\0\x09")
        self.bench.ask(sftp.FSETSTAT, 21, b"\0\0\0\x09", NONE)
        copy = (writes, 0, 0, reads, 0)
        self.bench.ask(sftp.EXTENDED, 22, *copy, name=sftp.COPY_DATA)
        self.assertEqual((self.bench.seen, bytes(self.bench.content)), ([], b""))
        ids = [*range(5), *range(10, 14), 20, 21, 22]
        self.assertEqual(self.bench.statuses, [(number, sftp.FAILURE) for number in ids])

    def test_attributes_of_what_is_open(self) -> None:
        """Are decided, by the path that was opened; what comes behind waits."""
        held = self.deciding.held["setattr /a"] = Deferred[FileRuling]()
        handle = self.bench.open(1, b"/a", 26)
        self.bench.client(
            write(2, handle, 0, b"abc")
            + Request(sftp.FSETSTAT, 3, (handle, Attributes(mode=0o600))).encode()
            + write(4, handle, 3, b"de")
            + Request(sftp.CLOSE, 5, (handle,)).encode()
        )
        self.assertEqual((bytes(self.bench.content), self.ground.holds), (b"abc", 1))
        held.callback(self.deciding.yes())
        self.bench.run()
        self.assertEqual((bytes(self.bench.content), self.ground.holds), (b"abcde", 0))
        self.assertEqual([number for number, _ in self.bench.statuses], [2, 3, 4, 5])
        self.assertEqual(self.deciding.results[-1][1].transfers[0].extent, "whole")

    def test_a_size_that_is_set(self) -> None:
        """Is a write, which was decided; what was hashed is the file, if it ends there."""
        for size, extent in ((3, "whole"), (1, "partial"), (9, "partial")):
            handle = self.bench.open(1, b"/a", 2 | 8)
            self.bench.client(write(2, handle, 0, b"abc"))
            self.bench.ask(sftp.FSETSTAT, 3, handle, Attributes(size=size))
            self.bench.ask(sftp.CLOSE, 4, handle)
            self.assertEqual(self.deciding.results[-1][1].transfers[0].extent, extent)
        self.assertEqual(self.deciding.texts, ["write /a"] * 3)
        self.bench.ask(sftp.FSETSTAT, 3, self.bench.open(1, b"/a"), Attributes(size=1))
        self.assertEqual(self.deciding.texts[-1], "write /a size=1")

    def test_too_many(self) -> None:
        """Open files."""
        self.patch(sftp_module, "HANDLES_LIMIT", 2)
        for number in range(3):
            self.bench.ask(sftp.OPEN, number, b"/a", 1, NONE)
        self.assertEqual(self.bench.statuses, [(2, sftp.FAILURE)])

    def test_the_end(self) -> None:
        """What is open then, and what was not answered, is told as such; nothing twice."""
        handle = self.bench.open(1, b"/a", 26)
        self.bench.client(write(2, handle, 0, b"abc"))
        other = self.bench.open(3, b"/b")
        self.bench.answers = False
        self.bench.ask(sftp.CLOSE, 4, other)
        self.bench.ask(sftp.OPEN, 5, b"/c", 1, NONE)
        self.bench.ask(sftp.REMOVE, 6, b"/d")
        self.bench.inspector.abandoned()
        self.bench.inspector.ended(None)
        self.assertEqual(sorted(intent for intent, _ in self.deciding.results), [1, 2, 3, 4])
        by_intent = dict(self.deciding.results)
        self.assertEqual(by_intent[1].outcome, "not closed")
        self.assertEqual(by_intent[1].transfers[0].size, 3)
        self.assertEqual({by_intent[n].outcome for n in (2, 3, 4)}, {"not answered"})
