"""Tests for `hoopgw_ssh.judge`: what is allowed, held, refused, charged and recorded."""

from __future__ import annotations

from hoopgw_ssh.wire import string
from tests.ssh.judge_case import JudgeCase

HELD = """
@id("runs") permit (principal, action, resource);
@id("four-eyes") @approval("ops") forbid (principal, action == Ssh::Action::"run", resource)
  unless { context.approvals.contains("four-eyes") };
"""


class ExecTests(JudgeCase):
    """Commands."""

    def test_allowed(self) -> None:
        """It is recorded before it reaches the target, and its end, too."""
        self.exec(b"uname -a")
        self.assertEqual(self.reached, [(b"exec", string(b"uname -a"))])
        (intent,) = self.intents()
        self.assertEqual(
            (intent.action, intent.text, intent.decision), ("exec", b"uname -a", "allow")
        )
        self.assertEqual(intent.resources, ["uname -a"])
        far, _ = self.far
        far.write(b"Linux")
        far.request(b"exit-status", b"\0\0\0\3")
        far.eof()
        far.close()
        self.run_all()
        (result,) = self.results()
        self.assertEqual(
            (result.intent, result.outcome, result.sent), (intent.sequence, "exit 3", 5)
        )

    def test_refused(self) -> None:
        """The reason stands on standard error, the status is 77, nothing reaches the target."""
        self.rules('@id("ls") permit (principal, action, resource in Ssh::Program::"ls");')
        _, taker = self.exec(b"rm -rf /")
        self.assertEqual(self.status(taker), 77)
        self.assertIn("no policy permits alice to run rm -rf /", self.told(taker))
        self.assertEqual(self.reached, ["closed"])
        self.assertEqual([each.decision for each in self.intents()], ["deny"])

    def test_every_command_of_a_text_is_asked_for(self) -> None:
        self.rules('@id("ls") permit (principal, action, resource in Ssh::Program::"ls");')
        _, taker = self.exec(b"ls; ls -l | ls")
        self.assertEqual(self.reached, [(b"exec", string(b"ls; ls -l | ls"))])
        for text in (b"ls; rm x", b"ls $(rm x)", b"ls > x", b"sudo ls", b"x=1 ls", b"ls 'x", b""):
            _, taker = self.exec(text)
            self.assertEqual(self.status(taker), 77, text)

    def test_held(self) -> None:
        """Who can approve, and how, stands on standard error; what is approved gets no input."""
        self.rules(HELD)
        channel, taker = self.exec(b"bash -s")
        channel.write(b"rm -rf /\n")
        self.run_all()
        self.assertEqual(self.reached, [])
        said = self.told(taker)
        self.assertIn("held for approval by ops: request r-0", said)
        self.assertIn("hoopgw requests approve r-0", said)
        self.assertIn("it gets no input", self.reviews[0].operation.text)
        self.reviews[0].settle("approved")
        self.run_all()
        self.assertEqual(self.reached, [(b"exec", string(b"bash -s")), "eof"])
        channel.write(b"rm -rf /\n")
        self.run_all()
        self.assertEqual(self.reached, [(b"exec", string(b"bash -s")), "eof"])
        self.assertEqual([each.outcome for each in self.settled()], ["approved"])

    def test_not_approved(self) -> None:
        self.rules(HELD)
        _, taker = self.exec(b"reboot")
        self.reviews[0].settle("denied")
        self.run_all()
        self.assertEqual(self.status(taker), 77)
        self.assertIn("it was denied", self.told(taker))
        self.assertEqual(self.reached, ["closed"])

    def test_a_client_that_leaves_withdraws(self) -> None:
        self.rules(HELD)
        channel, _ = self.exec(b"reboot")
        channel.close()
        self.run_all()
        self.assertEqual([each.outcome for each in self.settled()], ["withdrawn"])
        self.assertNotIn(b"exec", [event[0] for event in self.reached])

    def test_a_lost_connection_withdraws(self) -> None:
        self.rules(HELD)
        self.exec(b"reboot")
        self.relay.lost()
        self.assertEqual([each.outcome for each in self.settled()], ["withdrawn"])

    def test_an_interrupt_at_a_terminal_withdraws(self) -> None:
        """It comes as data, which waits; without a terminal that byte is input like any other."""
        self.rules(HELD)
        channel, taker = self.exec(b"reboot", self.pty())
        channel.write(b"abc\x03")
        self.run_all()
        self.assertEqual([each.outcome for each in self.settled()], ["withdrawn"])
        self.assertEqual(self.status(taker), 77)
        self.assertIn("withdrawn", self.told(taker))
        channel, _ = self.exec(b"reboot")
        channel.write(b"abc\x03")
        self.run_all()
        self.assertEqual(len(self.settled()), 1)
