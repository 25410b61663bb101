"""A gated shell between a client and a target in memory: each line is decided by itself."""

from __future__ import annotations

from hoopgw.errors import ConfigError
from hoopgw.shell.lines import TEXT_LIMIT
from hoopgw.spi import TargetSettings
from hoopgw_ssh.channels import Channel
from hoopgw_ssh.settings import check_target
from hoopgw_ssh.wire import string
from tests.ssh.ends import Taker
from tests.ssh.judge_case import ALL, JudgeCase, names

SOME = """
@id("some") permit (principal, action, resource) unless { action == Ssh::Action::"shell" };
@id("not-rm") forbid (principal, action == Ssh::Action::"run", resource in Ssh::Program::"rm");
"""
HELD = f"""{SOME}
@id("eyes") @approval("ops")
forbid (principal, action == Ssh::Action::"run", resource in Ssh::Program::"reboot")
unless {{ context.approvals.contains("eyes") }};
"""


class GatedCase(JudgeCase):
    """A client at a gated shell."""

    options = {"shell": "gated"}  # noqa: RUF012  # a test's own, and never changed

    def setUp(self) -> None:
        super().setUp()
        self.rules(SOME)

    def enter(self, *, terminal: bool = True) -> tuple[Channel, Taker]:
        """Ask for a shell."""
        before = (self.pty(),) if terminal else ()
        self.shell, self.taker = self.start(b"shell", b"", *before)
        self.settle()
        return self.shell, self.taker

    def settle(self) -> None:
        """Carry all, and let the shell take what is next."""
        for _ in range(6):
            self.run_all()
            self.clock.advance(0)

    def type(self, data: bytes) -> None:
        """Type something."""
        self.shell.write(data)
        self.settle()

    def commands(self) -> list[bytes]:
        """Return what the target was asked to run, as it was written."""
        found = []
        for taker in self.target.takers:
            found += [each.data[4:] for each in taker.requests if each.name == b"exec"]
        return found

    def answer(self, output: bytes = b"", status: int = 0) -> None:
        """Let the target run what it was asked to last, to its end."""
        self.taken()
        far, _ = self.far
        far.write(output)
        far.request(b"exit-status", status.to_bytes(4, "big"))
        far.eof()
        far.close()
        self.settle()

    def taken(self) -> None:
        """Let the target begin what it was asked to run last."""
        slot = self.far[1].requests[-1].slot
        assert slot is not None
        slot.succeed()
        self.settle()

    def run_line(self, line: bytes, output: bytes = b"", status: int = 0) -> bytes:
        """Type a line that runs; return what the target was asked."""
        self.type(line + b"\r")
        self.answer(output, status)
        return self.commands()[-1]


