"""Tests for `hoopgw_ssh.judge`: what is allowed, held, refused, charged and recorded."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from hoopgw.identity.ssh_certificates import Restrictions
from hoopgw.policy.decision import Deny, Use, Verdict
from hoopgw.sessions.journal import NOT_SENT
from hoopgw_ssh.wire import string
from tests.fakes import FakeContents
from tests.ssh.judge_case import ALL, JudgeCase, direct, names

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

    def test_connections_of_the_shell_itself(self) -> None:
        """Bash connects where no forward leads: that is refused whatever policy says."""
        self.rules(ALL)
        for where in ("127.1/80", "localhost/80", "10.0.0.1/22", "db1/ssh", "0xa9fea9fe/80"):
            _, taker = self.exec(f"cat < /dev/tcp/{where}".encode())
            self.assertEqual((self.status(taker), names(self.reached)), (77, ["closed"]), where)
        self.exec(b"cat < /dev/tcp/db1/80")
        self.assertEqual(len(self.reached), 1)
        self.exec(b"cat < /dev/tcp/0xa.1/080")
        self.assertIn("10.0.0.1:80", self.intents()[-1].resources)

    def test_input_before_a_command(self) -> None:
        """Goes nowhere: a target that keeps it would give it to what was approved without any."""
        self.rules(ALL)
        channel, _ = self.session()
        channel.write(b"rm -r /")
        self.run_all()
        channel.request(b"exec", string(b"bash -s"), None)
        self.run_all()
        self.assertEqual(self.reached, [(b"exec", string(b"bash -s"))])

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

    def test_a_grant_for_one_call(self) -> None:
        """It is used for exactly this, and what is granted so gets no input."""
        self.rules('@id("none") permit (principal, action == Ssh::Action::"connect", resource);')
        use = Use(grant="g-1", digest=b"x", because=("grant",))
        self.policy.decide = lambda *_: Verdict(decision=Deny(reason="no", uses=(use,)))
        self.exec(b"id")
        self.assertEqual(self.reached, ["closed"])
        self.usable = True
        self.exec(b"id")
        self.assertEqual(self.reached, [(b"exec", string(b"id")), "eof"])

    def test_what_is_not_recorded_does_not_run(self) -> None:
        for make_full in ("recorder", "contents"):
            self.setUp()
            getattr(self, make_full).full = True
            _, taker = self.exec(b"id")
            self.assertEqual(self.status(taker), 77, make_full)
            self.assertIn("cannot be recorded", self.told(taker))
            self.assertNotIn(b"exec", names(self.reached))
        self.assertEqual([each.outcome for each in self.results()], [NOT_SENT])

    def test_who_leaves_while_the_recording_is_synced(self) -> None:
        """What was approved was not sent, and the recording says so, and ends."""
        waiting: Deferred[None] = Deferred()
        self.patch(FakeContents, "sync", lambda _contents: waiting)
        self.rules(HELD)
        channel, _ = self.exec(b"reboot")
        self.reviews[0].settle("approved")
        self.run_all()
        self.assertEqual(self.results(), [])
        channel.close()
        self.run_all()
        self.assertEqual([each.outcome for each in self.results()], [NOT_SENT])
        self.assertNotIn(b"exec", names(self.reached))
        (content,) = self.contents.opened
        self.assertEqual(content.outcome, "the client has left before it began")

    def test_judged_again_when_it_was_approved(self) -> None:
        """Who was allowed when the request was filed may not be any more."""
        self.rules(HELD)
        _, taker = self.exec(b"reboot")
        self.rules('@id("ls") permit (principal, action, resource in Ssh::Program::"ls");')
        self.reviews[0].settle("approved")
        self.run_all()
        self.assertEqual(self.status(taker), 77)
        self.assertNotIn(b"exec", names(self.reached))

    def test_an_approval_is_for_exactly_this(self) -> None:
        """The digest holds the text, the terminal and the variables, in this order."""
        digests = set()
        befores: list[tuple[tuple[bytes, bytes], ...]] = [
            (),
            (self.pty(),),
            (self.pty(81),),
            (self.env(b"LANG", b"C"),),
            (self.env(b"LANG", b"D"),),
            (self.env(b"LANG", b"C"), self.env(b"TZ", b"")),
            (self.env(b"TZ", b""), self.env(b"LANG", b"C")),
        ]
        for text in (b"id", b"id ", b"id;id"):
            for before in befores:
                self.exec(text, *before)
                digests.add(self.intents()[-1].digest)
        self.assertEqual(len(digests), 21)
        self.exec(b"id")
        self.assertEqual(self.intents()[-1].digest, self.intents()[0].digest)

    def test_nobody_can_be_asked(self) -> None:
        self.rules(HELD)
        self.unanswered = True
        _, taker = self.exec(b"reboot")
        self.assertEqual(self.status(taker), 77)
        self.assertIn("nobody can be asked", self.told(taker))

    def test_what_would_cure_it_is_said(self) -> None:
        self.rules(
            '@id("to-run") @grant("run-anything") @grant_approval("ops")'
            " permit (principal == ?principal, action, resource in ?resource);"
        )
        _, taker = self.exec(b"reboot")
        self.assertIn("hoopgw request --target web1 --grant run-anything", self.told(taker))


class CertificateTests(JudgeCase):
    """What a certificate restricts, whatever policy says."""

    def begin_with(self, *permissions: str, command: str = "") -> None:
        """Begin again, with another certificate."""
        self.restrictions = Restrictions(permissions=frozenset(permissions), command=command)
        self.begin()

    def test_one_command_only(self) -> None:
        self.begin_with("permit-pty", command="backup --now")
        self.exec(b"backup --now")
        self.assertEqual(names(self.reached), [b"exec"])
        for name, data in (
            (b"exec", string(b"backup --now; id")),
            (b"exec", string(b"backup --now ")),
            (b"exec", string(b"")),
            (b"shell", b""),
            (b"subsystem", string(b"sftp")),
        ):
            _, taker = self.start(name, data)
            self.assertEqual(self.status(taker), 77)
            self.assertEqual(self.reached, ["closed"])
            self.assertEqual((self.intents()[-1].decision, self.intents()[-1].input), ("deny", b""))

    def test_a_terminal(self) -> None:
        self.begin_with()
        self.exec(b"id", self.pty())
        self.assertEqual(names(self.reached), [b"exec"])

    def test_connections(self) -> None:
        """Neither through the host, nor from it."""
        self.begin_with("permit-pty")
        socket = string(b"/run/x") + string(b"") + bytes(4)
        self.assertEqual(self.opened(b"direct-tcpip", direct("db1", 5432)).events[0][0], "refused")
        taker = self.opened(b"direct-streamlocal@openssh.com", socket)
        self.assertEqual(taker.events[0][0], "refused")
        self.assertFalse(self.target.openings)
        answers = [
            self.asked_of_channel(b"auth-agent-req@openssh.com", b""),
            self.asked_of_channel(b"x11-req", b"\0" + string(b"") * 2 + bytes(4)),
            self.asked(b"tcpip-forward", string(b"") + bytes(4)),
            self.asked(b"streamlocal-forward@openssh.com", string(b"/run/x")),
        ]
        self.assertEqual(answers, [False] * 4)
        self.assertEqual({each.decision for each in self.intents()}, {"deny"})
        self.assertFalse(self.target.requests)
