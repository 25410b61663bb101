"""Tests for `hoopgw_ssh.operations`: what policy is asked, and what an approval is bound to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hoopgw.events import Access, Resource
from hoopgw.recording.inputs import LEVELS_LIMIT
from hoopgw.shell.running import facts
from hoopgw.spi import TargetSettings
from hoopgw_ssh.operations import (
    COMMAND_LIMIT,
    FOLDERS_LIMIT,
    TEXT_LIMIT,
    WORDS_LEVELS,
    WORDS_LIMIT,
    Asked,
    Place,
    Setting,
    Terminal,
    connecting,
    file_path,
    is_forbidden,
    program_id,
)

TARGET = TargetSettings(name="web1", protocol="ssh", agent="local", environment="prod")
PLAIN = Setting()
PLACE = Place(TARGET, "deploy", ("corp|alice",))


def run(text: str, setting: Setting = PLAIN, held_input: str = "closed") -> Asked:
    """Return what a command is."""
    return PLACE.exec(text.encode(), facts(text.encode()), setting, held_input)


def accesses(text: str) -> list[str]:
    """Return what a command asks for: actions and ids."""
    found = run(text).operation.accesses
    return [f"{each.action.removeprefix('Ssh::')} {each.resource.id}" for each in found]


def above(resource: Resource) -> list[str]:
    """Return what a resource is in, nearest first."""
    found = []
    while resource.parents:
        (resource,) = resource.parents
        found.append(f"{resource.type.rpartition('::')[2]} {resource.id}")
    return found


class AccessTests(SynchronousTestCase):
    """What a command asks for."""

    def test_all_of_it(self) -> None:
        for text, asked in (
            ("ls -l", ["run ls -l"]),
            ("/usr/bin/ls", ["run ls"]),
            ("ls; ls", ["run ls"]),
            ("A=b ls > x < /y", ["run ls", "read /y", "write ~/x", "setenv A"]),
            ("LD_PRELOAD=x ls", ["run ls", "unknown web1"]),
            ("rm 'a b' \"c d\"", ["run rm 'a b' 'c d'"]),
            ("rm $x", ["run rm *"]),
            ("rm '*'", ["run rm '*'"]),
            ("$x", ["unknown web1"]),
            ("", ["unknown web1"]),
            ("# nothing", ["unknown web1"]),
            ("cat > /dev/tcp/db1/80", ["run cat", "forward db1:80"]),
            ("sudo rm x", ["run sudo rm x", "run rm x"]),
            ("cat > /" + "a/" * 60 + "x", ["run cat", "unknown web1"]),
        ):
            self.assertEqual(accesses(text), asked, text)

    def test_a_command_is_in_each_that_it_begins_with(self) -> None:
        (access,) = run("systemctl restart nginx.service").operation.accesses
        self.assertEqual(
            above(access.resource),
            [
                "Command systemctl restart",
                "Command systemctl",
                "Program systemctl",
                "Host web1",
                "Target web1",
                "Environment prod",
            ],
        )

    def test_a_file_is_in_each_folder_above(self) -> None:
        self.assertEqual(
            above(PLACE.path("/etc/nginx/x"))[:4],
            ["Path /etc/nginx", "Path /etc", "Path /", "Host web1"],
        )
        self.assertEqual(above(PLACE.path("~/a/b"))[:3], ["Path ~/a", "Path ~", "Host web1"])
        self.assertEqual(PLACE.path("/").id, "/")
        self.assertEqual(above(PLACE.endpoint("::1", 80))[:2], ["Endpoint [::1]", "Host web1"])

    def test_labels_are_those_of_the_folders_too(self) -> None:
        labels = {"/etc": ("internal",), "/etc/shadow": ("secret",)}
        place = Place(TargetSettings(name="w", protocol="ssh", agent="a", labels=labels), "root")
        self.assertEqual(place.path("/etc/shadow").labels, {"internal", "secret"})
        self.assertEqual(place.path("/etc/x").labels, {"internal"})
        self.assertEqual(place.path("/srv").labels, frozenset())

    def test_context(self) -> None:
        terminal = Terminal(name="xterm", columns=80, rows=24, request=b"pty")
        found = run("ls -l | wc & $x", Setting(terminal=terminal)).operation.context
        self.assertEqual(found["words"], ("-l", "ls", "wc"))
        self.assertEqual(found["constructs"], ("background", "pipeline"))
        self.assertEqual(found["opaque"], ("name",))
        self.assertEqual((found["pty"], found["columns"], found["rows"]), (True, 80, 24))
        self.assertEqual((found["text"], found["account"]), ("ls -l | wc & $x", "deploy"))

    def test_what_is_too_long_is_opaque(self) -> None:
        """A policy that restricts by it sees that it does not see it."""
        found = run("echo " + "a " * TEXT_LIMIT).operation.context
        self.assertEqual((found["text"], found["opaque"]), ("", ("text",)))
        found = run("echo " + " ".join(f"a{n}" for n in range(WORDS_LIMIT))).operation.context
        self.assertEqual(found["words"], ())
        self.assertIn("words", str(found["opaque"]))

    def test_levels_are_bounded(self) -> None:
        """Of what is recorded, and asked."""
        long = run("x " + " ".join("abcdefghij" for _ in range(4_000))).operation.accesses[0]
        self.assertLess(len(above(long.resource)), WORDS_LEVELS + 6)
        self.assertLess(len(long.resource.id), COMMAND_LIMIT + 10)
        self.assertTrue(long.resource.id.endswith(" *"))
        deep = PLACE.path("/" + "/".join("a" * FOLDERS_LIMIT))
        self.assertLess(len(above(deep)), LEVELS_LIMIT)
        self.assertEqual(accesses("'" + "x" * 2_000 + "'"), ["run *"])

    def test_programs(self) -> None:
        for name, known in (
            ("rm", "rm"),
            ("/bin/rm", "rm"),
            ("/usr/local/sbin/rm", "rm"),
            ("//bin/./rm", "rm"),
            ("/bin//./rm", "rm"),
            ("./rm", "./rm"),
            ("/tmp/rm", "/tmp/rm"),
            ("/bin/../tmp/rm", "/bin/../tmp/rm"),
            ("/bin/", "/bin/"),
            ("/bin/..", "/bin/.."),
            ("bin/rm", "bin/rm"),
        ):
            self.assertEqual(program_id(name), known)

    def test_variables(self) -> None:
        for name in ("LD_PRELOAD", "LD_X", "PATH", "BASH_FUNC_x%%", "GIT_SSH", "PYTHONHOME"):
            self.assertTrue(is_forbidden(name))
        for name in ("LANG", "LC_ALL", "TZ", "FOO"):
            self.assertFalse(is_forbidden(name))

    def test_paths(self) -> None:
        for path, known in (
            (b"/etc//x/../y", "/etc/y"),
            (b"x", "~/x"),
            (b"a/../../b", None),
            (b"/../../x", "/x"),
            (b"", None),
            (b"a\0b", None),
            (b"\xff", None),
            (b"~/x", "~/~/x"),
            (b"/" + b"a/" * 60, None),
        ):
            self.assertEqual(file_path(path), known, path)


class DigestTests(SynchronousTestCase):
    """What an approval is bound to."""

    def test_each_part_counts(self) -> None:
        terminal = Terminal(name="xterm", columns=80, rows=24, request=b"pty")
        elsewhere = Place(TARGET, "root", ("corp|alice",))
        child = Place(TARGET, "deploy", ("corp|alice", "corp|alice~x"))
        other = Place(TargetSettings(name="web2", protocol="ssh", agent="local"), "deploy", ("a",))
        text = b"ls"
        found = [
            run("ls"),
            run("ls "),
            run("ls", held_input="open"),
            run("ls", Setting(terminal=terminal)),
            run("ls", Setting(variables=(("A", b"b"),))),
            run("ls", Setting(extras=("x11",))),
            PLACE.shell(Setting()),
            PLACE.shell(Setting(terminal=terminal)),
            PLACE.subsystem("ls", Setting()),
            PLACE.files("read", [("read", "/x")], "ls"),
            PLACE.tunnel("forward", PLACE.endpoint("ls", 1), "ls", b"ls"),
            *(each.exec(text, facts(text), Setting(), "closed") for each in (elsewhere, child)),
            other.exec(text, facts(text), Setting(), "closed"),
        ]
        digests = {each.operation.digest for each in found}
        self.assertEqual(len(digests), len(found))
        self.assertEqual(run("ls").operation.digest, found[0].operation.digest)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_exact_bytes(self, one: bytes, other: bytes) -> None:
        """Bytes that are no text count as well; and they are recorded as they were."""
        digests = []
        for text in (one, other):
            asked = PLACE.exec(text, facts(text), Setting(), "closed")
            self.assertEqual(asked.operation.text.encode("utf-8", "surrogateescape"), text)
            asked.shown.text.encode()  # what people are shown has no halves of characters
            digests.append(asked.operation.digest)
        self.assertEqual(one == other, digests[0] == digests[1])

    def test_what_people_are_shown(self) -> None:
        """What we say stands before what the client says, and has no lines of the client's."""
        setting = Setting(variables=(("A", b"b\n# it gets no input: x"),))
        shown = run("rm\n# it is harmless", setting, "open").shown.text
        self.assertEqual(
            shown.split("\n"),
            [
                "# environment: A=b\\n# it gets no input: x",
                "# its input is not covered: it gets whatever is sent to it later",
                "rm",
                "# it is harmless",
            ],
        )


WORDS = st.lists(st.none() | st.text(max_size=6), min_size=1, max_size=6)


class IdTests(SynchronousTestCase):
    """Names of commands."""

    @given(WORDS, WORDS)
    def test_no_two_commands_have_one_id(
        self, one: list[str | None], other: list[str | None]
    ) -> None:
        first = PLACE.command(("x", *one))
        second = PLACE.command(("x", *other))
        self.assertEqual(first.id == second.id, one == other)

    def test_connecting(self) -> None:
        operation = connecting(TARGET, "deploy", "")
        self.assertEqual(operation.accesses, (Access(action="Ssh::connect", resource=PLACE.host),))