class GatedShellTests(GatedCase):
    """With a terminal."""

    def test_no_shell_on_the_target(self) -> None:
        """It is asked for lines only, and sees no keystroke."""
        self.enter()
        self.assertIn(b"gated shell", self.taker.text)
        self.assertIn(b"deploy@web1:~> ", self.taker.text)
        self.type(b"ls -x\x7fl")
        self.assertEqual(self.commands(), [])
        self.type(b"\r")
        self.assertEqual(self.commands(), [b"ls -l"])
        self.assertEqual(self.reached[-1], "eof")  # a line has no input
        self.answer(b"one\ntwo", 3)
        self.assertIn(b"one\r\ntwo\r\n", self.taker.text)
        self.assertTrue(self.taker.text.endswith(b"\r[3] deploy@web1:~> \x1b[K"))
        for taker in self.target.takers:
            self.assertNotIn(b"shell", names(taker.events))
            self.assertNotIn(None, names(taker.events))

    def test_it_is_an_action_of_its_own(self) -> None:
        """Who may have an open shell has none by that, and the other way round."""
        for rules, option, allowed in (
            (ALL.replace("action,", 'action == Ssh::Action::"shell",'), "gated", False),
            (ALL.replace("action,", 'action == Ssh::Action::"gated_shell",'), "open", False),
            (ALL.replace("action,", 'action == Ssh::Action::"gated_shell",'), "gated", True),
        ):
            self.options = {"shell": option}
            self.begin()
            self.rules(rules)
            _, taker = self.enter(terminal=False)
            self.assertEqual(self.status(taker), None if allowed else 77, rules)
            self.assertNotIn(b"shell", names(self.reached))

    def test_a_line_that_is_refused(self) -> None:
        """Says why, and the shell goes on; both are recorded."""
        self.enter()
        self.type(b"echo a; rm x\r")
        self.assertEqual(self.commands(), [])
        self.assertIn(b"refused by policy not-rm", self.taker.text)
        self.assertIn(b"[77] deploy@web1", self.taker.text)
        self.assertEqual(self.run_line(b"ls"), b"ls")
        self.assertEqual(
            [(each.action, each.decision, each.text) for each in self.intents()],
            [
                ("gated_shell", "allow", b""),
                ("exec", "deny", b"echo a; rm x"),
                ("exec", "allow", b"ls"),
            ],
        )
        self.assertEqual([each.outcome for each in self.results()], ["exit 0"])

    def test_a_line_that_is_held(self) -> None:
        """It waits for people, who are shown all of its text; Ctrl-C withdraws it."""
        self.rules(HELD)
        self.enter()
        self.run_line(b"cd /srv", b"/srv\n")
        self.type(b"reboot\rls\r")
        self.assertIn(b"ops", self.taker.text)
        self.assertTrue(self.reviews[0].operation.text.endswith("\ncd -- /srv && reboot"))
        self.reviews[0].settle("approved")
        self.settle()
        self.assertEqual(self.commands()[-1], b"cd -- /srv && reboot")
        self.answer()
        self.assertEqual(self.commands()[-1], b"cd -- /srv && ls")
        self.answer()
        self.type(b"reboot\rls\r")
        self.type(b"\x03")
        self.assertEqual(self.settled()[-1].outcome, "withdrawn")
        self.assertEqual(len(self.commands()), 3)
        self.assertTrue(self.taker.text.endswith(b"[130] deploy@web1:/srv> \x1b[K"))

    def test_what_is_carried(self) -> None:
        """The folder that the target says, and variables, in the text that is judged."""
        self.enter()
        self.assertEqual(self.run_line(b"cd my*", b"/srv/my app\n"), b"cd my* && pwd -P")
        self.assertNotIn(b"/srv/my app\r\n", self.taker.text)
        self.run_line(b"export A=1")
        text = b"export A=1 && cd -- '/srv/my app' && ls"
        self.assertEqual(self.run_line(b"ls"), text)
        self.assertEqual(self.intents()[-1].text, text)
        self.run_line(b"cd gone", b"", 1)
        self.run_line(b"export A=2", b"", 1)
        self.run_line(b"cd odd", b"/a\x1b[2Jb\n")
        self.assertIn(b"does not say which folder", self.taker.text)
        self.assertEqual(self.run_line(b"ls"), text)

    def test_a_forbidden_variable(self) -> None:
        """Is not carried: what would make other programs run is refused."""
        self.enter()
        self.rules(SOME.replace("unless {", 'unless { action == Ssh::Action::"unknown" ||'))
        self.type(b"export PATH=/tmp\r")
        self.assertEqual(self.commands(), [])
        self.assertEqual(self.run_line(b"ls"), b"ls")

    def test_a_text_of_several_lines(self) -> None:
        """None of its lines runs by itself; Ctrl-C drops it."""
        self.enter()
        self.type(b"for f in a b; do\rrm $f\r")
        self.assertIn(b"not whole yet", self.taker.text)
        self.assertEqual((self.commands(), len(self.intents())), ([], 1))
        self.type(b"\x03for f in a b; do\recho $f\rdone\r")
        self.assertEqual(self.commands(), [b"for f in a b; do\necho $f\ndone"])
        self.answer()
        self.assertEqual(self.run_line(b"ls \\\r-l"), b"ls -l")

    def test_interrupting(self) -> None:
        """What runs gets a signal, then it is left; what was typed ahead is dropped."""
        self.enter()
        self.type(b"sleep 1\rrm x\r")
        self.taken()
        _, there = self.far
        self.type(b"\x03")
        self.assertEqual(there.events[-1], (b"signal", string(b"INT")))
        there.closes = False
        self.type(b"\x03")
        self.assertEqual(there.events[-1], "closed")
        self.assertIn(b"may go on running", self.taker.text)
        self.assertEqual(self.run_line(b"ls"), b"ls")
        self.assertEqual(self.commands(), [b"sleep 1", b"ls"])

    def test_leaving(self) -> None:
        """With a status; all is recorded, and all channels are gone."""
        self.enter()
        self.type(b"exit 5\r")
        self.assertEqual(self.status(self.taker), 5)
        self.assertEqual(self.taker.events[-1], "closed")
        self.assertEqual([each.outcome for each in self.results()], ["exit 5"])
        self.assertFalse(self.relay.pairs)

    def test_end_of_input(self) -> None:
        """Ctrl-D leaves with the last status."""
        self.enter()
        self.run_line(b"false", b"", 1)
        self.type(b"\x04")
        self.assertEqual(self.status(self.taker), 1)

    def test_a_client_that_goes(self) -> None:
        """What runs is closed, too, and what waits is withdrawn."""
        self.rules(HELD)
        self.enter()
        self.type(b"reboot\r")
        self.shell.close()
        self.settle()
        self.assertEqual(self.settled()[-1].outcome, "withdrawn")
        self.assertFalse(self.relay.pairs)
        self.enter()
        self.type(b"sleep 1\r")
        self.taken()
        self.relay.lost()
        self.judge.close("the client left")
        self.assertEqual(len(self.results()), 3)

    def test_a_grant_that_is_over(self) -> None:
        """The shell ends, with the line that runs."""
        self.enter()
        self.type(b"sleep 1\r")
        self.taken()
        self.rules(SOME.replace("unless {", 'unless { action == Ssh::Action::"gated_shell" ||'))
        self.assertIsNone(self.judge.reconsider())
        self.settle()
        self.assertEqual(self.status(self.taker), 77)
        self.assertFalse(self.relay.pairs)

    def test_a_slow_client(self) -> None:
        """Holds the target up: at most windows wait."""
        self.enter()
        self.taker.credits = False
        self.type(b"yes\r")
        self.taken()
        far, _ = self.far
        for _ in range(5):
            far.write(b"y\n" * 2**20)
            self.settle()
        self.assertGreater(far.waiting, 2**22)

    def test_a_target_that_refuses(self) -> None:
        """A channel, or a command: the shell goes on."""
        self.enter()
        self.target.confirms = False
        self.type(b"ls\r")
        self.far[0].refuse(4, "no room")
        self.settle()
        self.assertIn(b"no room", self.taker.text)
        self.target.confirms = True
        self.type(b"ls\r")
        slot = self.far[1].requests[-1].slot
        assert slot is not None
        slot.fail()
        self.settle()
        self.assertEqual(self.run_line(b"id"), b"id")

    def test_too_much(self) -> None:
        """Nothing of it runs."""
        self.enter()
        for _ in range(TEXT_LIMIT // 4096 + 1):
            self.type(b"a" * 4096)
        self.type(b"\rls\r")
        self.assertIn(b"nothing of it runs", self.taker.text)
        self.assertEqual(self.commands(), [])
        self.type(b"\x03")
        self.assertEqual(self.run_line(b"ls"), b"ls")


class PlainTests(GatedCase):
    """Without a terminal: lines come from a pipe."""

    def test_a_script(self) -> None:
        """No prompt; what is refused does not run, the rest does; it ends as the last line did."""
        self.enter(terminal=False)
        self.type(b"ls\nrm x\nfor f in a; do\necho $f\ndo")
        self.type(b"ne")
        self.shell.eof()
        self.settle()
        self.answer(b"out\n")
        self.assertEqual(self.commands()[-1], b"for f in a; do\necho $f\ndone")
        self.answer(b"a\n", 4)
        self.assertEqual(self.taker.text, b"out\na\n")
        self.assertIn("refused by policy", self.told(self.taker))
        self.assertEqual(self.status(self.taker), 4)

    def test_what_is_no_command(self) -> None:
        """Ends it, with all that comes behind: that would be a part of something else."""
        for text in (b"for f in a; do\nls\n", b"ls \x01\nls\n", b"a" * (TEXT_LIMIT + 1)):
            self.enter(terminal=False)
            self.type(text[:30_000])
            self.shell.eof()
            self.settle()
            self.assertEqual((self.status(self.taker), self.commands()), (2, []), text[:20])

    def test_a_long_script(self) -> None:
        """Waits in the channel while a line runs."""
        self.enter(terminal=False)
        line = b"echo " + b"a" * 400 + b"\n"
        self.type(line * 8_000)
        self.assertGreater(self.shell.waiting, 2**20)
        for _ in range(300):
            self.answer()
        self.assertEqual(self.commands(), [line.strip()] * 301)


class SettingTests(GatedCase):
    """What a target may say."""

    def test_values(self) -> None:
        """Open, gated, and no other."""
        for value, wrong in (("open", False), ("gated", False), ("closed", True), (1, True)):
            target = TargetSettings(
                name="web1",
                protocol="ssh",
                agent="local",
                environment="prod",
                options={"shell": value},
            )
            if wrong:
                self.assertRaises(ConfigError, check_target, target)
            else:
                check_target(target)
